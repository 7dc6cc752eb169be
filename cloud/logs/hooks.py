"""CloudWatch Logs: metrics embedded in log events reach CloudWatch, and services write lines of their own."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ministack.services import cloudwatch, cloudwatch_logs

from cloud.core.emulator import Hooks

HOOKS: Hooks = (
    (cloudwatch, ("record_metric",)),
    (cloudwatch_logs, ("_append_log_events", "_log_groups")),
)


def record_embedded_metrics(metrics_in: Callable[[str], Iterable[tuple[str, str, float, str, dict[str, str]]]]) -> None:
    """Record the metrics that log events contain.

    Args:
        metrics_in: Returns the metrics of a log event for its message: namespace, name, value, unit and dimensions.
    """
    append = cloudwatch_logs._append_log_events

    def append_and_record(stream: Any, events: Sequence[Mapping[str, Any]]) -> None:
        append(stream, events)
        for event in events:
            for datum in metrics_in(event["message"]):
                cloudwatch.record_metric(*datum)

    cloudwatch_logs._append_log_events = append_and_record


def write_line(group: str, stream: str, message: str) -> None:
    """Write a line that a service of AWS itself logs, such as the access log of an API; nothing if there is no group.

    Args:
        group: Name of the log group.
        stream: Name of the log stream, which is made with its first line.
        message: The line.
    """
    if group not in cloudwatch_logs._log_groups:
        return
    now = int(time.time() * 1000)
    made = {"events": [], "uploadSequenceToken": "1", "creationTime": now}
    made |= dict.fromkeys(("firstEventTimestamp", "lastEventTimestamp", "lastIngestionTime"))
    streams = cloudwatch_logs._log_groups[group]["streams"]
    event = {"timestamp": now, "message": message, "ingestionTime": now}
    cloudwatch_logs._append_log_events(streams.setdefault(stream, made), [event])
