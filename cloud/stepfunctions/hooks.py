"""Step Functions: the interpreter runs executions, and MiniStack stores them and answers the API."""

import functools
import json
import logging
import os
import threading
import time
import uuid
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ministack.services import cloudwatch, stepfunctions
from ministack.services.cloudformation import provisioners

from cloud.core.emulator import CallError, Hooks, answer, scope
from cloud.core.protocol import ApiError
from cloud.stepfunctions import asl, engine, expressions, history, integrations, requests, teststate, validation
from cloud.stepfunctions.executions import ExecutionTimeoutError, StatesError, StoppableWork, exit_if_stopped, sleep
from cloud.stepfunctions.history import Track
from cloud.stepfunctions.interpreter import Interpreter, Json, Scope, Task

HOOKS: Hooks = (
    (cloudwatch, ("record_metric",)),
    (provisioners, ("_RESOURCE_HANDLERS", "_sfn_definition")),
    (
        stepfunctions,
        (
            "_SFN_WAIT_SCALE",
            "_add_event",
            "_create_activity",
            "_create_state_machine",
            "_describe_execution",
            "_describe_state_machine",
            "_emit_execution_status_event",
            "_executions",
            "_get_execution_history",
            "_list_executions",
            "_publish_state_machine_version",
            "_resolve_state_machine_arn",
            "_run_execution",
            "_start_execution",
            "_start_sync_execution",
            "_state_machines",
            "_stop_execution",
            "_test_state",
            "_validate_definition_jsonata",
            "_validate_state_machine_definition",
            "error_response_json",
            "json_response",
            "now_iso",
        ),
    ),
)


Answer = Callable[[dict[str, Any]], Any]  # a function of the API: (request) -> (status, headers, body)

_ENDS = {"FAILED": "ExecutionFailed", "SUCCEEDED": "ExecutionSucceeded", "TIMED_OUT": "ExecutionTimedOut"}
_MAX_EVENTS = 25_000  # in one execution's history
_STOPS = os.environ.get("KENNEL_STOPS") == "1"  # whether executions that are named so are stopped at a state
_HOLD_SECONDS = 8.0  # that an execution which is named so rests at a state
_HISTORY_LOCK = threading.Lock()  # A thread holds it while it writes to a history or ends an execution.


def _in_json(read: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], str]:
    """Let MiniStack read definitions in YAML, which CloudFormation accepts in a file in S3.

    Args:
        read: MiniStack's function, which returns a definition with its substitutions.
    """

    def definition(properties: dict[str, Any]) -> str:
        text = read(properties)
        return asl.to_json(text) if "DefinitionS3Location" in properties else text

    return definition


_TASKS: dict[str, Callable[[Task], Any]] = {}


def add_task(resource_prefix: str, handler: Callable[[Task], Any]) -> None:
    """Serve an optimized integration.

    Args:
        resource_prefix: Start of the resources that the handler serves, for example ``arn:aws:states:::sns:publish``.
        handler: Called with the task on a thread of its own; returns the task's result.
    """
    _TASKS[resource_prefix] = handler


def _run_task(task: Task) -> Any:
    """Return the result of a task.

    Raises:
        StatesError: The service refused the call, or the laptop cloud has no such service.
    """
    handler = next((handler for prefix, handler in _TASKS.items() if task.resource.startswith(prefix)), None)
    try:
        return handler(task) if handler else integrations.call_sdk(task.resource, task.arguments, answer)
    except CallError as error:
        raise integrations.missing(task.resource, str(error)) from None


