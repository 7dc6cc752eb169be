"""The capacity that a scaling policy asks for: pure arithmetic on datapoints.

Rules are those of Application Auto Scaling's user guide on target tracking and on step scaling policies.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_AGGREGATE: dict[str, Callable[[Sequence[float]], float]] = {
    "Average": lambda values: sum(values) / len(values),
    "Maximum": max,
    "Minimum": min,
}


def tracked(capacity: int, value: float, target: float) -> int:
    """The least capacity that brings a metric per instance from a value to its target, or below it."""
    return math.ceil(round(capacity * value / target, 9))


def stepped(
    capacity: int, configuration: Mapping[str, Any], threshold: float, above: bool, datapoints: Sequence[float]
) -> int:
    """The capacity that a step policy asks for; the given one when no step is meant for the datapoints.

    Args:
        capacity: that the adjustment starts from.
        configuration: StepScalingPolicyConfiguration.
        threshold: of the alarm.
        above: whether the alarm goes off above its threshold rather than below.
        datapoints: those that decided on the alarm.
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
    change = max(1, math.floor(abs(share)), configuration.get("MinAdjustmentMagnitude", 1))  # towards 0, never to it
    return max(0, capacity + int(math.copysign(change, adjustment)))
