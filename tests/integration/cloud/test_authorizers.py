"""A REST API with a Lambda authorizer, which also names the keys that count the callers, as on AWS."""

import io
import json
import uuid
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from tests.integration.cloud.test_gateway import outputs_of
from tests.integration.laptop import ACCOUNT, REGION, ROLE, Cloud

# The authorizer answers as the token says: VERDICT-NAME, where NAME is an API key; the number of its calls is in the
# context. The other function tells what it learns of the caller.
FUNCTIONS = """
import json

calls = 0

def authorize(event, context):
    global calls
    calls += 1
    verdict, _, name = event["authorizationToken"].removeprefix("Bearer ").partition("-")
    if verdict == "Broken":
        raise ValueError("broken")
    if verdict == "Unauthorized":
        raise Exception("Unauthorized")
    stage = "/".join(event["methodArn"].split("/")[:2])
    statement = {"Action": "execute-api:Invoke", "Effect": verdict, "Resource": f"{stage}/*"}
    answer = {"principalId": "ada", "policyDocument": {"Version": "2012-10-17", "Statement": [statement]}}
    answer["context"] = {"calls": calls}
    return answer | ({"usageIdentifierKey": name} if name else {})

def handler(event, context):
    return {"statusCode": 200, "body": json.dumps(event["requestContext"].get("authorizer"))}
"""


def function(handler: str) -> dict[str, Any]:
    code = {"S3Bucket": "kennel", "S3Key": "authorizers.zip"}
    properties = {"Runtime": "python3.11", "Handler": f"index.{handler}", "Role": ROLE, "Code": code}
    return {"Type": "AWS::Lambda::Function", "Properties": properties}


def permission(name: str, source: str) -> dict[str, Any]:
    properties = {"FunctionName": {"Ref": name}, "Action": "lambda:InvokeFunction"}
    properties |= {"Principal": "apigateway.amazonaws.com"}
    arn = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:${{Api}}/{source}"
    return {"Type": "AWS::Lambda::Permission", "Properties": properties | {"SourceArn": {"Fn::Sub": arn}}}


def uri(name: str) -> dict[str, str]:
    path = f"lambda:path/2015-03-31/functions/${{{name}.Arn}}/invocations"
    return {"Fn::Sub": f"arn:aws:apigateway:${{AWS::Region}}:{path}"}


def template(source: str) -> dict[str, Any]:
    """Return a template of an API whose keys come from ``source``, with a plan for two of three keys."""
    proxy = {"type": "aws_proxy", "httpMethod": "POST", "uri": uri("Function")}
    authorizer = {"type": "token", "authorizerUri": uri("Authorizer"), "authorizerResultTtlInSeconds": 60}
    authorizer["identityValidationExpression"] = "^Bearer [A-Za-z0-9-]+$"
    token = {"type": "apiKey", "name": "Authorization", "in": "header", "x-amazon-apigateway-authtype": "custom"}
    schemes = {
        "token": {**token, "x-amazon-apigateway-authorizer": authorizer},
        "key": {"type": "apiKey", "name": "x-api-key", "in": "header"},
    }
    locked = {"security": [{"token": []}, {"key": []}], "x-amazon-apigateway-integration": proxy}
    body = {
        "openapi": "3.0.1",
        "info": {"title": "locked", "version": "1"},
        "x-amazon-apigateway-api-key-source": source,
        "paths": {"/locked": {"get": locked}, "/other": {"get": locked}},
        "components": {"securitySchemes": schemes},
    }

    def key(value: str) -> dict[str, Any]:
        return {"Type": "AWS::ApiGateway::ApiKey", "Properties": {"Enabled": True, "Value": value}}

    def plan(rate: int, burst: int) -> dict[str, Any]:
        stages = [{"ApiId": {"Ref": "Api"}, "Stage": {"Ref": "Stage"}}]
        properties = {"ApiStages": stages, "Throttle": {"RateLimit": rate, "BurstLimit": burst}}
        return {"Type": "AWS::ApiGateway::UsagePlan", "Properties": properties}

    def link(name: str, plan: str) -> dict[str, Any]:
        properties = {"KeyId": {"Ref": name}, "KeyType": "API_KEY", "UsagePlanId": {"Ref": plan}}
        return {"Type": "AWS::ApiGateway::UsagePlanKey", "Properties": properties}

    stage = {"RestApiId": {"Ref": "Api"}, "DeploymentId": {"Ref": "Deployment"}, "StageName": "v1"}
    return {
        "Resources": {
            "Function": function("handler"),
            "Authorizer": function("authorize"),
            "Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Body": body}},
            "FunctionPermission": permission("Function", "v1/*"),
            "AuthorizerPermission": permission("Authorizer", "authorizers/*"),
            "Deployment": {"Type": "AWS::ApiGateway::Deployment", "Properties": {"RestApiId": {"Ref": "Api"}}},
            "Stage": {"Type": "AWS::ApiGateway::Stage", "Properties": stage},
            **{name.capitalize(): key(f"{name}KeyOfTheTests0123456789") for name in ("wide", "narrow", "idle")},
            "WidePlan": plan(1000, 1000),
            "NarrowPlan": plan(1, 1),
            "WideLink": link("Wide", "WidePlan"),
            "NarrowLink": link("Narrow", "NarrowPlan"),
        },
        "Outputs": {name: {"Value": {"Ref": name}} for name in ("Api", "Authorizer")},
    }


