"""State machines in JSONata as Step Functions runs them; knows nothing of MiniStack.

The rules are AWS's: the Amazon States Language (https://states-language.net/spec.html), the developer guide's
pages on variables, errors and quotas, and executions recorded on AWS where those leave something open.
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
from cloud.stepfunctions.executions import StatesError, leave_if_over, run_together, sleep

State = dict[str, Any]

_MAX_BYTES = 262_144  # of a state's input, result and output, and of what one Assign holds
_MAX_VARIABLE_BYTES = 10 * 1024 * 1024  # of all variables of an execution
_MAX_ITEMS_AT_ONCE = 40  # of an inline Map


@dataclass(frozen=True)
class Scope:
    """What an expression of a state can see.

    Attributes:
        context: the context object, ``$states.context``.
        variables: by name; those of scopes around are read, never written.
        input: the state's input.
        result: what a Task, Parallel or Map state brought.
        error: Error and Cause, for a catcher.
    """

    context: Mapping[str, Any]
    variables: ChainMap[str, Any]
    input: Any = None
    result: Any = None
    error: Mapping[str, str] | None = None

    def inner(self, **context: Any) -> "Scope":
        """That of a branch or an item: its variables are its own, those around can be read."""
        return Scope({**self.context, **context}, self.variables.new_child())


class Cloud(Protocol):
    """What surrounds an execution."""

    wait_scale: float  # seconds here for a second of waiting on AWS

    def evaluate(self, expression: str, scope: Scope) -> Any:
        """The value of a JSONata expression; raises StatesError, also where it has none."""

    def invoke(self, resource: str, arguments: Any) -> Any:
        """The result of a task, on a thread of its own; raises StatesError."""

    def record(self, kind: str, details: Mapping[str, Any]) -> None:
        """Put an event into the execution's history.

        Raises:
            StatesError: the history is full.
            SystemExit: nobody waits any more for the work of this thread.
        """


class Interpreter:
    """One execution.

    Args:
        cloud: what surrounds it.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def run(self, machine: Mapping[str, Any], data: Any, scope: Scope) -> Any:
        """The output of a state machine, or of a branch or an item's processor.

        Raises:
            StatesError: a state failed and nothing caught it.
            SystemExit: the execution ended from outside.
        """
        name: str | None = machine["StartAt"]
        while name:
            leave_if_over()
            state, entered = machine["States"][name], datetime.now(UTC).isoformat(timespec="milliseconds")
            about = {"Name": name, "EnteredTime": entered.replace("+00:00", "Z")}
            scope = replace(scope, context={**scope.context, "State": about}, input=data)
            event = f"{state['Type']}State"
            self._record(f"{event}Entered", "stateEnteredEventDetails", name=name, input=_json(_limited(data, name)))
            data, following = self._step(state, scope)
            self._record(f"{event}Exited", "stateExitedEventDetails", name=name, output=_json(_limited(data, name)))
            name = following
        return data

    def _step(self, state: State, scope: Scope) -> tuple[Any, str | None]:
        """Output and successor of a state."""
        match state["Type"]:
            case "Choice":
                rules = (rule for rule in state["Choices"] if self._typed(rule, "Condition", bool, "boolean", scope))
                if chosen := next(rules, None):
                    return self._finish(chosen, scope, scope.input)
                if "Default" not in state:
                    raise StatesError("States.NoChoiceMatched", "No choice rule matched and there is no Default")
                return self._finish({**state, "Next": state["Default"]}, scope, scope.input)
            case "Fail":
                given = {"Error": "", "Cause": "", **state}
                raise StatesError(*(self._typed(given, name, str, "string", scope) for name in ("Error", "Cause")))
            case "Wait":
                self._wait(state, scope)
            case "Task" | "Parallel" | "Map":
                return self._attempt(state, scope)
        return self._finish(state, scope, scope.input)  # Pass, Succeed and a Wait that is over

    def _finish(self, rule: State, scope: Scope, default: Any) -> tuple[Any, str | None]:
        """Output and successor by a state, a choice or a catcher; its variables are assigned after both are known."""
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
                seconds = (asl.moment(text) - datetime.now(UTC)).total_seconds()
            except ValueError as error:
                raise _query_error(scope, "Timestamp", str(error)) from None
        sleep(seconds * self._cloud.wait_scale)

    # --- what may fail, be retried and be caught -------------------------------------------------

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
                sleep(_delay(retriers[index], retries[index]) * self._cloud.wait_scale)
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
                branches = [partial(self.run, each, copy.deepcopy(data), scope.inner()) for each in state["Branches"]]
                results = run_together(branches, len(branches))
            case _:
                results = self._map(state, scope)
        return _limited(results, scope.context["State"]["Name"])

    def _task(self, state: State, scope: Scope) -> Any:
        resource: str = state["Resource"]
        arguments = self._arguments(state, scope)
        seconds = self._whole(state, "TimeoutSeconds", 1, scope) if "TimeoutSeconds" in state else None
        kind, _, action = resource.removeprefix("arn:aws:states:::").rpartition(":")
        known = {"resourceType": kind, "resource": action}
        self._record("TaskScheduled", "taskScheduledEventDetails", **known, parameters=_json(arguments))
        try:
            [result] = run_together([partial(self._cloud.invoke, resource, arguments)], 1, seconds)
            _limited(result, kind)
        except TimeoutError:
            self._record("TaskTimedOut", "taskTimedOutEventDetails", **known, error="States.Timeout")
            raise StatesError("States.Timeout", "") from None
        except StatesError as error:
            self._record("TaskFailed", "taskFailedEventDetails", **known, error=error.error, cause=error.cause)
            raise
        self._record("TaskSucceeded", "taskSucceededEventDetails", **known, output=_json(result))
        return result

    def _map(self, state: State, scope: Scope) -> list[Any]:
        items = self._fill(state["Items"], scope, "Items") if "Items" in state else scope.input
        if isinstance(items, dict):
            items = [{"Key": key, "Value": value} for key, value in items.items()]
        if not isinstance(items, list):
            raise _query_error(scope, "Items", f"Expected 'array' or 'object', but was '{_kind(items)}'")
        at_once = self._whole(state, "MaxConcurrency", 0, scope) if "MaxConcurrency" in state else 0

        def process(index: int, item: Any) -> Any:
            inner = scope.inner(Map={"Item": {"Index": index, "Value": item}})
            selecting = replace(inner, input=scope.input)
            data = self._fill(state["ItemSelector"], selecting, "ItemSelector") if "ItemSelector" in state else item
            return self.run(state["ItemProcessor"], copy.deepcopy(data), inner)

        works = [partial(process, index, item) for index, item in enumerate(items)]
        return run_together(works, min(at_once or _MAX_ITEMS_AT_ONCE, _MAX_ITEMS_AT_ONCE))

    # --- fields -------------------------------------------------------------------------------------

    def _arguments(self, state: State, scope: Scope) -> Any:
        return self._fill(state["Arguments"], scope, "Arguments") if "Arguments" in state else scope.input

    def _fill(self, template: Any, scope: Scope, field: str) -> Any:
        """A field's value: every string ``{% … %}`` in it replaced by what it says."""
        if isinstance(template, str) and template.startswith("{%"):
            try:
                return self._cloud.evaluate(template[2:-2].strip(), scope)
            except StatesError as error:
                raise _query_error(scope, field, error.cause) from None
        if isinstance(template, dict):
            return {name: self._fill(value, scope, f"{field}/{name}") for name, value in template.items()}
        if isinstance(template, list):
            return [self._fill(value, scope, f"{field}[{index}]") for index, value in enumerate(template)]
        return template

    def _typed(self, rule: State, field: str, kind: type | tuple[type, ...], name: str, scope: Scope) -> Any:
        value = self._fill(rule[field], scope, field)
        if not isinstance(value, kind):
            raise _query_error(scope, field, f"Expected '{name}', but was '{_kind(value)}' for value: {_json(value)}")
        return value

    def _whole(self, state: State, field: str, least: int, scope: Scope) -> int:
        value = self._typed(state, field, (int, float), "number", scope)
        if isinstance(value, bool) or value != int(value) or value < least:
            raise _query_error(scope, field, f"Expected a whole number from {least}, but was {_json(value)}")
        return int(value)

    def _record(self, kind: str, details: str, **members: Any) -> None:
        self._cloud.record(kind, {details: members})


