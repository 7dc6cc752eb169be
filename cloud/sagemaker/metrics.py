"""Metrics of jobs and endpoints: found in a job's lines by its regexes, and put into CloudWatch."""

import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cloud.iam import permissions
from cloud.logs.streams import deliver, may


def put_metrics(
    namespace: str, dimensions: Mapping[str, str], data: Sequence[Mapping[str, Any]], caller: str = ""
) -> None:
    """Put metric data, each under the same dimensions, if the caller may; without one SageMaker puts its own."""
    if data and (not caller or may(caller, permissions.metrics(namespace))):
        pairs = [{"Name": name, "Value": value} for name, value in dimensions.items()]
        request = {"Namespace": namespace, "MetricData": [{**datum, "Dimensions": pairs} for datum in data]}
        deliver("monitoring", "GraniteServiceVersion20100801.PutMetricData", request)


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
