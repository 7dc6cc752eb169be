"""What ends an execution, and that nothing is written after it; sessions that are forgotten in time."""

import json
import threading
import time
from typing import Any

import pytest

from cloud.iam import hooks as iam_hooks
from cloud.stepfunctions import hooks as stepfunctions_hooks
from cloud.stepfunctions.executions import Part, StatesError

ARN = "arn:aws:states:us-east-1:000000000000:execution:dogs:x"
ROLE = "arn:aws:iam::000000000000:role/job"


def execution(status: str = "RUNNING") -> dict[str, Any]:
    started = {"id": 1, "type": "ExecutionStarted", "executionStartedEventDetails": {"roleArn": ROLE}}
    about = {"name": "x", "stateMachineArn": "gone", "input": "{}", "sync": True}  # sync: nobody is told of its end
    return {**about, "executionArn": ARN, "status": status, "events": [started]}


def record(given: dict[str, Any]) -> None:
    stepfunctions_hooks._ExecutionsCloud(given, lambda *_: None).record("TaskSucceeded", {})


def types(given: dict[str, Any]) -> list[str]:
    return [event["type"] for event in given["events"]]


def test_a_late_task_records_nothing_after_the_end() -> None:
    stopped = execution("ABORTED")
    with Part(lambda: stopped["status"] == "RUNNING").entered(), pytest.raises(SystemExit):
        record(stopped)
    assert types(stopped) == ["ExecutionStarted"]


def test_a_stopped_branch_records_nothing() -> None:
    running, branch = execution(), Part()
    with branch.entered():
        record(running)
        branch.stop()
        with pytest.raises(SystemExit):
            record(running)
    record(running)  # the state around goes on
    assert [event["id"] for event in running["events"]] == [1, 2, 3]


def test_two_ends_at_once_write_one(monkeypatch: pytest.MonkeyPatch) -> None:
    add = stepfunctions_hooks.stepfunctions._add_event

    def adding(*event: Any) -> None:
        time.sleep(0.05)  # long enough for the other to come
        add(*event)

    monkeypatch.setattr(stepfunctions_hooks.stepfunctions, "_add_event", adding)
    running = execution()
    ends = [("TIMED_OUT", "ExecutionTimedOut", {}), ("SUCCEEDED", "ExecutionSucceeded", {"output": "{}"})]
    threads = [threading.Thread(target=stepfunctions_hooks._end, args=(running, *end)) for end in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(running["events"]) == 2
    assert (running["status"], running["events"][1]["type"]) in [(status, event) for status, event, _ in ends]


def test_an_execution_whose_machine_is_gone_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = execution()
    monkeypatch.setitem(stepfunctions_hooks.stepfunctions._executions, ARN, orphan)
    stepfunctions_hooks._run_execution(lambda *_: None, ARN)
    assert (orphan["status"], orphan["error"], types(orphan)[1]) == ("FAILED", "States.Runtime", "ExecutionFailed")


def test_a_task_is_authorized_with_the_role_that_the_execution_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def deny(*about: Any) -> None:
        asked.append(about)
        raise StatesError("Denied", "by hand")

    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Arguments": {"FunctionName": "f"}}
    definition = json.dumps({"StartAt": "Ask", "States": {"Ask": {**task, "End": True}}})
    machine = {"stateMachineArn": "here", "name": "dogs", "definition": definition, "roleArn": "an updated one"}
    started = execution() | {"stateMachineArn": "here", "startDate": "2026-03-14T01:59:00Z"}
    monkeypatch.setitem(stepfunctions_hooks.stepfunctions._state_machines, "here", machine)
    monkeypatch.setitem(stepfunctions_hooks.stepfunctions._executions, ARN, started)
    stepfunctions_hooks._run_execution(deny, ARN)
    assert asked == [(ROLE, "x", "arn:aws:states:::lambda:invoke", {"FunctionName": "f"})]
    assert (started["status"], started["error"]) == ("FAILED", "Denied")


def test_a_session_is_forgotten_when_it_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    service = "sagemaker.amazonaws.com"
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": [statement]}
    role = {"Arn": ROLE, "RoleName": "job", "RoleId": "AROA", "AssumeRolePolicyDocument": trust}
    monkeypatch.setitem(iam_hooks.iam._roles, "job", role)
    old, held = iam_hooks.open_session(ROLE, service, "old"), iam_hooks.sts._sessions
    assert old in held
    assert held[old]["Expiration"] > time.time() + 29 * 86_400  # a job may run for 30 days
    held[old]["Expiration"] = time.time() - 1
    new = iam_hooks.open_session(ROLE, service, "new")
    assert new in held
    assert old not in held
    del held[new]
