"""CloudWatch Logs: metrics embedded in log events reach CloudWatch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ministack.services import cloudwatch, cloudwatch_logs

from cloud.core.emulator import Hooks

HOOKS: Hooks = (
    (cloudwatch, ("record_metric",)),
    (cloudwatch_logs, ("_append_log_events",)),
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
