"""What CloudWatch says of an alarm, by the words and documents that others received from AWS."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cloud.cloudwatch import hooks, notifications
from cloud.cloudwatch.notifications import message_of, reason_of, subject_of

NOON = datetime(2026, 11, 30, 12, 5, tzinfo=UTC).timestamp()
MINUTES = [NOON - 120, NOON - 60, NOON]
GREATER = {"ComparisonOperator": "GreaterThanThreshold", "Threshold": 4.0, "TreatMissingData": "notBreaching"}
RECORD: dict[str, Any] = {
    "AlarmName": "dogs-latency",
    "AlarmArn": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:dogs-latency",
    "AlarmDescription": "Slow. Runbook: docs/runbook.md#latency",
    "MetricName": "ModelLatency",
    "Namespace": "AWS/SageMaker",
    "Statistic": "Average",
    "ExtendedStatistic": "p99",
    "Period": 60,
    "EvaluationPeriods": 3,
    "DatapointsToAlarm": 2,
    "Threshold": 250000.0,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
    "ActionsEnabled": True,
    "AlarmActions": ["arn:aws:sns:us-east-1:123456789012:news"],
    "OKActions": [],
    "InsufficientDataActions": [],
    "Dimensions": [{"Name": "EndpointName", "Value": "dogs"}, {"Name": "VariantName", "Value": "main"}],
    "Unit": None,
    "AlarmConfigurationUpdatedTimestamp": int(NOON),
}


@pytest.mark.parametrize(
    ("alarm", "state", "datapoints", "words"),
    [
        (
            {"EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanOrEqualToThreshold", "Threshold": 1.0},
            "ALARM",
            [0.0, 0.0, 1.0],
            "1 datapoint [1.0 (30/11/26 12:05:00)] was greater than or equal to the threshold (1.0).",
        ),
        (
            {"EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanOrEqualToThreshold", "Threshold": 1.0},
            "OK",
            [None, 3.0, 0.0],
            "1 datapoint [0.0 (30/11/26 12:05:00)] was not greater than or equal to the threshold (1.0).",
        ),
        (
            {"EvaluationPeriods": 3, "DatapointsToAlarm": 2},
            "ALARM",
            [9.5, 1.0, 7.0],
            "2 out of the last 3 datapoints [7.0 (30/11/26 12:05:00), 9.5 (30/11/26 12:03:00)] were greater than the "
            "threshold (4.0) (minimum 2 datapoints for OK -> ALARM transition).",
        ),
        (
            {"EvaluationPeriods": 3, "DatapointsToAlarm": 3},
            "OK",
            [9.5, 9.0, 0.5],
            "1 out of the last 3 datapoints [0.5 (30/11/26 12:05:00)] was not greater than the threshold (4.0) "
            "(minimum 1 datapoint for ALARM -> OK transition).",
        ),
        (
            {"EvaluationPeriods": 3, "TreatMissingData": "breaching", "ComparisonOperator": "LessThanThreshold"},
            "ALARM",
            [None, None, None],
            "no datapoints were received for 3 periods and 3 missing datapoints were treated as [Breaching].",
        ),
        (
            {"EvaluationPeriods": 1},
            "OK",
            [None, None, None],
            "no datapoints were received for 1 period and 1 missing datapoint was treated as [NonBreaching].",
        ),
        ({"EvaluationPeriods": 3}, "OK", [9.0, None, None], "2 missing datapoints were treated as [NonBreaching]."),
    ],
)
def test_reason_names_the_datapoints_that_decided(
    alarm: dict[str, Any], state: str, datapoints: list[float | None], words: str
) -> None:
    assert reason_of(GREATER | alarm, state, datapoints, MINUTES) == f"Threshold Crossed: {words}"


def test_reason_of_missing_data_has_no_threshold() -> None:
    alarm = GREATER | {"EvaluationPeriods": 1, "TreatMissingData": "missing"}
    reason = reason_of(alarm, "INSUFFICIENT_DATA", [None], [NOON])
    assert reason == "Insufficient Data: 1 datapoint was unknown."


def test_message_has_the_fields_of_awss() -> None:
    assert message_of(RECORD, "OK", "ALARM", "because", "us-east-1", NOON + 0.25) == {
        "AlarmName": "dogs-latency",
        "AlarmDescription": "Slow. Runbook: docs/runbook.md#latency",
        "AWSAccountId": "123456789012",
        "AlarmConfigurationUpdatedTimestamp": "2026-11-30T12:05:00.000+0000",
        "NewStateValue": "ALARM",
        "NewStateReason": "because",
        "StateChangeTime": "2026-11-30T12:05:00.250+0000",
        "Region": "US East (N. Virginia)",
        "AlarmArn": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:dogs-latency",
        "OldStateValue": "OK",
        "OKActions": [],
        "AlarmActions": ["arn:aws:sns:us-east-1:123456789012:news"],
        "InsufficientDataActions": [],
        "Trigger": {
            "MetricName": "ModelLatency",
            "Namespace": "AWS/SageMaker",
            "StatisticType": "ExtendedStatistic",
            "ExtendedStatistic": "p99",
            "Unit": None,
            "Dimensions": [{"value": "dogs", "name": "EndpointName"}, {"value": "main", "name": "VariantName"}],
            "Period": 60,
            "EvaluationPeriods": 3,
            "DatapointsToAlarm": 2,
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": 250000.0,
            "TreatMissingData": "notBreaching",
            "EvaluateLowSampleCountPercentile": "",
        },
    }


def test_message_of_a_plain_statistic_names_it_in_capitals() -> None:
    alarm = RECORD | {"Statistic": "Sum", "ExtendedStatistic": None, "DatapointsToAlarm": None, "AlarmDescription": ""}
    message = message_of(alarm, "OK", "ALARM", "because", "eu-central-1", NOON)
    assert (message["Trigger"]["StatisticType"], message["Trigger"]["Statistic"]) == ("Statistic", "SUM")
    assert "DatapointsToAlarm" not in message["Trigger"]
    assert (message["AlarmDescription"], message["Region"]) == (None, "Europe (Frankfurt)")


def test_subject_names_state_alarm_and_region_and_is_no_longer_than_sns_allows() -> None:
    assert subject_of("dogs-latency", "ALARM", "us-east-1") == 'ALARM: "dogs-latency" in US East (N. Virginia)'
    assert len(subject_of("d" * 200, "ALARM", "us-east-1")) == 100


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Let alarms tell every topic but one named ``closed``; return the list of topics and subjects."""
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(hooks.cloudwatch, "_dispatch_alarm_actions", hooks.cloudwatch._dispatch_alarm_actions)
    monkeypatch.setattr(hooks.cloudwatch, "_is_sns_action_arn", lambda action: ":sns:" in action)
    monkeypatch.setattr(hooks.sns, "_fanout", lambda topic, _id, _message, subject: told.append((topic, subject)))
    hooks.notify_as_aws(lambda topic, alarm: not topic.endswith("closed") and alarm == RECORD["AlarmArn"])
    return told


