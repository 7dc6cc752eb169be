"""Run state machines in JSONata as Step Functions does. This module does not depend on MiniStack.

The rules come from the Amazon States Language (https://states-language.net/spec.html) and the developer guide's pages
on variables, errors and quotas. Where these are not definite, executions recorded on AWS decide.
See "Executions have an interpreter of our own" in docs/decisions/laptop-cloud.md.
"""

import copy
import json
import random
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from cloud.stepfunctions import asl
from cloud.stepfunctions.executions import StatesError, exit_if_stopped, run_together, sleep
from cloud.stepfunctions.expressions import ExpressionError, type_cause

State = dict[str, Any]

_MAX_BYTES = 262_144  # for a state's input, its result, its output, and the variables of one Assign
_MAX_VARIABLE_BYTES = 10 * 1024 * 1024  # for all variables of an execution
_MAX_CONCURRENT_ITEMS = 40  # in an inline Map


_ABSENT: Any = object()


@dataclass(frozen=True)
class Scope:
    """The values that an expression of a state can use.

    Attributes:
        context: The context object, ``$states.context``.
        variables: Variables by name; those of outer scopes can be read and are never written.
        input: The state's input.
        result: The result of a Task, Parallel or Map state.
        error: Error and Cause, for a catcher.
    """

    context: Mapping[str, Any]
    variables: ChainMap[str, Any]
    input: Any = None
    result: Any = _ABSENT
    error: Mapping[str, str] | None = None

    def states(self) -> dict[str, Any]:
        """Return ``$states``, without the members that do not exist where the expression stands."""
        states = {"input": self.input, "context": self.context}
        states |= {} if self.result is _ABSENT else {"result": self.result}
        return states | ({} if self.error is None else {"errorOutput": self.error})

    def inner(self, **context: Any) -> "Scope":
        """Return the scope of a branch or an item: it has variables of its own and can read those of this scope."""
        return Scope({**self.context, **context}, self.variables.new_child())


class ExecutionServices(Protocol):
    """The services that an execution needs.

    Attributes:
        wait_scale: Seconds that a second of waiting on AWS takes here.
    """

    wait_scale: float

    def evaluate(self, expression: str, scope: Scope) -> Any:
        """Return the value of a JSONata expression.

        Raises:
            ExpressionError: The expression fails or has no value.
        """

    def invoke(self, resource: str, arguments: Any) -> Any:
        """Return the result of a task. It is called on a thread of its own.

        Raises:
            StatesError: The task failed.
        """

    def record(self, kind: str, details: Mapping[str, Any]) -> None:
        """Add an event to the execution's history.

        Raises:
            StatesError: The history is full.
            SystemExit: The work of this thread is stopped.
        """


