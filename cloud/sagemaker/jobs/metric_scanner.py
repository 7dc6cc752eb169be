"""The metrics of a training job: its MetricDefinitions find them in the lines that it prints."""

import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any


class MetricScanner:
    """Applies a job's MetricDefinitions to its lines, as SageMaker does.

    Attributes:
        final: the last datum of each metric, ``{"MetricName":, "Value":, "Timestamp":}``, by the metric's name.
        values: all values of each metric, by the metric's name.
    """

    def __init__(self, definitions: Sequence[Mapping[str, str]]) -> None:
        """Compile the regular expressions.

        Raises:
            re.error: Python cannot read one of them.
        """
        self._patterns = [(each["Name"], re.compile(each["Regex"])) for each in definitions]
        self._pending: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.final: dict[str, dict[str, Any]] = {}
        self.values: dict[str, list[float]] = {}

    def scan(self, line: str) -> None:
        """Find metrics in one line; the first group of a regular expression is the value."""
        for name, pattern in self._patterns:
            if (match := pattern.search(line)) is None or not match.groups():
                continue
            try:
                value = float(match[1])
            except ValueError:
                continue  # SageMaker drops a value that is no number, too.
            datum = {"MetricName": name, "Value": value, "Timestamp": round(time.time(), 3)}
            with self._lock:
                self.final[name] = datum
                self.values.setdefault(name, []).append(value)
                self._pending.append(datum)

    def take(self) -> list[dict[str, Any]]:
        """Return the data found since the last call."""
        with self._lock:
            pending, self._pending = self._pending, []
        return pending
