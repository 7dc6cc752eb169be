"""Lambda: functions need the rights of their role, errors have their exception's name, and URLs reach the function."""

import contextvars
import re
import select
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import ministack.app as app
from ministack.core import lambda_runtime
from ministack.services import lambda_svc
from ministack.services.cloudformation import provisioners

from cloud.core.emulator import Hooks
from cloud.core.quotas import FUNCTION_MEMORY, quota

HOOKS: Hooks = (
    (
        app,
        (
            "_handle_pre_body_request",
            "_parse_lambda_url",
        ),
    ),
    (
        lambda_runtime,
        (
            "_signal",
            "execution_credentials",
            "reset",
        ),
    ),
    (
        lambda_svc,
        (
            "_create_function",
            "_emit_lambda_logs",
            "_execute_function",
            "_execute_function_with_config_scope",
            "_execution_record_for_config",
            "_get_func_record_for_ref",
            "_update_config",
            "error_response_json",
            "function_policy_for_arn",
        ),
    ),
    (provisioners, ("_RESOURCE_HANDLERS",)),
)

_MIN_MEMORY = 128  # MB
_DIED = "Worker process died"  # MiniStack's words when a runtime exits


_died = threading.local()  # .status: the exit status of the process in which a thread's last function died


def name_function_errors() -> None:
    """Let a Python function that fails be told of as on AWS: with its exception's name, or with how its runtime ended.

    MiniStack reports every exception as ``Runtime.HandlerError``, without the stack; its log has the traceback. It
    reports a runtime that exits in the same way, without its status.
    """
    execute, signal_worker = lambda_svc._execute_function, lambda_runtime._signal

    def note_status_and_signal(process: Any) -> None:
        _died.status = _status_of(process)
        signal_worker(process)

    def execute_and_name_error(function: Any, event: Any) -> dict[str, Any]:
        _died.status = None
        result: dict[str, Any] = execute(function, event)
        body = result.get("body")
        if not result.get("error") or not isinstance(body, dict):
            return result
        kind, message = body.get("errorType"), str(body.get("errorMessage", ""))
        if kind == "Sandbox.Timedout":
            result["body"] = platform_error(kind, message)
        elif kind == "Runtime.HandlerError" and message == _DIED:
            result["body"] = platform_error("Runtime.ExitError", exit_reason(_died.status))
        elif kind == "Runtime.HandlerError":
            log = result.get("log", "")
            result["body"] = {
                "errorMessage": message,
                "errorType": exception_name(log, message),
                "requestId": str(uuid.uuid4()),
                "stackTrace": stack_of(log),
            }
        return result

    lambda_runtime._signal = note_status_and_signal
    lambda_svc._execute_function = execute_and_name_error


def _status_of(process: Any) -> int | None:
    """Return the exit status of a worker that ends by itself; None while it waits for its next event."""
    if process is None:
        return None
    try:
        # The output of a worker that ends has ended, and can be read without waiting.
        if process.poll() is None and select.select([process.stdout], [], [], 0)[0]:
            process.wait(1)
    except (OSError, ValueError, subprocess.TimeoutExpired):  # The output may be closed already.
        return None
    status: int | None = process.poll()
    return status


def platform_error(kind: str, message: str) -> dict[str, str]:
    """Return what Lambda itself, not the function's runtime, tells of a failure; the order of the members is AWS's."""
    return {"errorType": kind, "errorMessage": f"RequestId: {uuid.uuid4()} Error: {message}"}


def exit_reason(status: int | None) -> str:
    """Return how AWS tells that a function's runtime has ended.

    Args:
        status: The exit status; negative for a signal; None if it is not known.
    """
    if not status:
        return "Runtime exited without providing a reason"
    if status < 0:
        return f"Runtime exited with error: signal: {str(signal.strsignal(-status)).lower()}"
    return f"Runtime exited with error: exit status {status}"


def exception_name(trace: str, message: str) -> str:
    """Return the class name, without its module, of the exception at the end of a traceback.

    Args:
        trace: The function's log, with the traceback.
        message: The exception's message.
    """
    names = re.findall(rf"^([A-Za-z_][\w.]*)(?:: {re.escape(message)})?$", trace.rstrip(), re.MULTILINE)
    return names[-1].rsplit(".", 1)[-1] if names else "Runtime.HandlerError"


