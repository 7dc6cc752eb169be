"""Step Functions: our interpreter checks definitions and runs executions; MiniStack keeps them and answers the API."""

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
from cloud.stepfunctions import asl, integrations
from cloud.stepfunctions.executions import Part, StatesError, leave_if_over
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
            "_evaluate_jsonata",
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


_MAX_EVENTS = 25_000  # of an execution's history


def _in_json(read: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], str]:
    """Let MiniStack read definitions in YAML, which CloudFormation takes in a file in S3.

    Args:
        read: MiniStack's; returns a definition with its substitutions made.
    """

    def definition(properties: dict[str, Any]) -> str:
        text = read(properties)
        return asl.to_json(text) if "DefinitionS3Location" in properties else text

    return definition


_HISTORIES = threading.Lock()  # held to write to one, and to end an execution


def add_task(resource_prefix: str, handler: Callable[[str, dict[str, Any]], Any]) -> None:
    """Serve an optimized integration: ``handler(resource, arguments)`` on a thread of the task's own."""
    stepfunctions._SERVICE_DISPATCH[resource_prefix] = handler


def call_sdk(resource: str, arguments: dict[str, Any]) -> Any:
    """The result of an ``aws-sdk:`` integration.

    Raises:
        StatesError: the service refused, or the laptop cloud has no such service.
    """
    try:
        return integrations.call_sdk(resource, arguments, answer)
    except CallError as error:
        raise StatesError("States.Runtime", str(error)) from None


