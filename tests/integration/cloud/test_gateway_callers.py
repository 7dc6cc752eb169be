"""Who asks a REST API, as functions and access logs see it, and what a caller cannot make up."""

import io
import json
import uuid
import zipfile
from typing import Any

import pytest
import urllib3

from tests.integration.cloud.test_gateway import outputs_of
from tests.integration.laptop import ACCOUNT, REGION, ROLE, Cloud, eventually

HANDLER = """
import json
def handler(event, context):
    keys = ("requestId", "extendedRequestId", "identity")
    seen = {key: event["requestContext"][key] for key in keys} | {"forwarded": event["headers"]["x-forwarded-for"]}
    return {"statusCode": 200, "body": json.dumps(seen)}
"""
FORMAT = (
    '{"id": "$context.extendedRequestId", "request": "$context.requestId", "key": "$context.identity.apiKeyId", '
    '"source": "$context.identity.sourceIp", "route": "$context.httpMethod $context.resourcePath", '
    '"status": $context.status, "bytes": $context.responseLength, "refused": "$context.error.responseType", '
    '"tls": "$context.tlsVersion"}'
)
REFUSAL = {
    "responseParameters": {
        "gatewayresponse.header.Cache-Control": "'no-store'",
        "gatewayresponse.header.X-Content-Type-Options": "'nosniff'",
    },
    "responseTemplates": {"application/json": '{"correlation_id": "$context.extendedRequestId"}'},
}


