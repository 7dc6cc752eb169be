"""Create and run small state machines on the laptop cloud, for the tests of Step Functions."""

import json
import uuid
from typing import Any

from tests.integration.laptop import ROLE, eventually

State = dict[str, Any]

PASS: State = {"Type": "Pass", "End": True}


def definition(**states: State) -> dict[str, Any]:
    """Return a definition that starts with the first of these states."""
    return {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}


def branch(**states: State) -> dict[str, Any]:
    """Return a branch of a Parallel state, or an item's processor."""
    return {"StartAt": next(iter(states)), "States": states}


def task(resource: str, arguments: Any, **members: Any) -> State:
    """Return a Task state; it ends its machine unless ``members`` contain Next."""
    end = {} if "Next" in members else {"End": True}
    state = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Arguments": arguments, "TimeoutSeconds": 60}
    return {**state, **end, **members}


def create(states: Any, machine: dict[str, Any], role: str = ROLE) -> str:
    """Create a state machine and return its ARN."""
    name = f"machine-{uuid.uuid4().hex[:8]}"
    arn: str = states.create_state_machine(name=name, definition=json.dumps(machine), roleArn=role)["stateMachineArn"]
    return arn


def start(states: Any, machine: dict[str, Any], data: Any = None, role: str = ROLE) -> str:
    """Create a state machine, start an execution of it, and return the execution's ARN."""
    arn = create(states, machine, role)
    execution: str = states.start_execution(stateMachineArn=arn, input=json.dumps(data or {}))["executionArn"]
    return execution


def ended(states: Any, arn: str) -> dict[str, Any]:
    """Wait until an execution has ended, and return its description."""
    return eventually(
        lambda: states.describe_execution(executionArn=arn), lambda execution: execution["status"] != "RUNNING"
    )


def run(states: Any, machine: dict[str, Any], data: Any = None, role: str = ROLE) -> dict[str, Any]:
    """Run a new state machine and return the description of its ended execution."""
    return ended(states, start(states, machine, data, role))


def output(states: Any, machine: dict[str, Any], data: Any = None) -> Any:
    """Run a new state machine, which must succeed, and return its output."""
    done = run(states, machine, data)
    assert done["status"] == "SUCCEEDED", done.get("cause")
    return json.loads(done["output"])


def failure(states: Any, machine: dict[str, Any], data: Any = None) -> str:
    """Run a new state machine, which must fail, and return its error."""
    done = run(states, machine, data)
    assert done["status"] == "FAILED", done
    error: str = done["error"]
    return error


def entered(states: Any, arn: str) -> list[str]:
    """Return the names of the states that an execution has entered, in order."""
    pages = states.get_paginator("get_execution_history").paginate(executionArn=arn)
    events = (event for page in pages for event in page["events"])
    return [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]
