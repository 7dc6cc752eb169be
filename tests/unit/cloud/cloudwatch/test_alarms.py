"""The states of alarms by the examples of CloudWatch's user guide on missing data, and the times at which they act."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cloud.cloudwatch import alarms, hooks
from cloud.cloudwatch.alarms import Alarms, evaluated, state_of
from cloud.core import emulator

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
    """Return datapoints as the guide draws them: 0 is within the threshold, X is beyond it, - is missing."""
    return [{"0": 1.0, "X": 9.0, "-": None}[symbol] for symbol in text]


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
    results = tuple(state_of(alarm(3, needed, treatment), series(drawn)) for treatment in TREATMENTS)
    assert results == states


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
    watched = alarm(1, ComparisonOperator=comparison)
    assert tuple(state_of(watched, [value]) for value in (3.9, 4.0, 4.1)) == states


def test_all_periods_must_breach_unless_fewer_are_asked_for() -> None:
    drawn = series("XX0")
    assert state_of(alarm(3), drawn) == "OK"
    assert state_of(alarm(3, 2), drawn) == "ALARM"


def test_datapoints_that_decide_are_the_newest_present_ones() -> None:
    assert evaluated(alarm(2), [1.0, 2.0, None, 3.0]) == [2.0, 3.0]


class Time:
    """Stands in for the module ``time`` and for the event that ends the cloud: a wait makes time pass."""

    start = 6000.0

    def __init__(self, seconds: float) -> None:
        self.passed, self._seconds = 0.0, seconds

    def time(self) -> float:
        return self.start + self.passed

    def wait(self, seconds: float) -> bool:
        self.passed += seconds
        return self.passed > self._seconds


Run = Callable[[dict[str, Any], Callable[[float], float | None], float], list[tuple[float, str]]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Evaluate an alarm of one period for some seconds; return the time of each change of state and each scaling.

    The metric's value is a function of a period's end.
    """

    def evaluate(watched: dict[str, Any], value: Callable[[float], float | None], seconds: float) -> Any:
        clock: Any = Time(seconds)
        events: list[tuple[float, str]] = []

        def set_state(_service: str, _target: str, request: dict[str, Any]) -> None:
            watched["StateValue"] = request["StateValue"]
            events.append((clock.passed, request["StateValue"]))

        def datapoints(_alarm: Any, _seconds: float, ends: Sequence[float]) -> list[float | None]:
            return [value(end - Time.start) if end > Time.start else None for end in ends]

        watchers: list[Callable[[dict[str, Any]], None]] = []
        monkeypatch.setattr(hooks, "replace_alarm_evaluation", watchers.append)
        monkeypatch.setattr(hooks, "metric_alarms", lambda: [watched])
        monkeypatch.setattr(hooks, "datapoints", datapoints)
        monkeypatch.setattr(emulator, "call_json", set_state)
        monkeypatch.setattr(alarms, "time", clock)
        evaluator = Alarms(clock)
        evaluator.scale = lambda *_: events.append((clock.passed, "scale"))
        watchers[0](watched)
        evaluator.run()
        return events

    return evaluate


def scaling_alarm(period: int) -> dict[str, Any]:
    """Return an alarm of one period that carries out a scaling policy."""
    return alarm(
        1,
        AlarmName="busy",
        AlarmArn="busy",
        MetricName="m",
        Period=period,
        StateValue="INSUFFICIENT_DATA",
        ActionsEnabled=True,
        AlarmActions=["arn:aws:autoscaling:::scalingPolicy:x", "arn:aws:sns:::news"],
        OKActions=[],
        InsufficientDataActions=[],
    )


def test_alarm_scales_at_once_and_every_minute_that_it_lasts(run: Run) -> None:
    events = run(scaling_alarm(10), lambda end: 9.0 if end >= 30 else 1.0, 100.0)
    assert [(round(at, -1), what) for at, what in events] == [(10, "OK"), (30, "ALARM"), (30, "scale"), (90, "scale")]


def test_alarm_of_a_minute_is_evaluated_each_minute(run: Run) -> None:
    events = run(scaling_alarm(60), lambda _: 9.0, 200.0)
    assert [(round(at, -1), what) for at, what in events] == [
        (60, "ALARM"),
        (60, "scale"),
        (120, "scale"),
        (180, "scale"),
    ]


def test_alarm_without_data_does_not_scale(run: Run) -> None:
    watched = scaling_alarm(10) | {"TreatMissingData": "breaching"}
    events = run(watched, lambda _: None, 100.0)
    assert [what for _, what in events] == ["ALARM"]
