"""Checks of requests against botocore's service model, and the answers of the JSON protocol."""

import asyncio
import functools
import json
import re
from typing import Any

import botocore.session
import pytest
from botocore.model import ServiceModel

from cloud.core.protocol import ApiError, JsonApi, invalid, problems_of


@functools.cache
def model(name: str = "sagemaker") -> ServiceModel:
    return botocore.session.get_session().get_service_model(name)


def problems(operation: str, request: dict[str, Any]) -> list[str]:
    return list(problems_of(request, model().operation_model(operation).input_shape))


def test_a_good_request_has_no_problems() -> None:
    assert problems("DescribeEndpoint", {"EndpointName": "dogs-1"}) == []


def deployment(timeout: int) -> dict[str, Any]:
    routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    policy = {"TrafficRoutingConfiguration": routing, "MaximumExecutionTimeoutInSeconds": timeout}
    return {"BlueGreenUpdatePolicy": policy}


@pytest.mark.parametrize(
    ("operation", "request_", "words"),
    [
        ("DescribeEndpoint", {}, 'Missing required parameter in input: "EndpointName"'),
        ("DescribeEndpoint", {"EndpointName": "a", "Colour": 1}, 'Unknown parameter in input: "Colour"'),
        ("DescribeEndpoint", {"EndpointName": 3}, "Invalid type for parameter EndpointName"),
        (
            "DescribeEndpoint",
            {"EndpointName": "a" * 64},
            "at 'endpointName' failed to satisfy constraint: Member must have length less than or equal to",
        ),
        ("DescribeEndpoint", {"EndpointName": "a_b"}, "Member must satisfy regular expression pattern"),
        ("ListEndpoints", {"MaxResults": 101}, "Member must have value less than or equal to 100"),
        (
            "ListEndpoints",
            {"StatusEquals": "Fine"},
            "Member must satisfy enum value set: [OutOfService",
        ),
        (
            "AddTags",
            {
                "ResourceArn": "arn:aws:sagemaker:us-east-1:000000000000:model/m",
                "Tags": [{"Key": "a", "Value": "b"}] * 51,
            },
            "at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50",
        ),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(operation: str, request_: dict[str, Any], words: str) -> None:
    assert words in problems(operation, request_)[0]


TRAINING: dict[str, Any] = {
    "TrainingJobName": "j",
    "RoleArn": "arn:aws:iam::000000000000:role/job",
    "OutputDataConfig": {"S3OutputPath": "s3://b/o"},
}
VARIANT = {"VariantName": "main", "ModelName": "m", "InstanceType": "ml.c7i.large", "InitialInstanceCount": 1}


@pytest.mark.parametrize(
    ("operation", "request_", "words"),
    [
        (
            "CreateTrainingJob",
            TRAINING | {"TrainingJobName": "a" * 64},
            "at 'trainingJobName'.*less than or equal to 63",
        ),
        (
            "CreateTrainingJob",
            TRAINING | {"HyperParameters": {str(n): "1" for n in range(101)}},
            "at 'hyperParameters'",
        ),
        ("CreateTrainingJob", TRAINING | {"HyperParameters": {"a": "1" * 2501}}, "at 'hyperParameters.a'"),
        (
            "CreateTrainingJob",
            TRAINING | {"ResourceConfig": {"InstanceType": "ml.toy.large"}},
            "at 'resourceConfig.instanceType'.*enum value set",
        ),
        (
            "CreateTrainingJob",
            TRAINING | {"InputDataConfig": [{"ChannelName": "a b", "DataSource": {}}]},
            "at 'inputDataConfig.1.member.channelName'.*regular expression",
        ),
        (
            "CreateTrainingJob",
            TRAINING
            | {
                "AlgorithmSpecification": {
                    "TrainingInputMode": "File",
                    "MetricDefinitions": [{"Name": "m", "Regex": "r"}] * 41,
                }
            },
            "at 'algorithmSpecification.metricDefinitions'.*less than or equal to 40",
        ),
        (
            "CreateEndpointConfig",
            {"EndpointConfigName": "c", "ProductionVariants": [VARIANT] * 11},
            "at 'productionVariants'.*less than or equal to 10",
        ),
        (
            "CreateEndpointConfig",
            {"EndpointConfigName": "c", "ProductionVariants": [VARIANT | {"InitialInstanceCount": 0}]},
            "InitialInstanceCount, value: 0, valid min value: 1",
        ),
        (
            "UpdateEndpoint",
            {"EndpointName": "e", "EndpointConfigName": "c", "DeploymentConfig": deployment(599)},
            "MaximumExecutionTimeoutInSeconds, value: 599, valid min value: 600",
        ),
        (
            "UpdateEndpoint",
            {"EndpointName": "e", "EndpointConfigName": "c", "DeploymentConfig": deployment(28801)},
            "maximumExecutionTimeoutInSeconds'.*less than or equal to 28800",
        ),
    ],
)
def test_limits_of_the_model_are_held(operation: str, request_: dict[str, Any], words: str) -> None:
    assert any(re.search(words, problem) for problem in problems(operation, request_))


def test_patterns_of_java_are_understood() -> None:
    arn = "arn:aws:sagemaker:us-east-1:000000000000:model/m"
    good = {"ResourceArn": arn, "Tags": [{"Key": "Größe/a_b", "Value": "x y+z@1"}]}
    assert problems("AddTags", good) == []
    assert "at 'tags.1.member.key'" in problems("AddTags", good | {"Tags": [{"Key": "a!b", "Value": ""}]})[0]


def api() -> JsonApi:
    def describe(request: dict[str, Any]) -> dict[str, Any]:
        if request["EndpointName"] == "nobody":
            raise invalid("Could not find endpoint.")
        return {"EndpointName": request["EndpointName"], "FailureReason": None, "Secret": 1}

    return JsonApi(model(), {"DescribeEndpoint": describe}, {"DescribeEndpointInput": ["EndpointName"]})


def ask(operation: str, body: bytes) -> tuple[int, dict[str, Any]]:
    headers = {"x-amz-target": f"SageMaker.{operation}"}
    status, response_headers, content = asyncio.run(api().handle_request("POST", "/", headers, body, {}))
    assert response_headers["Content-Type"] == "application/x-amz-json-1.1"
    return status, json.loads(content)


def test_answers_contain_only_members_of_the_model() -> None:
    assert ask("DescribeEndpoint", b'{"EndpointName": "dogs"}') == (200, {"EndpointName": "dogs"})


def test_refusals_carry_the_code_of_aws() -> None:
    status, answer = ask("DescribeEndpoint", b'{"EndpointName": "nobody"}')
    assert (status, answer) == (400, {"__type": "ValidationException", "message": "Could not find endpoint."})
    assert ask("ListDomains", b"{}")[1]["__type"] == "UnknownOperationException"
    assert ask("DescribeEndpoint", b"{")[1]["__type"] == "SerializationException"
    with pytest.raises(ApiError, match=r"2 validation errors detected: .*; .*"):
        api().call("DescribeEndpoint", {"Colour": 1})
