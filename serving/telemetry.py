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
# The variable in which the pipeline names the endpoint of a model; the alarms that take an update back have it as their
# dimension, so that another endpoint of the account does not move them.
ENDPOINT_VARIABLE = "KENNEL_ENDPOINT"

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
    """Counts of the requests since the last line of metrics, by outcome, and a fair sample of their times.

    Two of them are faults that only the model can cause, whatever callers send: ``ServerErrors``, and the time of the
    network by itself. They are also put with the dimension ``EndpointName``.
    """

    def __init__(self, endpoint: str = "") -> None:
        """Begin with no requests.

        Args:
            endpoint: Name of the endpoint that the model was made for; empty if it is not known.
        """
        self._endpoint = endpoint
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
        directives: list[dict[str, Any]] = [directive]
        of_endpoint = self._of_endpoint(directives)
        metadata = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": directives}
        self._reset()
        log_event("figures", {"_aws": metadata, "service": "serving", **counts, **times, **of_endpoint})

    def _of_endpoint(self, directives: list[dict[str, Any]]) -> dict[str, Any]:
        """Add the directive of the endpoint's own metrics, and return the fields that it refers to."""
        if not self._endpoint:
            return {}
        fields: dict[str, Any] = {"EndpointName": self._endpoint}
        metrics = [{"Name": "ServerErrors", "Unit": "Count"}]
        if self._times["model_ms"]:
            # In microseconds, because the limit of the alarm is the parameter MaxP99Microseconds.
            fields["ModelMicroseconds"] = [round(1000 * value) for value in self._times["model_ms"]]
            metrics.append({"Name": "ModelMicroseconds", "Unit": "Microseconds"})
        directives.append({"Namespace": NAMESPACE, "Dimensions": [["EndpointName"]], "Metrics": metrics})
        return fields