def run_state_machines(authorize: Callable[[str, str, str, Any], None]) -> None:
    """Check definitions and run executions ourselves, as AWS does; MiniStack keeps them and answers the API.

    MiniStack's own engine is laxer in many ways, which docs/laptop-cloud.md lists.

    Args:
        authorize: asked before each task; takes the state machine's role, the execution's name, the task's
            resource and its arguments; raises StatesError.
    """
    find_broken_expression = stepfunctions._validate_definition_jsonata
    resource = provisioners._RESOURCE_HANDLERS["AWS::StepFunctions::StateMachine"]
    create, start, stop = resource["create"], stepfunctions._start_execution, stepfunctions._stop_execution

    def starting(request: dict[str, Any]) -> Any:
        try:
            json.loads(request.get("input", "{}"))
        except ValueError as error:
            message = f"Invalid State Machine Execution Input: '{error}'"
            return stepfunctions.error_response_json("InvalidExecutionInput", message, 400)
        return start(request)

    def stopping(request: dict[str, Any]) -> Any:
        with _HISTORIES:
            return stop(request)

    def refusal(text: Any) -> str | None:
        if not isinstance(text, str):  # an update of something else
            return None
        try:
            found = asl.problems(json.loads(text))
        except ValueError as error:
            return f"INVALID_JSON_DESCRIPTION: {error}"
        broken: str | None = find_broken_expression(text)
        return broken or (f"SCHEMA_VALIDATION_FAILED: {'; '.join(found)}" if found else None)

    provisioners._sfn_definition = _in_json(provisioners._sfn_definition)

    def creating(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        if reason := refusal(provisioners._sfn_definition(properties)):
            raise ValueError(f"Invalid State Machine Definition: {reason}")
        return create(logical_id, properties, stack_name)

    stepfunctions._start_execution = starting
    stepfunctions._stop_execution = stopping
    stepfunctions._validate_definition_jsonata = refusal
    resource["create"] = creating
    stepfunctions._invoke_aws_sdk_integration = call_sdk
    stepfunctions._run_execution = functools.partial(_run_execution, authorize)


class _ExecutionsCloud:
    """What surrounds one execution.

    Args:
        execution: MiniStack's record of it.
        authorize: takes a task's resource and arguments; raises StatesError.
    """

    wait_scale: float = stepfunctions._SFN_WAIT_SCALE

    def __init__(self, execution: dict[str, Any], authorize: Callable[[str, Any], None]) -> None:
        self._execution = execution
        self._authorize = authorize

    def evaluate(self, expression: str, scope: Scope) -> Any:
        context = {**scope.context, "variables": scope.variables}
        try:
            return stepfunctions._evaluate_jsonata(expression, scope.input, context, scope.result, scope.error)
        except stepfunctions._ExecutionError as error:
            raise StatesError(error.error, error.cause) from None

    def invoke(self, resource: str, arguments: Any) -> Any:
        integrations.check(resource, arguments)
        self._authorize(resource, arguments)
        try:
            return stepfunctions._invoke_resource(resource, arguments)
        except stepfunctions._ExecutionError as error:
            raise StatesError(error.error, error.cause) from None

    def record(self, kind: str, details: Mapping[str, Any]) -> None:
        with _HISTORIES:
            leave_if_over()  # under the lock: nothing may follow the end, nor the end of a state around
            if len(self._execution["events"]) >= _MAX_EVENTS - 1:  # the last is the execution's end
                raise StatesError("States.Runtime", f"The execution reached the maximum number of {_MAX_EVENTS} events")
            stepfunctions._add_event(self._execution, kind, details)


def _run_execution(authorize: Callable[[str, str, str, Any], None], arn: str) -> None:
    """Run an execution that MiniStack has noted down, on the execution's own thread."""
    execution = stepfunctions._executions[arn]
    late: tuple[Any, ...] = (_end, execution, "TIMED_OUT", "ExecutionTimedOut", {})
    clock = None
    try:
        # Not the machine's own, which an update may have changed meanwhile.
        role = execution["events"][0]["executionStartedEventDetails"]["roleArn"]
        machine = stepfunctions._state_machines[execution["stateMachineArn"]]
        definition, given = json.loads(machine["definition"]), json.loads(execution["input"])
        about = {"Id": arn, "Input": given, "Name": execution["name"], "RoleArn": role}
        context = {
            "Execution": {**about, "StartTime": execution["startDate"], "RedriveCount": 0},
            "StateMachine": {"Id": machine["stateMachineArn"], "Name": machine["name"]},
        }
        seconds = definition.get("TimeoutSeconds", asl.LONGEST_SECONDS)
        clock = threading.Timer(seconds, contextvars.copy_context().run, late)
        clock.daemon = True
        clock.start()
        cloud = _ExecutionsCloud(execution, functools.partial(authorize, role, execution["name"]))
        with Part(lambda: bool(execution["status"] == "RUNNING")).entered():
            output = Interpreter(cloud).run(definition, given, Scope(context, ChainMap()))
    except StatesError as error:
        _end(execution, "FAILED", "ExecutionFailed", {"error": error.error, "cause": error.cause})
    except Exception as error:
        logging.getLogger("kennel.states").exception("%s failed inside the laptop cloud", arn)
        _end(execution, "FAILED", "ExecutionFailed", {"error": "States.Runtime", "cause": str(error)})
    else:
        _end(execution, "SUCCEEDED", "ExecutionSucceeded", {"output": json.dumps(output)})
    finally:
        if clock:
            clock.cancel()


def _end(execution: dict[str, Any], status: str, event: str, details: dict[str, Any]) -> None:
    """Let an execution end, unless it has: nothing writes over ABORTED."""
    with _HISTORIES:
        if execution["status"] != "RUNNING":
            return
        stepfunctions._add_event(execution, event, {f"{event[:1].lower()}{event[1:]}EventDetails": details})
        execution.update(details, status=status, stopDate=stepfunctions.now_iso())
    stepfunctions._emit_execution_status_event(execution)
    # MiniStack puts no metrics of state machines, on which a stack's alarms go.
    dimensions = {"StateMachineArn": execution["stateMachineArn"]}
    cloudwatch.record_metric("AWS/States", event.replace("Execution", "Executions"), 1, "Count", dimensions)
