"""Notifications of alarms, and metrics in the logs of functions."""

import io
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.mailbox import mailbox
from tests.integration.laptop import ACCOUNT, ROLE, Cloud, await_function, eventually


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Start a subscriber; yield its address and the list of messages that it receives."""
    with mailbox() as box:
        yield box


def test_an_alarm_tells_an_encrypted_topic_only_if_the_keys_policy_lets_cloudwatch(
    cloud: Cloud, inbox: tuple[str, list[dict[str, Any]]]
) -> None:
    address, received = inbox
    kms, sns, cloudwatch = cloud.client("kms"), cloud.client("sns"), cloud.client("cloudwatch")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    topic = sns.create_topic(Name="alarms", Attributes={"KmsMasterKeyId": key})["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=address)
    (invitation,) = eventually(lambda: list(received), lambda messages: len(messages) == 1)
    sns.confirm_subscription(TopicArn=topic, Token=invitation["Token"])
    metric = {"Namespace": "Kennel", "MetricName": "Nothing", "Statistic": "Sum", "Period": 60}
    rule = {"EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold"}
    cloudwatch.put_metric_alarm(
        AlarmName="told", **metric, **rule, TreatMissingData="ignore", AlarmActions=[topic], OKActions=[topic]
    )
    cloudwatch.set_alarm_state(AlarmName="told", StateValue="ALARM", StateReason="unheard")
    account = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    service = {"Principal": {"Service": "cloudwatch.amazonaws.com"}, "Action": ["kms:GenerateDataKey*", "kms:Decrypt"]}
    policy = {"Version": "2012-10-17", "Statement": [account, {"Effect": "Allow", **service, "Resource": "*"}]}
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    cloudwatch.set_alarm_state(AlarmName="told", StateValue="OK", StateReason="heard")
    notifications = eventually(lambda: received[1:], bool)
    assert [json.loads(message["Message"])["NewStateReason"] for message in notifications] == ["heard"]
    cloudwatch.delete_alarms(AlarmNames=["told"])


FUNCTION = """
import json

def handler(event, context):
    directive = {"Namespace": "Dogs", "Dimensions": [["service"]], "Metrics": [{"Name": "Barks", "Unit": "Count"}]}
    print(json.dumps({"_aws": {"Timestamp": 0, "CloudWatchMetrics": [directive]}, "service": "yard", "Barks": 3}))
"""


def test_metrics_in_a_functions_log_are_metrics(cloud: Cloud) -> None:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("yard.py", FUNCTION)
    functions, cloudwatch = cloud.client("lambda"), cloud.client("cloudwatch")
    functions.create_function(
        FunctionName="yard", Runtime="python3.11", Handler="yard.handler", Role=ROLE, Code={"ZipFile": code.getvalue()}
    )
    await_function(functions, "yard")
    for _ in range(2):
        functions.invoke(FunctionName="yard")
    now = datetime.now(UTC)
    datapoints = cloudwatch.get_metric_statistics(
        Namespace="Dogs",
        MetricName="Barks",
        Dimensions=[{"Name": "service", "Value": "yard"}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=86_400,
        Statistics=["Sum"],
    )["Datapoints"]
    assert sum(point["Sum"] for point in datapoints) == 6
