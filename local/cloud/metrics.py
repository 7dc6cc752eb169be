"""Metrics found in lines: a job's by its regexes, and those that a log event holds."""

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class Datum(NamedTuple):
    """A value of a metric."""

    namespace: str
    name: str
    value: float
    unit: str
    dimensions: dict[str, str]


def embedded(message: str) -> Iterator[Datum]:
    """The metrics of a log event in CloudWatch's embedded metric format; none of any other event.

    Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    if '"CloudWatchMetrics"' not in message:
        return
    try:
        event = json.loads(message)
        for directive in event["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = {name: str(event[name]) for name in names}
                for metric in directive["Metrics"]:
                    values = event[metric["Name"]]
                    for value in values if isinstance(values, list) else [values]:
                        unit = metric.get("Unit", "None")
                        yield Datum(directive["Namespace"], metric["Name"], float(value), unit, dimensions)
    except (ValueError, KeyError, TypeError):
        return  # it only looks like one: CloudWatch keeps the event and finds no metric


class MetricScanner:
    """Applies a job's MetricDefinitions to its lines, as SageMaker does.

    Attributes:
        final: the last datum of each metric: ``{"MetricName":, "Value":, "Timestamp":}``.
    """

    def __init__(self, definitions: Sequence[Mapping[str, str]]) -> None:
        """Raises re.error: a regex that Python cannot read."""
        self._patterns = [(each["Name"], re.compile(each["Regex"])) for each in definitions]
        self._pending: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.final: dict[str, dict[str, Any]] = {}

    def scan(self, line: str) -> None:
        """Find metrics in one line; the first group is the value."""
        for name, pattern in self._patterns:
            if (match := pattern.search(line)) is None or not match.groups():
                continue
            try:
                value = float(match[1])
            except ValueError:
                continue  # the group matched no number: SageMaker drops it as well
            datum = {"MetricName": name, "Value": value, "Timestamp": round(time.time(), 3)}
            with self._lock:
                self.final[name] = datum
                self._pending.append(datum)

    def take(self) -> list[dict[str, Any]]:
        """The data found since the last call."""
        with self._lock:
            pending, self._pending = self._pending, []
        return pending