def check_functions(is_trusting: Callable[[str], bool]) -> None:
    """Refuse functions that AWS does not make, from the API and from templates.

    They have more memory than the account's quota allows, or a role that Lambda cannot assume.

    Args:
        is_trusting: Called with a role's ARN; whether the role exists and trusts Lambda.
    """
    create, update = lambda_svc._create_function, lambda_svc._update_config
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create_resource, update_resource = handlers["create"], handlers["update"]

    def problem_of(request: Mapping[str, Any]) -> tuple[str, str] | None:
        if problem := memory_problem(int(request.get("MemorySize", _MIN_MEMORY))):
            return "ValidationException", problem
        if (role := request.get("Role")) and not is_trusting(role):
            return "InvalidParameterValueException", "The role defined for the function cannot be assumed by Lambda."
        return None

    def refusal(request: Mapping[str, Any]) -> Any:
        problem = problem_of(request)
        return lambda_svc.error_response_json(*problem, 400) if problem else None

    def check(properties: Mapping[str, Any]) -> None:
        if problem := problem_of(properties):
            raise ValueError(f"{problem[1]} (Service: Lambda, Status Code: 400)")

    def create_within(logical_id: str, properties: dict[str, Any], *rest: Any, **options: Any) -> Any:
        check(properties)
        return create_resource(logical_id, properties, *rest, **options)

    def update_within(physical_id: str, old: Any, new: dict[str, Any], *rest: Any, **options: Any) -> Any:
        check(new)
        return update_resource(physical_id, old, new, *rest, **options)

    lambda_svc._create_function = lambda request: refusal(request) or create(request)
    lambda_svc._update_config = lambda name, request: refusal(request) or update(name, request)
    handlers |= {"create": create_within, "update": update_within}


def memory_problem(megabytes: int) -> str | None:
    """Return AWS's message if the account may not have a function with this much memory; None if it may."""
    limit = quota(FUNCTION_MEMORY)
    if _MIN_MEMORY <= megabytes <= limit:
        return None
    bound = f"less than or equal to {limit}" if megabytes > limit else f"greater than or equal to {_MIN_MEMORY}"
    return f"'MemorySize' value failed to satisfy constraint: Member must have value {bound}"


def run_function(reference: str, payload: Any) -> tuple[str, str | None, dict[str, Any]]:
    """Run a function and return its name, the version that ran and MiniStack's account of the end.

    Args:
        reference: Name or ARN of the function, with or without a version or alias.
        payload: The event, any JSON.

    Returns:
        The version is None when there is no such function.
    """
    record, config, name = lambda_svc._get_func_record_for_ref(reference)
    if not record or not config:
        return str(name), None, {}
    execution = lambda_svc._execution_record_for_config(record, config)
    version = str(config.get("Version", "$LATEST"))
    return str(name), version, lambda_svc._execute_function_with_config_scope(execution, payload)


def stack_of(log: str) -> list[str]:
    """Return the stack of the last traceback in a function's log, with the function's own frames, as AWS tells it.

    Args:
        log: The function's log.
    """
    frames: list[str] = []
    for line in log[max(log.rfind("Traceback (most recent call last):"), 0) :].splitlines():
        if line.startswith('  File "'):
            frames.append(f"{line}\n")
        elif line.startswith("    ") and frames and not set(line) <= set(" ~^"):
            frames[-1] += f"{line}\n"
    return [re.sub(r'"[^"]*?/code/', '"/var/task/', frame, count=1) for frame in frames if "/_worker.py" not in frame]


def authorize_functions(prepare: Callable[[str, str, str, str], bool]) -> None:
    """Let a function start only with its role's permission, and write its log only where the role may.

    Args:
        prepare: Called before an environment of a function starts, with the function's role, name, log group and
            version. It returns whether the log may be written. It raises an exception, which ends the request, when
            Lambda may not assume the role.
    """
    credentials, emit = lambda_runtime.execution_credentials, lambda_svc._emit_lambda_logs
    without_log: set[str] = set()  # ARNs of the functions that may not write their log

    def prepare_and_get_credentials(config: Mapping[str, Any]) -> Any:
        name, arn = config["FunctionName"], config["FunctionArn"]
        group = config.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{name}"
        # The function acts with its own role, so the context of the request that starts it must not be used.
        may_log = contextvars.Context().run(prepare, config["Role"], name, group, config.get("Version", "$LATEST"))
        (without_log.discard if may_log else without_log.add)(arn)
        return credentials(config)

    def emit_if_allowed(function: Mapping[str, Any], *arguments: Any, **options: Any) -> None:
        if function.get("config", function)["FunctionArn"] not in without_log:
            emit(function, *arguments, **options)

    lambda_runtime.execution_credentials = prepare_and_get_credentials
    lambda_svc._emit_lambda_logs = emit_if_allowed


def function_policy(arn: str) -> Any:
    """Return the policy of a function or of one of its aliases; None when there is no such function."""
    policy_and_account = lambda_svc.function_policy_for_arn(arn)
    return policy_and_account[0] if policy_and_account else None


def route_function_urls() -> None:
    """Let every request to a function's URL reach the function; MiniStack answers the path /health itself."""
    handle = app._handle_pre_body_request

    async def handle_unless_function_url(method: str, path: str, headers: Mapping[str, str], *rest: Any) -> Any:
        is_function_url = app._parse_lambda_url(headers.get("host", ""), path) is not None
        return None if is_function_url else await handle(method, path, headers, *rest)

    app._handle_pre_body_request = handle_unless_function_url


def stop_lambda_workers() -> None:
    """End the warm processes in which Lambda functions run."""
    lambda_runtime.reset()
