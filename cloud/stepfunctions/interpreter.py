"""Run state machines in JSONata as Step Functions does. This module does not depend on MiniStack.

The rules come from the Amazon States Language (https://states-language.net/spec.html) and the developer guide's pages
on variables, errors and quotas. Where these are not definite, executions recorded on AWS decide.
See "Executions have an interpreter of our own" in docs/decisions/laptop-cloud.md.
"""

import copy
import random
import time
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from cloud.stepfunctions import asl, expressions, history
from cloud.stepfunctions.executions import (
    ExecutionTimeoutError,
    StatesError,
    exit_if_stopped,
    run_together,
    sleep,
)
from cloud.stepfunctions.history import TaskWords, Track, text_of

State = dict[str, Any]

_MAX_BYTES = 262_144  # for a state's input, its result, its output, and the variables of one Assign
_MAX_VARIABLE_BYTES = 10 * 1024 * 1024  # for all variables of an execution
_MAX_CONCURRENT_ITEMS = 40  # in an inline Map
_MAX_WAIT_SECONDS = 2**31 - 1
_FOREVER = float("inf")


@dataclass(frozen=True)
class Json:
    """A value and how it is written: what no expression changes keeps the spaces and escapes with which it came.

    Attributes:
        value: The value.
        text: The value in JSON.
    """

    value: Any
    text: str


@dataclass(frozen=True)
class Scope:
    """The values that an expression of a state can use.

    Attributes:
        context: The context object, ``$states.context``.
        variables: Variables by name; those of outer scopes can be read and are never written.
        track: Where this line of the execution stands.
        input: The state's input.
        data: The same as it was written.
        members: The other members of ``$states`` that exist: ``result`` after the work, ``errorOutput`` in a catcher.
    """

    context: Mapping[str, Any]
    variables: ChainMap[str, Any]
    track: Track = field(default_factory=Track)
    input: Any = None
    data: Json = Json(None, "null")
    members: Mapping[str, Any] = field(default_factory=dict)

    def states(self) -> dict[str, Any]:
        """Return ``$states``, without the members that do not exist where the expression stands."""
        return {"input": self.input, "context": self.context, **self.members}

    @property
    def name(self) -> str:
        """Name of the current state."""
        return str(self.context.get("State", {}).get("Name", ""))

    def inner(self, **context: Any) -> "Scope":
        """Return the scope of a branch or an item: it has variables of its own and can read those of this scope."""
        return Scope({**self.context, **context}, self.variables.new_child(), self.track.branch())


@dataclass(frozen=True)
class Task:
    """What a task needs to know about its state.

    Attributes:
        resource: The state's resource.
        arguments: The evaluated arguments.
        submitted: Called with the answer of a request whose end the task then awaits.
    """

    resource: str
    arguments: Any
    submitted: Callable[[Any], None]


class ExecutionServices(Protocol):
    """The services that an execution needs.

    Attributes:
        wait_scale: Seconds that a second of waiting on AWS takes here.
        region: The region in which tasks run.
    """

    wait_scale: float
    region: str

    def evaluate(self, expression: str, scope: Scope) -> Any:
        """Return the value of a JSONata expression.

        Raises:
            ExpressionError: The expression fails or has no value.
        """

    def check(self, resource: str, arguments: Any) -> None:
        """Check a task's arguments before it is scheduled.

        Raises:
            StatesError: ``States.Runtime``, because some are wrong; the cause lacks the sentence that names the state.
        """

    def invoke(self, task: Task) -> Any:
        """Return the result of a task, a value or ``Json``. It is called on a thread of its own.

        Raises:
            StatesError: The task failed.
        """

    def record(self, kind: str, details: Mapping[str, Any] | None, previous: int) -> int:
        """Add an event to the execution's history and return its id.

        Raises:
            StatesError: The history is full.
            SystemExit: The work of this thread is stopped.
        """