WIDE, NARROW, IDLE = (f"{name}KeyOfTheTests0123456789" for name in ("wide", "narrow", "idle"))


@pytest.fixture(scope="module")
def stack(cloud: Cloud, s3: Any) -> Iterator[dict[str, str]]:
    """The outputs of the stack, whose keys come from its authorizer."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", FUNCTIONS)
    s3.put_object(Bucket="kennel", Key="authorizers.zip", Body=archive.getvalue())
    formation, name = cloud.client("cloudformation"), f"locked-{uuid.uuid4().hex[:6]}"
    formation.create_stack(StackName=name, TemplateBody=json.dumps(template("AUTHORIZER")))
    yield {"Name": name, **outputs_of(cloud, name, "CREATE_COMPLETE")}
    formation.delete_stack(StackName=name)


def ask(cloud: Cloud, stack: dict[str, str], token: str = "", path: str = "locked", **headers: str) -> tuple[int, Any]:
    url = f"{cloud.url}/restapis/{stack['Api']}/v1/_user_request_/{path}"
    shown = {"Authorization": f"Bearer {token}"} if token else {}
    answer = urllib3.request("GET", url, headers=shown | headers, retries=False, timeout=60)
    return answer.status, answer.json()


def test_an_authorizer_lets_in_and_its_context_reaches_the_function_without_the_key(
    cloud: Cloud, stack: dict[str, str]
) -> None:
    status, caller = ask(cloud, stack, f"Allow-{WIDE}")
    assert (status, caller["principalId"]) == (200, "ada")
    assert WIDE not in json.dumps(caller)


def test_an_authorizer_names_the_key_that_counts_the_caller(cloud: Cloud, stack: dict[str, str]) -> None:
    """Without a key, with one of no plan or one that is not, a request of whoever was let in is forbidden."""
    for name in ("", f"-{IDLE}", "-NoKeyOfThisAccount0123456789"):
        assert ask(cloud, stack, f"Allow{name}") == (403, {"message": "Forbidden"})
    # The caller's own header counts for nothing.
    assert ask(cloud, stack, "Allow", **{"x-api-key": WIDE})[0] == 403
    assert ask(cloud, stack, f"Allow-{WIDE}", **{"x-api-key": IDLE})[0] == 200
    assert ask(cloud, stack, **{"x-api-key": WIDE})[0] == 401


def test_the_plan_of_the_named_key_holds(cloud: Cloud, stack: dict[str, str]) -> None:
    assert 429 in [ask(cloud, stack, f"Allow-{NARROW}")[0] for _ in range(10)]
    assert {ask(cloud, stack, f"Allow-{WIDE}")[0] for _ in range(10)} == {200}


def test_an_authorizers_answer_is_kept_with_its_key(cloud: Cloud, stack: dict[str, str]) -> None:
    first = ask(cloud, stack, f"Allow-{WIDE}")
    assert first[0] == 200
    assert [ask(cloud, stack, f"Allow-{WIDE}", path=path) for path in ("locked", "other")] == [first, first]


@pytest.mark.parametrize(
    ("token", "status"),
    [("", 401), ("no-token!", 401), (f"Deny-{WIDE}", 403), ("Unauthorized", 401), ("Broken", 500)],
)
def test_an_authorizer_refuses(cloud: Cloud, stack: dict[str, str], token: str, status: int) -> None:
    assert ask(cloud, stack, token)[0] == status


def test_an_api_asks_only_an_authorizer_that_lets_it(cloud: Cloud, stack: dict[str, str]) -> None:
    functions, name = cloud.client("lambda"), stack["Authorizer"]
    [statement] = json.loads(functions.get_policy(FunctionName=name)["Policy"])["Statement"]
    functions.remove_permission(FunctionName=name, StatementId=statement["Sid"])
    restored = {"Action": "lambda:InvokeFunction", "Principal": "apigateway.amazonaws.com"}
    try:
        # The permission of a method is none for the authorizer. No answer is kept for a token that is new.
        source = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{stack['Api']}/v1/*"
        functions.add_permission(FunctionName=name, StatementId="method", SourceArn=source, **restored)
        assert ask(cloud, stack, f"Allow-{WIDE}-")[0] == 500
    finally:
        functions.remove_permission(FunctionName=name, StatementId="method")
        source = statement["Condition"]["ArnLike"]["AWS:SourceArn"]
        functions.add_permission(FunctionName=name, StatementId="again", SourceArn=source, **restored)
    assert ask(cloud, stack, f"Allow-{WIDE}")[0] == 200


def test_keys_come_from_the_header_again_after_an_update(cloud: Cloud, stack: dict[str, str]) -> None:
    gateway, formation = cloud.client("apigateway"), cloud.client("cloudformation")

    def source() -> str:
        return str(gateway.get_rest_api(restApiId=stack["Api"])["apiKeySource"])

    assert source() == "AUTHORIZER"
    try:
        formation.update_stack(StackName=stack["Name"], TemplateBody=json.dumps(template("HEADER")))
        assert outputs_of(cloud, stack["Name"], "UPDATE_COMPLETE")["Api"] == stack["Api"]
        assert source() == "HEADER"
        assert ask(cloud, stack, f"Allow-{WIDE}")[0] == 403
        assert ask(cloud, stack, "Allow", **{"x-api-key": WIDE})[0] == 200
    finally:
        formation.update_stack(StackName=stack["Name"], TemplateBody=json.dumps(template("AUTHORIZER")))
        outputs_of(cloud, stack["Name"], "UPDATE_COMPLETE")