def run_state_machines(authorize: Callable[[str, str, str, Any], None]) -> None:
    """Let the interpreter check definitions and run executions; MiniStack stores them and answers the API.

    MiniStack's own engine accepts much that AWS refuses; docs/laptop-cloud.md lists the differences.

    Args:
        authorize: Called before each task with the state machine's role, the execution's name, the task's resource and
            its arguments; raises StatesError when the role lacks a permission.

    Raises:
        EngineError: The engine of expressions does not load on this machine.
    """
    with engine.borrowed():
        pass
    resource = provisioners._RESOURCE_HANDLERS["AWS::StepFunctions::StateMachine"]
    create = resource["create"]
    provisioners._sfn_definition = _in_json(provisioners._sfn_definition)

    def create_checked(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        try:
            requests.check_name({"name": properties.get("StateMachineName")})
        except ApiError as error:
            raise ValueError(error.message) from None
        if problem := validation.refusal(provisioners._sfn_definition(properties)):
            raise ValueError(problem)
        return create(logical_id, properties, stack_name)

    resource["create"] = create_checked
    _answer_api()
    _answer_test_state(authorize)
    stepfunctions._run_execution = functools.partial(_run_execution, authorize)


def _answer_api() -> None:
    """Complete the answers of the API, which MiniStack gives."""
    start = _started_once(_told_as_aws_does(stepfunctions._start_execution, *_MACHINE))
    stop = _told_as_aws_does(stepfunctions._stop_execution, *_EXECUTION)
    describe = _told_as_aws_does(stepfunctions._describe_execution, *_EXECUTION)

    def stop_execution(request: dict[str, Any]) -> Any:
        with _HISTORY_LOCK:
            execution = stepfunctions._executions.get(request.get("executionArn"))
            was_running = execution is not None and execution["status"] == "RUNNING"
            status, headers, body = stop(request)
            if status == 200 and was_running:  # The history has only what the caller of the first stop gave.
                details = history.failure(request.get("error"), request.get("cause"))
                event = {"previousEventId": 0, "executionAbortedEventDetails": details}
                execution["events"][-1].update(event)
            return status, headers, body

    def describe_execution(request: dict[str, Any]) -> Any:
        status, headers, body = describe(request)
        if status != 200:
            return status, headers, body
        answer = json.loads(body)
        if answer["status"] != "SUCCEEDED":
            answer.pop("outputDetails", None)
        present = {name: value for name, value in answer.items() if value is not None}
        present.update(_redrive_of(answer["status"]))
        return status, headers, json.dumps(present).encode()

    def validate_definition(request: dict[str, Any]) -> Any:
        return stepfunctions.json_response(validation.diagnosis(request))

    check_start = (requests.check_name, requests.check_input)
    create = stepfunctions._create_state_machine
    stepfunctions._create_state_machine = _checked(_one_of_a_name(create), requests.check_name)
    stepfunctions._create_activity = _checked(stepfunctions._create_activity, requests.check_name)
    stepfunctions._start_execution = _checked(start, *check_start)
    sync = _told_as_aws_does(stepfunctions._start_sync_execution, *_MACHINE)
    stepfunctions._start_sync_execution = _checked(sync, *check_start)
    stepfunctions._stop_execution = stop_execution
    stepfunctions._describe_execution = describe_execution
    stepfunctions._describe_state_machine = _told_as_aws_does(stepfunctions._describe_state_machine, *_MACHINE)
    stepfunctions._get_execution_history = _told_as_aws_does(stepfunctions._get_execution_history, *_EXECUTION)
    stepfunctions._list_executions = _told_as_aws_does(stepfunctions._list_executions, *_MACHINE)
    publish = stepfunctions._publish_state_machine_version
    stepfunctions._publish_state_machine_version = _told_as_aws_does(publish, *_MACHINE)
    stepfunctions._validate_definition_jsonata = validation.refusal
    stepfunctions._validate_state_machine_definition = validate_definition


def _answer_test_state(authorize: Callable[[str, str, str, Any], None]) -> None:
    """Let TestState run states as executions do."""

    def answer_test_state(request: dict[str, Any]) -> Any:
        role = functools.partial(authorize, request.get("roleArn", ""), "TestState")
        services = _MiniStackServices({"status": "RUNNING", "events": []}, role)
        try:
            return stepfunctions.json_response(teststate.test_state(request, services, scope()))
        except teststate.TestStateRefusalError as error:
            return stepfunctions.error_response_json(error.code, str(error), 400)

    stepfunctions._test_state = answer_test_state


_EXECUTION = ("executionArn", "Execution")
_MACHINE = ("stateMachineArn", "State Machine")


def _told_as_aws_does(find: Answer, member: str, what: str) -> Answer:
    """Let a function of the API refuse what is no ARN, and say in AWS's words that there is no such thing.

    Args:
        find: MiniStack's function.
        member: The member of the request that has the ARN.
        what: What the ARN names.
    """

    def find_or_refuse(request: dict[str, Any]) -> Any:
        arn = request.get(member)
        if isinstance(arn, str) and not arn.startswith("arn:"):
            message = f"Invalid Arn: 'Invalid ARN prefix: {arn}'"
            return stepfunctions.error_response_json("InvalidArn", message, 400)
        status, headers, body = find(request)
        if status == 400 and b"DoesNotExist" in body:
            code = json.loads(body)["__type"].rpartition("#")[2]
            return stepfunctions.error_response_json(code, f"{what} Does Not Exist: '{arn}'", 400)
        return status, headers, body

    return find_or_refuse


def _checked(answer: Answer, *checks: Callable[[dict[str, Any]], None]) -> Answer:
    """Let a function of the API refuse requests for which a check raises ApiError."""

    def answer_or_refuse(request: dict[str, Any]) -> Any:
        try:
            for check in checks:
                check(request)
        except ApiError as error:
            return stepfunctions.error_response_json(error.code, error.message, 400)
        return answer(request)

    return answer_or_refuse


def _one_of_a_name(create: Answer) -> Answer:
    """Say in AWS's words that there is such a state machine, but another one."""

    def create_or_refuse(request: dict[str, Any]) -> Any:
        status, headers, body = create(request)
        if status == 400 and b"StateMachineAlreadyExists" in body:
            region, account = scope()
            message = (
                f"State Machine Already Exists: 'arn:aws:states:{region}:{account}:stateMachine:{request['name']}'"
            )
            return stepfunctions.error_response_json("StateMachineAlreadyExists", message, 400)
        return status, headers, body

    return create_or_refuse


def _started_once(start: Answer) -> Answer:
    """Let StartExecution be idempotent, as it is for standard state machines.

    A repeated request has the first one's answer as long as the execution runs.
    """
    lock = threading.Lock()

    def start_once(request: dict[str, Any]) -> Any:
        with lock:
            machine = stepfunctions._state_machines.get(stepfunctions._resolve_state_machine_arn(_machine_of(request)))
            if machine is None or not request.get("name"):
                return start(request)
            region, account = scope()
            arn = f"arn:aws:states:{region}:{account}:execution:{machine['name']}:{request['name']}"
            first = stepfunctions._executions.get(arn)
            if first is None:
                return start(request)
            if machine["type"] == "EXPRESS":  # Names of express executions need not be unique.
                stepfunctions._executions[f"{arn}:{uuid.uuid4()}"] = stepfunctions._executions.pop(arn)
                return start(request)
            if first["status"] != "RUNNING" or first["input"] != request.get("input", "{}"):
                message = f"Execution Already Exists: '{arn}'"
                return stepfunctions.error_response_json("ExecutionAlreadyExists", message, 400)
            return stepfunctions.json_response({"executionArn": arn, "startDate": first["startDate"]})

    return start_once


def _machine_of(request: dict[str, Any]) -> str:
    return str(request.get("stateMachineArn", "")).partition("#")[0]


def _redrive_of(status: str) -> dict[str, Any]:
    """Return what DescribeExecution says about a redrive."""
    if status in ("FAILED", "TIMED_OUT", "ABORTED"):
        return {"redriveCount": 0, "redriveStatus": "REDRIVABLE"}
    reason = f"Execution is {status} and cannot be redriven"
    return {"redriveCount": 0, "redriveStatus": "NOT_REDRIVABLE", "redriveStatusReason": reason}


class _MiniStackServices:
    """The ``ExecutionServices`` of one execution, provided by MiniStack.

    Args:
        execution: MiniStack's record of the execution.
        authorize: Called with a task's resource and arguments; raises StatesError when the role lacks a permission.
    """

    wait_scale: float = stepfunctions._SFN_WAIT_SCALE

    def __init__(self, execution: dict[str, Any], authorize: Callable[[str, Any], None]) -> None:
        self._execution = execution
        self._authorize = authorize
        self.region = scope()[0]

    def evaluate(self, expression: str, scope: Scope) -> Any:
        """Return the value of a JSONata expression; see ``ExecutionServices``."""
        return expressions.evaluate(expression, scope.variables, scope.states())

    def check(self, resource: str, arguments: Any) -> None:
        """Check a task's arguments; see ``ExecutionServices``."""
        integrations.check(resource, arguments)

    def invoke(self, task: Task) -> Any:
        """Return the result of a task; see ``ExecutionServices``."""
        self._authorize(task.resource, task.arguments)
        return _run_task(replace(task, arguments=integrations.without_nulls(task.resource, task.arguments)))

    def record(self, kind: str, details: Mapping[str, Any] | None, previous: int) -> int:
        """Add an event to the execution's history; see ``ExecutionServices``."""
        with _HISTORY_LOCK:
            # The check needs the lock, because no event may follow the end of the execution or of a state around.
            exit_if_stopped()
            if len(self._execution["events"]) >= _MAX_EVENTS - 1:  # One event is reserved for the execution's end.
                raise StatesError("States.Runtime", f"The execution reached the maximum number of {_MAX_EVENTS} events")
            event = _add_event(self._execution, kind, details, previous)
        if _STOPS and kind.endswith("StateEntered") and details:
            self._stop_at(details)
            self._hold_at(details)
        return event

    def _stop_at(self, details: Mapping[str, Any]) -> None:
        """Stop an execution with the name ``stop-at-STATE-…`` as it enters this state, before the state's work.

        Raises:
            SystemExit: It is stopped.
        """
        entered = details.get("stateEnteredEventDetails", {}).get("name")
        if self._execution["name"].startswith(f"stop-at-{entered}-"):
            request = {"executionArn": self._execution["executionArn"], "error": "Stopped", "cause": "by its name"}
            with StoppableWork.outside():  # The event of this end may start another execution.
                stepfunctions._stop_execution(request)
            exit_if_stopped()

    def _hold_at(self, details: Mapping[str, Any]) -> None:
        """Let an execution with the name ``hold-at-STATE-…`` rest as it enters this state, before the state's work."""
        entered = details.get("stateEnteredEventDetails", {}).get("name")
        if self._execution["name"].startswith(f"hold-at-{entered}-"):
            sleep(_HOLD_SECONDS)


def _add_event(execution: dict[str, Any], kind: str, details: Mapping[str, Any] | None, previous: int) -> int:
    event: dict[str, Any] = stepfunctions._add_event(execution, kind, {"previousEventId": previous, **(details or {})})
    return int(event["id"])


def _run_execution(authorize: Callable[[str, str, str, Any], None], arn: str) -> None:
    """Run an execution that MiniStack has recorded. It runs on the execution's own thread."""
    execution = stepfunctions._executions[arn]
    track = Track()
    _count(execution, "ExecutionStarted")
    try:
        # The role comes from the history, because an update may have changed the state machine's role meanwhile.
        started = execution["events"][0]
        started["previousEventId"] = 0
        started["executionStartedEventDetails"].update(history.input_of(execution["input"]))
        role = started["executionStartedEventDetails"]["roleArn"]
        machine = stepfunctions._state_machines[execution["stateMachineArn"]]
        definition, data = json.loads(machine["definition"]), json.loads(execution["input"])
        members = {"Id": arn, "Input": data, "Name": execution["name"], "RoleArn": role}
        context = {
            "Execution": {**members, "StartTime": _with_milliseconds(execution["startDate"]), "RedriveCount": 0},
            "StateMachine": {"Id": machine["stateMachineArn"], "Name": machine["name"]},
        }
        track.deadline = time.monotonic() + definition.get("TimeoutSeconds", asl.MAX_SECONDS)
        services = _MiniStackServices(execution, functools.partial(authorize, role, execution["name"]))
        with StoppableWork(lambda: bool(execution["status"] == "RUNNING")).entered():
            output = Interpreter(services).run_on(
                definition, Json(data, execution["input"]), Scope(context, ChainMap(), track)
            )
    except StatesError as error:
        _end(execution, "FAILED", history.failure(error.error, error.cause), track)
    except ExecutionTimeoutError:
        _end(execution, "TIMED_OUT", {}, track)
    except Exception as error:
        logging.getLogger("kennel.states").exception("%s failed inside the laptop cloud", arn)
        _end(execution, "FAILED", {"error": "States.Runtime", "cause": str(error)}, track)
    else:
        _end(execution, "SUCCEEDED", {"output": output.text}, track)


def _end(execution: dict[str, Any], status: str, details: dict[str, Any], track: Track) -> None:
    """End an execution, unless it has ended before: nothing overwrites the status ABORTED."""
    event = _ENDS[status]
    shown = history.output_of(details["output"]) if "output" in details else details
    with _HISTORY_LOCK:
        if execution["status"] != "RUNNING":
            return
        _add_event(execution, event, {history.key_of(event): shown}, track.previous)
        execution.update(details, status=status, stopDate=stepfunctions.now_iso())
    stepfunctions._emit_execution_status_event(execution)
    _count(execution, event)


def _count(execution: dict[str, Any], event: str) -> None:
    """Put the metric of an event. A stack's alarms and its meter read those, which MiniStack does not put."""
    dimensions = {"StateMachineArn": execution["stateMachineArn"]}
    cloudwatch.record_metric("AWS/States", event.replace("Execution", "Executions"), 1, "Count", dimensions)


def _with_milliseconds(time_text: str) -> str:
    """Return a time in ISO form as the context object has it."""
    moment = datetime.fromisoformat(time_text.replace("Z", "+00:00")).astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
