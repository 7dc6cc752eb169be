"""CloudWatch: ``alarms`` evaluates alarms instead of MiniStack, and an alarm needs rights to tell its topic."""

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ministack.services import cloudwatch, sns

from cloud.cloudwatch import notifications
from cloud.cloudwatch.expressions import ExpressionError, evaluate
from cloud.core.emulator import Hooks, scope

HOOKS: Hooks = (
    (
        cloudwatch,
        (
            "_alarms",
            "_calc_stats",
            "_dims_key",
            "_dispatch_alarm_actions",
            "_error",
            "_evaluate_alarm",
            "_evaluate_all_alarms",
            "_evict_old_metrics",
            "_get_metric_data",
            "_is_sns_action_arn",
            "_json_ok",
            "_metrics",
            "_stat_value",
        ),
    ),
    (sns, ("_fanout",)),
)


def replace_alarm_evaluation(watch: Callable[[dict[str, Any]], None]) -> None:
    """Stop MiniStack's evaluation of alarms, and report every metric alarm instead.

    MiniStack evaluates an alarm whenever metrics are put, over all points with the metric's name. It ignores
    dimensions, periods, datapoints to alarm and missing data.

    Args:
        watch: Called with MiniStack's record of each alarm that is put, in the context of the request that puts it.
    """
    cloudwatch._evaluate_alarm = watch
    cloudwatch._evaluate_all_alarms = lambda: None


def notify_as_aws(is_allowed: Callable[[str, str], bool]) -> None:
    """Let an alarm tell a topic what CloudWatch tells it, and only with permission.

    MiniStack's message lacks the alarm's ARN and its actions, names the region by its code, and has dimensions,
    statistics and times in other forms.

    Args:
        is_allowed: Called with the ARNs of topic and alarm before each notification.
    """
    dispatch = cloudwatch._dispatch_alarm_actions

    def tell(alarm: Mapping[str, Any], old_state: str, new_state: str, reason: str) -> None:
        field = {"ALARM": "AlarmActions", "OK": "OKActions"}.get(new_state, "InsufficientDataActions")
        actions = (alarm.get(field) or []) if alarm.get("ActionsEnabled", True) else []
        topics = [
            each for each in actions if cloudwatch._is_sns_action_arn(each) and is_allowed(each, alarm["AlarmArn"])
        ]
        if not alarm.get("MetricName"):  # It is made of other alarms or of an expression, and has another message.
            dispatch({**alarm, field: topics}, old_state, new_state, reason)
            return
        region, _ = scope()
        message = json.dumps(notifications.message_of(alarm, old_state, new_state, reason, region, time.time()))
        subject = notifications.subject_of(alarm["AlarmName"], new_state, region)
        for topic in topics:
            sns._fanout(topic, str(uuid.uuid4()), message, subject)

    cloudwatch._dispatch_alarm_actions = tell


def metric_alarms() -> list[dict[str, Any]]:
    """Return the metric alarms of the current account and region: MiniStack's own records, which contain the state."""
    return list(cloudwatch._alarms.values())


def datapoints(alarm: Mapping[str, Any], seconds: float, ends: Sequence[float]) -> list[float | None]:
    """Return an alarm's statistic of its metric for each of several periods; None where the metric has no point.

    Args:
        alarm: MiniStack's record of the alarm.
        seconds: Length of each period.
        ends: Ends of the periods in epoch seconds, ascending.
    """
    dimensions = cloudwatch._dims_key({each["Name"]: each["Value"] for each in alarm["Dimensions"]})
    points = cloudwatch._metrics.get((alarm["Namespace"], alarm["MetricName"], dimensions)) or []
    recent = [point for point in points if point["Timestamp"] >= ends[0] - seconds]
    statistic = alarm.get("ExtendedStatistic") or alarm["Statistic"]

    def value(end: float) -> float | None:
        in_period = [point for point in recent if end - seconds <= point["Timestamp"] < end]
        result: float | None = cloudwatch._stat_value(cloudwatch._calc_stats(in_period), statistic, in_period)
        return result if in_period else None

    return [value(end) for end in ends]


def keep_old_metrics() -> None:
    """Stop MiniStack's search for metric points older than two weeks.

    MiniStack searches all points at each request, on the event loop that also answers requests to endpoints. With
    400,000 points, which come from a hundred thousand calls of a function, a search takes 37 ms. No point becomes two
    weeks old here.
    """
    cloudwatch._evict_old_metrics = lambda: None


def evaluate_expressions() -> None:
    """Evaluate the expressions of GetMetricData, which MiniStack answers with an internal error and no data.

    Those of the query protocol, which older SDKs send, are refused.
    """
    get = cloudwatch._get_metric_data

    def get_and_evaluate(
        form: Mapping[str, Any], document: Mapping[str, Any], is_cbor: bool, is_json: bool = False
    ) -> Any:
        queries = document.get("MetricDataQueries") or []
        if any(key.endswith(".Expression") for key in form):
            words = "The laptop cloud takes Expression as JSON, not by the query protocol."
            return cloudwatch._error("ValidationError", words, 400, is_json, is_cbor)
        if not any(each.get("Expression") for each in queries):
            return get(form, document, is_cbor, is_json)
        asked = [{**each, "ReturnData": True} for each in queries if not each.get("Expression")]
        _, _, body = get({}, {**document, "MetricDataQueries": asked}, False, True)
        try:
            results = _with_expressions(queries, json.loads(body)["MetricDataResults"])
        except ExpressionError as error:
            return cloudwatch._error("ValidationError", str(error), 400, is_json, is_cbor)
        return cloudwatch._json_ok({"MetricDataResults": results})

    cloudwatch._get_metric_data = get_and_evaluate


def _with_expressions(queries: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the results of all queries that return data, in their order.

    Args:
        queries: of the request.
        found: the results of those that are metrics.
    """
    series = {each["Id"]: dict(zip(each["Timestamps"], each["Values"], strict=True)) for each in found}
    for query in queries:
        if expression := query.get("Expression"):  # An expression may use those before it.
            series[query["Id"]] = evaluate(expression, series)
    return [
        {
            "Id": each["Id"],
            "Label": each.get("Label", each["Id"]),
            "Timestamps": [datetime.fromtimestamp(moment, UTC).isoformat() for moment in series[each["Id"]]],
            "Values": list(series[each["Id"]].values()),
            "StatusCode": "Complete",
        }
        for each in queries
        if each.get("ReturnData", True)
    ]
