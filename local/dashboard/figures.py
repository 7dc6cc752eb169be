"""Ask a cloud for everything that a dashboard shows, as CloudWatch's console does."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any, NamedTuple

from local.dashboard.document import AlarmList, Chart, Custom, Line, Prose, Widget
from local.laptop import Cloud

ALARM, UNKNOWN, OK = "ALARM", "INSUFFICIENT_DATA", "OK"
ABSENT = ""  # the state of an alarm that does not exist
_ORDER = (ALARM, ABSENT, UNKNOWN, OK)


class Point(NamedTuple):
    """A value of a period.

    Attributes:
        at: when the period begins, in epoch seconds.
        is_whole: whether the period is over.
    """

    at: float
    value: float
    is_whole: bool


@dataclass(frozen=True)
class Series:
    """A line of a chart with its points, oldest first.

    Attributes:
        seconds: length of a period by the clock of this machine.
    """

    label: str
    points: tuple[Point, ...]
    seconds: float


@dataclass(frozen=True)
class AlarmState:
    """An alarm as it is now.

    Attributes:
        state: CloudWatch's word; empty if there is no such alarm.
        since: when it entered its state; None if there is no such alarm.
        reason: why.
    """

    name: str
    state: str
    since: datetime | None
    reason: str


class Fact(NamedTuple):
    """A row of a custom widget; ``mood`` is ``good``, ``bad`` or ``plain``."""

    what: str
    words: str
    mood: str


Content = tuple[Series, ...] | tuple[AlarmState, ...] | tuple[Fact, ...] | None


@dataclass(frozen=True)
class Look:
    """What a dashboard shows at one moment.

    Attributes:
        name: of the dashboard.
        start, end: the window.
        scale: how fast the cloud's clock runs.
        shown: each widget with its figures.
    """

    name: str
    start: datetime
    end: datetime
    scale: float
    shown: tuple[tuple[Widget, Content], ...]


def look(cloud: Cloud, name: str, widgets: Iterable[Widget], minutes: float, scale: float, now: datetime) -> Look:
    """Ask for the figures of all widgets.

    Args:
        cloud: where the dashboard is.
        name: of the dashboard.
        widgets: its widgets.
        minutes: length of the window by the cloud's clock.
        scale: how fast that clock runs; on AWS 1.
        now: the end of the window.
    """
    start = now - timedelta(minutes=minutes / scale)
    shown = []
    for widget in widgets:
        content: Content = None
        match widget:
            case Chart():
                content = series_of(cloud, widget, start, now, scale)
            case AlarmList():
                content = alarms_of(cloud, widget)
            case Custom():
                content = facts_of(cloud, name, widget, start, now)
            case Prose():
                pass
        shown.append((widget, content))
    return Look(name, start, now, scale, tuple(shown))


def series_of(cloud: Cloud, chart: Chart, start: datetime, end: datetime, scale: float) -> tuple[Series, ...]:
    """Return the lines of a chart that are shown, each with its points in the window."""
    seconds = {line.id: period_of(line, scale) for line in chart.lines}
    shortest = min(seconds.values())
    answer = cloud.client("cloudwatch").get_metric_data(
        MetricDataQueries=[_query(line, seconds[line.id]) for line in chart.lines],
        # Periods begin at whole multiples of their length; a window within one would cut its sum.
        StartTime=datetime.fromtimestamp(start.timestamp() // shortest * shortest, UTC),
        EndTime=end,
        ScanBy="TimestampAscending",
    )
    found = {each["Id"]: each for each in answer["MetricDataResults"]}
    shown = []
    for line in chart.lines:
        if not line.is_hidden:
            length = shortest if line.expression else seconds[line.id]
            shown.append(Series(line.label, _points(found.get(line.id, {}), length, end), length))
    return tuple(shown)


def period_of(line: Line, scale: float) -> int:
    """Return the seconds of a line's period on this machine; CloudWatch takes whole ones."""
    return max(1, round(line.period / scale))


def _query(line: Line, seconds: int) -> dict[str, Any]:
    if line.expression:
        return {"Id": line.id, "Expression": line.expression}
    dimensions = [{"Name": name, "Value": value} for name, value in line.dimensions.items()]
    metric = {"Namespace": line.namespace, "MetricName": line.name, "Dimensions": dimensions}
    return {
        "Id": line.id,
        "MetricStat": {"Metric": metric, "Stat": line.stat, "Period": seconds},
        "ReturnData": not line.is_hidden,
    }


def _points(result: dict[str, Any], seconds: float, end: datetime) -> tuple[Point, ...]:
    values = zip(result.get("Timestamps", []), result.get("Values", []), strict=True)
    points = sorted((at.timestamp(), value) for at, value in values)
    return tuple(Point(at, value, at + seconds <= end.timestamp()) for at, value in points)


def alarms_of(cloud: Cloud, widget: AlarmList) -> tuple[AlarmState, ...]:
    """Return the alarms of a widget as they are now, those that rang last first."""
    names = widget.names
    described = cloud.client("cloudwatch").describe_alarms(AlarmNames=names, MaxRecords=100)["MetricAlarms"]
    found = {each["AlarmName"]: each for each in described}
    states = []
    for name in names:
        alarm = found.get(name, {})
        states.append(
            AlarmState(
                name,
                alarm.get("StateValue", ABSENT),
                alarm.get("StateUpdatedTimestamp"),
                alarm.get("StateReason", ""),
            )
        )
    states.sort(key=lambda each: (_ORDER.index(each.state), -(each.since.timestamp() if each.since else 0)))
    return tuple(states)


def facts_of(cloud: Cloud, name: str, widget: Custom, start: datetime, end: datetime) -> tuple[Fact, ...]:
    """Return what the function of a custom widget answers, or a row that says that it failed."""
    window = {"mode": "absolute", "start": round(1000 * start.timestamp()), "end": round(1000 * end.timestamp())}
    context = {"dashboardName": name, "timeRange": window, "title": widget.title, "params": widget.params}
    answer = cloud.client("lambda").invoke(
        FunctionName=widget.function, Payload=json.dumps({**widget.params, "widgetContext": context})
    )
    document = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        return (Fact("This widget", f"its function failed: {document.get('errorMessage', document)}", "bad"),)
    table = _Table()
    table.feed(str(document))
    table.close()
    return tuple(table.facts) or (Fact("This widget", "its function answered no table", "bad"),)


class _Table(HTMLParser):
    """Reads the rows of a table: what the head says, and the first class of the cell, which is its mood."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.facts: list[Fact] = []
        self._cell, self._what, self._words, self._mood = "", "", "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a row or a cell."""
        if tag == "tr":
            self._what = self._words = self._mood = ""
        elif tag in ("th", "td"):
            self._cell, self._mood = tag, dict(attrs).get("class") or "plain"

    def handle_data(self, data: str) -> None:
        """Add to the text of a cell."""
        if self._cell == "th":
            self._what += data
        elif self._cell == "td":
            self._words += data

    def handle_endtag(self, tag: str) -> None:
        """End a cell or a row."""
        if tag in ("th", "td"):
            self._cell = ""
        elif tag == "tr":
            self.facts.append(Fact(self._what, self._words, self._mood))
