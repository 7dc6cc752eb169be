"""The notebook's last cell on the laptop cloud, without the cells between it and the first."""

from types import SimpleNamespace
from typing import Any

import boto3

from tests.contract.test_notebook import script_cells
from tests.integration.laptop import Cloud, endpoint_with, make_config

LAST = [text for kind, text in script_cells() if kind == "code"][-1]


def clean_up(cloud: Cloud, monkeypatch: Any, role_removed: list[str]) -> None:
    """Run the cell with the names that the first one gives; the SDK, which deletes the role, is not installed here."""
    only_role = SimpleNamespace(delete_execution_role=lambda _kind, role_name: role_removed.append(role_name))
    clients = {name: cloud.client(name) for name in ("sagemaker", "iam", "s3")}
    resource = boto3.Session(region_name="us-east-1", **cloud.credentials).resource
    endpoint_url = clients["s3"].meta.endpoint_url
    monkeypatch.setattr(boto3, "client", clients.__getitem__)
    monkeypatch.setattr(boto3, "resource", lambda name: resource(name, endpoint_url=endpoint_url))
    first = {"KENNEL": "kennel", "MINE": "by-hand", "boto3": boto3, "sleep": lambda _: None}
    exec(LAST, first | {"IamRoleResolver": lambda: only_role})  # noqa: S102 - the notebook's own code


def test_endpoint_that_is_still_created_is_deleted_and_the_others_stay(cloud: Cloud, monkeypatch: Any) -> None:
    sagemaker = cloud.client("sagemaker")
    other, mine = make_config(cloud, "by-handy"), make_config(cloud, "by-hand")
    for name in (other, mine):
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    removed: list[str] = []
    with monkeypatch.context() as patch:
        clean_up(cloud, patch, removed)
    for kind, word in (("endpoint", "Endpoint"), ("endpoint_config", "EndpointConfig"), ("model", "Model")):
        answer = getattr(sagemaker, f"list_{kind}s")(NameContains="by-hand")
        [found] = [value for value in answer.values() if isinstance(value, list)]
        assert [each[f"{word}Name"] for each in found] == [other]
    assert removed == []
    cloud.client("iam").create_role(RoleName="by-hand", AssumeRolePolicyDocument="{}")
    with monkeypatch.context() as patch:
        clean_up(cloud, patch, removed)  # again, with nothing to delete but the role
    assert removed == ["by-hand"]
    endpoint_with(sagemaker, other)
    sagemaker.delete_endpoint(EndpointName=other)
    cloud.client("iam").delete_role(RoleName="by-hand")