class Interpreter:
    """Runs the states of one execution.

    Args:
        services: The services that the execution needs.
        names_states: Whether causes name the state that failed.
    """

    def __init__(self, services: ExecutionServices, names_states: bool = True) -> None:
        self._services = services
        self._names_states = names_states

    def run(self, machine: Mapping[str, Any], data: Any, scope: Scope) -> Any:
        """Run a state machine and return its output.

        Args:
            machine: The definition.
            data: The input.
            scope: The context object and the variables.

        Raises:
            StatesError: A state failed and no catcher selected the error.
            ExecutionTimeoutError: The execution took too long.
            SystemExit: The execution was stopped.
        """
        return self.run_on(machine, Json(data, text_of(data)), scope).value

    def run_on(self, machine: Mapping[str, Any], data: Json, scope: Scope) -> Json:
        """Run a state machine, a branch or an item's processor; see ``run``."""
        name: str | None = machine["StartAt"]
        while name:
            exit_if_stopped()
            state, track = machine["States"][name], scope.track
            if time.monotonic() + track.skipped > track.deadline:
                raise ExecutionTimeoutError
            scope = replace(scope, context=_context_of(name, scope.context), input=data.value, data=data, members={})
            track.before = track.previous
            kind = f"{state['Type']}State"
            self._record(scope, f"{kind}Entered", name=name, **history.input_of(_limited(data.text, name)))
            track.entered, track.is_in_task = track.previous, kind == "TaskState"
            data, next_name, assigned = self.step(state, scope)
            track.is_in_task = False
            self._record(scope, f"{kind}Exited", **history.exited(name, _limited(data.text, name), assigned))
            name = next_name
        return data

    def step(self, state: State, scope: Scope) -> tuple[Json, str | None, dict[str, Any]]:
        """Run a state; return its output, the name of the next state and the variables that it assigned."""
        match state["Type"]:
            case "Choice":
                for index, rule in enumerate(state["Choices"]):
                    at = f"Choices[{index}]/"
                    if self._typed(rule, "Condition", bool, "boolean", scope, at):
                        return self._finish(rule, scope, scope.data, at)
                if "Default" not in state:
                    problem = "Failed to transition out of the state. The state does not point to a next state."
                    raise StatesError("States.Runtime", self._located(scope, problem))
                return self._finish({**state, "Next": state["Default"]}, scope, scope.data)
            case "Fail":
                names = ("Error", "Cause")
                raise StatesError(
                    *(self._typed(state, name, str, "string", scope) if name in state else None for name in names)
                )
            case "Wait":
                self._wait(state, scope)
            case "Task" | "Parallel" | "Map":
                return self._attempt(state, scope)
        return self._finish(state, scope, scope.data)  # This is a Pass, a Succeed or a Wait whose time has passed.

    def _finish(
        self, rule: State, scope: Scope, default: Json, at: str = ""
    ) -> tuple[Json, str | None, dict[str, Any]]:
        """Return the output and the next state's name of a state, a choice or a catcher, and assign its variables."""
        # All expressions see the old variables, so both output and values are evaluated before the assignment.
        output = default
        if "Output" in rule:
            value = self._fill(rule["Output"], scope, f"{at}Output")
            output = Json(value, text_of(value))
        assign = rule.get("Assign", {})
        values = {name: self._fill(value, scope, f"{at}Assign/{name}") for name, value in assign.items()}
        if values:
            _limited(text_of(values), "Assign")
            scope.variables.update(values)
            _limited(text_of(dict(scope.variables)), "all variables", _MAX_VARIABLE_BYTES)
        return output, rule.get("Next"), values

    def _wait(self, state: State, scope: Scope) -> None:
        if "Seconds" in state:
            seconds: float = self._whole(state, "Seconds", 0, scope)
        else:
            text = self._typed(state, "Timestamp", str, "string", scope)
            try:
                seconds = (asl.parse_timestamp(text) - datetime.now(UTC)).total_seconds()
            except ValueError:
                words = "The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time format string:"
                raise self._failed_evaluation(scope, "Timestamp", f"{words} {text}", scope.track.previous) from None
        if seconds > _MAX_WAIT_SECONDS:
            raise StatesError("States.Runtime", self._located(scope, "Wait state delay is too long."))
        # A wait that comes again polls for something that takes its own time here, so only the first counts in full.
        counts = scope.name not in scope.track.waited
        scope.track.waited |= {scope.name}
        self._pass_time(max(seconds, 0), scope.track, counts)

    def _pass_time(self, seconds: float, track: Track, counts: bool = True) -> None:
        """Wait.

        Args:
            seconds: How long AWS waits.
            track: Its clock moves on.
            counts: Whether the time counts in full for the execution's timeout, although the wait is shortened here.
        """
        remaining = track.deadline - time.monotonic() - track.skipped
        scale = self._services.wait_scale
        if counts and seconds > remaining:
            sleep(max(remaining, 0) * scale)
            raise ExecutionTimeoutError
        sleep(seconds * scale)
        track.skipped += seconds * (1 - scale) if counts else 0

    # --- Task, Parallel and Map, with retriers and catchers --------------------------------------

    def _attempt(self, state: State, scope: Scope) -> tuple[Json, str | None, dict[str, Any]]:
        retriers = state.get("Retry", [])
        retries = [0] * len(retriers)
        while True:
            context = {**scope.context, "State": {**scope.context["State"], "RetryCount": sum(retries)}}
            scope = replace(scope, context=context)
            try:
                result = self._result(state, scope)
                return self._finish(state, replace(scope, members={"result": result.value}), result)
            except StatesError as error:
                failure = error
            index = next((i for i, retrier in enumerate(retriers) if matches(retrier, failure)), None)
            if index is not None and retries[index] < retriers[index].get("MaxAttempts", 3):
                self._pass_time(delay_of(retriers[index], retries[index]), scope.track)
                retries[index] += 1
                continue
            return self._catch(state, scope, failure)

    def _catch(self, state: State, scope: Scope, failure: StatesError) -> tuple[Json, str | None, dict[str, Any]]:
        """Return what a catcher makes of a failure.

        Raises:
            StatesError: No catcher selects the failure, or the one that does fails itself.
        """
        before = scope.track.previous
        self._state_failed(state, scope, failure)
        for index, catcher in enumerate(state.get("Catch", [])):
            if matches(catcher, failure):
                inner = replace(scope, members={"errorOutput": failure.output})
                after, scope.track.previous = scope.track.previous, before
                try:
                    found = self._finish(
                        catcher, inner, Json(failure.output, text_of(failure.output)), f"Catch[{index}]/"
                    )
                except StatesError as error:
                    self._state_failed(state, scope, error)
                    raise
                scope.track.previous = after
                return found
        raise failure

    def _state_failed(self, state: State, scope: Scope, failure: StatesError) -> None:
        if state["Type"] != "Task" and failure.error not in _LEAVING_NO_EVENT:
            self._record(scope, f"{state['Type']}StateFailed")

    def _result(self, state: State, scope: Scope) -> Json:
        match state["Type"]:
            case "Task":
                return self._task(state, scope)
            case "Parallel":
                data = scope.data
                if "Arguments" in state:
                    value = self._arguments(state, scope)
                    data = Json(value, text_of(value))
                self._record(scope, "ParallelStateStarted")
                branches = [partial(self._branch, branch, data) for branch in state["Branches"]]
                results = self._branches(state, scope, branches, len(branches))
                self._pass_by(scope, "ParallelStateSucceeded")
            case _:
                results = self._map(state, scope)
        text = _limited(f"[{','.join(result.text for result in results)}]", scope.name)
        return Json([result.value for result in results], text)

    def _branch(self, machine: State, data: Json, inner: Scope) -> Json:
        return self.run_on(machine, Json(copy.deepcopy(data.value), data.text), inner)

    def _branches(
        self, state: State, scope: Scope, branches: Sequence[Callable[[Scope], Json]], limit: int
    ) -> list[Json]:
        """Run branches or iterations, each on a track of its own; the state's track goes on behind the last of them."""
        tracks: list[Track] = []
        failed: list[Track] = []
        kind = state["Type"]

        def work(index: int) -> Json:
            inner = scope.inner()
            if index >= limit:  # Another iteration had to end before this one begins.
                inner.track.previous = max(track.previous for track in tracks if track.is_done)
            inner.track.index = index
            tracks.append(inner.track)
            try:
                result = branches[index](inner)
            except (StatesError, ExecutionTimeoutError):
                failed.append(inner.track)
                raise
            inner.track.is_done = True
            return result

        try:
            results = run_together([partial(work, index) for index in range(len(branches))], limit)
        except StatesError as error:
            scope.track.previous = failed[0].previous
            if error.error not in _LEAVING_NO_EVENT:
                self._abort(kind, scope, failed[0], tracks)
            raise
        finally:
            scope.track.skipped = max([scope.track.skipped, *(track.skipped for track in tracks)])
        scope.track.previous = max([scope.track.previous, *(track.latest for track in tracks)])
        return results

    def _abort(self, kind: str, scope: Scope, failed: Track, tracks: list[Track]) -> None:
        """Record how the branches or iterations of a state end because one of them failed."""
        unfinished = [track for track in tracks if track is not failed and not track.is_done]
        for track, end in ((failed, "Failed"), *((track, "Aborted") for track in unfinished)):
            if kind == "Map":
                self._pass_by(scope, f"MapIteration{end}", name=scope.name, index=track.index)
            if track.is_in_task:
                self._pass_by(scope, "TaskStateAborted")

    def _task(self, state: State, scope: Scope) -> Json:
        resource: str = state["Resource"]
        arguments = self._arguments(state, scope)
        seconds = self._whole(state, "TimeoutSeconds", 1, scope) if "TimeoutSeconds" in state else None
        heartbeat = self._whole(state, "HeartbeatSeconds", 1, scope) if "HeartbeatSeconds" in state else None
        try:
            self._services.check(resource, arguments)
        except StatesError as error:
            raise StatesError(error.error, self._located(scope, error.cause)) from None
        limits = {"timeoutInSeconds": seconds, "heartbeatInSeconds": heartbeat}
        present = {name: value for name, value in limits.items() if value is not None}
        words = TaskWords.of(resource)
        self._record(scope, f"{words.stem}Scheduled", **words.scheduled(arguments, self._services.region), **present)
        self._record(scope, f"{words.stem}Started", **words.task)
        task = Task(resource, arguments, partial(self._submitted, scope, words))
        result = self._work(task, scope, seconds, words)
        self._record(scope, f"{words.stem}Succeeded", **words.task, **history.output_of(result.text))
        return result

    def _submitted(self, scope: Scope, words: TaskWords, answer: Any) -> None:
        self._record(scope, "TaskSubmitted", **words.task, **history.output_of(text_of(answer)))

    def _work(self, task: Task, scope: Scope, seconds: int | None, words: TaskWords) -> Json:
        """Return a task's result.

        Raises:
            StatesError: The task failed, or took longer than its ``seconds``.
            ExecutionTimeoutError: The execution took too long.
        """
        remaining = scope.track.deadline - time.monotonic() - scope.track.skipped
        limit = min(seconds or remaining, remaining)
        try:
            [result] = run_together([partial(self._services.invoke, task)], 1, None if limit == _FOREVER else limit)
            found = result if isinstance(result, Json) else Json(result, text_of(result))
            _limited(found.text, words.name, is_of_task=True)
            return found
        except TimeoutError:
            if limit != seconds:
                raise ExecutionTimeoutError from None
            self._record(scope, f"{words.stem}TimedOut", **words.task, error="States.Timeout")
            raise StatesError("States.Timeout", None) from None
        except StatesError as error:
            if error.error not in _LEAVING_NO_EVENT:
                self._record(scope, f"{words.stem}Failed", **words.task, **history.failure(error.error, error.cause))
            raise

    def _map(self, state: State, scope: Scope) -> list[Json]:
        most = self._whole(state, "MaxConcurrency", 0, scope) if "MaxConcurrency" in state else 0
        if "Items" in state:
            items = self._typed(state, "Items", list, "array", scope)
        elif isinstance(scope.input, list):
            items = scope.input
        else:
            problem = f"Map state input must be an array but was: {text_of(scope.input)}"
            raise self._failed_evaluation(scope, None, problem)
        self._record(scope, "MapStateStarted", length=len(items))
        for name in ("ToleratedFailureCount", "ToleratedFailurePercentage"):
            if name in state:
                self._tolerance(state, name, scope)
        iterations = [partial(self._iteration, state, scope, index, item) for index, item in enumerate(items)]
        results = self._branches(state, scope, iterations, min(most or _MAX_CONCURRENT_ITEMS, _MAX_CONCURRENT_ITEMS))
        self._pass_by(scope, "MapStateSucceeded")
        return results

    def _iteration(self, state: State, outer: Scope, index: int, item: Any, inner: Scope) -> Json:
        """Process one item of a Map state."""
        inner = replace(inner, context={**inner.context, "Map": {"Item": {"Index": index, "Value": item}}})
        self._record(inner, "MapIterationStarted", name=outer.name, index=index)
        data = item
        if "ItemSelector" in state:
            data = self._fill(state["ItemSelector"], replace(inner, input=outer.input), "ItemSelector")
        output = self.run_on(state["ItemProcessor"], Json(copy.deepcopy(data), text_of(data)), inner)
        self._pass_by(inner, "MapIterationSucceeded", name=outer.name, index=index)
        return output

    def _tolerance(self, state: State, name: str, scope: Scope) -> None:
        """Check a limit of failed items. An inline Map takes it and fails with its first failed item all the same."""
        value = self._typed(state, name, (int, float), "number", scope)
        if value < 0 or (name.endswith("Percentage") and value > 100):
            range_ = "must be between 0 and 100." if name.endswith("Percentage") else "cannot be negative."
            raise self._failed_evaluation(scope, name, f"{name} {range_}", scope.track.before)

    # --- fields -------------------------------------------------------------------------------------

    def _arguments(self, state: State, scope: Scope) -> Any:
        if "Arguments" not in state:
            return scope.input
        value = self._fill(state["Arguments"], scope, "Arguments")
        _limited(text_of(value), scope.name)
        return value

    def _fill(self, template: Any, scope: Scope, at: str) -> Any:
        """Return a field's value: every expression ``{% … %}`` in it is replaced by the expression's value."""
        if isinstance(template, str) and template.startswith("{%"):
            try:
                return self._services.evaluate(template[2:-2].strip(), scope)
            except expressions.ExpressionError as error:
                raise self._failed_evaluation(scope, at, error.cause(at)) from None
        if isinstance(template, dict):
            return {name: self._fill(value, scope, f"{at}/{name}") for name, value in template.items()}
        if isinstance(template, list):
            return [self._fill(value, scope, f"{at}[{index}]") for index, value in enumerate(template)]
        return template

    def _typed(
        self, rule: State, name: str, kind: type | tuple[type, ...], words: str, scope: Scope, at: str = ""
    ) -> Any:
        value = self._fill(rule[name], scope, at + name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            expression = str(rule[name])[2:-2].strip()
            raise self._failed_evaluation(scope, at + name, expressions.type_cause(expression, at + name, words, value))
        return value

    def _whole(self, state: State, name: str, low: int, scope: Scope) -> int:
        value = self._typed(state, name, (int, float), "number", scope)
        if value != int(value):
            problem = f"The {name} field cannot be parsed as an integer: {text_of(value)}"
            raise self._failed_evaluation(scope, name, problem)
        if not low <= value <= asl.MAX_SECONDS:
            problem = f"{name} must be between {low} and {asl.MAX_SECONDS} but was: {text_of(value)}"
            raise self._failed_evaluation(scope, name, problem)
        return int(value)

    def _failed_evaluation(
        self, scope: Scope, at: str | None, problem: str, previous: int | None = None
    ) -> StatesError:
        """Record that a field could not be evaluated, and return the error.

        Args:
            scope: The state's scope.
            at: The field; None where the state's input is wrong.
            problem: What is wrong with it.
            previous: Id of the event that the failure follows.
        """
        error = StatesError("States.QueryEvaluationError", self._located(scope, problem))
        scope.track.previous = scope.track.before_evaluation if previous is None else previous
        where = {"location": at} if at else {}
        details = {**history.failure(error.error, error.cause), **where, "state": scope.name}
        self._record(scope, "EvaluationFailed", **details)
        return error

    def _located(self, scope: Scope, problem: str | None) -> str:
        if not self._names_states:
            return str(problem)
        event = scope.track.entered
        return (
            f"An error occurred while executing the state '{scope.name}' (entered at the event id #{event}). {problem}"
        )

    # --- history ------------------------------------------------------------------------------------

    def _record(self, scope: Scope, kind: str, **details: Any) -> None:
        """Add an event, which the track's next event follows."""
        scope.track.previous = self._pass_by(scope, kind, **details)

    def _pass_by(self, scope: Scope, kind: str, **details: Any) -> int:
        """Add an event that the track's next event does not follow, and return its id."""
        members = {history.key_of(kind): details} if details else None
        scope.track.latest = self._services.record(kind, members, scope.track.previous)
        return scope.track.latest


_LEAVING_NO_EVENT = ("States.Runtime",)  # These errors end the execution and nothing around them.


def matches(rule: Mapping[str, Any], failure: StatesError) -> bool:
    """Whether a retrier or a catcher selects a failure.

    On AWS, wildcards do not select two of the errors. The guide says so of States.DataLimitExceeded without exception,
    but a recording of 2024 shows that States.ALL caught the oversized result of a task.
    """
    names, error = rule["ErrorEquals"], failure.error
    if error == "States.Runtime":  # AWS: "isn't retriable, and will always cause the execution to fail".
        return False
    if error in names or (error == "States.DataLimitExceeded" and not failure.is_of_task):
        return error in names
    return "States.ALL" in names or ("States.TaskFailed" in names and error != "States.Timeout")


def delay_of(retrier: Mapping[str, Any], retries: int) -> float:
    """Return how many seconds a retrier waits before its next attempt.

    Args:
        retrier: The retrier.
        retries: How many attempts it has made.
    """
    seconds: float = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** retries
    seconds = min(seconds, retrier.get("MaxDelaySeconds", seconds))
    return random.uniform(0, seconds) if retrier.get("JitterStrategy") == "FULL" else seconds


def _limited(text: str, name: str, max_bytes: int = _MAX_BYTES, *, is_of_task: bool = False) -> str:
    """Return a value in JSON if its size is within Step Functions' limit.

    Raises:
        StatesError: The value is too large.
    """
    if len(text) > max_bytes // 4 and len(text.encode()) > max_bytes:
        problem = "returned a result with a size exceeding the maximum number of bytes service limit."
        raise StatesError("States.DataLimitExceeded", f"The state/task '{name}' {problem}", is_of_task=is_of_task)
    return text


def _context_of(name: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context object in which a state begins."""
    entered = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {**context, "State": {"Name": name, "EnteredTime": entered}}
