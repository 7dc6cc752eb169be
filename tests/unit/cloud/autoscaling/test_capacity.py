"""The capacity that policies ask for; expected values are computed by hand or are examples of AWS's user guide."""

import math
from typing import Any

import pytest

from cloud.autoscaling.capacity import step_scaling_capacity, target_tracking_capacity


@pytest.mark.parametrize(
    ("capacity", "value", "target", "expected"),
    [
        (1, 12.0, 4.0, 3),
        (2, 5.0, 4.0, 3),  # 2.5 rounded up
        (3, 4.0, 4.0, 3),
        (1, 2.1, 0.3, 7),  # Binary fractions give 7.000000000000001, which must not become 8.
        (4, 1.1, 4.0, 2),  # 1.1 rounded up
        (4, 0.0, 4.0, 0),
    ],
)
def test_tracked_capacity_brings_the_metric_to_its_target_or_below(
    capacity: int, value: float, target: float, expected: int
) -> None:
    assert target_tracking_capacity(capacity, value, target) == expected


def steps(kind: str, *adjustments: tuple[float, float, int], **members: Any) -> dict[str, Any]:
    """Return a StepScalingPolicyConfiguration of steps (lower bound, upper bound, adjustment).

    Infinite bounds are left out.
    """
    documents = []
    for lower, upper, adjustment in adjustments:
        bounds = {"MetricIntervalLowerBound": lower, "MetricIntervalUpperBound": upper}
        finite = {name: bound for name, bound in bounds.items() if math.isfinite(bound)}
        documents.append({**finite, "ScalingAdjustment": adjustment})
    return {"AdjustmentType": kind, "StepAdjustments": documents, **members}


@pytest.mark.parametrize(("value", "expected"), [(50, 10), (59.9, 10), (60, 11), (69.9, 11), (70, 13), (500, 13)])
def test_step_out_has_an_inclusive_lower_bound(value: float, expected: int) -> None:
    configuration = steps("PercentChangeInCapacity", (0, 10, 0), (10, 20, 10), (20, math.inf, 30))
    assert step_scaling_capacity(10, configuration, 50.0, True, [value]) == expected


@pytest.mark.parametrize(("value", "expected"), [(50, 9), (40.1, 9), (40, 7), (0, 7)])
def test_step_in_has_an_inclusive_upper_bound(value: float, expected: int) -> None:
    configuration = steps("ChangeInCapacity", (-10, 0, -1), (-math.inf, -10, -3))
    assert step_scaling_capacity(10, configuration, 50.0, False, [value]) == expected


@pytest.mark.parametrize(
    ("capacity", "adjustment", "expected"),
    [(10, 10, 11), (4, 10, 5), (4, -10, 3), (10, 25, 12), (10, -67, 4), (1, 0, 1), (3, -200, 0)],
)
def test_percentages_round_towards_zero_but_change_something(capacity: int, adjustment: int, expected: int) -> None:
    configuration = steps("PercentChangeInCapacity", (0, math.inf, adjustment))
    assert step_scaling_capacity(capacity, configuration, 0.0, True, [1.0]) == expected


def test_percentages_change_at_least_the_least_magnitude() -> None:
    configuration = steps("PercentChangeInCapacity", (0, math.inf, 25), MinAdjustmentMagnitude=2)
    assert step_scaling_capacity(4, configuration, 0.0, True, [1.0]) == 6


def test_exact_capacity_does_not_depend_on_the_present_capacity() -> None:
    assert step_scaling_capacity(7, steps("ExactCapacity", (0, math.inf, 3)), 0.0, True, [1.0]) == 3


@pytest.mark.parametrize(("aggregation", "expected"), [({}, 3), ("Average", 3), ("Maximum", 5), ("Minimum", 2)])
def test_datapoints_are_aggregated_before_the_step_is_chosen(aggregation: Any, expected: int) -> None:
    members = {"MetricAggregationType": aggregation} if aggregation else {}
    configuration = steps("ChangeInCapacity", (0, 2, 1), (2, 4, 2), (4, math.inf, 4), **members)
    assert step_scaling_capacity(1, configuration, 10.0, True, [11.0, 12.5, 14.0]) == expected
