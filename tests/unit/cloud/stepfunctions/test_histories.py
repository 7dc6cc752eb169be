"""The end of an execution, after which nothing is written to its history."""

import json
import threading
import time
from typing import Any

import pytest

from cloud.stepfunctions import hooks as stepfunctions_hooks
from cloud.stepfunctions.executions import StatesError, StoppableWork
from cloud.stepfunctions.history import Track

ARN = "arn:aws:states:us-east-1:000000000000:execution:dogs:x"
ROLE = "arn:aws:iam::000000000000:role/job"


def execution(status: str = "RUNNING") -> dict[str, Any]:
    started = {"id": 1, "type": "ExecutionStarted", "executionStartedEventDetails": {"roleArn": ROLE}}
    # For an execution with "sync" MiniStack sends no event about its end.
    members = {"name": "x", "stateMachineArn": "gone", "input": "{}", "sync": True}
    return {**members, "executionArn": ARN, "status": status, "events": [started]}


def record(execution: dict[str, Any]) -> None:
    stepfunctions_hooks._MiniStackServices(execution, lambda *_: None).record("TaskSucceeded", {}, 0)


def types(execution: dict[str, Any]) -> list[str]:
    return [event["type"] for event in execution["events"]]


def test_a_late_task_records_nothing_after_the_end() -> None:
    stopped = execution("ABORTED")
    with StoppableWork(lambda: stopped["status"] == "RUNNING").entered(), pytest.raises(SystemExit):
        record(stopped)
    assert types(stopped) == ["ExecutionStarted"]


def test_a_stopped_branch_records_nothing() -> None:
    running, branch = execution(), StoppableWork()
    with branch.entered():
        record(running)
        branch.stop()
        with pytest.raises(SystemExit):
            record(running)
    record(running)  # The outer state continues.
    assert [event["id"] for event in running["events"]] == [1, 2, 3]


def test_two_ends_at_once_write_one(monkeypatch: pytest.MonkeyPatch) -> None:
    add = stepfunctions_hooks.stepfunctions._add_event

    def add_slowly(*event: Any) -> Any:
        time.sleep(0.05)  # The other thread arrives within this time.
        return add(*event)

    monkeypatch.setattr(stepfunctions_hooks.stepfunctions, "_add_event", add_slowly)
    running = execution()
    ends = [("TIMED_OUT", {}, Track()), ("SUCCEEDED", {"output": "{}"}, Track())]
    threads = [threading.Thread(target=stepfunctions_hooks._end, args=(running, *end)) for end in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(running["events"]) == 2
    event = {"TIMED_OUT": "ExecutionTimedOut", "SUCCEEDED": "ExecutionSucceeded"}[running["status"]]
    assert running["events"][1]["type"] == event


def test_start_and_end_are_counted_for_alarms_and_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[Any] = []
    monkeypatch.setattr(stepfunctions_hooks.cloudwatch, "record_metric", lambda *metric: put.append(metric))
    monkeypatch.setitem(stepfunctions_hooks.stepfunctions._executions, ARN, execution())
    stepfunctions_hooks._run_execution(lambda *_: None, ARN)
    of = {"StateMachineArn": "gone"}
    assert put == [("AWS/States", f"Executions{each}", 1, "Count", of) for each in ("Started", "Failed")]


def test_an_execution_whose_machine_is_gone_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = execution()
    monkeypatch.setitem(stepfunctions_hooks.stepfunctions._executions, ARN, orphan)
    stepfunctions_hooks._run_execution(lambda *_: None, ARN)
    assert (orphan["status"], orphan["error"], types(orphan)[1]) == ("FAILED", "States.Runtime", "ExecutionFailed")


def test_a_task_is_authorized_with_the_role_that_the_execution_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[tuple[Any, ...]] = []

    def deny(*request: Any) -> None:
        requests.append(request)
        raise StatesError("Denied", "by hand")

    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Arguments": {"FunctionName": "f"}}
    definition = json.dumps({"StartAt": "Ask", "States": {"Ask": {**task, "End": True}}})
    machine = {"stateMachineArn": "here", "name": "dogs", "definition": definition, "roleArn": "an updated one"}
    started = execution() | {"stateMachineArn": "here", "startDate": "2026-03-14T01:59:00Z"}
    monkeypatch.setitem(stepfunctions_hooks.stepfunctions._state_machines, "here", machine)
    monkeypatch.setitem(stepfunctions_hooks.stepfunctions._executions, ARN, started)
    stepfunctions_hooks._run_execution(deny, ARN)
    assert requests == [(ROLE, "x", "arn:aws:states:::lambda:invoke", {"FunctionName": "f"})]
    assert (started["status"], started["error"]) == ("FAILED", "Denied")
