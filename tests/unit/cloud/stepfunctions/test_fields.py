"""The fields that tasks may have: those that Step Functions knows, not those that the service's API has."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore.model import ListShape, Shape, StructureShape

from cloud.stepfunctions import asl, integrations
from cloud.stepfunctions.executions import StatesError

TRAINING = {
    "AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "File"},
    "OutputDataConfig": {"S3OutputPath": "s3://b/o"},
    "ResourceConfig": {"InstanceType": "ml.c7i.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
    "RoleArn": "r",
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    "TrainingJobName": "t",
}
UNKNOWN = [
    ("sagemaker:createTrainingJob.sync", {**TRAINING, "EnableInterContainerTrafficEncryption": True}),
    ("sagemaker:createTrainingJob", {**TRAINING, "S3Operations": {}}),
    (
        "sagemaker:createTrainingJob.sync",
        {**TRAINING, "AlgorithmSpecification": {**TRAINING["AlgorithmSpecification"], "ContainerEntrypoint": ["x"]}},
    ),
    (
        "sagemaker:createTrainingJob.sync",
        {**TRAINING, "ResourceConfig": {**TRAINING["ResourceConfig"], "InstanceGroups": []}},
    ),
    ("codebuild:startBuild.sync", {"ProjectName": "p", "FleetOverride": {}}),
    ("codebuild:startBuild.sync", {"projectName": "p", "ProjectName": "p"}),
    ("lambda:invoke", {"FunctionName": "f", "LogType": "Tail"}),
    ("sns:publish", {"Message": "m", "message": "m"}),
    ("aws-sdk:ssm:getParameter", {"Name": "n", "withDecryption": True}),
    ("aws-sdk:s3:getObject", {"Bucket": "b", "Key": "k", "bucket": "b"}),
]
NAMES = [
    *("EnableInterContainerTrafficEncryption", "S3Operations", "ContainerEntrypoint", "InstanceGroups"),
    *("FleetOverride", "projectName", "LogType", "message", "withDecryption", "bucket"),
]


@pytest.mark.parametrize(
    ("resource", "arguments", "name"), [(*case, name) for case, name in zip(UNKNOWN, NAMES, strict=True)]
)
def test_an_unknown_field_is_refused_where_it_stands_and_when_an_expression_makes_it(
    resource: str, arguments: dict[str, Any], name: str
) -> None:
    words, arn = f"The field '{name}' is not supported by Step Functions", f"arn:aws:states:::{resource}"
    state = {"Type": "Task", "Resource": arn, "Arguments": arguments, "End": True}
    machine = {"QueryLanguage": "JSONata", "StartAt": "T", "States": {"T": state}}
    assert asl.problems(machine) == [f"{words} at /States/T/Arguments"]
    state["Arguments"] = "{% $states.input %}"
    assert asl.problems(machine) == []
    with pytest.raises(StatesError) as failed:
        integrations.check(arn, arguments)
    assert failed.value.error == "States.Runtime"
    assert str(failed.value.cause).endswith(f"could not be used to start the Task: [{words}]")


@pytest.mark.parametrize(
    ("resource", "arguments"),
    [
        (
            "sagemaker:createTrainingJob.sync",
            {**TRAINING, "EnableManagedSpotTraining": True, "EnableNetworkIsolation": True},
        ),
        ("lambda:invoke", {"FunctionName": "f", "Payload": [1], "Qualifier": "live"}),
        ("sns:publish", {"TopicArn": "t", "Message": {"a": 1}, "MessageGroupId": "g"}),
        (
            "codebuild:startBuild.sync",
            {"ProjectName": "p", "EnvironmentVariablesOverride": []},
        ),
        ("codebuild:startBuild", {"ProjectName": "p"}),
        ("aws-sdk:s3:getObject", {"Bucket": "b", "Key": "k"}),
    ],
)
def test_known_fields_are_taken(resource: str, arguments: dict[str, Any]) -> None:
    integrations.check(f"arn:aws:states:::{resource}", arguments)


def unknown(fields: Mapping[str, Any], shape: Shape, at: str) -> Iterator[str]:
    while isinstance(shape, ListShape):
        shape = shape.member
    assert isinstance(shape, StructureShape)
    members = {integrations.member_name(name): member for name, member in shape.members.items()}
    for name, inner in fields.items():
        if name not in members:
            yield f"{at}/{name} is not in the API"
        elif inner:
            yield from unknown(inner, members[name], f"{at}/{name}")
    for name in shape.required_members:
        if integrations.member_name(name) not in fields:
            yield f"{at}/{name} is required by the API"


@pytest.mark.parametrize("name", integrations._KNOWN_FIELDS)
def test_the_table_of_fields_fits_the_apis(name: str) -> None:
    operation = integrations._operation(*name.split(":"))
    assert operation
    assert list(unknown(integrations._KNOWN_FIELDS[name], operation.input_shape, name)) == []


def test_the_setting_adds_fields_at_any_depth() -> None:
    fields = {"a:b": {"Outer": {"Inner": None}}}
    assert integrations.with_more_fields(fields, "a:b.Outer.More, a:b.Next") == {
        "a:b": {"Outer": {"Inner": None, "More": None}, "Next": None}
    }


@pytest.mark.parametrize("text", ["Next", "a:c.Next", "a:b.Other.Next", "a:b.Outer.Inner.Next"])
def test_the_setting_refuses_what_no_integration_has(text: str) -> None:
    with pytest.raises(ValueError, match="KENNEL_FIELDS"):
        integrations.with_more_fields({"a:b": {"Outer": {"Inner": None}}}, text)
