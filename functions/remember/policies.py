"""Turn descriptions of scaling policies into requests that make the same policies again."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.contracts import ScalingPolicies

# The fields that PutScalingPolicy takes; a description also has an ARN, alarms and a date.
_FIELDS = (
    "PolicyName",
    "ServiceNamespace",
    "ResourceId",
    "ScalableDimension",
    "PolicyType",
    "TargetTrackingScalingPolicyConfiguration",
    "StepScalingPolicyConfiguration",
)


def remembered(descriptions: Sequence[Mapping[str, Any]]) -> ScalingPolicies:
    """Return what it takes to restore policies and the alarm that starts the step policy.

    Args:
        descriptions: as DescribeScalingPolicies gives them.
    """
    steps = [
        step["MetricIntervalUpperBound"]
        for policy in descriptions
        if policy["PolicyType"] == "StepScaling"
        for step in policy["StepScalingPolicyConfiguration"]["StepAdjustments"]
        if step.get("MetricIntervalLowerBound") == 0 and "MetricIntervalUpperBound" in step
    ]
    return ScalingPolicies(
        policies=[{field: policy[field] for field in _FIELDS if field in policy} for policy in descriptions],
        burst_value=steps[0] if steps else 0,
    )
