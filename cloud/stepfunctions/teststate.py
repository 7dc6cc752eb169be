"""TestState: one state alone, with a mock in place of its service. This module does not depend on MiniStack.

The rules come from https://docs.aws.amazon.com/step-functions/latest/apireference/API_TestState.html. Where these are
not definite, answers recorded on AWS decide.
"""

import functools
import uuid
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cloud.core.protocol import ApiError
from cloud.stepfunctions import asl, integrations, mocks, requests, validation
from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.history import failure, text_of, value_of
from cloud.stepfunctions.interpreter import ExecutionServices, Interpreter, Json, Scope, Task, delay_of, matches

_ALONE = "StateName"  # what a state is called that is given without its machine
_PATTERNS = (".sync", ".sync:2", ".waitForTaskToken")
_DISTRIBUTED = ("ItemBatcher", "ItemReader", "Label", "ResultWriter")  # fields of a Map that the laptop cloud has not
_TOLERATED = "States.ExceedToleratedFailureThreshold"
_CONTEXT = {  # the members that a caller may give
    "Execution": {"Id", "Input", "Name", "RoleArn", "StartTime", "RedriveCount", "RedriveTime"},
    "State": {"EnteredTime", "Name", "RetryCount"},
    "StateMachine": {"Id", "Name"},
    "Task": {"Token"},
}


class TestStateRefusalError(Exception):
    """A request is refused.

    Attributes:
        code: AWS's code of the error.
    """

    __test__ = False  # pytest takes classes whose names begin with Test for tests.

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def test_state(request: Mapping[str, Any], services: ExecutionServices, scope: tuple[str, str]) -> dict[str, Any]:
    """Return the answer of TestState.

    Args:
        request: The request.
        services: What runs expressions, and tasks without a mock; nothing is recorded.
        scope: Region and account.

    Raises:
        TestStateRefusalError: The request is wrong.
    """
    name, state = _state_of(request)
    try:
        requests.check_input(request)
    except ApiError as error:
        raise TestStateRefusalError(error.code, error.message) from None
    text = request.get("input", "{}")
    data = value_of(text)
    configuration = request.get("stateConfiguration") or {}
    mock = _mock_of(request, state, configuration)
    context = _context_of(request, state, name, data, scope)
    variables = ChainMap(_object("variables", request.get("variables", "{}")))
    tested = _TestedState(services, state, mock, configuration)
    answer = tested.answer(Scope(context, variables, input=data, data=Json(data, text)))
    if request.get("inspectionLevel", "INFO") == "INFO":
        return answer
    inspected = {"input": text, **tested.inspection}
    if variables:
        inspected["variables"] = text_of(dict(variables))
    return {**answer, "inspectionData": inspected}


test_state.__test__ = False  # type: ignore[attr-defined]  # pytest takes functions named test_… for tests.


