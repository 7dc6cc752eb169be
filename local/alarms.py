"""Ring each alarm of the deployed stack once, and show that a subscriber of its topic hears it."""

import contextlib
import json
import signal
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from local import stack
from local.console import plural, say, say_exactly
from local.home import LocalError
from local.laptop import Cloud
from local.mailbox import subscribed

HEARD_WITHIN = 10.0  # seconds; a topic of the laptop cloud delivers within milliseconds
_TAKE_BACK = ("model-errors", "model-time")  # They take an update of the endpoint back.
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_METER = ("meter-failed", "meter-silent")
_TELL_NOBODY = {
    "burst": "only scales and tells nobody; ringing it would add instances",
    "canary": (
        "exists only while a new version of the model's function gets a part of the requests, and tells nobody by "
        "itself: the run that it ends rings pipeline-failed"
    ),
}
_MARK = "Runbook: "  # Before the paragraph, at the end of each alarm's description.


def ring(cloud: Cloud, names: Sequence[str], seconds: float = HEARD_WITHIN) -> int:
    """Ring alarms and print a table of who was heard; return 0 if all were, otherwise 1.

    Each alarm has afterwards the state that it had before, and the subscription is gone, also after Ctrl-C.

    Args:
        cloud: the laptop cloud with the stack.
        names: of alarms, whole or without the name of endpoint or stack, such as ``latency``; none for all.
        seconds: how long an alarm may take to be heard.

    Raises:
        LocalError: the stack has no such alarm, or an update is under way that an alarm would take back.
    """
    deployed = stack.describe(cloud)
    alarms = _alarms(cloud, deployed.endpoint_name)
    chosen = _chosen(alarms, names, deployed.endpoint_name)
    take_back = [alarms[each] for each in _TAKE_BACK if alarms.get(each) in chosen]
    if take_back:
        _refuse_update(cloud, deployed, take_back)
    say(f"rings {plural(len(chosen), 'alarm')} once; a subscriber of {deployed.topic_arn} listens\n")
    width = max(len(each) for each in chosen)
    say_exactly(f"  {'alarm':<{width}}  rang  heard after  paragraph")
    unheard = 0
    with contextlib.ExitStack() as ended:
        received = ended.enter_context(subscribed(cloud, deployed.topic_arn))
        try:
            for name in chosen:
                if name in take_back:  # An update may have begun since.
                    _refuse_update(cloud, deployed, take_back)
                unheard += not _ring_and_tell(cloud, name, deployed.topic_arn, received, seconds, width)
        except KeyboardInterrupt:
            say("\nstopped; the alarms have the states that they had")
            raise
        finally:
            with _undisturbed():
                ended.close()
    say(f"\n{len(chosen) - unheard} of {plural(len(chosen), 'alarm')} heard")
    if not names:
        _tell_others(alarms)
    return 1 if unheard else 0


def _alarms(cloud: Cloud, endpoint: str) -> dict[str, str]:
    """Return the names of the stack's alarms by the names of their paragraphs, such as ``latency``."""
    pages = cloud.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack.STACK)
    listed = [each for page in pages for each in page["StackResourceSummaries"]]
    found = [each["PhysicalResourceId"] for each in listed if each["ResourceType"] == "AWS::CloudWatch::Alarm"]
    return {_short(name, endpoint): name for name in found}


def _short(name: str, endpoint: str) -> str:
    """Return an alarm's name without that of endpoint or stack, which is the name of its paragraph."""
    return name.removeprefix(f"{endpoint}-").removeprefix(f"{stack.STACK}-")


def _chosen(alarms: Mapping[str, str], names: Sequence[str], endpoint: str) -> list[str]:
    if not names:
        return list(alarms.values())
    chosen = dict[str, None]()
    for name in names:
        short = _short(name, endpoint)
        if short in _TELL_NOBODY:
            raise LocalError(f"alarm {name} {_TELL_NOBODY[short]}")
        if short not in alarms:
            without = "; with MonthlyDollars alone it has meter-failed and meter-silent" if short in _METER else ""
            raise LocalError(f"the stack has no alarm {name}; it has {', '.join(sorted(alarms))}{without}")
        chosen[alarms[short]] = None
    return list(chosen)


