"""A look at a dashboard whose figures somebody chose: half an hour, four widgets and a text."""

from datetime import UTC, datetime, timedelta

from local.dashboard.document import AlarmList, Chart, Custom, Limit, Line, Prose
from local.dashboard.figures import AlarmState, Fact, Look, Point, Series

END = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
START = END - timedelta(minutes=30)
CHART = Chart(
    "Answer times",
    (Line("a", "99 of 100 within"), Line("b", "the network alone")),
    (Limit("MaxP99Microseconds", 250_000.0),),
    "microseconds",
    None,
    8,
)


def at(minute: float) -> float:
    """Return a moment of the window in epoch seconds."""
    return START.timestamp() + 60 * minute


# Minutes 0, 1 and 29; the last one is not over yet. The second line has no point.
LINES = (
    Series(
        "99 of 100 within",
        (Point(at(0), 100_000.0, True), Point(at(1), 300_000.0, True), Point(at(29.5), 200_000.0, False)),
        60,
    ),
    Series("the network alone", (), 60),
)
ALARMS = (
    AlarmState("kennel-latency", "ALARM", END - timedelta(seconds=90), "<b>2 datapoints</b> above"),
    AlarmState("kennel-gone", "", None, ""),
    AlarmState("kennel-errors", "INSUFFICIENT_DATA", END - timedelta(minutes=30), "no data"),
    AlarmState("kennel-model-errors", "OK", END - timedelta(hours=5), "fine"),
)
FACTS = (Fact("Serves", "1 of 2 instances & more", "bad"), Fact("Last run", "PROMOTED", "good"))


def look(scale: float = 1.0) -> Look:
    """Return the look, of a cloud whose clock runs so fast."""
    shown = (
        (AlarmList("Alarms", tuple(f"arn:x:alarm:{each.name}" for each in ALARMS), 10), ALARMS),
        (Custom("What serves", "arn:f", {}, 14), FACTS),
        (CHART, LINES),
        (Prose("### Do\n\n| a | b |\n|---|---|\n| x | [errors](docs/operations.md#alarms) |", 16), None),
    )
    return Look("kennel-us-east-1", START, END, scale, shown)
