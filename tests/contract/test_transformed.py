"""The linters read the template that CloudFormation receives."""

import pytest

from proofs.transformed import transformed


def test_linters_see_all_resources_and_the_state_machines(machines, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    resources = transformed()["Resources"]
    assert [name for name, resource in resources.items() if resource["Type"].startswith("AWS::Serverless::")] == []
    for name, machine in machines.items():
        assert resources[name.capitalize()]["Properties"]["Definition"] == machine
    assert resources["Apiv1Stage"]["Type"] == "AWS::ApiGateway::Stage"  # SAM creates this resource.


def test_api_has_the_stage_v1_alone(monkeypatch: pytest.MonkeyPatch):
    """Throttles and the usage plan bind this stage; on another one, routes without a key would have none."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    resources = transformed()["Resources"].values()
    stages = [each["Properties"]["StageName"] for each in resources if each["Type"] == "AWS::ApiGateway::Stage"]
    deployments = [each["Properties"] for each in resources if each["Type"] == "AWS::ApiGateway::Deployment"]
    assert stages == ["v1"]
    assert len(deployments) == 1
    assert "StageName" not in deployments[0]  # CreateDeployment would make a stage of this name.
    [plan] = [each["Properties"] for each in resources if each["Type"] == "AWS::ApiGateway::UsagePlan"]
    assert [each["Stage"] for each in plan["ApiStages"]] == [{"Ref": "Apiv1Stage"}]


def test_routes_keep_keys_binary_photos_and_gateway_responses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    api = transformed()["Resources"]["Api"]["Properties"]
    assert api["BinaryMediaTypes"] == ["*~1*"]
    body = api["Body"]
    assert body["openapi"] == "3.0.1"
    assert body["components"]["securitySchemes"]["api_key"] == {"type": "apiKey", "name": "x-api-key", "in": "header"}
    assert len(body["x-amazon-apigateway-gateway-responses"]) == 6
    keyless = {
        (path, method)
        for path, methods in body["paths"].items()
        for method, operation in methods.items()
        if {"api_key": []} not in operation.get("security", [])
    }
    assert keyless == {
        *(("/", "get"), ("/health", "get"), ("/page/{name}", "get"), ("/page/examples/{name}", "get")),
        ("/{proxy+}", "options"),
    }
