"""What the server says of itself, on its standard output: one JSON line per event, and figures once a minute.

The figures are in CloudWatch's embedded metric format, from which CloudWatch Logs makes metrics without a call
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
They are not part of each request's line, because logs are paid by the byte.
"""

import json
import logging
import random
import time
from collections import Counter
from typing import Any

NAMESPACE = "Kennel"
_MOST_VALUES = 100  # of one metric in one line, by the format's specification
_TIMES = {"decode_ms": "DecodeTime", "queue_ms": "QueueTime", "model_ms": "ModelTime"}
_COUNTS = ("Requests", "ClientErrors", "Refused", "ServerErrors")

log = logging.getLogger("kennel.serving")


class JsonLines(logging.Formatter):
    """One JSON object per log record: time, level, event, and the facts given with it."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record as one line."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_event(event: str, facts: dict[str, Any]) -> None:
    """Log an event with its facts."""
    log.info(event, extra={"facts": facts})


class RequestFigures:
    """What happened since the last line of figures: counts by outcome, and a fair sample of the times."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._counts: Counter[str] = Counter()
        self._times: dict[str, list[float]] = {name: [] for name in _TIMES}

    def add(self, status: int, facts: dict[str, Any]) -> None:
        """Count one answered request.

        Args:
            facts: those of its log line; the times among them, in milliseconds, are sampled.
        """
        self._counts["Requests"] += 1
        if status == 503:
            self._counts["Refused"] += 1
        elif status >= 400:
            self._counts["ServerErrors" if status >= 500 else "ClientErrors"] += 1
        if "model_ms" not in facts:
            return
        self._counts["answered"] += 1
        # Every request has the same chance to stand in the sample (Vitter 1985, algorithm R).
        place = random.randrange(self._counts["answered"])
        for name, values in self._times.items():
            if len(values) < _MOST_VALUES:
                values.append(facts[name])
            elif place < _MOST_VALUES:
                values[place] = facts[name]

    def tell(self) -> None:
        """Log the figures and start anew; nothing when nothing was asked."""
        if not self._counts["Requests"]:
            return
        counts = {name: self._counts[name] for name in _COUNTS}
        times = {_TIMES[name]: values for name, values in self._times.items() if values}
        metrics = [{"Name": name, "Unit": "Count"} for name in counts]
        metrics += [{"Name": name, "Unit": "Milliseconds"} for name in times]
        directive = {"Namespace": NAMESPACE, "Dimensions": [["service"]], "Metrics": metrics}
        about = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]}
        self._start()
        log_event("figures", {"_aws": about, "service": "serving", **counts, **times})
