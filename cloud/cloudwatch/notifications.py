"""What CloudWatch says when an alarm changes its state: the reason, and the message that a topic receives.

AWS documents neither of them whole. Both have the form of what others received from it, as in the user guide's page
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Acting_Alarm_Changes.html (reasons) and in
https://github.com/aws/aws-lambda-go/blob/main/events/testdata/cloudwatch-alarm-sns-payload-single-metric.json.
"""

import functools
import operator
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import botocore.session

Alarm = Mapping[str, Any]

_BREACHES = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}
COMPARISONS = frozenset(_BREACHES)
_TREATED = {"breaching": "Breaching", "notBreaching": "NonBreaching", "missing": "Missing", "ignore": "Ignored"}


def is_breaching(alarm: Alarm, value: float) -> bool:
    """Return whether a datapoint is beyond the threshold of an alarm."""
    return bool(_BREACHES[alarm["ComparisonOperator"]][0](value, alarm["Threshold"]))


def reason_of(alarm: Alarm, state: str, datapoints: Sequence[float | None], starts: Sequence[float]) -> str:
    """Return why an alarm enters a state, in the words of CloudWatch.

    Args:
        alarm: The alarm.
        state: The state that it enters.
        datapoints: The datapoints of the evaluation range, oldest first; None where one is missing.
        starts: The starts of their periods in epoch seconds.
    """
    if state == "INSUFFICIENT_DATA":
        return "Insufficient Data: 1 datapoint was unknown."
    periods, needed = alarm["EvaluationPeriods"], alarm.get("DatapointsToAlarm")
    both = zip(datapoints, starts, strict=True)
    present = [(value, start) for value, start in both if value is not None][-periods:]
    missing = periods - len(present)
    decided = [(value, start) for value, start in present if is_breaching(alarm, value) == (state == "ALARM")]
    if not decided:
        treated = f"{_counted(missing, 'missing datapoint')} treated as [{_TREATED[alarm['TreatMissingData']]}]."
        if present:
            return f"Threshold Crossed: {treated}"
        received = f"no datapoints were received for {periods} period{'s' * (periods != 1)}"
        return f"Threshold Crossed: {received} and {treated}"
    values = ", ".join(f"{value} ({_minute(start)})" for value, start in reversed(decided))
    verb = "was" if len(decided) == 1 else "were"
    negation, words = "" if state == "ALARM" else " not", _BREACHES[alarm["ComparisonOperator"]][1]
    crossed = f"{verb}{negation} {words} the threshold ({alarm['Threshold']})"
    if not needed:
        return f"Threshold Crossed: {len(decided)} datapoint{'s' * (len(decided) != 1)} [{values}] {crossed}."
    least, way = (needed, "OK -> ALARM") if state == "ALARM" else (periods - needed + 1, "ALARM -> OK")
    return (
        f"Threshold Crossed: {len(decided)} out of the last {periods} datapoints [{values}] {crossed} "
        f"(minimum {least} datapoint{'s' * (least != 1)} for {way} transition)."
    )


def message_of(alarm: Alarm, old_state: str, new_state: str, reason: str, region: str, now: float) -> dict[str, Any]:
    """Return the document that CloudWatch sends to a topic when an alarm of one metric changes its state.

    Args:
        alarm: MiniStack's record of the alarm.
        old_state: The state that it leaves.
        new_state: The state that it enters.
        reason: Why.
        region: The code of the region, such as ``us-east-1``.
        now: The moment, in epoch seconds.
    """
    return {
        "AlarmName": alarm["AlarmName"],
        "AlarmDescription": alarm.get("AlarmDescription") or None,
        "AWSAccountId": alarm["AlarmArn"].split(":")[4],
        "AlarmConfigurationUpdatedTimestamp": _time(alarm["AlarmConfigurationUpdatedTimestamp"]),
        "NewStateValue": new_state,
        "NewStateReason": reason,
        "StateChangeTime": _time(now),
        "Region": region_name(region),
        "AlarmArn": alarm["AlarmArn"],
        "OldStateValue": old_state,
        **{name: alarm.get(name) or [] for name in ("OKActions", "AlarmActions", "InsufficientDataActions")},
        "Trigger": _trigger(alarm),
    }


def subject_of(name: str, state: str, region: str) -> str:
    """Return the subject of that message. A subject of SNS has at most 100 characters."""
    return f'{state}: "{name}" in {region_name(region)}'[:100]


@functools.cache
def region_name(code: str) -> str:
    """Return the name by which notifications call a region, such as ``US East (N. Virginia)``."""
    partitions = botocore.session.get_session().get_data("endpoints")["partitions"]
    names = {name: each["description"] for partition in partitions for name, each in partition["regions"].items()}
    return str(names.get(code, code))


def _trigger(alarm: Alarm) -> dict[str, Any]:
    if extended := alarm.get("ExtendedStatistic"):
        statistic = {"StatisticType": "ExtendedStatistic", "ExtendedStatistic": extended}
    else:
        statistic = {"StatisticType": "Statistic", "Statistic": alarm["Statistic"].upper()}
    trigger = {
        "MetricName": alarm["MetricName"],
        "Namespace": alarm["Namespace"],
        **statistic,
        "Unit": alarm.get("Unit"),
        "Dimensions": [{"value": each["Value"], "name": each["Name"]} for each in alarm["Dimensions"]],
        "Period": alarm["Period"],
        "EvaluationPeriods": alarm["EvaluationPeriods"],
    }
    if alarm.get("DatapointsToAlarm"):
        trigger["DatapointsToAlarm"] = alarm["DatapointsToAlarm"]
    return trigger | {
        "ComparisonOperator": alarm["ComparisonOperator"],
        "Threshold": alarm["Threshold"],
        "TreatMissingData": alarm["TreatMissingData"],
        "EvaluateLowSampleCountPercentile": "",
    }


def _counted(number: int, what: str) -> str:
    return f"{number} {what} was" if number == 1 else f"{number} {what}s were"


def _minute(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%d/%m/%y %H:%M:%S")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")