def _matches(rule: Mapping[str, Any], error: str) -> bool:
    """Whether a retrier or catcher is for an error; AWS keeps two of them from the wildcards."""
    names = rule["ErrorEquals"]
    if error == "States.Runtime":  # "isn't retriable, and will always cause the execution to fail"
        return False
    if error in names or error == "States.DataLimitExceeded":
        return error in names
    return "States.ALL" in names or ("States.TaskFailed" in names and error != "States.Timeout")


def _delay(retrier: Mapping[str, Any], retries: int) -> float:
    seconds: float = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** retries
    seconds = min(seconds, retrier.get("MaxDelaySeconds", seconds))
    return random.uniform(0, seconds) if retrier.get("JitterStrategy") == "FULL" else seconds


def _limited(value: Any, what: str, most: int = _MAX_BYTES) -> Any:
    """The value, if Step Functions would carry it."""
    if len(_json(value).encode()) > most:
        problem = "returned a result with a size exceeding the maximum number of bytes service limit."
        raise StatesError("States.DataLimitExceeded", f"The state/task '{what}' {problem}")
    return value


def _query_error(scope: Scope, field: str, problem: str) -> StatesError:
    where = f"An error occurred while executing the state '{scope.context['State']['Name']}'."
    return StatesError("States.QueryEvaluationError", f"{where} The field '{field}': {problem}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _kind(value: Any) -> str:
    """A value's type as JSON calls it."""
    names: list[tuple[type, str]] = [(bool, "boolean"), (str, "string"), (list, "array"), (dict, "object")]
    return next((name for kind, name in names if isinstance(value, kind)), "null" if value is None else "number")
