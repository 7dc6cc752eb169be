"""The server's log on its standard output: one JSON line per event, and metrics once a minute.

The metrics are in CloudWatch's embedded metric format, from which CloudWatch Logs makes metrics without an API call
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
They have a line of their own once a minute instead of a part of each request's line, because AWS charges for logs by
the byte.
"""

import json
import logging
import random
import time
from collections import Counter
from typing import Any

NAMESPACE = "Kennel"
_MAX_VALUES = 100  # The format's specification allows so many values of one metric in one line.
_TIMES = {"decode_ms": "DecodeTime", "queue_ms": "QueueTime", "model_ms": "ModelTime"}
_COUNTS = ("Requests", "ClientErrors", "Refused", "ServerErrors")

log = logging.getLogger("kennel.serving")


class JsonLines(logging.Formatter):
    """Formats each log record as one JSON object with its time, level, event and facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
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
    """Counts of the requests since the last line of metrics, by outcome, and a fair sample of their times."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._counts: Counter[str] = Counter()
        self._times: dict[str, list[float]] = {name: [] for name in _TIMES}

    def add(self, status: int, facts: dict[str, Any]) -> None:
        """Count one request.

        Args:
            status: HTTP status of its answer.
            facts: Facts of its log line. If they contain times, in milliseconds, these enter the sample.
        """
        self._counts["Requests"] += 1
        if status == 503:
            self._counts["Refused"] += 1
        elif status >= 400:
            self._counts["ServerErrors" if status >= 500 else "ClientErrors"] += 1
        if "model_ms" not in facts:
            return
        self._counts["answered"] += 1
        # Every request has the same chance to be in the sample (Vitter 1985, algorithm R).
        index = random.randrange(self._counts["answered"])
        for name, values in self._times.items():
            if len(values) < _MAX_VALUES:
                values.append(facts[name])
            elif index < _MAX_VALUES:
                values[index] = facts[name]

    def flush(self) -> None:
        """Log the metrics and start anew; log nothing if there was no request."""
        if not self._counts["Requests"]:
            return
        counts = {name: self._counts[name] for name in _COUNTS}
        times = {_TIMES[name]: values for name, values in self._times.items() if values}
        metrics = [{"Name": name, "Unit": "Count"} for name in counts]
        metrics += [{"Name": name, "Unit": "Milliseconds"} for name in times]
        directive = {"Namespace": NAMESPACE, "Dimensions": [["service"]], "Metrics": metrics}
        metadata = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]}
        self._reset()
        log_event("figures", {"_aws": metadata, "service": "serving", **counts, **times})
