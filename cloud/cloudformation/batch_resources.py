"""Batch's resource types in templates: compute environments and job queues."""

from collections.abc import Callable
from typing import Any

from cloud.cloudformation import hooks
from cloud.core.protocol import ApiError

Call = Callable[[str, dict[str, Any]], dict[str, Any]]
Created = tuple[str, dict[str, Any]]
# By type: the API's noun, the request's member for the name and for the resource, and the attribute with the ARN.
_TYPES = {
    "AWS::Batch::ComputeEnvironment": ("ComputeEnvironment", "computeEnvironmentName", "computeEnvironment"),
    "AWS::Batch::JobQueue": ("JobQueue", "jobQueueName", "jobQueue"),
}
_ONLY_IN_TEMPLATES = ("ReplaceComputeEnvironment", "UpdatePolicy")


def install(call: Call) -> None:
    """Let templates contain compute environments and job queues.

    Args:
        call: Carries out an operation of Batch; raises ApiError.
    """

    def checked(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return call(operation, request)
        except ApiError as error:
            raise ValueError(f"{error.message} (Service: Batch, Error Code: {error.code})") from None

    for kind, (noun, name, member) in _TYPES.items():
        _add_type(checked, kind, noun, name, member)


def _add_type(call: Call, kind: str, noun: str, name: str, member: str) -> None:
    def create(logical_id: str, properties: dict[str, Any], stack_name: str) -> Created:
        request = _request(properties)
        request.setdefault(name, f"{logical_id}-{stack_name}"[:128])
        arn = call(f"Create{noun}", request)[f"{member}Arn"]
        return arn, {f"{noun}Arn": arn}

    def update(arn: str, old: dict[str, Any], new: dict[str, Any], stack_name: str) -> Created:
        request = {key: value for key, value in _request(new).items() if key not in (name, "type", "tags")}
        if noun == "ComputeEnvironment":
            kept = {"type", "spotIamFleetRole"}  # An update cannot change these.
            resources = request.get("computeResources", {})
            request["computeResources"] = {key: value for key, value in resources.items() if key not in kept}
        call(f"Update{noun}", {**request, member: arn})
        return arn, {f"{noun}Arn": arn}

    def delete(arn: str, properties: dict[str, Any]) -> None:
        if call(f"Describe{noun}s", {f"{member}s": [arn]})[f"{member}s"]:
            call(f"Update{noun}", {member: arn, "state": "DISABLED"})
        call(f"Delete{noun}", {member: arn})

    hooks.add_resource_type(kind, create, update, delete)


def _request(properties: dict[str, Any]) -> dict[str, Any]:
    """Return a template's properties in the form of Batch's API; CloudFormation passes numbers as text, too."""
    known = {key: value for key, value in properties.items() if key not in _ONLY_IN_TEMPLATES}
    request: dict[str, Any] = _lower(known)
    return request


def _lower(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            ("tags" if key == "Tags" else key[:1].lower() + key[1:]): (
                item if key == "Tags" else int(item) if key in _NUMBERS else _lower(item)
            )
            for key, item in value.items()
        }
    return [_lower(item) for item in value] if isinstance(value, list) else value


_NUMBERS = ("MinvCpus", "MaxvCpus", "DesiredvCpus", "Priority", "Order", "MaxTimeSeconds", "BidPercentage")