def _refuse_update(cloud: Cloud, deployed: stack.Stack, take_back: Sequence[str]) -> None:
    """Raise LocalError if a run is at work or the endpoint is being updated."""
    states, reason = cloud.client("stepfunctions"), ""
    running = states.list_executions(stateMachineArn=deployed.pipeline_arn, statusFilter="RUNNING")["executions"]
    if running:
        reason = f"the run {running[0]['name']} is at work"
    else:
        with contextlib.suppress(ClientError):  # There is no endpoint.
            described = cloud.client("sagemaker").describe_endpoint(EndpointName=deployed.endpoint_name)
            if described["EndpointStatus"] in ("Updating", "RollingBack", "SystemUpdating"):
                reason = f"the endpoint {deployed.endpoint_name} is {described['EndpointStatus']}"
    if reason:
        raise LocalError(
            f"{reason}, and {' and '.join(take_back)} would take an update back; wait for its end, or name the "
            "alarms to ring without them, such as latency no-capacity"
        )


def _ring_and_tell(
    cloud: Cloud, name: str, topic: str, received: list[dict[str, Any]], seconds: float, width: int
) -> bool:
    """Ring an alarm, print its row, and return whether it was heard."""
    cloudwatch = cloud.client("cloudwatch")
    alarm = _described(cloudwatch, name)
    heard_after = _set_off(cloudwatch, alarm, received, seconds) if alarm else None
    took = "never" if heard_after is None else f"{heard_after:.2f} s"
    paragraph = alarm.get("AlarmDescription", "").rpartition(_MARK)[2] if _MARK in str(alarm) else "none"
    say_exactly(f"  {name:<{width}}  {'✓' if alarm else '✗'}     {took:>11}  {paragraph}")
    if heard_after is None:
        say_exactly(f"    {_why(alarm, topic)}")
    return heard_after is not None


def _described(cloudwatch: Any, name: str) -> dict[str, Any]:
    found = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return dict(found[0]) if found else {}


def _set_off(cloudwatch: Any, alarm: Mapping[str, Any], received: list[dict[str, Any]], seconds: float) -> float | None:
    """Set an alarm off and back; return the seconds until it was heard, None if it was not in time."""
    name, reason = alarm["AlarmName"], f"alarm-test: rung by hand, nothing is wrong ({uuid.uuid4().hex[:8]})"
    try:
        if alarm["StateValue"] == "ALARM":  # Only a change of the state notifies.
            cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason=reason)
        started = time.monotonic()
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason=reason)
        while not any(_tells(each, name, reason) for each in received):
            if time.monotonic() - started > seconds:
                return None
            time.sleep(0.02)
        return time.monotonic() - started
    finally:
        with _undisturbed():
            # CloudWatch may have evaluated it meanwhile, and knows better.
            if _described(cloudwatch, name).get("StateReason") == reason:
                before = {"StateValue": alarm["StateValue"], "StateReason": alarm["StateReason"]}
                cloudwatch.set_alarm_state(AlarmName=name, **before)


def _tells(mail: Mapping[str, Any], name: str, reason: str) -> bool:
    try:
        message = json.loads(mail["Message"])
    except (KeyError, ValueError):  # The topic sends other mails, too.
        return False
    return isinstance(message, dict) and (message.get("AlarmName"), message.get("NewStateReason")) == (name, reason)


def _why(alarm: Mapping[str, Any], topic: str) -> str:
    """Return why an alarm was not heard, and what mends it."""
    if not alarm:
        return "it was deleted by hand; make it again as template.yaml has it (aws cloudwatch put-metric-alarm)"
    if not alarm["ActionsEnabled"]:
        return f"its actions are off: aws cloudwatch enable-alarm-actions --alarm-names {alarm['AlarmName']}"
    if topic not in alarm["AlarmActions"]:
        return (
            "its actions do not name the topic; make it again as template.yaml has it (aws cloudwatch put-metric-alarm)"
        )
    return (
        "the topic took nothing from it: the topic's policy must allow cloudwatch.amazonaws.com sns:Publish, and that "
        "of its key kms:Decrypt and kms:GenerateDataKey*, as template.yaml has them"
    )


def _tell_others(alarms: Mapping[str, str]) -> None:
    """Say which alarms were not rung, and why."""
    say("\nnot rung:")
    for name, words in _TELL_NOBODY.items():
        say(f"  {name} {words}")
    if missing := [name for name in _METER if name not in alarms]:
        say(f"  {' and '.join(missing)} exist with MonthlyDollars alone")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold Ctrl-C back until something is put back."""
    held = list[int]()
    heeded = [each for each in _STOPS if signal.getsignal(each) is not signal.SIG_IGN]  # nohup ignores one.
    handlers = {each: signal.signal(each, lambda number, _: held.append(number)) for each in heeded}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if held:
        raise KeyboardInterrupt
