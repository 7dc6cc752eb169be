"""The linters read the template that CloudFormation receives."""

import json

import botocore.session
import pytest

from proofs.transformed import transformed


@pytest.fixture(scope="module")
def written():
    """The resources of the transformed template as JSON; SAM's transform takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        return json.dumps(transformed()["Resources"])


@pytest.fixture
def resources(written):
    return json.loads(written)


def test_linters_see_all_resources_and_the_state_machines(machines, resources):
    assert [name for name, resource in resources.items() if resource["Type"].startswith("AWS::Serverless::")] == []
    for name, machine in machines.items():
        assert resources[name.capitalize()]["Properties"]["Definition"] == machine
    assert resources["Apiv1Stage"]["Type"] == "AWS::ApiGateway::Stage"  # SAM creates this resource.


def test_api_has_the_stage_v1_alone(resources):
    """Throttles and the usage plan bind this stage; on another one, routes without a key would have none."""
    stages = [
        each["Properties"]["StageName"] for each in resources.values() if each["Type"] == "AWS::ApiGateway::Stage"
    ]
    deployments = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::ApiGateway::Deployment"]
    assert stages == ["v1"]
    assert len(deployments) == 1
    assert "StageName" not in deployments[0]  # CreateDeployment would make a stage of this name.
    plans = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::ApiGateway::UsagePlan"]
    assert len(plans) == 2
    assert all([each["Stage"] for each in plan["ApiStages"]] == [{"Ref": "Apiv1Stage"}] for plan in plans)


def test_key_and_usage_plan_are_those_of_earlier_releases(resources):
    """SAM made them then, with these logical ids and properties; others would give the callers another key."""
    stage = {"Ref": "Apiv1Stage"}
    key, link = resources["ApiApiKey"]["Properties"], resources["ApiUsagePlanKey"]["Properties"]
    name = key.pop("Name")
    assert name == {"Fn::If": ["HasApiKeyName", {"Ref": "ApiKeyName"}, {"Ref": "AWS::NoValue"}]}
    assert key == {"Enabled": True, "StageKeys": [{"RestApiId": {"Ref": "Api"}, "StageName": stage}]}
    assert link == {"KeyId": {"Ref": "ApiApiKey"}, "KeyType": "API_KEY", "UsagePlanId": {"Ref": "ApiUsagePlan"}}
    plan = resources["ApiUsagePlan"]["Properties"]
    assert set(plan) == {"ApiStages", "Quota", "Throttle"}
    assert plan["ApiStages"] == [{"ApiId": {"Ref": "Api"}, "Stage": stage}]


def test_api_takes_no_tls_below_1_2(resources):
    """Without a policy a regional API takes TLS 1.0; one of this kind is refused without an access mode."""
    api = resources["Api"]["Properties"]
    assert (api["SecurityPolicy"], api["EndpointAccessMode"]) == ("SecurityPolicy_TLS13_1_2_2021_06", "BASIC")
    model = botocore.session.get_session().get_service_model("apigateway")
    for name in ("SecurityPolicy", "EndpointAccessMode"):
        assert api[name] in model.shape_for(name).enum


def test_access_log_is_a_choice_and_has_no_value_of_a_key(resources):
    condition, setting, _ = resources["Apiv1Stage"]["Properties"]["AccessLogSetting"]["Fn::If"]
    assert condition == resources["ApiAccessLogs"]["Condition"] == "HasApiAccessLog"
    line = json.loads(setting["Format"])  # One line, and JSON also where a value is a dash.
    assert "$context.identity.apiKeyId" in line.values()
    assert not {"$context.identity.apiKey", "$context.path", "$context.identity.userAgent"} & set(line.values())


def test_routes_keep_keys_binary_photos_and_gateway_responses(resources):
    api = resources["Api"]["Properties"]
    assert api["BinaryMediaTypes"][0] == "*~1*"
    body = api["Body"]
    assert body["openapi"] == "3.0.1"
    assert body["components"]["securitySchemes"]["api_key"] == {"type": "apiKey", "name": "x-api-key", "in": "header"}
    assert len(body["x-amazon-apigateway-gateway-responses"]) == 8
    keyless = {
        (path, method)
        for path, methods in body["paths"].items()
        for method, operation in methods.items()
        if {"api_key": []} not in operation.get("security", [])
    }
    assert keyless == {
        *(("/", "get"), ("/health", "get"), ("/page/{name}", "get"), ("/page/examples/{name}", "get")),
        ("/sign-in", "get"),
        ("/{proxy+}", "options"),
    }
