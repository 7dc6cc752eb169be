"""CloudWatch Logs: metrics that are embedded in log events reach CloudWatch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ministack.services import cloudwatch, cloudwatch_logs

from cloud.core.emulator import Hooks

HOOKS: Hooks = (
    (cloudwatch, ("record_metric",)),
    (cloudwatch_logs, ("_append_log_events",)),
)


def find_embedded_metrics(embedded: Callable[[str], Iterable[tuple[str, str, float, str, dict[str, str]]]]) -> None:
    """Let log events put metrics.

    Args:
        embedded: those of an event, given by its message: namespace, name, value, unit and dimensions.
    """
    append = cloudwatch_logs._append_log_events

    def appending(stream: Any, events: Sequence[Mapping[str, Any]]) -> None:
        append(stream, events)
        for event in events:
            for datum in embedded(event["message"]):
                cloudwatch.record_metric(*datum)

    cloudwatch_logs._append_log_events = appending
