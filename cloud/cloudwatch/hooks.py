"""CloudWatch: ``alarms`` evaluates alarms in place of MiniStack; an alarm needs the right to use its topic's key."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ministack.services import cloudwatch

from cloud.core.emulator import Hooks

HOOKS: Hooks = (
    (
        cloudwatch,
        (
            "_alarms",
            "_calc_stats",
            "_dims_key",
            "_evaluate_alarm",
            "_evaluate_all_alarms",
            "_evict_old_metrics",
            "_is_sns_action_arn",
            "_metrics",
            "_stat_value",
        ),
    ),
)


def follow_alarms(tell: Callable[[dict[str, Any]], None]) -> None:
    """Hear of every metric alarm that is put, in the scope of its request, and let nobody else evaluate it.

    MiniStack does so whenever metrics are put, over all points of a metric's name: it looks at neither dimensions,
    periods, datapoints to alarm nor missing data.
    """
    cloudwatch._evaluate_alarm = tell
    cloudwatch._evaluate_all_alarms = lambda: None


def authorize_alarms(allows: Callable[[str], bool]) -> None:
    """Ask before an alarm tells a topic: ``allows(topic)``."""
    is_topic = cloudwatch._is_sns_action_arn
    cloudwatch._is_sns_action_arn = lambda action: bool(is_topic(action) and allows(action))


def metric_alarms() -> list[dict[str, Any]]:
    """The metric alarms of the scope; MiniStack's own records, which change with their state."""
    return list(cloudwatch._alarms.values())


def datapoints(alarm: Mapping[str, Any], seconds: float, ends: Sequence[float]) -> list[float | None]:
    """An alarm's statistic of its metric over stretches of time; None where the metric has no point.

    Args:
        seconds: how long each stretch is.
        ends: when they end, in epoch seconds, ascending.
    """
    dimensions = cloudwatch._dims_key({each["Name"]: each["Value"] for each in alarm["Dimensions"]})
    points = cloudwatch._metrics.get((alarm["Namespace"], alarm["MetricName"], dimensions)) or []
    recent = [point for point in points if point["Timestamp"] >= ends[0] - seconds]
    statistic = alarm.get("ExtendedStatistic") or alarm["Statistic"]

    def value(end: float) -> float | None:
        found = [point for point in recent if end - seconds <= point["Timestamp"] < end]
        result: float | None = cloudwatch._stat_value(cloudwatch._calc_stats(found), statistic, found)
        return result if found else None

    return [value(end) for end in ends]


def keep_metrics() -> None:
    """Let no request look for points older than two weeks.

    MiniStack goes through all that there are, on the loop that requests to endpoints wait for: 37 ms with the 400,000
    of a hundred thousand calls of a function. None gets so old here.
    """
    cloudwatch._evict_old_metrics = lambda: None
