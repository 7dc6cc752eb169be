"""What Application Auto Scaling refuses beyond botocore's service model: pure functions of a request.

docs/laptop-cloud.md lists every rule with AWS's page on it.
"""

import itertools
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from cloud.core.protocol import Request, invalid

_VARIANT = re.compile(r"endpoint/([^/]+)/variant/([^/]+)")
_FUNCTION = re.compile(r"function:([^:]+):(?!\$LATEST$)([^:]+)")
_POLICY_TYPES = ("StepScaling", "TargetTrackingScaling", "PredictiveScaling")


def scaled_variant(resource_id: str) -> tuple[str, str]:
    """Return the names of the endpoint and of the variant in a scalable target's id.

    Raises:
        ApiError: the id has another form.
    """
    return _names(_VARIANT, resource_id, "endpoint/<name>/variant/<variant>")


def scaled_function(resource_id: str) -> tuple[str, str]:
    """Return the name of the function and the version or alias in a scalable target's id.

    Raises:
        ApiError: the id has another form.
    """
    return _names(_FUNCTION, resource_id, "function:<name>:<alias or version>")


def _names(pattern: re.Pattern[str], resource_id: str, form: str) -> tuple[str, str]:
    match = pattern.fullmatch(resource_id)
    if not match:
        raise invalid(
            "Unsupported service namespace, resource type or scalable dimension: the resource ID "
            f"'{resource_id}' is not {form}."
        )
    return match[1], match[2]


def scaling_range(target: Mapping[str, Any]) -> None:
    """Check MinCapacity and MaxCapacity of a new or changed scalable target.

    Raises:
        ApiError: they are refused.
    """
    low, high = target.get("MinCapacity"), target.get("MaxCapacity")
    if low is None or high is None:
        raise invalid("You must specify MinCapacity and MaxCapacity when you register a new scalable target.")
    if low < 0:
        raise invalid("Minimum capacity cannot be less than 0. Specify a value greater than or equal to 0.")
    if low > high:
        raise invalid("Maximum capacity cannot be less than minimum capacity.")


def scaling_policy(request: Request, types: Collection[str], metrics: Collection[str]) -> None:
    """Check a request of PutScalingPolicy.

    Args:
        request: the request.
        types: the types of policies that the dimension may have.
        metrics: the types of predefined metrics of the dimension.

    Raises:
        ApiError: it is refused.
    """
    kind = request.get("PolicyType", "StepScaling")
    configured = [each for each in _POLICY_TYPES if f"{each}PolicyConfiguration" in request]
    if kind not in configured:
        raise invalid(f"{kind} policy configuration must be specified")
    if len(configured) > 1:
        raise invalid(
            "You must only provide a single scaling policy configuration, which must match the scaling policy type "
            "specified."
        )
    if kind == "PredictiveScaling":
        raise invalid(
            f"The laptop cloud has no scaling policies of type {kind}; use StepScaling or TargetTrackingScaling."
        )
    if kind not in types:
        raise invalid(
            f"Scalable dimension {request['ScalableDimension']} only supports the following policy types: "
            f"{', '.join(types)}"
        )
    if kind == "StepScaling":
        _check_steps(request["StepScalingPolicyConfiguration"])
    else:
        _check_target_tracking(
            request["TargetTrackingScalingPolicyConfiguration"], request["ScalableDimension"], metrics
        )


def _check_target_tracking(tracking: Mapping[str, Any], dimension: str, metrics: Collection[str]) -> None:
    """Check a TargetTrackingScalingPolicyConfiguration.

    Raises:
        ApiError: it is refused.
    """
    predefined, customized = "PredefinedMetricSpecification", "CustomizedMetricSpecification"
    specifications = [tracking[each] for each in (predefined, customized) if each in tracking]
    if not specifications:
        raise invalid(f"{predefined} or {customized} must be set for target tracking scaling.")
    if len(specifications) > 1:
        raise invalid(f"Only one of {predefined} or {customized} can be set for target tracking scaling.")
    (metric,) = specifications
    if customized in tracking:
        if not {"MetricName", "Namespace", "Statistic"} <= metric.keys():
            raise invalid(
                f"{customized}: the laptop cloud needs MetricName, Namespace and Statistic; it has no metric math."
            )
    elif metric["PredefinedMetricType"] not in metrics:
        raise invalid(
            f"Scalable dimension {dimension} only supports the following predefined metric types: {', '.join(metrics)}"
        )
    elif "ResourceLabel" in metric:
        raise invalid("You can't specify a resource label unless the metric type is ALBRequestCountPerTarget.")


def _check_steps(configuration: Mapping[str, Any]) -> None:
    """Check a StepScalingPolicyConfiguration.

    Raises:
        ApiError: it is refused.
    """
    steps = configuration.get("StepAdjustments")
    if not steps or "AdjustmentType" not in configuration:
        raise invalid("You must specify an AdjustmentType and at least one StepAdjustment for a StepScaling policy.")
    if configuration["AdjustmentType"] == "ExactCapacity" and any(each["ScalingAdjustment"] < 0 for each in steps):
        raise invalid("The ScalingAdjustment of an ExactCapacity policy must be a non-negative value.")
    bounds = sorted(
        (each.get("MetricIntervalLowerBound", -math.inf), each.get("MetricIntervalUpperBound", math.inf))
        for each in steps
    )
    if any(lower >= upper for lower, upper in bounds):
        raise invalid("The upper bound of a step adjustment must be greater than its lower bound.")
    if (-math.inf, math.inf) in bounds:
        raise invalid("You must specify at least one of upper bound or lower bound for each step adjustment.")
    if any(upper != lower for (_, upper), (lower, _) in itertools.pairwise(bounds)):
        raise invalid("Step adjustment intervals can't overlap or have a gap.")
    if -math.inf < bounds[0][0] < 0:
        raise invalid(
            "There must be a step adjustment with an unspecified lower bound when one has a negative lower bound."
        )
    if 0 < bounds[-1][1] < math.inf:
        raise invalid(
            "There must be a step adjustment with an unspecified upper bound when one has a positive upper bound."
        )
