"""Lambda: functions need the rights of their role, exceptions have their names, and URLs reach their function."""

import contextvars
import re
from collections.abc import Callable, Mapping
from typing import Any

import ministack.app as app
from ministack.core import lambda_runtime
from ministack.services import lambda_svc

from cloud.core.emulator import Hooks

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
            "execution_credentials",
            "reset",
        ),
    ),
    (
        lambda_svc,
        (
            "_emit_lambda_logs",
            "_execute_function",
            "function_policy_for_arn",
        ),
    ),
)


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


def authorize_functions(prepare: Callable[[str, str, str, str], bool]) -> None:
    """Ask before an environment of a function starts.

    Args:
        prepare: takes the function's role, name, log group and version; returns whether its log may be written;
            raises an exception that ends the request when the function may not have its role.
    """
    credentials, emit = lambda_runtime.execution_credentials, lambda_svc._emit_lambda_logs
    silent: set[str] = set()

    def preparing(config: Mapping[str, Any]) -> Any:
        name, arn = config["FunctionName"], config["FunctionArn"]
        group = config.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{name}"
        # Whether and how the request is signed that the function starts for is no matter here.
        heard = contextvars.Context().run(prepare, config["Role"], name, group, config.get("Version", "$LATEST"))
        (silent.discard if heard else silent.add)(arn)
        return credentials(config)

    def emitting(function: Mapping[str, Any], *rest: Any, **named: Any) -> None:
        if function.get("config", function)["FunctionArn"] not in silent:
            emit(function, *rest, **named)

    lambda_runtime.execution_credentials = preparing
    lambda_svc._emit_lambda_logs = emitting


def function_policy(arn: str) -> Any:
    """The policy of a function or of one of its aliases; None where there is no such function."""
    found = lambda_svc.function_policy_for_arn(arn)
    return found[0] if found else None


def leave_urls_of_functions_alone() -> None:
    """Let requests to a function's URL reach the function whatever their path; MiniStack answers /health itself."""
    handle = app._handle_pre_body_request

    async def handling(method: str, path: str, headers: Mapping[str, str], *rest: Any) -> Any:
        is_functions = app._parse_lambda_url(headers.get("host", ""), path) is not None
        return None if is_functions else await handle(method, path, headers, *rest)

    app._handle_pre_body_request = handling


def stop_lambda_workers() -> None:
    """End the warm processes that Lambda functions run in."""
    lambda_runtime.reset()
