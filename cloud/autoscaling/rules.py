"""What Application Auto Scaling refuses beyond botocore's service model: pure functions of a request.

docs/laptop-cloud.md lists every rule with AWS's page on it.
"""

import itertools
import math
import re
from collections.abc import Mapping
from typing import Any

from cloud.core.protocol import Request, invalid

_VARIANT = re.compile(r"endpoint/([^/]+)/variant/([^/]+)")
_METRICS = ("SageMakerVariantInvocationsPerInstance", "SageMakerVariantConcurrentRequestsPerModelHighResolution")
_POLICY_TYPES = ("StepScaling", "TargetTrackingScaling", "PredictiveScaling")


def scaled_variant(resource_id: str) -> tuple[str, str]:
    """The endpoint and the variant that a scalable target's id names. Raises ApiError."""
    found = _VARIANT.fullmatch(resource_id)
    if not found:
        raise invalid(
            "Unsupported service namespace, resource type or scalable dimension: the resource ID "
            f"'{resource_id}' is not endpoint/<name>/variant/<variant>."
        )
    return found[1], found[2]


def scaling_range(target: Mapping[str, Any]) -> None:
    """MinCapacity and MaxCapacity of a new or changed scalable target. Raises ApiError."""
    low, high = target.get("MinCapacity"), target.get("MaxCapacity")
    if low is None or high is None:
        raise invalid("You must specify MinCapacity and MaxCapacity when you register a new scalable target.")
    if low < 0:
        raise invalid("Minimum capacity cannot be less than 0. Specify a value greater than or equal to 0.")
    if low > high:
        raise invalid("Maximum capacity cannot be less than minimum capacity.")


def scaling_policy(request: Request) -> None:
    """PutScalingPolicy. Raises ApiError."""
    kind = request.get("PolicyType", "StepScaling")
    given = [each for each in _POLICY_TYPES if f"{each}PolicyConfiguration" in request]
    if kind not in given:
        raise invalid(f"{kind} policy configuration must be specified")
    if len(given) > 1:
        raise invalid(
            "You must only provide a single scaling policy configuration, which must match the scaling policy type "
            "specified."
        )
    if kind == "StepScaling":
        _steps(request["StepScalingPolicyConfiguration"])
    elif kind == "TargetTrackingScaling":
        _tracking(request["TargetTrackingScalingPolicyConfiguration"], request["ScalableDimension"])
    else:
        raise invalid(
            f"The laptop cloud has no scaling policies of type {kind}; use StepScaling or TargetTrackingScaling."
        )


def _tracking(tracking: Mapping[str, Any], dimension: str) -> None:
    kinds = ("PredefinedMetricSpecification", "CustomizedMetricSpecification")
    given = [tracking[each] for each in kinds if each in tracking]
    if not given:
        raise invalid(f"{' or '.join(kinds)} must be set for target tracking scaling.")
    if len(given) > 1:
        raise invalid(f"Only one of {' or '.join(kinds)} can be set for target tracking scaling.")
    (metric,) = given
    if kinds[1] in tracking:
        if not {"MetricName", "Namespace", "Statistic"} <= metric.keys():
            raise invalid(
                f"{kinds[1]}: the laptop cloud needs MetricName, Namespace and Statistic; it computes no expressions."
            )
    elif metric["PredefinedMetricType"] not in _METRICS:
        raise invalid(
            f"Scalable dimension {dimension} only supports the following predefined metric types: {', '.join(_METRICS)}"
        )
    elif "ResourceLabel" in metric:
        raise invalid("You can't specify a resource label unless the metric type is ALBRequestCountPerTarget.")


def _steps(configuration: Mapping[str, Any]) -> None:
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