def template() -> dict[str, Any]:
    """Return a template: an API with a route that needs a key and one that does not, and an access log."""
    uri = "arn:aws:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Function.Arn}/invocations"
    route = {"x-amazon-apigateway-integration": {"type": "aws_proxy", "httpMethod": "POST", "uri": {"Fn::Sub": uri}}}
    body = {
        "openapi": "3.0.1",
        "info": {"title": "callers", "version": "1"},
        "components": {"securitySchemes": {"api_key": {"type": "apiKey", "name": "x-api-key", "in": "header"}}},
        "paths": {"/with": {"get": {**route, "security": [{"api_key": []}]}}, "/without": {"get": route}},
        "x-amazon-apigateway-gateway-responses": {"INVALID_API_KEY": REFUSAL},
    }
    code = {"S3Bucket": "kennel", "S3Key": "callers.zip"}
    function = {"Runtime": "python3.11", "Handler": "index.handler", "Role": ROLE, "Code": code}
    stage = {
        "RestApiId": {"Ref": "Api"},
        "DeploymentId": {"Ref": "Deployment"},
        "StageName": "v1",
        "AccessLogSetting": {"DestinationArn": {"Fn::GetAtt": ["Log", "Arn"]}, "Format": FORMAT},
    }
    arn = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:${{Api}}/v1/*"
    permission = {
        "FunctionName": {"Ref": "Function"},
        "Action": "lambda:InvokeFunction",
        "Principal": "apigateway.amazonaws.com",
        "SourceArn": {"Fn::Sub": arn},
    }
    policy = {"SecurityPolicy": "SecurityPolicy_TLS13_1_2_2021_06", "EndpointAccessMode": "BASIC"}
    return {
        "Resources": {
            "Function": {"Type": "AWS::Lambda::Function", "Properties": function},
            "Log": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/aws/apigateway/callers"}},
            "Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Body": body, **policy}},
            "Permission": {"Type": "AWS::Lambda::Permission", "Properties": permission},
            "Deployment": {"Type": "AWS::ApiGateway::Deployment", "Properties": {"RestApiId": {"Ref": "Api"}}},
            "Stage": {"Type": "AWS::ApiGateway::Stage", "Properties": stage},
        },
        "Outputs": {"Api": {"Value": {"Ref": "Api"}}},
    }


def create(cloud: Cloud, body: dict[str, Any]) -> str:
    """Start to create a stack and return its name."""
    name = f"callers-{uuid.uuid4().hex[:6]}"
    cloud.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(body))
    return name


def reason_of_failure(cloud: Cloud, name: str) -> str:
    formation = cloud.client("cloudformation")
    eventually(
        lambda: formation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"],
        lambda status: status.startswith("ROLLBACK") and not status.endswith("IN_PROGRESS"),
    )
    events = formation.describe_stack_events(StackName=name)["StackEvents"]
    return next(each["ResourceStatusReason"] for each in events if each["ResourceStatus"] == "CREATE_FAILED")


@pytest.fixture(scope="module")
def api(cloud: Cloud, s3: Any) -> str:
    """Create the stack, after the account got its role for logs, and return the API's id."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", HANDLER)
    s3.put_object(Bucket="kennel", Key="callers.zip", Body=archive.getvalue())
    reason = reason_of_failure(cloud, create(cloud, template()))
    assert "CloudWatch Logs role ARN must be set in account settings to enable logging" in reason
    operation = [{"op": "replace", "path": "/cloudwatchRoleArn", "value": ROLE}]
    cloud.client("apigateway").update_account(patchOperations=operation)
    return outputs_of(cloud, create(cloud, template()), "CREATE_COMPLETE")["Api"]


@pytest.fixture(scope="module")
def key(cloud: Cloud, api: str) -> dict[str, str]:
    gateway = cloud.client("apigateway")
    made: dict[str, str] = gateway.create_api_key(name="caller", enabled=True)
    plan = gateway.create_usage_plan(name="callers", apiStages=[{"apiId": api, "stage": "v1"}])["id"]
    gateway.create_usage_plan_key(usagePlanId=plan, keyId=made["id"], keyType="API_KEY")
    return made


def ask(cloud: Cloud, api: str, path: str, **headers: str) -> Any:
    url = f"{cloud.url}/restapis/{api}/v1/_user_request_/{path}"
    return urllib3.request("GET", url, headers=headers, timeout=20, retries=False)


def test_function_learns_the_keys_id_and_the_true_source(cloud: Cloud, api: str, key: dict[str, str]) -> None:
    made_up = {"x-forwarded-for": "192.0.2.1", "x-amzn-requestid": str(uuid.uuid4())}
    answers = [ask(cloud, api, "with", **{"x-api-key": key["value"]}, **made_up) for _ in range(2)]
    first, second = (answer.json() for answer in answers)
    assert first["identity"]["apiKeyId"] == key["id"]
    assert (first["identity"]["sourceIp"], first["forwarded"]) == ("127.0.0.1", "192.0.2.1, 127.0.0.1")
    assert (first["requestId"], second["requestId"]) == (made_up["x-amzn-requestid"],) * 2
    assert first["extendedRequestId"] != second["extendedRequestId"]
    assert answers[0].headers["x-amz-apigw-id"] == first["extendedRequestId"]
    stranger = ask(cloud, api, "without", **{"x-api-key": key["value"]}).json()
    assert "apiKeyId" not in stranger["identity"]  # As on AWS, a route that needs no key has none.


def test_refusal_has_the_id_that_nobody_can_choose(cloud: Cloud, api: str) -> None:
    answer = ask(cloud, api, "with", **{"x-amzn-requestid": str(uuid.uuid4())})
    assert (answer.status, answer.json()["correlation_id"]) == (403, answer.headers["x-amz-apigw-id"])
    assert (answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


def test_access_log_has_a_line_for_each_request(cloud: Cloud, api: str, key: dict[str, str]) -> None:
    logs, group = cloud.client("logs"), "/aws/apigateway/callers"
    known = len(logs.filter_log_events(logGroupName=group)["events"])
    answered = ask(cloud, api, "with", **{"x-api-key": key["value"], "x-forwarded-for": "192.0.2.1"})
    refused = ask(cloud, api, "with", **{"x-api-key": "nobody", "x-amzn-requestid": "mine"})
    lines = [json.loads(each["message"]) for each in logs.filter_log_events(logGroupName=group)["events"]][known:]
    for line in lines:
        del line["request"]
    assert lines == [
        {
            "id": answered.headers["x-amz-apigw-id"],
            "key": key["id"],
            "source": "127.0.0.1",
            "route": "GET /with",
            "status": 200,
            "bytes": len(answered.data),
            "refused": "-",
            "tls": "-",
        },
        {
            "id": refused.headers["x-amz-apigw-id"],
            "key": "-",
            "source": "127.0.0.1",
            "route": "GET /with",
            "status": 403,
            "bytes": len(refused.data),
            "refused": "INVALID_API_KEY",
            "tls": "-",
        },
    ]


def test_api_keeps_its_security_policy(cloud: Cloud, api: str) -> None:
    described = cloud.client("apigateway").get_rest_api(restApiId=api)
    assert described["securityPolicy"] == "SecurityPolicy_TLS13_1_2_2021_06"
    assert described["endpointAccessMode"] == "BASIC"


def test_security_policy_without_an_access_mode_is_refused_as_on_aws(cloud: Cloud, api: str) -> None:
    body = template()
    del body["Resources"]["Api"]["Properties"]["EndpointAccessMode"]
    body["Resources"]["Log"]["Properties"]["LogGroupName"] = "/aws/apigateway/other"
    assert "Endpoint access mode is required" in reason_of_failure(cloud, create(cloud, body))


def test_disabled_key_opens_nothing_until_it_is_enabled_again(cloud: Cloud, api: str, key: dict[str, str]) -> None:
    gateway = cloud.client("apigateway")
    for value, is_enabled, status in (("false", False, 403), ("true", True, 200)):
        operation = [{"op": "replace", "path": "/enabled", "value": value}]
        assert gateway.update_api_key(apiKey=key["id"], patchOperations=operation)["enabled"] is is_enabled
        assert ask(cloud, api, "with", **{"x-api-key": key["value"]}).status == status
