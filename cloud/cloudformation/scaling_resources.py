"""Application Auto Scaling's resource types in templates: scalable targets and scaling policies."""

import contextlib
from collections.abc import Callable
from typing import Any

from cloud.cloudformation import hooks
from cloud.core.protocol import ApiError

Call = Callable[[str, dict[str, Any]], dict[str, Any]]
Created = tuple[str, dict[str, Any]]

_WHERE = ("ResourceId", "ScalableDimension", "ServiceNamespace")  # in the order of a target's id in CloudFormation
_WHOLE_NUMBERS = (
    *("MinCapacity", "MaxCapacity", "Cooldown", "ScaleInCooldown", "ScaleOutCooldown"),
    *("MinAdjustmentMagnitude", "ScalingAdjustment"),
)
_NUMBERS = ("TargetValue", "MetricIntervalLowerBound", "MetricIntervalUpperBound")


def install(call: Call) -> None:
    """Let templates contain scalable targets and scaling policies.

    Args:
        call: Carries out an operation of Application Auto Scaling; raises ApiError.
    """

    def checked(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return call(operation, request)
        except ApiError as error:
            raise ValueError(f"{error.message} (Service: ApplicationAutoScaling, Error Code: {error.code})") from None

    _add_targets(checked, call)
    _add_policies(checked, call)


def _add_targets(checked: Call, call: Call) -> None:
    def create(logical_id: str, properties: dict[str, Any], stack_name: str) -> Created:
        request: dict[str, Any] = _typed(properties)
        if unknown := request.pop("ScheduledActions", None):
            raise ValueError(f"The laptop cloud has no ScheduledActions; leave them out: {unknown}")
        checked("RegisterScalableTarget", request)
        target = "|".join(request[name] for name in _WHERE)
        return target, {"Id": target}

    def update(target: str, old: dict[str, Any], new: dict[str, Any], stack_name: str) -> Created:
        return create("", new, stack_name)  # It registers the same target again, or another one in its place.

    def delete(target: str, properties: dict[str, Any]) -> None:
        with contextlib.suppress(ApiError):  # It may be gone already.
            call("DeregisterScalableTarget", _where(target))

    hooks.add_resource_type("AWS::ApplicationAutoScaling::ScalableTarget", create, update, delete, blocks=True)


def _add_policies(checked: Call, call: Call) -> None:
    def create(logical_id: str, properties: dict[str, Any], stack_name: str) -> Created:
        request: dict[str, Any] = _typed(properties)
        if target := request.pop("ScalingTargetId", None):
            request |= _where(target)
        arn = checked("PutScalingPolicy", request)["PolicyARN"]
        return arn, {"Arn": arn}

    def update(arn: str, old: dict[str, Any], new: dict[str, Any], stack_name: str) -> Created:
        return create("", new, stack_name)  # A policy of another name has another ARN, so the old one is deleted.

    def delete(arn: str, properties: dict[str, Any]) -> None:
        target = properties.get("ScalingTargetId")
        where = _where(target) if target else {name: properties[name] for name in _WHERE}
        with contextlib.suppress(ApiError):  # It goes with its target, too.
            call("DeleteScalingPolicy", {"PolicyName": properties["PolicyName"], **where})

    hooks.add_resource_type("AWS::ApplicationAutoScaling::ScalingPolicy", create, update, delete, blocks=True)


def _where(target: str) -> dict[str, Any]:
    return dict(zip(_WHERE, target.split("|"), strict=True))


def _typed(value: Any, name: str = "") -> Any:
    """Return a property with the types of the API; CloudFormation passes numbers and truth as text, too."""
    if isinstance(value, dict):
        return {key: _typed(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if name in _WHOLE_NUMBERS:
        return int(value)
    if name in _NUMBERS:
        return float(value)
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
