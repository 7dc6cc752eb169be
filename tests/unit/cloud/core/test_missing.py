"""A client of a service that the laptop cloud lacks reads why; botocore's own parsers are the clients."""

from typing import Any

import botocore.parsers
import botocore.session
import pytest

from cloud.core import missing

# A service and an operation of it for each protocol.
REQUESTS = {
    "json": ("service-quotas", "ListServices", {"x-amz-target": "ServiceQuotasV20190624.ListServices"}, b"{}"),
    "rest-json": ("xray", "GetTraceSummaries", {"content-type": "application/json"}, b"{}"),
    "rest-xml": ("cloudfront", "ListDistributions", {}, b""),
    "query": ("redshift", "DescribeClusters", {"content-type": "application/x-www-form-urlencoded"}, b"Action=D&V=1"),
    "ec2": ("ec2", "DescribeVpcs", {"content-type": "application/x-www-form-urlencoded"}, b"Action=DescribeVpcs"),
    "smithy-rpc-v2-cbor": ("snowball", "ListJobs", {"smithy-protocol": "rpc-v2-cbor"}, b"\xa0"),
}


@pytest.mark.parametrize("protocol", REQUESTS)
def test_refusal_is_read_by_the_protocols_clients(protocol: str) -> None:
    service, operation, headers, body = REQUESTS[protocol]
    model = botocore.session.get_session().get_service_model(service)
    assert protocol in (model.metadata.get("protocols") or [model.metadata["protocol"]])
    status, answered, content = missing.answer(model.signing_name, headers, body, {}, ["s3", "sagemaker"])
    parser: Any = botocore.parsers.create_parser(protocol)  # type: ignore[attr-defined]
    response = {"status_code": status, "headers": {k.lower(): v for k, v in answered.items()}, "body": content}
    error = parser.parse(response, model.operation_model(operation).output_shape)["Error"]
    assert error["Code"] == "UnknownOperationException"
    assert error["Message"] == f"The laptop cloud has no service {model.signing_name}; it has s3, sagemaker."


def test_a_query_in_the_address_is_answered_in_xml() -> None:
    _, headers, _ = missing.answer("elasticache", {}, b"", {"Action": ["DescribeEvents"]}, [])
    assert headers["Content-Type"] == "text/xml"
