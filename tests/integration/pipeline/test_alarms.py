"""Ringing the alarms of a deployed stack: who is heard, what comes out red, and that nothing is left."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from local import alarms
from local.home import LocalError
from tests.integration.pipeline.kennel import ROOT, Kennel, environment, wait_for

OF_ENDPOINT = (
    "model-errors",
    "model-time",
    "errors",
    "latency",
    "no-capacity",
    "function-errors",
    "function-throttles",
)
NAMES = [*(f"kennel-{name}" for name in OF_ENDPOINT), "kennel-pipeline-failed", "kennel-teardown-failed"]


def states(bare: Kennel) -> dict[str, tuple[str, str]]:
    described = bare.client("cloudwatch").describe_alarms(AlarmNames=NAMES)["MetricAlarms"]
    return {each["AlarmName"]: (each["StateValue"], each["StateReason"]) for each in described}


def subscriptions(bare: Kennel) -> list[Any]:
    topic = bare.outputs()["TopicArn"]
    return list(bare.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"])


@contextlib.contextmanager
def deaf_topic(bare: Kennel) -> Iterator[None]:
    """Take from the policy of the topic's key what lets CloudWatch use the key."""
    kms, sns = bare.client("kms"), bare.client("sns")
    key = sns.get_topic_attributes(TopicArn=bare.outputs()["TopicArn"])["Attributes"]["KmsMasterKeyId"]
    policy = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    document = json.loads(policy)
    statements = [each for each in document["Statement"] if "cloudwatch" not in json.dumps(each)]
    assert len(statements) == len(document["Statement"]) - 1
    changed = json.dumps(document | {"Statement": statements})
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=changed)
    try:
        yield
    finally:
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy)


@contextlib.contextmanager
def closed_topic(bare: Kennel) -> Iterator[None]:
    """Let nobody but one user publish to the topic."""
    sns, topic = bare.client("sns"), bare.outputs()["TopicArn"]
    policy = sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"]
    principal = {"AWS": "arn:aws:iam::000000000000:user/ada"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sns:Publish", "Resource": topic}
    changed = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=changed)
    try:
        yield
    finally:
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)


def test_every_alarm_is_heard_and_has_its_state_again(bare: Kennel) -> None:
    command = bare.local("alarm-test")
    assert command.returncode == 0, command.stdout + command.stderr
    rows = re.findall(r"^  (kennel-\S+) +✓ +(\d+\.\d\d) s +docs/runbook.md#(\S+)$", command.stdout, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(NAMES)
    assert all(name == f"kennel-{paragraph}" for name, _, paragraph in rows)
    assert "9 of 9 alarms heard" in command.stdout
    for name in ("burst only scales", "canary exists only", "meter-failed and meter-silent exist"):
        assert f"  {name}" in command.stdout
    assert not [name for name, (state, reason) in states(bare).items() if state == "ALARM" or "alarm-test" in reason]
    assert subscriptions(bare) == []


def test_alarm_that_rings_already_is_rung_again_and_left_ringing(bare: Kennel) -> None:
    cloudwatch = bare.client("cloudwatch")
    alarm = {"AlarmName": "kennel-latency", "StateReason": "slow"}
    # It keeps its state, because its metric has no points, and missing ones are ignored.
    (before,) = cloudwatch.describe_alarms(AlarmNames=["kennel-latency"])["MetricAlarms"]
    fields = cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape.members
    request = {name: value for name, value in before.items() if name in fields and value not in ("", [], None)}
    cloudwatch.put_metric_alarm(**request | {"TreatMissingData": "ignore"})
    try:
        cloudwatch.set_alarm_state(**alarm, StateValue="ALARM")
        assert alarms.ring(bare.laptop, ["latency"]) == 0
        assert states(bare)["kennel-latency"] == ("ALARM", "slow")
    finally:
        cloudwatch.put_metric_alarm(**request)
        cloudwatch.set_alarm_state(**alarm, StateValue="OK")


def test_alarms_that_nobody_hears_come_out_red(bare: Kennel, capsys: pytest.CaptureFixture[str]) -> None:
    cloudwatch = bare.client("cloudwatch")
    with deaf_topic(bare):
        assert alarms.ring(bare.laptop, ["errors"], 0.5) == 1
    with closed_topic(bare):
        assert alarms.ring(bare.laptop, ["errors"], 0.5) == 1
    printed = capsys.readouterr().out
    assert len(re.findall(r"^  kennel-errors +✓ +never ", printed, re.MULTILINE)) == 2
    assert printed.count("the topic's policy must allow cloudwatch.amazonaws.com sns:Publish, and that of its key") == 2

    cloudwatch.disable_alarm_actions(AlarmNames=["kennel-errors"])
    try:
        assert alarms.ring(bare.laptop, ["errors", "latency"], 0.5) == 1
    finally:
        cloudwatch.enable_alarm_actions(AlarmNames=["kennel-errors"])
    printed = capsys.readouterr().out
    assert "its actions are off: aws cloudwatch enable-alarm-actions --alarm-names kennel-errors" in printed
    assert "1 of 2 alarms heard" in printed

    assert alarms.ring(bare.laptop, ["errors"]) == 0
    assert subscriptions(bare) == []


def test_alarms_that_take_updates_back_are_not_rung_during_a_run(
    bare: Kennel, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"hold-at-Plan-{uuid.uuid4().hex[:8]}"
    execution = bare.start({"dataset": "dataset/none/"}, name=name)
    try:
        with pytest.raises(
            LocalError, match=f"the run {name} is at work, and kennel-model-errors and kennel-model-time"
        ):
            alarms.ring(bare.laptop, [])
        assert alarms.ring(bare.laptop, ["latency"]) == 0
    finally:
        bare.finish(execution)
    assert "1 of 1 alarm heard" in capsys.readouterr().out


def test_ctrl_c_leaves_neither_an_alarm_nor_a_subscription(bare: Kennel) -> None:
    command = [sys.executable, "-m", "local", "alarm-test", "--wait", "600", "no-capacity"]
    with deaf_topic(bare):
        process = subprocess.Popen(command, cwd=ROOT, env=environment(bare.home), stdout=subprocess.PIPE, text=True)
        wait_for(lambda: "alarm-test" in states(bare)["kennel-no-capacity"][1] and len(subscriptions(bare)) == 1)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, "stopped; the alarms have the states that they had" in output) == (130, True)
    state, reason = states(bare)["kennel-no-capacity"]
    assert (state == "ALARM", "alarm-test" in reason) == (False, False)
    assert subscriptions(bare) == []
