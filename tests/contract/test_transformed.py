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
