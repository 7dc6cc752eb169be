"""Executions without a cloud: their tasks are functions of the test, and their histories are lists."""

import json
import time
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any

from cloud.stepfunctions import expressions
from cloud.stepfunctions.executions import StatesError, exit_if_stopped
from cloud.stepfunctions.history import Track
from cloud.stepfunctions.interpreter import Interpreter, Json, Scope, Task


class Recorder:
    """The services of an execution.

    Attributes:
        events: The history: each event's id, the id of the event that it follows, its type and its details.
    """

    wait_scale = 0.0
    region = "us-east-1"

    def __init__(self, work: Callable[[Task], Any] | None = None) -> None:
        self._work = work
        self.events: list[tuple[int, int, str, dict[str, Any]]] = [(1, 0, "ExecutionStarted", {})]

    def evaluate(self, expression: str, scope: Scope) -> Any:
        return expressions.evaluate(expression, scope.variables, scope.states())

    def check(self, resource: str, arguments: Any) -> None:
        pass

    def invoke(self, task: Task) -> Any:
        assert self._work, task
        return self._work(task)

    def record(self, kind: str, details: Mapping[str, Any] | None, previous: int) -> int:
        exit_if_stopped()
        number = len(self.events) + 1
        self.events.append((number, previous, kind, next(iter((details or {"": {}}).values()))))
        return number

    @property
    def chain(self) -> list[str]:
        """The history as ``id<previous type``."""
        return [f"{number}<{previous} {kind}" for number, previous, kind, _ in self.events[1:]]

    def details(self, kind: str) -> list[dict[str, Any]]:
        """Return the details of all events of a type."""
        return [details for _, _, each, details in self.events if each == kind]


def run(
    states: Mapping[str, Any],
    text: str = "{}",
    work: Callable[[Task], Any] | None = None,
    seconds: float | None = None,
) -> tuple[Any, Recorder]:
    """Run states; return the output in JSON, or the exception that ended the execution, and the services.

    Args:
        states: The states; the first is the start.
        text: The input in JSON.
        work: The work of tasks.
        seconds: The execution's time.
    """
    services = Recorder(work)
    track = Track() if seconds is None else Track(deadline=time.monotonic() + seconds)
    execution = {"Id": "e", "Input": json.loads(text), "Name": "n", "RoleArn": "r", "StartTime": "t", "RedriveCount": 0}
    scope = Scope({"Execution": execution, "StateMachine": {"Id": "m", "Name": "m"}}, ChainMap(), track)
    machine = {"StartAt": next(iter(states)), "States": states}
    try:
        return Interpreter(services).run_on(machine, Json(json.loads(text), text), scope).text, services
    except Exception as error:
        return error, services


def failing(error: str, cause: str) -> Callable[[Task], Any]:
    """Return work that fails."""

    def fail(_task: Task) -> Any:
        raise StatesError(error, cause)

    return fail
