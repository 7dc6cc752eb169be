"""Functions from images in templates, with AutoPublishAlias and provisioned concurrency."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.image_functions import build_images
from tests.integration.laptop import ROLE, Cloud, eventually


@pytest.fixture(scope="module")
def images(cloud: Cloud) -> list[str]:
    return build_images(cloud)


class Stack:
    """A stack with one function from an image, whose alias has provisioned concurrency."""

    def __init__(self, cloud: Cloud, image: str, **variables: str) -> None:
        self.name, self._functions = f"images-{uuid.uuid4().hex[:8]}", cloud.client("lambda")
        self._formation = cloud.client("cloudformation")
        self._formation.create_stack(**self._request(image, variables))

    def update(self, image: str, **variables: str) -> None:
        self._formation.update_stack(**self._request(image, variables))

    def delete(self) -> None:
        self._formation.delete_stack(StackName=self.name)

    def end(self) -> str:
        """Wait for the end of what goes on, and return the status."""
        return str(
            eventually(
                lambda: self._formation.describe_stacks(StackName=self.name)["Stacks"][0]["StackStatus"],
                lambda status: not status.endswith("_IN_PROGRESS"),
            )
        )

    def reasons(self) -> set[str]:
        events = self._formation.describe_stack_events(StackName=self.name)["StackEvents"]
        return {event.get("ResourceStatusReason", "") for event in events}

    def provisioned(self) -> dict[str, Any]:
        return dict(self._functions.get_provisioned_concurrency_config(FunctionName=self.name, Qualifier="live"))

    def ask(self) -> tuple[str, str, str]:
        """Return version, greeting and kind of initialization of who answers the alias."""
        response = self._functions.invoke(FunctionName=self.name, Qualifier="live", Payload="{}")
        answer = json.load(response["Payload"])
        kind = answer["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"]
        return response["ExecutedVersion"], answer["greeting"], kind

    def _request(self, image: str, variables: dict[str, str]) -> dict[str, Any]:
        function = {
            "FunctionName": self.name,
            "PackageType": "Image",
            "ImageUri": image,
            "Role": ROLE,
            "MemorySize": 256,
            "Timeout": 30,
            "AutoPublishAlias": "live",
            "AutoPublishAliasAllProperties": True,
            "Environment": {"Variables": {"KIND": "stacked", **variables}},
            "ProvisionedConcurrencyConfig": {"ProvisionedConcurrentExecutions": 2},
        }
        resources = {"Function": {"Type": "AWS::Serverless::Function", "Properties": function}}
        body = json.dumps({"Transform": "AWS::Serverless-2016-10-31", "Resources": resources})
        return {"StackName": self.name, "TemplateBody": body, "Capabilities": ["CAPABILITY_AUTO_EXPAND"]}


@pytest.fixture
def stack(cloud: Cloud, images: list[str]) -> Iterator[Stack]:
    made = Stack(cloud, images[0])
    yield made
    made.delete()


def test_a_stack_is_complete_when_the_alias_has_its_concurrency(stack: Stack, images: list[str]) -> None:
    assert stack.end() == "CREATE_COMPLETE"
    # Nothing waits here: whoever sees the end of the stack sees the end of the preparation.
    assert (stack.provisioned()["Status"], stack.provisioned()["AvailableProvisionedConcurrentExecutions"]) == (
        "READY",
        2,
    )
    assert stack.ask() == ("1", "hello", "provisioned-concurrency")
    stack.update(images[1])
    assert stack.end() == "UPDATE_COMPLETE"
    assert stack.provisioned()["Status"] == "READY"
    assert stack.ask() == ("2", "again", "provisioned-concurrency")


def test_the_old_version_answers_until_the_new_one_has_its_concurrency(stack: Stack, images: list[str]) -> None:
    assert stack.end() == "CREATE_COMPLETE"
    stack.update(images[1], INIT="slow")
    eventually(stack.provisioned, lambda config: bool(config["Status"] == "IN_PROGRESS"))
    answers, asked = set(), stack.ask()
    while stack.provisioned()["Status"] == "IN_PROGRESS":  # So it was answered while the new version was starting.
        answers.add(asked)
        asked = stack.ask()
    assert answers == {("1", "hello", "provisioned-concurrency")}
    assert stack.end() == "UPDATE_COMPLETE"
    assert stack.ask() == ("2", "again", "provisioned-concurrency")


def test_an_update_whose_concurrency_fails_leads_the_alias_back(stack: Stack, images: list[str]) -> None:
    assert stack.end() == "CREATE_COMPLETE"
    stack.update(images[1], INIT="exit")
    assert stack.end() == "UPDATE_ROLLBACK_COMPLETE"
    assert (
        "Provisioned Concurrency configuration failed to be applied. Reason: FUNCTION_ERROR_INIT_FAILURE"
        in stack.reasons()
    )
    assert stack.provisioned()["Status"] == "READY"
    assert stack.ask() == ("1", "hello", "provisioned-concurrency")


def test_a_stack_with_an_image_that_is_not_there_fails_in_awss_words(cloud: Cloud, images: list[str]) -> None:
    stack = Stack(cloud, f"{images[0]}-other")
    assert stack.end() == "ROLLBACK_COMPLETE"
    words = f"Source image {images[0]}-other does not exist. Provide a valid source image."
    assert any(words in reason for reason in stack.reasons())
    stack.delete()


def test_a_deleted_stack_leaves_no_process(cloud: Cloud, images: list[str]) -> None:
    stack = Stack(cloud, images[0])
    assert stack.end() == "CREATE_COMPLETE"
    assert len(cloud.pids(f"functions/{stack.name}")) == 2
    stack.delete()
    eventually(lambda: cloud.pids(f"functions/{stack.name}"), lambda pids: pids == [])
