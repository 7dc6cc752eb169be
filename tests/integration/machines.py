"""Tiny state machines on the laptop cloud, for the tests of what Step Functions does."""

import json
import uuid
from typing import Any

from tests.integration.laptop import ROLE, eventually

State = dict[str, Any]

PASS: State = {"Type": "Pass", "End": True}


def definition(**states: State) -> dict[str, Any]:
    """A machine of states; the first starts it."""
    return {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}


def branch(**states: State) -> dict[str, Any]:
    """A branch, or what processes an item."""
    return {"StartAt": next(iter(states)), "States": states}


def task(resource: str, arguments: Any, **members: Any) -> State:
    """A task that ends its machine unless told otherwise."""
    end = {} if "Next" in members else {"End": True}
    about = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Arguments": arguments, "TimeoutSeconds": 60}
    return {**about, **end, **members}


def create(states: Any, machine: dict[str, Any], role: str = ROLE) -> str:
    """Create a state machine; its ARN."""
    name = f"machine-{uuid.uuid4().hex[:8]}"
    arn: str = states.create_state_machine(name=name, definition=json.dumps(machine), roleArn=role)["stateMachineArn"]
    return arn


def start(states: Any, machine: dict[str, Any], given: Any = None, role: str = ROLE) -> str:
    """Start an execution of a new state machine; its ARN."""
    arn = create(states, machine, role)
    execution: str = states.start_execution(stateMachineArn=arn, input=json.dumps(given or {}))["executionArn"]
    return execution


def ended(states: Any, arn: str) -> dict[str, Any]:
    """The execution once it has ended."""
    return eventually(lambda: states.describe_execution(executionArn=arn), lambda seen: seen["status"] != "RUNNING")


def run(states: Any, machine: dict[str, Any], given: Any = None, role: str = ROLE) -> dict[str, Any]:
    """An execution of a new state machine, once it has ended."""
    return ended(states, start(states, machine, given, role))


def output(states: Any, machine: dict[str, Any], given: Any = None) -> Any:
    """What a new state machine puts out."""
    done = run(states, machine, given)
    assert done["status"] == "SUCCEEDED", done.get("cause")
    return json.loads(done["output"])


def failure(states: Any, machine: dict[str, Any], given: Any = None) -> str:
    """The error that a new state machine fails with."""
    done = run(states, machine, given)
    assert done["status"] == "FAILED", done
    error: str = done["error"]
    return error


def entered(states: Any, arn: str) -> list[str]:
    """Names of the states that an execution has entered, in order."""
    pages = states.get_paginator("get_execution_history").paginate(executionArn=arn)
    events = (event for page in pages for event in page["events"])
    return [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]
