"""The states of alarms, by the examples of CloudWatch's user guide on missing data."""

from typing import Any

import pytest

from local.cloud.alarms import evaluated, state_of

TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
KEEP = None


def alarm(periods: int = 3, needed: int | None = None, missing: str = "missing", **members: Any) -> dict[str, Any]:
    document = {
        "EvaluationPeriods": periods,
        "TreatMissingData": missing,
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 4.0,
        **members,
    }
    return document | ({"DatapointsToAlarm": needed} if needed else {})


def series(text: str) -> list[float | None]:
    """Datapoints as the guide draws them: 0 within the threshold, X beyond it, - missing."""
    return [{"0": 1.0, "X": 9.0, "-": None}[each] for each in text]


@pytest.mark.parametrize(
    ("needed", "drawn", "states"),
    [
        (3, "0-X-X", ("OK", "OK", "OK", "OK")),
        (3, "0----", ("OK", "OK", "OK", "OK")),
        (3, "-----", ("INSUFFICIENT_DATA", KEEP, "ALARM", "OK")),
        (3, "0XX-X", ("ALARM", "ALARM", "ALARM", "ALARM")),
        (3, "--X--", ("ALARM", KEEP, "ALARM", "OK")),
        (3, "----X", ("OK", KEEP, "ALARM", "OK")),
        (3, "---X-", ("OK", KEEP, "ALARM", "OK")),
        (2, "0-X-X", ("ALARM", "ALARM", "ALARM", "ALARM")),
        (2, "00X0X", ("ALARM", "ALARM", "ALARM", "ALARM")),
        (2, "0-X--", ("OK", "OK", "ALARM", "OK")),
        (2, "----0", ("OK", "OK", "ALARM", "OK")),
        (2, "---X-", ("ALARM", KEEP, "ALARM", "OK")),
    ],
)
def test_missing_datapoints_count_as_the_guide_says(needed: int, drawn: str, states: tuple[str | None, ...]) -> None:
    found = tuple(state_of(alarm(3, needed, treatment), series(drawn)) for treatment in TREATMENTS)
    assert found == states


@pytest.mark.parametrize(
    ("comparison", "states"),
    [
        ("GreaterThanThreshold", ("OK", "OK", "ALARM")),
        ("GreaterThanOrEqualToThreshold", ("OK", "ALARM", "ALARM")),
        ("LessThanThreshold", ("ALARM", "OK", "OK")),
        ("LessThanOrEqualToThreshold", ("ALARM", "ALARM", "OK")),
    ],
)
def test_comparison_decides_on_the_threshold_itself(comparison: str, states: tuple[str, ...]) -> None:
    watching = alarm(1, ComparisonOperator=comparison)
    assert tuple(state_of(watching, [value]) for value in (3.9, 4.0, 4.1)) == states


def test_all_periods_must_breach_unless_fewer_are_asked_for() -> None:
    drawn = series("XX0")
    assert state_of(alarm(3), drawn) == "OK"
    assert state_of(alarm(3, 2), drawn) == "ALARM"


def test_datapoints_that_decide_are_the_newest_real_ones() -> None:
    assert evaluated(alarm(2), [1.0, 2.0, None, 3.0]) == [2.0, 3.0]
