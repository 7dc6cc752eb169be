"""Step Functions: the interpreter runs executions, and MiniStack stores them and answers the API."""

import contextvars
import functools
import json
import logging
import threading
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import cloudwatch, stepfunctions
from ministack.services.cloudformation import provisioners

from cloud.core.emulator import CallError, Hooks, answer
from cloud.stepfunctions import asl, engine, expressions, integrations
from cloud.stepfunctions.executions import StatesError, StoppableWork, exit_if_stopped
from cloud.stepfunctions.interpreter import Interpreter, Scope

HOOKS: Hooks = (
    (cloudwatch, ("record_metric",)),
    (provisioners, ("_RESOURCE_HANDLERS", "_sfn_definition")),
    (
        stepfunctions,
        (
            "_ExecutionError",
            "_SERVICE_DISPATCH",
            "_SFN_WAIT_SCALE",
            "_add_event",
            "_emit_execution_status_event",
            "_executions",
            "_invoke_aws_sdk_integration",
            "_invoke_resource",
            "_run_execution",
            "_start_execution",
            "_state_machines",
            "_stop_execution",
            "_validate_definition_jsonata",
            "error_response_json",
            "now_iso",
        ),
    ),
)


_MAX_EVENTS = 25_000  # in one execution's history
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


def add_task(resource_prefix: str, handler: Callable[[str, dict[str, Any]], Any]) -> None:
    """Serve an optimized integration.

    Args:
        resource_prefix: Start of the resources that the handler serves, for example ``arn:aws:states:::sns:publish``.
        handler: Called with the task's resource and arguments on a thread of its own; returns the task's result.
    """
    stepfunctions._SERVICE_DISPATCH[resource_prefix] = handler


def call_sdk(resource: str, arguments: dict[str, Any]) -> Any:
    """Return the result of an ``aws-sdk:`` integration.

    Raises:
        StatesError: The service refused the call, or the laptop cloud has no such service.
    """
    try:
        return integrations.call_sdk(resource, arguments, answer)
    except CallError as error:
        raise StatesError("States.Runtime", str(error)) from None


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
    create, start, stop = resource["create"], stepfunctions._start_execution, stepfunctions._stop_execution

    def start_execution(request: dict[str, Any]) -> Any:
        try:
            json.loads(request.get("input", "{}"))
        except ValueError as error:
            message = f"Invalid State Machine Execution Input: '{error}'"
            return stepfunctions.error_response_json("InvalidExecutionInput", message, 400)
        return start(request)

    def stop_execution(request: dict[str, Any]) -> Any:
        with _HISTORY_LOCK:
            return stop(request)

    def find_problem(text: Any) -> str | None:
        if not isinstance(text, str):  # UpdateStateMachine may change other members only.
            return None
        try:
            problems = asl.problems(json.loads(text))
        except ValueError as error:
            return f"INVALID_JSON_DESCRIPTION: {error}"
        invalid_expressions = [problem for problem in problems if "_JSONATA_EXPRESSION: " in problem]
        if invalid_expressions:
            return ", ".join(invalid_expressions)
        return f"SCHEMA_VALIDATION_FAILED: {'; '.join(problems)}" if problems else None

    provisioners._sfn_definition = _in_json(provisioners._sfn_definition)

    def create_checked(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        if problem := find_problem(provisioners._sfn_definition(properties)):
            raise ValueError(f"Invalid State Machine Definition: {problem}")
        return create(logical_id, properties, stack_name)

    stepfunctions._start_execution = start_execution
    stepfunctions._stop_execution = stop_execution
    stepfunctions._validate_definition_jsonata = find_problem
    resource["create"] = create_checked
    stepfunctions._invoke_aws_sdk_integration = call_sdk
    stepfunctions._run_execution = functools.partial(_run_execution, authorize)


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

    def evaluate(self, expression: str, scope: Scope) -> Any:
        """Return the value of a JSONata expression; see ``ExecutionServices``."""
        return expressions.evaluate(expression, scope.variables, scope.states())

    def invoke(self, resource: str, arguments: Any) -> Any:
        """Return the result of a task; see ``ExecutionServices``."""
        integrations.check(resource, arguments)
        self._authorize(resource, arguments)
        try:
            return stepfunctions._invoke_resource(resource, arguments)
        except stepfunctions._ExecutionError as error:
            raise StatesError(error.error, error.cause) from None

    def record(self, kind: str, details: Mapping[str, Any]) -> None:
        """Add an event to the execution's history; see ``ExecutionServices``."""
        with _HISTORY_LOCK:
            # The check needs the lock, because no event may follow the end of the execution or of a state around.
            exit_if_stopped()
            if len(self._execution["events"]) >= _MAX_EVENTS - 1:  # One event is reserved for the execution's end.
                raise StatesError("States.Runtime", f"The execution reached the maximum number of {_MAX_EVENTS} events")
            stepfunctions._add_event(self._execution, kind, details)


def _run_execution(authorize: Callable[[str, str, str, Any], None], arn: str) -> None:
    """Run an execution that MiniStack has recorded. It runs on the execution's own thread."""
    execution = stepfunctions._executions[arn]
    end_by_timeout: tuple[Any, ...] = (_end, execution, "TIMED_OUT", "ExecutionTimedOut", {})
    timer = None
    try:
        # The role comes from the history, because an update may have changed the state machine's role meanwhile.
        role = execution["events"][0]["executionStartedEventDetails"]["roleArn"]
        machine = stepfunctions._state_machines[execution["stateMachineArn"]]
        definition, data = json.loads(machine["definition"]), json.loads(execution["input"])
        members = {"Id": arn, "Input": data, "Name": execution["name"], "RoleArn": role}
        context = {
            "Execution": {**members, "StartTime": execution["startDate"], "RedriveCount": 0},
            "StateMachine": {"Id": machine["stateMachineArn"], "Name": machine["name"]},
        }
        seconds = definition.get("TimeoutSeconds", asl.MAX_SECONDS)
        timer = threading.Timer(seconds, contextvars.copy_context().run, end_by_timeout)
        timer.daemon = True
        timer.start()
        services = _MiniStackServices(execution, functools.partial(authorize, role, execution["name"]))
        with StoppableWork(lambda: bool(execution["status"] == "RUNNING")).entered():
            output = Interpreter(services).run(definition, data, Scope(context, ChainMap()))
    except StatesError as error:
        _end(execution, "FAILED", "ExecutionFailed", {"error": error.error, "cause": error.cause})
    except Exception as error:
        logging.getLogger("kennel.states").exception("%s failed inside the laptop cloud", arn)
        _end(execution, "FAILED", "ExecutionFailed", {"error": "States.Runtime", "cause": str(error)})
    else:
        _end(execution, "SUCCEEDED", "ExecutionSucceeded", {"output": json.dumps(output)})
    finally:
        if timer:
            timer.cancel()


def _end(execution: dict[str, Any], status: str, event: str, details: dict[str, Any]) -> None:
    """End an execution, unless it has ended before: nothing overwrites the status ABORTED."""
    with _HISTORY_LOCK:
        if execution["status"] != "RUNNING":
            return
        stepfunctions._add_event(execution, event, {f"{event[:1].lower()}{event[1:]}EventDetails": details})
        execution.update(details, status=status, stopDate=stepfunctions.now_iso())
    stepfunctions._emit_execution_status_event(execution)
    # A stack's alarms watch the metrics of state machines, which MiniStack does not put.
    dimensions = {"StateMachineArn": execution["stateMachineArn"]}
    cloudwatch.record_metric("AWS/States", event.replace("Execution", "Executions"), 1, "Count", dimensions)
