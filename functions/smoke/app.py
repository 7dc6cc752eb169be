"""Smoke: ask the staging endpoint photos with known answers; it takes no traffic before it passed."""

from typing import TYPE_CHECKING, Any

import boto3

from shared.observability import logger, metrics
from shared.s3 import read_bytes, read_json
from smoke.checks import Answer, Golden, check

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

s3 = boto3.client("s3")
runtime = boto3.client("sagemaker-runtime")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """``{"endpoint_name", "report_uri"}`` to a ``Smoke`` document."""

    def ask(body: bytes, content_type: str) -> Answer:
        return invoke(event["endpoint_name"], body, content_type)

    smoke = check(ask, load_golden(f"{event['report_uri']}/golden"))
    metrics.add_metric(name="SmokeLatency", unit="Milliseconds", value=smoke.latency_ms)
    logger.info("smoke test passed", extra=smoke.model_dump())
    return smoke.model_dump()


def load_golden(uri: str) -> list[Golden]:
    """The golden photos that the evaluation left beside its report."""
    return [
        Golden(item["photo"], read_bytes(s3, f"{uri}/{item['photo']}"), item["class"], item["probabilities"])
        for item in read_json(s3, f"{uri}/golden.json")
    ]


def invoke(endpoint_name: str, body: bytes, content_type: str) -> Answer:
    """One InvokeEndpoint call; the container's own errors come back as answers."""
    try:
        answer = runtime.invoke_endpoint(EndpointName=endpoint_name, Body=body, ContentType=content_type)
    except runtime.exceptions.ModelError as error:
        said: dict[str, Any] = dict(error.response)
        return Answer(said["OriginalStatusCode"], said["OriginalMessage"].encode())
    return Answer(200, answer["Body"].read())