def dispatch(**members: Any) -> None:
    hooks.cloudwatch._dispatch_alarm_actions(RECORD | members, "OK", "ALARM", "because")


def test_alarm_tells_the_topics_among_its_actions_that_let_it(sent: list[tuple[str, str]]) -> None:
    dispatch(AlarmActions=["arn:aws:sns:::news", "arn:aws:sns:::closed", "arn:aws:autoscaling:::scalingPolicy:x"])
    subject = f'ALARM: "dogs-latency" in {notifications.region_name(hooks.scope()[0])}'
    assert sent == [("arn:aws:sns:::news", subject)]


def test_alarm_whose_actions_are_off_or_for_another_state_tells_nobody(sent: list[tuple[str, str]]) -> None:
    dispatch(ActionsEnabled=False)
    dispatch(AlarmActions=[], OKActions=["arn:aws:sns:::news"])
    assert sent == []


def test_alarm_made_of_others_keeps_the_emulators_message_and_its_permission(sent: list[tuple[str, str]]) -> None:
    composite = {"AlarmRule": "ALARM(x)", "MetricName": None, "AlarmActions": ["arn:aws:sns:::closed"]}
    dispatch(**composite)
    assert sent == []
    dispatch(**composite | {"AlarmActions": ["arn:aws:sns:::news"]})
    assert [topic for topic, _ in sent] == ["arn:aws:sns:::news"]
