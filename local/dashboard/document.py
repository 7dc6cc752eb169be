"""The body of a CloudWatch dashboard, as far as Kennel's template uses it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

import json
from dataclasses import dataclass, field
from typing import Any

from local.home import LocalError

_STAT, _PERIOD = "Average", 300  # of a metric that names none
_WIDTH = 6  # of a widget that says none, on the grid of 24 columns


@dataclass(frozen=True)
class Line:
    """A metric or an expression of a chart.

    Attributes:
        id: by which expressions name it.
        label: its words.
        expression: empty for a metric.
        namespace, name, dimensions: of a metric.
        stat, period: the same; seconds.
        is_hidden: whether only expressions use it.
    """

    id: str
    label: str
    expression: str = ""
    namespace: str = ""
    name: str = ""
    dimensions: dict[str, str] = field(default_factory=dict)
    stat: str = _STAT
    period: int = _PERIOD
    is_hidden: bool = False


@dataclass(frozen=True)
class Limit:
    """A horizontal line of a chart."""

    label: str
    value: float


@dataclass(frozen=True)
class Chart:
    """A widget of metrics.

    Attributes:
        unit: the label of its axis.
        most: the upper end of its axis; None to fit the values.
    """

    title: str
    lines: tuple[Line, ...]
    limits: tuple[Limit, ...]
    unit: str
    most: float | None
    width: int


@dataclass(frozen=True)
class AlarmList:
    """A widget of alarms, by their ARNs."""

    title: str
    arns: tuple[str, ...]
    width: int

    @property
    def names(self) -> list[str]:
        """The names of the alarms."""
        return [arn.partition(":alarm:")[2] for arn in self.arns]


@dataclass(frozen=True)
class Custom:
    """A widget whose content a function returns."""

    title: str
    function: str
    params: dict[str, Any]
    width: int


@dataclass(frozen=True)
class Prose:
    """A widget of Markdown."""

    markdown: str
    width: int


Widget = Chart | AlarmList | Custom | Prose


def read(body: str) -> list[Widget]:
    """Return the widgets of a dashboard, line by line from the top.

    Raises:
        LocalError: it has something that this program does not render.
    """
    try:
        widgets = sorted(json.loads(body)["widgets"], key=lambda each: (each.get("y", 0), each.get("x", 0)))
        return [_widget(each) for each in widgets]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise LocalError(f"the dashboard's body cannot be read ({error!r}); was it changed by hand?") from None


def _widget(widget: dict[str, Any]) -> Widget:
    properties, width = widget["properties"], widget.get("width", _WIDTH)
    title = properties.get("title", "")
    match widget["type"]:
        case "metric":
            axis = properties.get("yAxis", {}).get("left", {})
            limits = properties.get("annotations", {}).get("horizontal", [])
            return Chart(
                title,
                tuple(_lines(properties)),
                tuple(Limit(each.get("label", ""), float(each["value"])) for each in limits),
                axis.get("label", ""),
                axis.get("max"),
                width,
            )
        case "alarm":
            return AlarmList(title, tuple(properties["alarms"]), width)
        case "custom":
            return Custom(title, properties["endpoint"], properties.get("params", {}), width)
        case "text":
            return Prose(properties["markdown"], width)
    raise LocalError(
        f"the dashboard has a widget of type {widget['type']!r}, which only CloudWatch's console shows; "
        "deploy the stack again if it was added by hand"
    )


def _lines(properties: dict[str, Any]) -> list[Line]:
    lines, before = [], [""]
    for number, metric in enumerate(properties["metrics"]):
        *parts, options = metric if isinstance(metric[-1], dict) else [*metric, {}]
        name = options.get("id", f"line{number}")
        if expression := options.get("expression"):
            lines.append(Line(name, options.get("label", expression), expression))
            continue
        # A dot repeats what the metric before has in its place, and three of them all that is left.
        if "..." in parts:
            at = parts.index("...")
            parts = [*parts[:at], *before[at : len(before) - len(parts[at + 1 :])], *parts[at + 1 :]]
        parts = [before[place] if part == "." else part for place, part in enumerate(parts)]
        before = parts
        namespace, metric_name, *pairs = parts
        lines.append(
            Line(
                name,
                options.get("label", metric_name),
                namespace=namespace,
                name=metric_name,
                dimensions=dict(zip(pairs[::2], pairs[1::2], strict=True)),
                stat=options.get("stat", properties.get("stat", _STAT)),
                period=options.get("period", properties.get("period", _PERIOD)),
                is_hidden=options.get("visible", True) is False,
            )
        )
    return lines