class Interpreter:
    """Runs the states of one execution.

    Args:
        services: The services that the execution needs.
    """

    def __init__(self, services: ExecutionServices) -> None:
        self._services = services

    def run(self, machine: Mapping[str, Any], data: Any, scope: Scope) -> Any:
        """Run a state machine, a branch or an item's processor, and return its output.

        Args:
            machine: The definition.
            data: The input.
            scope: The context object and the variables.

        Raises:
            StatesError: A state failed and no catcher selected the error.
            SystemExit: The execution was stopped.
        """
        name: str | None = machine["StartAt"]
        while name:
            exit_if_stopped()
            state, entered = machine["States"][name], datetime.now(UTC).isoformat(timespec="milliseconds")
            state_context = {"Name": name, "EnteredTime": entered.replace("+00:00", "Z")}
            scope = replace(scope, context={**scope.context, "State": state_context}, input=data)
            event = f"{state['Type']}State"
            self._record(f"{event}Entered", "stateEnteredEventDetails", name=name, input=_json(_limited(data, name)))
            data, next_name = self._step(state, scope)
            self._record(f"{event}Exited", "stateExitedEventDetails", name=name, output=_json(_limited(data, name)))
            name = next_name
        return data

    def _step(self, state: State, scope: Scope) -> tuple[Any, str | None]:
        """Run a state; return its output and the name of the next state."""
        match state["Type"]:
            case "Choice":
                matches = (rule for rule in state["Choices"] if self._typed(rule, "Condition", bool, "boolean", scope))
                if match := next(matches, None):
                    return self._finish(match, scope, scope.input)
                if "Default" not in state:
                    raise StatesError("States.NoChoiceMatched", "No choice rule matched and there is no Default")
                return self._finish({**state, "Next": state["Default"]}, scope, scope.input)
            case "Fail":
                complete = {"Error": "", "Cause": "", **state}
                raise StatesError(*(self._typed(complete, name, str, "string", scope) for name in ("Error", "Cause")))
            case "Wait":
                self._wait(state, scope)
            case "Task" | "Parallel" | "Map":
                return self._attempt(state, scope)
        return self._finish(state, scope, scope.input)  # This is a Pass, a Succeed or a Wait whose time has passed.

    def _finish(self, rule: State, scope: Scope, default: Any) -> tuple[Any, str | None]:
        """Return the output and the next state's name of a state, a choice or a catcher, and assign its variables."""
        # All expressions see the old variables, so both output and values are evaluated before the assignment.
        output = self._fill(rule["Output"], scope, "Output") if "Output" in rule else default
        values = {name: self._fill(value, scope, f"Assign/{name}") for name, value in rule.get("Assign", {}).items()}
        scope.variables.update(_limited(values, "Assign"))
        _limited(dict(scope.variables), "all variables", _MAX_VARIABLE_BYTES)
        return output, rule.get("Next")

    def _wait(self, state: State, scope: Scope) -> None:
        if "Seconds" in state:
            seconds: float = self._whole(state, "Seconds", 0, scope)
        else:
            text = self._typed(state, "Timestamp", str, "string", scope)
            try:
                seconds = (asl.parse_timestamp(text) - datetime.now(UTC)).total_seconds()
            except ValueError as error:
                raise _query_error(scope, f"The field 'Timestamp': {error}") from None
        sleep(seconds * self._services.wait_scale)

    # --- Task, Parallel and Map, with retriers and catchers --------------------------------------

    def _attempt(self, state: State, scope: Scope) -> tuple[Any, str | None]:
        retriers = state.get("Retry", [])
        retries = [0] * len(retriers)
        while True:
            context = {**scope.context, "State": {**scope.context["State"], "RetryCount": sum(retries)}}
            scope = replace(scope, context=context)
            try:
                result = self._result(state, scope)
                return self._finish(state, replace(scope, result=result), result)
            except StatesError as error:
                failure = error
            index = next((i for i, retrier in enumerate(retriers) if _matches(retrier, failure.error)), None)
            if index is not None and retries[index] < retriers[index].get("MaxAttempts", 3):
                sleep(_delay(retriers[index], retries[index]) * self._services.wait_scale)
                retries[index] += 1
                continue
            catcher = next((catcher for catcher in state.get("Catch", []) if _matches(catcher, failure.error)), None)
            if catcher is None:
                raise failure
            output = {"Error": failure.error, "Cause": failure.cause}
            return self._finish(catcher, replace(scope, error=output), output)

    def _result(self, state: State, scope: Scope) -> Any:
        match state["Type"]:
            case "Task":
                return self._task(state, scope)
            case "Parallel":
                data = self._arguments(state, scope)
                branches = [
                    partial(self.run, branch, copy.deepcopy(data), scope.inner()) for branch in state["Branches"]
                ]
                results = run_together(branches, len(branches))
            case _:
                results = self._map(state, scope)
        return _limited(results, scope.context["State"]["Name"])

    def _task(self, state: State, scope: Scope) -> Any:
        resource: str = state["Resource"]
        arguments = self._arguments(state, scope)
        seconds = self._whole(state, "TimeoutSeconds", 1, scope) if "TimeoutSeconds" in state else None
        kind, _, action = resource.removeprefix("arn:aws:states:::").rpartition(":")
        task = {"resourceType": kind, "resource": action}
        self._record("TaskScheduled", "taskScheduledEventDetails", **task, parameters=_json(arguments))
        try:
            [result] = run_together([partial(self._services.invoke, resource, arguments)], 1, seconds)
            _limited(result, kind)
        except TimeoutError:
            self._record("TaskTimedOut", "taskTimedOutEventDetails", **task, error="States.Timeout")
            raise StatesError("States.Timeout", "") from None
        except StatesError as error:
            self._record("TaskFailed", "taskFailedEventDetails", **task, error=error.error, cause=error.cause)
            raise
        self._record("TaskSucceeded", "taskSucceededEventDetails", **task, output=_json(result))
        return result

    def _map(self, state: State, scope: Scope) -> list[Any]:
        items = self._fill(state["Items"], scope, "Items") if "Items" in state else scope.input
        if isinstance(items, dict):
            items = [{"Key": key, "Value": value} for key, value in items.items()]
        if not isinstance(items, list):
            expression = state.get("Items", "{% $states.input %}")[2:-2].strip()
            raise _query_error(scope, type_cause(expression, "Items", "array", items))
        max_concurrency = self._whole(state, "MaxConcurrency", 0, scope) if "MaxConcurrency" in state else 0

        def process(index: int, item: Any) -> Any:
            inner = scope.inner(Map={"Item": {"Index": index, "Value": item}})
            selector_scope = replace(inner, input=scope.input)
            data = item
            if "ItemSelector" in state:
                data = self._fill(state["ItemSelector"], selector_scope, "ItemSelector")
            return self.run(state["ItemProcessor"], copy.deepcopy(data), inner)

        iterations = [partial(process, index, item) for index, item in enumerate(items)]
        return run_together(iterations, min(max_concurrency or _MAX_CONCURRENT_ITEMS, _MAX_CONCURRENT_ITEMS))

    # --- fields -------------------------------------------------------------------------------------

    def _arguments(self, state: State, scope: Scope) -> Any:
        return self._fill(state["Arguments"], scope, "Arguments") if "Arguments" in state else scope.input

    def _fill(self, template: Any, scope: Scope, field: str) -> Any:
        """Return a field's value: every expression ``{% … %}`` in it is replaced by the expression's value."""
        if isinstance(template, str) and template.startswith("{%"):
            try:
                return self._services.evaluate(template[2:-2].strip(), scope)
            except ExpressionError as error:
                raise _query_error(scope, error.cause(field)) from None
        if isinstance(template, dict):
            return {name: self._fill(value, scope, f"{field}/{name}") for name, value in template.items()}
        if isinstance(template, list):
            return [self._fill(value, scope, f"{field}[{index}]") for index, value in enumerate(template)]
        return template

    def _typed(self, rule: State, field: str, kind: type | tuple[type, ...], name: str, scope: Scope) -> Any:
        value = self._fill(rule[field], scope, field)
        if not isinstance(value, kind):
            raise _query_error(scope, type_cause(str(rule[field])[2:-2].strip(), field, name, value))
        return value

    def _whole(self, state: State, field: str, low: int, scope: Scope) -> int:
        value = self._typed(state, field, (int, float), "number", scope)
        if isinstance(value, bool) or value != int(value) or value < low:
            raise _query_error(scope, f"The field '{field}' must be a whole number from {low}, but was {_json(value)}")
        return int(value)

    def _record(self, kind: str, details: str, **members: Any) -> None:
        self._services.record(kind, {details: members})


