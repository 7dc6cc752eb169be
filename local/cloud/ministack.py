"""Every touch of MiniStack's inside: what an upgrade of MiniStack must be checked against.

Written for 1.5.33. ``_HOOKS`` names all that is used; a name that is gone ends the start with one
sentence. Import only after ``settings.prepare``: MiniStack reads its environment on import.
"""

import asyncio
import contextvars
import json
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

import ministack.app as app
from botocore.model import ServiceModel
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from ministack.core import lambda_runtime, responses, router
from ministack.services import apigateway_v1, lambda_svc, stepfunctions
from ministack.services.cloudformation import provisioners

Handler = Callable[..., Awaitable[tuple[int, dict[str, str], bytes]]]

_HOOKS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (app, ("SERVICE_HANDLERS", "app", "call_service_handler_sync")),
    (router, ("SERVICE_PATTERNS",)),
    (responses, ("get_region", "get_account_id", "_service_model")),
    (lambda_runtime, ("reset",)),
    (apigateway_v1, ("_media_type_matches",)),
    (lambda_svc, ("_execute_function",)),
    (provisioners, ("_RESOURCE_HANDLERS",)),
    (
        stepfunctions,
        (
            "_SERVICE_DISPATCH",
            "_AWS_SDK_SERVICE_MAP",
            "_AWS_SDK_ERROR_PREFIX",
            "_AWS_SDK_ERROR_CODE_OVERRIDES",
            "_ExecutionError",
            "_execute_task",
            "_fail_execution",
            "_invoke_resource_with_timeout",
        ),
    ),
)

_execution: ContextVar[dict[str, Any] | None] = ContextVar("execution", default=None)
_timed_out: ContextVar[threading.Event | None] = ContextVar("timed_out", default=None)


class HookMissingError(RuntimeError):
    """This MiniStack lacks something that the laptop cloud plugs into."""


class CallError(RuntimeError):
    """A MiniStack service refused a call made in process.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_hooks() -> None:
    """Raises HookMissingError: naming what this version of MiniStack does not have."""
    hooks = [(owner, name) for owner, names in _HOOKS for name in names]
    missing = [f"{owner.__name__}.{name}" for owner, name in hooks if not hasattr(owner, name)]
    if missing:
        raise HookMissingError(
            f"MiniStack {app._version()} has no {', '.join(missing)}; install the version in pyproject.toml"
        )


# --- the request being served ---------------------------------------------------------------------


def scope() -> tuple[str, str]:
    """(region, account) of the request, or of the thread started from one."""
    return responses.get_region(), responses.get_account_id()


def spawn_thread(work: Callable[..., None], *args: Any, name: str) -> threading.Thread:
    """Start a daemon thread that keeps the request's region and account."""
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work, *args), name=name, daemon=True)
    thread.start()
    return thread


# --- services ---------------------------------------------------------------------------------------


def service_model(name: str) -> ServiceModel:
    """botocore's model of a service, from the cache that MiniStack uses as well."""
    model: ServiceModel = responses._service_model(name)
    return model


def add_service(name: str, target_prefix: str, handler: Handler) -> None:
    """Serve a service at the gateway: by X-Amz-Target, and by ``name`` as the signature's scope."""
    app.SERVICE_HANDLERS[name] = handler
    router.SERVICE_PATTERNS[name] = {
        "target_prefixes": [target_prefix],
        "host_patterns": [rf"{name}\."],
        "credential_scope": name,
    }


def call(
    service: str,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    query: Mapping[str, str] | None = None,
) -> bytes:
    """Call a service in process from a worker thread: no socket, no signature, same state.

    Raises:
        CallError: the service answered 400 or more.
    """
    answer: bytes
    status, _, answer = app.call_service_handler_sync(
        app.SERVICE_HANDLERS[service],
        method,
        path,
        {"host": "localhost", **(headers or {})},
        body,
        {key: [value] for key, value in (query or {}).items()},
    )
    if status >= 400:
        raise CallError(status, f"{service} {method} {path}: {answer.decode('utf-8', 'replace')[:500]}")
    return answer


def call_json(service: str, target: str, request: Mapping[str, Any]) -> None:
    """Call an operation of a JSON service, for example ``logs``, ``Logs_20140328.PutLogEvents``."""
    headers = {"x-amz-target": target, "content-type": "application/x-amz-json-1.1"}
    call(service, "POST", "/", headers=headers, body=json.dumps(request).encode())


# --- Step Functions ---------------------------------------------------------------------------------


def add_task(resource_prefix: str, handler: Callable[[str, dict[str, Any]], Any]) -> None:
    """Serve an optimized integration: ``handler(resource, arguments)`` on the execution's thread."""
    stepfunctions._SERVICE_DISPATCH[resource_prefix] = handler


def add_sdk_service(name: str, service: str, target_prefix: str, error_prefix: str) -> None:
    """Serve ``aws-sdk:<name>:*`` by the gateway's ``service``."""
    stepfunctions._AWS_SDK_SERVICE_MAP[name] = {
        "target_prefix": target_prefix,
        "protocol": "json",
        "service_key": service,
    }
    stepfunctions._AWS_SDK_ERROR_PREFIX[name] = error_prefix


