"""Stacks on the laptop cloud, photos sent through a REST API or a function's URL, and rules between executions."""

import hashlib
import io
import json
import urllib.error
import urllib.request
import uuid
import zipfile
from typing import Any

import pytest
import urllib3

from tests.integration import function_url
from tests.integration.laptop import ACCOUNT, REGION, ROLE, Cloud, eventually

HANDLER = """
import base64, hashlib, json, os
def handler(event, context):
    body = event.get("body") or ""
    body = base64.b64decode(body) if event["isBase64Encoded"] else body.encode()
    secret = os.environ.get("AWS_SECRET_ACCESS_KEY", "")
    return {"statusCode": 200, "body": json.dumps({
        "base64": event["isBase64Encoded"], "sha256": hashlib.sha256(body).hexdigest(),
        "leaked": "must-not-leak" in (secret, os.environ.get("AWS_PROFILE"))})}
"""
PASS = json.dumps({"QueryLanguage": "JSONata", "StartAt": "Only", "States": {"Only": {"Type": "Pass", "End": True}}})

RARELY = {"ResourcePath": "/~1rare", "HttpMethod": "GET", "ThrottlingRateLimit": 0.001, "ThrottlingBurstLimit": 1}


def api_definition(proxy: dict[str, Any]) -> dict[str, Any]:
    """Return an OpenAPI document whose routes all call one function."""
    return {
        "openapi": "3.0.1",
        "info": {"title": "classify", "version": "1"},
        "paths": {
            "/classify": {"post": {"x-amazon-apigateway-integration": proxy}},
            "/rare": {"get": {"x-amazon-apigateway-integration": proxy}},
            "/any/{proxy+}": {"x-amazon-apigateway-any-method": {"x-amazon-apigateway-integration": proxy}},
        },
        "x-amazon-apigateway-gateway-responses": {
            "MISSING_AUTHENTICATION_TOKEN": {
                "statusCode": "404",
                "responseParameters": {"gatewayresponse.header.Content-Type": "'application/problem+json'"},
                "responseTemplates": {"application/json": '{"correlation_id": "$context.requestId"}'},
            }
        },
    }


def template(bucket: str, group: str) -> dict[str, Any]:
    """Return a template: two machines with a rule between them, a function behind a REST API, and a group."""
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
                    "BinaryMediaTypes": ["*~1*"],
                    "Body": api_definition(proxy),
                },
            },
            "Permission": {
                "Type": "AWS::Lambda::Permission",
                "Properties": {
                    "FunctionName": {"Ref": "Function"},
                    "Action": "lambda:InvokeFunction",
                    "Principal": "apigateway.amazonaws.com",
                    "SourceArn": {"Fn::Sub": f"arn:aws:execute-api:{REGION}:{ACCOUNT}:${{Api}}/v1/*"},
                },
            },
            "Deployment": {"Type": "AWS::ApiGateway::Deployment", "Properties": {"RestApiId": {"Ref": "Api"}}},
            "Stage": {
                "Type": "AWS::ApiGateway::Stage",
                "Properties": {
                    "RestApiId": {"Ref": "Api"},
                    "DeploymentId": {"Ref": "Deployment"},
                    "StageName": "v1",
                    "MethodSettings": [RARELY],
                },
            },
            "Extra": {
                "Type": "AWS::ApiGateway::Deployment",
                "Properties": {"RestApiId": {"Ref": "Api"}, "StageName": "extra"},
            },
            "Url": {
                "Type": "AWS::Lambda::Url",
                "Properties": {"TargetFunctionArn": {"Ref": "Function"}, "AuthType": "AWS_IAM"},
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
        "Outputs": {
            **{name: {"Value": {"Ref": name}} for name in ("Api", "Function", "Group", "First", "Second")},
            "Url": {"Value": {"Fn::GetAtt": ["Url", "FunctionUrl"]}},
            "FunctionArn": {"Value": {"Fn::GetAtt": ["Function", "Arn"]}},
        },
    }


@pytest.fixture(scope="module")
def stack(cloud: Cloud, s3: Any) -> dict[str, str]:
    """Create the stack and return its outputs."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", HANDLER)
    s3.put_object(Bucket="kennel", Key="function.zip", Body=archive.getvalue())
    name = f"stack-{uuid.uuid4().hex[:6]}"
    body = json.dumps(template("kennel", "stacked"))
    cloud.client("cloudformation").create_stack(StackName=name, TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
    return {"Stack": name} | outputs_of(cloud, name, "CREATE_COMPLETE")


def outputs_of(cloud: Cloud, name: str, status: str) -> dict[str, str]:
    """Return a stack's outputs as soon as its operation ended with the status."""
    formation = cloud.client("cloudformation")

    def look() -> dict[str, Any]:
        description: dict[str, Any] = formation.describe_stacks(StackName=name)["Stacks"][0]
        return description

    ended = eventually(look, lambda description: not description["StackStatus"].endswith("IN_PROGRESS"))
    assert ended["StackStatus"] == status, ended
    return {output["OutputKey"]: output["OutputValue"] for output in ended["Outputs"]}