class _TestedState(Interpreter):
    """Runs one state.

    Attributes:
        inspection: The members of the answer's ``inspectionData``.
    """

    def __init__(
        self,
        services: ExecutionServices,
        state: Mapping[str, Any],
        mock: Mapping[str, Any] | None,
        configuration: Mapping[str, Any],
    ) -> None:
        super().__init__(services, names_states=False)
        self._state = dict(state)
        self._mock = mock
        self._configuration = configuration
        self.inspection: dict[str, Any] = {}

    def answer(self, scope: Scope) -> dict[str, Any]:
        """Run the state and return the answer."""
        try:
            if self._state["Type"] in ("Task", "Parallel", "Map"):
                return self._once(scope)
            return _succeeded(*self.step(self._state, scope)[:2])
        except StatesError as error:
            return {"status": "FAILED", **_told(error)}

    def _once(self, scope: Scope) -> dict[str, Any]:
        """Make one attempt."""
        try:
            result = self._result(self._state, scope)
            inner = replace(scope, members={"result": result.value})
            return _succeeded(*self._finish(self._state, inner, result)[:2])
        except StatesError as error:
            failure = error
        details: dict[str, Any] = {}
        try:
            return self._after(failure, scope, details)
        finally:
            if details:
                self.inspection["errorDetails"] = details

    def _after(self, failure: StatesError, scope: Scope, details: dict[str, Any]) -> dict[str, Any]:
        """Return what a retrier or a catcher makes of a failure."""
        retries = self._configuration.get("retrierRetryCount", 0)
        for index, retrier in enumerate(self._state.get("Retry", [])):
            if matches(retrier, failure):
                details["retryIndex"] = index
                if retries < retrier.get("MaxAttempts", 3):
                    details["retryBackoffIntervalSeconds"] = round(delay_of(retrier, retries))
                    return {"status": "RETRIABLE", **_told(failure)}
                break
        for index, catcher in enumerate(self._state.get("Catch", [])):
            if matches(catcher, failure):
                details["catchIndex"] = index
                inner = replace(scope, members={"errorOutput": failure.output})
                default = Json(failure.output, text_of(failure.output))
                found = _succeeded(*self._finish(catcher, inner, default, f"Catch[{index}]/")[:2])
                return {**found, "status": "CAUGHT_ERROR", **_told(failure)}
        return {"status": "FAILED", **_told(failure)}

    def _task(self, state: dict[str, Any], scope: Scope) -> Json:
        arguments = self._arguments(state, scope)
        self.inspection["afterArguments"] = text_of(arguments)
        for name in ("TimeoutSeconds", "HeartbeatSeconds"):
            if name in state:
                self._whole(state, name, 1, scope)
        if self._mock is None or integrations.is_offered(state["Resource"]):
            self._services.check(state["Resource"], arguments)
        if self._mock is None:
            found = self._services.invoke(Task(state["Resource"], arguments, lambda _answer: None))
            result = found if isinstance(found, Json) else Json(found, text_of(found))
        else:
            result = self._mocked()
        self.inspection["result"] = result.text
        return result

    def _mocked(self) -> Json:
        """Return the mocked result.

        Raises:
            StatesError: An error is mocked.
        """
        mock = self._mock or {}
        if "errorOutput" in mock:
            raise StatesError(mock["errorOutput"].get("error"), mock["errorOutput"].get("cause"))
        return Json(value_of(mock["result"]), mock["result"])

    def _result(self, state: dict[str, Any], scope: Scope) -> Json:
        if state["Type"] == "Task":
            return self._task(state, scope)
        if state["Type"] == "Parallel":
            self._arguments(state, scope)
            return self._mocked()
        items = self._typed(state, "Items", list, "array", scope) if "Items" in state else scope.input
        kinds = {"MaxConcurrency": int, "ToleratedFailureCount": int, "ToleratedFailurePercentage": float}
        for name, kind in kinds.items():
            if name in state or name == "MaxConcurrency":
                value = self._typed(state, name, (int, float), "number", scope) if name in state else 0
                self.inspection[name[0].lower() + name[1:]] = kind(value)
        result = self._mocked()
        self._tolerate(len(items) if isinstance(items, list) else 0)
        return result

    def _tolerate(self, num_items: int) -> None:
        """Check how many failed iterations the Map takes.

        Raises:
            StatesError: More are configured to fail.
        """
        if not self.inspection.keys() & {"toleratedFailureCount", "toleratedFailurePercentage"}:
            return
        failed = self._configuration.get("mapIterationFailureCount", 0)
        count = self.inspection.get("toleratedFailureCount", 0)
        percentage = self.inspection.get("toleratedFailurePercentage", 0)
        if failed > count and failed * 100 > percentage * num_items:
            raise StatesError(_TOLERATED, "The specified tolerated failure threshold was exceeded")


def _succeeded(output: Json, next_name: str | None) -> dict[str, Any]:
    following = {"nextState": next_name} if next_name else {}
    return {"status": "SUCCEEDED", "output": output.text, **following}


def _told(error: StatesError) -> dict[str, str]:
    return failure(error.error, error.cause)