def rename_sdk_errors(name: str, names: Mapping[str, str]) -> None:
    """Let tasks of ``aws-sdk:<name>:*`` fail with other names than the service's error codes."""
    stepfunctions._AWS_SDK_ERROR_CODE_OVERRIDES[name] = dict(names)


def task_error(error: str, cause: str) -> Exception:
    """The exception by which a task fails with an error name and a cause."""
    failure: Exception = stepfunctions._ExecutionError(error, cause)
    return failure


def task_is_over() -> bool:
    """Whether nobody waits for the task on this thread: its execution ended, or it timed out."""
    execution, timed_out = _execution.get(), _timed_out.get()
    return (execution is not None and execution["status"] != "RUNNING") or (
        timed_out is not None and timed_out.is_set()
    )


def follow_executions() -> None:
    """Let tasks know when their execution is stopped or their time is up.

    MiniStack leaves the task's thread running in both cases, and writes FAILED over ABORTED when
    that thread fails later.
    """
    execute_task = stepfunctions._execute_task
    invoke_with_timeout = stepfunctions._invoke_resource_with_timeout
    fail_execution = stepfunctions._fail_execution

    def following(state: Any, raw_input: Any, execution: dict[str, Any], ctx: Any) -> Any:
        token = _execution.set(execution)
        try:
            return execute_task(state, raw_input, execution, ctx)
        finally:
            _execution.reset(token)

    def telling(resource: str, arguments: Any, timeout: float) -> Any:
        event = threading.Event()
        token = _timed_out.set(event)  # the task's thread gets a copy of this context
        try:
            return invoke_with_timeout(resource, arguments, timeout)
        except stepfunctions._ExecutionError as error:
            if error.error == "States.Timeout":
                event.set()
            raise
        finally:
            _timed_out.reset(token)

    def failing(execution: dict[str, Any], error: str, cause: str) -> None:
        if execution["status"] == "RUNNING":
            fail_execution(execution, error, cause)

    stepfunctions._execute_task = following
    stepfunctions._invoke_resource_with_timeout = telling
    stepfunctions._fail_execution = failing


# --- Lambda -------------------------------------------------------------------------------------------


def name_function_errors() -> None:
    """Let a Python function that raises fail with its exception's name, as on AWS.

    MiniStack reports every exception as ``Runtime.HandlerError``; the name stands in the traceback.
    """
    execute = lambda_svc._execute_function

    def naming(function: Any, event: Any) -> dict[str, Any]:
        result: dict[str, Any] = execute(function, event)
        body = result.get("body")
        if result.get("error") and isinstance(body, dict) and body.get("errorType") == "Runtime.HandlerError":
            body["errorType"] = exception_name(result.get("log", ""), body.get("errorMessage", ""))
        return result

    lambda_svc._execute_function = naming


def exception_name(trace: str, message: str) -> str:
    """The class name of the exception at the end of a traceback, without its module."""
    found = re.findall(rf"^([A-Za-z_][\w.]*)(?:: {re.escape(message)})?$", trace.rstrip(), re.MULTILINE)
    return found[-1].rsplit(".", 1)[-1] if found else "Runtime.HandlerError"


# --- CloudFormation and API Gateway -----------------------------------------------------------------


def add_resource(kind: str, create: Callable[..., Any], update: Callable[..., Any], delete: Callable[..., Any]) -> None:
    """Let templates hold a resource type.

    Args:
        kind: for example ``AWS::SageMaker::ModelPackageGroup``.
        create: ``(logical_id, properties, stack_name) -> (physical_id, attributes)``.
        update: ``(physical_id, old, new, stack_name) -> (physical_id, attributes)``.
        delete: ``(physical_id, properties)``.
    """
    provisioners._RESOURCE_HANDLERS[kind] = {"create": create, "update": update, "delete": delete}


def unescape_binary_media_types() -> None:
    """Let ``image~1jpeg`` in BinaryMediaTypes mean image/jpeg.

    SAM hands the media types on with ``/`` escaped as in a JSON pointer. AWS unescapes; MiniStack
    compares literally and would deliver photos as mangled text.
    """
    matches = apigateway_v1._media_type_matches

    def matching(media_type: str, configured: list[str] | None) -> bool:
        return bool(matches(media_type, [kind.replace("~1", "/") for kind in configured or []]))

    apigateway_v1._media_type_matches = matching


# --- the server -------------------------------------------------------------------------------------


async def serve(host: str, port: int, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set."""
    config = Config()
    config.bind = [f"{host}:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.loglevel = "WARNING"
    logging.getLogger("hypercorn.error").setLevel(logging.WARNING)
    await hypercorn_serve(app.app, config, shutdown_trigger=stop.wait)


def stop_lambda_workers() -> None:
    """End the warm processes that Lambda functions run in."""
    lambda_runtime.reset()