@pytest.mark.parametrize("kind", ["image/jpeg", "image/*", "text/plain", "application/x-www-form-urlencoded", ""])
def test_a_photo_reaches_the_function_unharmed(cloud: Cloud, stack: dict[str, str], kind: str) -> None:
    photo = b"\xff\xd8\xff\xe0" + bytes(range(256))
    url = f"{cloud.url}/restapis/{stack['Api']}/v1/_user_request_/classify"
    headers = {"Content-Type": kind} if kind else {}
    answer = urllib3.request("POST", url, body=photo, headers=headers, timeout=20).json()
    assert answer == {"base64": True, "sha256": hashlib.sha256(photo).hexdigest(), "leaked": False}


def status_of(cloud: Cloud, stack: dict[str, str], path: str, method: str = "GET") -> tuple[int, Any]:
    url = f"{cloud.url}/restapis/{stack['Api']}/v1/_user_request_{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=20) as answer:
            return answer.status, answer
    except urllib.error.HTTPError as error:
        return error.code, error


def test_gateway_refuses_with_the_templates_response(cloud: Cloud, stack: dict[str, str]) -> None:
    status, answer = status_of(cloud, stack, "/nowhere")
    assert (status, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert uuid.UUID(json.loads(answer.read())["correlation_id"])


def test_stage_that_a_deployment_makes_is_listed(cloud: Cloud, stack: dict[str, str]) -> None:
    stages = cloud.client("apigateway").get_stages(restApiId=stack["Api"])["item"]
    assert sorted(each["stageName"] for each in stages) == ["extra", "v1"]


def test_any_method_is_every_method(cloud: Cloud, stack: dict[str, str]) -> None:
    assert [status_of(cloud, stack, "/any/a/b", method)[0] for method in ("GET", "PUT", "OPTIONS")] == [200, 200, 200]


def test_a_method_is_throttled_by_itself(cloud: Cloud, stack: dict[str, str]) -> None:
    assert [status_of(cloud, stack, "/rare")[0] for _ in range(2)] == [200, 429]
    assert status_of(cloud, stack, "/classify", "POST")[0] == 200


def test_usage_plans_of_a_key_are_listed_by_it(cloud: Cloud) -> None:
    gateway = cloud.client("apigateway")
    plans = [gateway.create_usage_plan(name=name)["id"] for name in ("one", "other")]
    key = gateway.create_api_key(name="key", enabled=True)["id"]
    assert gateway.get_usage_plans(keyId=key)["items"] == []
    gateway.create_usage_plan_key(usagePlanId=plans[1], keyId=key, keyType="API_KEY")
    assert [each["id"] for each in gateway.get_usage_plans(keyId=key)["items"]] == [plans[1]]
    assert {each["id"] for each in gateway.get_usage_plans()["items"]} >= set(plans)


def test_an_api_keeps_its_address_when_its_definition_changes(cloud: Cloud, stack: dict[str, str]) -> None:
    """The update adds a route, takes one away and renames the API; afterwards everything is as the other tests know."""
    formation, gateway = cloud.client("cloudformation"), cloud.client("apigateway")
    known, changed = template("kennel", "stacked"), template("kennel", "stacked")
    before = gateway.get_rest_api(restApiId=stack["Api"])
    definition = changed["Resources"]["Api"]["Properties"]["Body"]
    definition["info"]["title"] = "renamed"
    definition["paths"]["/later"] = definition["paths"].pop("/classify")
    for body, name, later, classify in ((changed, "renamed", 200, 404), (known, "classify", 404, 200)):
        formation.update_stack(StackName=stack["Stack"], TemplateBody=json.dumps(body), Capabilities=["CAPABILITY_IAM"])
        assert outputs_of(cloud, stack["Stack"], "UPDATE_COMPLETE")["Api"] == stack["Api"]
        after = gateway.get_rest_api(restApiId=stack["Api"])
        assert (after["name"], after["createdDate"]) == (name, before["createdDate"])
        statuses = [status_of(cloud, stack, path, "POST")[0] for path in ("/later", "/classify")]
        assert statuses == [later, classify]
    apis = gateway.get_rest_apis()["items"]
    assert [api["id"] for api in apis if api["name"] in ("classify", "renamed")] == [stack["Api"]]


def allow(*actions: str, on: str, **condition: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": on, **condition}


def test_url_of_a_function_answers_whom_its_policies_let(cloud: Cloud, stack: dict[str, str]) -> None:
    by_url = {"Condition": {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}}
    function = stack["FunctionArn"]
    allowed = (allow("lambda:InvokeFunctionUrl", on=function), allow("lambda:InvokeFunction", on=function, **by_url))
    answers = {}
    for name, statements in {
        "allowed": allowed,
        "by-url-alone": allowed[:1],
        "direct-alone": (allow("lambda:InvokeFunction", on=function),),
        "other-function": (allow("lambda:*", on=f"{function}-2"),),
    }.items():
        client = cloud.client("lambda", role=cloud.make_role(f"url-{name}", *statements))
        answers[name] = function_url.ask(client, stack["Url"], "POST", b"photo", **{"Content-Type": "image/jpeg"})
    assert {name: status for name, (status, _, _) in answers.items()} == {
        "allowed": 200,
        "by-url-alone": 403,
        "direct-alone": 403,
        "other-function": 403,
    }
    assert answers["allowed"][1]["sha256"] == hashlib.sha256(b"photo").hexdigest()


def test_url_of_a_function_answers_nobody_who_does_not_sign(cloud: Cloud, stack: dict[str, str]) -> None:
    answers = [function_url.ask(cloud.client("lambda"), stack["Url"] + path, signed=False) for path in ("", "health")]
    assert [status for status, _, _ in answers] == [403, 403]


def test_an_api_invokes_only_a_function_that_lets_it(cloud: Cloud, stack: dict[str, str]) -> None:
    functions, function = cloud.client("lambda"), stack["Function"]
    [statement] = json.loads(functions.get_policy(FunctionName=function)["Policy"])["Statement"]
    functions.remove_permission(FunctionName=function, StatementId=statement["Sid"])
    url = f"{cloud.url}/restapis/{stack['Api']}/v1/_user_request_/classify"
    try:
        with pytest.raises(urllib.error.HTTPError, match="500"):
            urllib.request.urlopen(urllib.request.Request(url, data=b"x"), timeout=20)
    finally:
        source = statement["Condition"]["ArnLike"]["AWS:SourceArn"]
        permission = {"Action": statement["Action"], "Principal": "apigateway.amazonaws.com", "SourceArn": source}
        functions.add_permission(FunctionName=function, StatementId="again", **permission)


def test_the_end_of_an_execution_starts_another_by_a_rule(cloud: Cloud, stack: dict[str, str]) -> None:
    states = cloud.client("stepfunctions")
    states.start_execution(stateMachineArn=stack["First"], input="{}")
    (started,) = eventually(
        lambda: states.list_executions(stateMachineArn=stack["Second"])["executions"],
        bool,
    )
    event = json.loads(states.describe_execution(executionArn=started["executionArn"])["input"])
    assert event["detail"]["status"] == "SUCCEEDED"
    assert event["detail-type"] == "Step Functions Execution Status Change"


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_replaced_model_package_group_stays_if_the_template_retains_it(
    cloud: Cloud, sagemaker: Any, policy: str
) -> None:
    formation, name = cloud.client("cloudformation"), f"renamed-{policy.lower()}"

    def named(group: str) -> str:
        resource = {"Type": "AWS::SageMaker::ModelPackageGroup", "Properties": {"ModelPackageGroupName": group}}
        resources = {"Group": {**resource, "UpdateReplacePolicy": policy}}
        return json.dumps({"Resources": resources, "Outputs": {"Group": {"Value": {"Ref": "Group"}}}})

    formation.create_stack(StackName=name, TemplateBody=named(f"{name}-old"))
    outputs_of(cloud, name, "CREATE_COMPLETE")
    formation.update_stack(StackName=name, TemplateBody=named(f"{name}-new"))
    assert outputs_of(cloud, name, "UPDATE_COMPLETE")["Group"].endswith(f"/{name}-new")

    def groups() -> list[str]:
        found = sagemaker.list_model_package_groups(NameContains=name)["ModelPackageGroupSummaryList"]
        return sorted(each["ModelPackageGroupName"] for each in found)

    kept = [f"{name}-new", f"{name}-old"] if policy == "Retain" else [f"{name}-new"]
    assert eventually(groups, lambda found: found == kept) == kept
    formation.delete_stack(StackName=name)


def test_a_template_makes_and_deletes_a_model_package_group(
    cloud: Cloud, sagemaker: Any, stack: dict[str, str]
) -> None:
    assert stack["Group"] == "arn:aws:sagemaker:us-east-1:000000000000:model-package-group/stacked"
    assert sagemaker.list_tags(ResourceArn=stack["Group"])["Tags"] == [{"Key": "a", "Value": "b"}]
    cloud.client("cloudformation").delete_stack(StackName=stack["Stack"])
    eventually(
        lambda: sagemaker.list_model_package_groups(NameContains="stacked")["ModelPackageGroupSummaryList"],
        lambda groups: groups == [],
    )
