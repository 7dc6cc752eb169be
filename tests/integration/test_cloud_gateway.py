"""What templates and callers see of the laptop cloud: stacks, photos through a REST API, events."""

import hashlib
import io
import json
import urllib.request
import uuid
import zipfile
from typing import Any

import pytest

from tests.integration.laptop import ROLE, Cloud, eventually

HANDLER = """
import base64, hashlib, json, os
def handler(event, context):
    body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    secret = os.environ.get("AWS_SECRET_ACCESS_KEY", "")
    return {"statusCode": 200, "body": json.dumps({
        "base64": event["isBase64Encoded"], "sha256": hashlib.sha256(body).hexdigest(),
        "leaked": "must-not-leak" in (secret, os.environ.get("AWS_PROFILE"))})}
"""
PASS = json.dumps({"QueryLanguage": "JSONata", "StartAt": "Only", "States": {"Only": {"Type": "Pass", "End": True}}})


def template(bucket: str, group: str) -> dict[str, Any]:
    """Two machines, a rule between them, a function behind a REST API as SAM writes it, a group."""
    uri = "arn:aws:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Function.Arn}/invocations"
    proxy = {"type": "aws_proxy", "httpMethod": "POST", "uri": {"Fn::Sub": uri}}
    pattern = {
        "source": ["aws.states"],
        "detail-type": ["Step Functions Execution Status Change"],
        "detail": {"status": ["SUCCEEDED"], "stateMachineArn": [{"Ref": "First"}]},
    }
    machine = {"DefinitionString": PASS, "RoleArn": ROLE}
    return {
        "Resources": {
            "Group": {
                "Type": "AWS::SageMaker::ModelPackageGroup",
                "Properties": {"ModelPackageGroupName": group, "Tags": [{"Key": "a", "Value": "b"}]},
            },
            "Function": {
                "Type": "AWS::Lambda::Function",
                "Properties": {
                    "Runtime": "python3.11",
                    "Handler": "index.handler",
                    "Role": ROLE,
                    "Code": {"S3Bucket": bucket, "S3Key": "function.zip"},
                },
            },
            "Api": {
                "Type": "AWS::ApiGateway::RestApi",
                "Properties": {
                    "BinaryMediaTypes": ["image~1jpeg"],
                    "Body": {
                        "openapi": "3.0.1",
                        "info": {"title": "classify", "version": "1"},
                        "paths": {"/classify": {"post": {"x-amazon-apigateway-integration": proxy}}},
                    },
                },
            },
            "Deployment": {
                "Type": "AWS::ApiGateway::Deployment",
                "Properties": {"RestApiId": {"Ref": "Api"}},
            },
            "Stage": {
                "Type": "AWS::ApiGateway::Stage",
                "Properties": {
                    "RestApiId": {"Ref": "Api"},
                    "DeploymentId": {"Ref": "Deployment"},
                    "StageName": "v1",
                },
            },
            "First": {"Type": "AWS::StepFunctions::StateMachine", "Properties": machine},
            "Second": {"Type": "AWS::StepFunctions::StateMachine", "Properties": machine},
            "Rule": {
                "Type": "AWS::Events::Rule",
                "Properties": {
                    "EventPattern": pattern,
                    "Targets": [{"Id": "second", "Arn": {"Ref": "Second"}, "RoleArn": ROLE}],
                },
            },
        },
        "Outputs": {name: {"Value": {"Ref": name}} for name in ("Api", "Group", "First", "Second")},
    }


@pytest.fixture(scope="module")
def stack(cloud: Cloud, s3: Any) -> dict[str, str]:
    """The stack's outputs."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", HANDLER)
    s3.put_object(Bucket="kennel", Key="function.zip", Body=archive.getvalue())
    formation = cloud.client("cloudformation")
    name = f"stack-{uuid.uuid4().hex[:6]}"
    body = json.dumps(template("kennel", "stacked"))
    formation.create_stack(StackName=name, TemplateBody=body, Capabilities=["CAPABILITY_IAM"])

    def look() -> dict[str, Any]:
        found: dict[str, Any] = formation.describe_stacks(StackName=name)["Stacks"][0]
        return found

    seen = eventually(look, lambda found: not found["StackStatus"].endswith("IN_PROGRESS"))
    assert seen["StackStatus"] == "CREATE_COMPLETE", seen
    return {"Stack": name} | {each["OutputKey"]: each["OutputValue"] for each in seen["Outputs"]}


def test_a_photo_reaches_the_function_unharmed(cloud: Cloud, stack: dict[str, str]) -> None:
    photo = b"\xff\xd8\xff\xe0" + bytes(range(256))
    url = f"{cloud.url}/restapis/{stack['Api']}/v1/_user_request_/classify"
    request = urllib.request.Request(url, data=photo, headers={"Content-Type": "image/jpeg"})
    answer = json.loads(urllib.request.urlopen(request, timeout=20).read())
    assert answer == {"base64": True, "sha256": hashlib.sha256(photo).hexdigest(), "leaked": False}


def test_the_end_of_an_execution_starts_another_by_a_rule(cloud: Cloud, stack: dict[str, str]) -> None:
    states = cloud.client("stepfunctions")
    states.start_execution(stateMachineArn=stack["First"], input="{}")
    (started,) = eventually(
        lambda: states.list_executions(stateMachineArn=stack["Second"])["executions"],
        lambda found: bool(found),
    )
    event = json.loads(states.describe_execution(executionArn=started["executionArn"])["input"])
    assert event["detail"]["status"] == "SUCCEEDED"
    assert event["detail-type"] == "Step Functions Execution Status Change"


def test_a_template_makes_and_deletes_a_model_package_group(
    cloud: Cloud, sagemaker: Any, stack: dict[str, str]
) -> None:
    assert stack["Group"] == "arn:aws:sagemaker:us-east-1:000000000000:model-package-group/stacked"
    assert sagemaker.list_tags(ResourceArn=stack["Group"])["Tags"] == [{"Key": "a", "Value": "b"}]
    cloud.client("cloudformation").delete_stack(StackName=stack["Stack"])
    eventually(
        lambda: sagemaker.list_model_package_groups(NameContains="stacked")["ModelPackageGroupSummaryList"],
        lambda found: found == [],
    )
