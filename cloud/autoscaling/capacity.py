"""The capacity that a scaling policy asks for: pure arithmetic on datapoints.

The rules are those of Application Auto Scaling's user guide on target tracking and on step scaling policies.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_AGGREGATE: dict[str, Callable[[Sequence[float]], float]] = {
    "Average": lambda values: sum(values) / len(values),
    "Maximum": max,
    "Minimum": min,
}


def target_tracking_capacity(capacity: int, value: float, target: float) -> int:
    """Return the smallest capacity that brings a metric per instance to its target or below it.

    Args:
        capacity: number of instances at which the metric was measured.
        value: the measured metric per instance.
        target: TargetValue of the policy.
    """
    # Round first, because of binary fractions: 1 * 2.1 / 0.3 gives 7.000000000000001, which must not become 8.
    return math.ceil(round(capacity * value / target, 9))


def step_scaling_capacity(
    capacity: int, configuration: Mapping[str, Any], threshold: float, above: bool, datapoints: Sequence[float]
) -> int:
    """Return the capacity that a step policy asks for; ``capacity`` when no step matches the datapoints.

    Args:
        capacity: number of instances before the adjustment.
        configuration: StepScalingPolicyConfiguration.
        threshold: the alarm's threshold.
        above: whether the alarm goes off above its threshold, and not below it.
        datapoints: the datapoints that set the alarm off.
    """
    excess = _AGGREGATE[configuration.get("MetricAggregationType", "Average")](datapoints) - threshold
    for step in configuration["StepAdjustments"]:
        lower = step.get("MetricIntervalLowerBound", -math.inf)
        upper = step.get("MetricIntervalUpperBound", math.inf)
        if lower <= excess < upper if above else lower < excess <= upper:
            return _adjusted(capacity, configuration, step["ScalingAdjustment"])
    return capacity


def _adjusted(capacity: int, configuration: Mapping[str, Any], adjustment: int) -> int:
    kind = configuration["AdjustmentType"]
    if kind == "ExactCapacity":
        return adjustment
    if kind == "ChangeInCapacity" or not adjustment:
        return max(0, capacity + adjustment)
    share = capacity * adjustment / 100
    # A percentage is rounded towards 0, but the capacity always changes by at least 1.
    change = max(1, math.floor(abs(share)), configuration.get("MinAdjustmentMagnitude", 1))
    return max(0, capacity + int(math.copysign(change, adjustment)))
