"""Convert descriptions of scaling policies into requests that create the same policies again."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.scaling import ScalingPolicies

# The fields of PutScalingPolicy. A description also has an ARN, alarms and a date.
_FIELDS = (
    "PolicyName",
    "ServiceNamespace",
    "ResourceId",
    "ScalableDimension",
    "PolicyType",
    "TargetTrackingScalingPolicyConfiguration",
    "StepScalingPolicyConfiguration",
)


def scaling_policies(descriptions: Sequence[Mapping[str, Any]]) -> ScalingPolicies:
    """Return the policies, and the threshold of the alarm that starts the step policy.

    Args:
        descriptions: policies in the form of DescribeScalingPolicies.
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