def _matches(rule: Mapping[str, Any], error: str) -> bool:
    """Whether a retrier or catcher selects an error; on AWS, wildcards do not select two of the errors."""
    names = rule["ErrorEquals"]
    if error == "States.Runtime":  # AWS: "isn't retriable, and will always cause the execution to fail".
        return False
    if error in names or error == "States.DataLimitExceeded":
        return error in names
    return "States.ALL" in names or ("States.TaskFailed" in names and error != "States.Timeout")


def _delay(retrier: Mapping[str, Any], retries: int) -> float:
    seconds: float = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** retries
    seconds = min(seconds, retrier.get("MaxDelaySeconds", seconds))
    return random.uniform(0, seconds) if retrier.get("JitterStrategy") == "FULL" else seconds


def _limited(value: Any, name: str, max_bytes: int = _MAX_BYTES) -> Any:
    """Return the value if its size is within Step Functions' limit.

    Raises:
        StatesError: The value is too large.
    """
    if len(_json(value).encode()) > max_bytes:
        problem = "returned a result with a size exceeding the maximum number of bytes service limit."
        raise StatesError("States.DataLimitExceeded", f"The state/task '{name}' {problem}")
    return value


def _query_error(scope: Scope, problem: str) -> StatesError:
    location = f"An error occurred while executing the state '{scope.context['State']['Name']}'."
    return StatesError("States.QueryEvaluationError", f"{location} {problem}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