def _state_of(request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the definition of the state that is to be tested."""
    try:
        definition = value_of(request["definition"])
    except ValueError as error:
        raise TestStateRefusalError("InvalidDefinition", f"Invalid State Machine Definition: '{error}'") from None
    name = request.get("stateName")
    if not isinstance(definition, dict):
        raise TestStateRefusalError("InvalidDefinition", "Invalid State Machine Definition: 'it is no object'")
    if "States" not in definition:
        state, language = definition, definition.get("QueryLanguage", "JSONPath")
        definition = {"QueryLanguage": language, "StartAt": _ALONE, "States": {_ALONE: state}}
        name = name or _ALONE
    else:
        if name is None:
            message = "State name is required when a state machine definition is given"
            raise TestStateRefusalError("ValidationException", message)
        found = [machine["States"][name] for machine in asl.machines_of(definition) if name in machine["States"]]
        if not found:
            message = f"State not found in the state machine definition: {name}"
            raise TestStateRefusalError("ValidationException", message)
        state = found[0]
    if problems := [
        problem for problem in validation.problems(definition) if _concerns(problem, name, "mock" in request)
    ]:
        raise TestStateRefusalError("InvalidDefinition", validation.in_words(problems))
    return str(name), dict(state)


def _concerns(problem: str, name: str, is_mocked: bool) -> bool:
    """Whether a definition's problem matters when one of its states is tested, whose Map is mocked in any case."""
    if problem.startswith(("MISSING_TRANSITION_TARGET", "MISSING_END_STATE")) or "no distributed Map" in problem:
        return False
    if any(f"Field '{field}' is not supported" in problem for field in _DISTRIBUTED):
        return False
    place = problem.rpartition(" at ")[2]
    is_elsewhere = place.startswith("/States/") and f"/States/{name}" not in place
    return not is_elsewhere and not (is_mocked and "laptop cloud has no resource" in problem)


def _mock_of(
    request: Mapping[str, Any], state: Mapping[str, Any], configuration: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Return the mock after all checks; None where there is none."""
    kind, mock = state["Type"], request.get("mock")
    pattern = kind == "Task" and str(state["Resource"]).endswith(_PATTERNS)
    refuse = functools.partial(TestStateRefusalError, "ValidationException")
    if mock is None:
        if "mapIterationFailureCount" in configuration:
            raise refuse("TestState does not support MapIterationFailureCount when a mock is not specified.")
        if kind in ("Map", "Parallel"):
            supported = "Supported state types include: [Task, Wait, Pass, Succeed, Fail, Choice]"
            words = f"TestState API does not support Map or Parallel states. {supported}"
            raise TestStateRefusalError("InvalidDefinition", words)
        if pattern:
            raise refuse(f"TestState does not support the resource {state['Resource']} when a mock is not specified.")
        if kind == "Task" and not request.get("roleArn"):
            raise refuse("TestState needs a RoleArn when a mock is not specified.")
        return None
    if request.get("revealSecrets"):
        raise refuse("TestState does not support RevealSecrets when a mock is specified.")
    if "result" in mock and "errorOutput" in mock:
        raise refuse("A test mock should have only one of the following fields: [result, errorOutput].")
    if kind not in ("Task", "Map", "Parallel"):
        raise refuse(f"State type '{kind}' is not supported when a mock is specified")
    if "result" in mock:
        _check_result(mock, state, configuration, refuse)
    return dict(mock)


def _check_result(
    mock: Mapping[str, Any],
    state: Mapping[str, Any],
    configuration: Mapping[str, Any],
    refuse: Callable[[str], TestStateRefusalError],
) -> None:
    try:
        result = value_of(mock["result"])
    except ValueError:
        raise refuse("Mocked result must be valid JSON") from None
    if state["Type"] == "Task":
        if problem := mocks.problem(str(state["Resource"]), result, mock.get("fieldValidationMode", "STRICT")):
            raise refuse(problem)
        return
    if state["Type"] == "Map" and "ResultWriter" in state:
        if not isinstance(result, dict):
            raise refuse("Mocked result must be a JSON object.")
        return
    if not isinstance(result, list):
        raise refuse("Mocked result must be an array.")
    if state["Type"] == "Parallel" and len(result) != len(state["Branches"]):
        raise refuse("Mocked result must contain the same number of items as number of Parallel branches.")
    if configuration.get("mapIterationFailureCount", 0) > len(result):
        raise refuse("Map iteration failure count must be less than or equal to the number of Map iterations")


def _context_of(
    request: Mapping[str, Any], state: Mapping[str, Any], name: str, data: Any, scope: tuple[str, str]
) -> dict[str, Any]:
    """Return the context object: the caller's, or one as an execution has it."""
    if "context" in request:
        given = _object("context", request["context"])
        _check_context(given, state)
        return given
    region, account = scope
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    machine, execution = str(uuid.uuid4()), str(uuid.uuid4())
    stem = f"arn:aws:states:{region}:{account}"
    return {
        "Execution": {
            "Id": f"{stem}:express:{machine}:{execution}",
            "Input": data,
            "Name": execution,
            "RoleArn": request.get("roleArn", f"arn:aws:iam::{account}:role/unknown"),
            "StartTime": now,
        },
        "StateMachine": {"Id": f"{stem}:stateMachine:{machine}", "Name": machine},
        "State": {"Name": name, "EnteredTime": now, "RetryCount": 0},
    }


def _check_context(given: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    def refuse(words: str) -> TestStateRefusalError:
        return TestStateRefusalError("ValidationException", f"Invalid Context object provided: {words}")

    for name, value in given.items():
        if name == "Map":
            raise refuse("'Map' field is not supported when mocking a Context object")
        if name not in _CONTEXT:
            raise refuse(f"Field '{name}' is not allowed")
        if not isinstance(value, dict):
            raise refuse(f"{name} must be an object")
        for member, content in value.items():
            if member not in _CONTEXT[name]:
                raise refuse(f"Field '{member}' is not allowed")
            is_number = member in ("RetryCount", "RedriveCount")
            if member != "Input" and not isinstance(content, int if is_number else str):
                raise refuse(f"{name}.{member} must be a {'number' if is_number else 'string'}")
    if "Task" in given and not str(state.get("Resource", "")).endswith(_PATTERNS):
        patterns = "with a '.sync' or '.waitForTaskToken' service integration pattern"
        raise refuse(f"Context object contains 'Task' when state is not a Task state {patterns}")


def _object(name: str, text: str) -> dict[str, Any]:
    try:
        value = value_of(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise TestStateRefusalError("ValidationException", f"The field '{name}' must be a JSON object in text")
    return value
