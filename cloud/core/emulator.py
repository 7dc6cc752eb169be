"""MiniStack, the AWS emulator that the laptop cloud is built on: calls of its services, threads, and its server.

Written for MiniStack 1.5.33. Each room's ``hooks.py`` changes MiniStack where its service needs it and lists in
``HOOKS`` every name that it uses from MiniStack's inside; ``cloud.hooks`` checks all of them at the start. Import
this module only after ``settings.prepare``, because MiniStack reads its environment when it is imported.
"""

import asyncio
import contextvars
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import ministack.app as app
from botocore.model import ServiceModel
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from ministack.core import responses, router

# Pairs of an object of MiniStack and the names that must exist in it.
Hooks = tuple[tuple[Any, tuple[str, ...]], ...]

HOOKS: Hooks = (
    (
        app,
        (
            "SERVICE_HANDLERS",
            "app",
            "call_service_handler_sync",
        ),
    ),
    (router, ("SERVICE_PATTERNS",)),
    (
        responses,
        (
            "_service_model",
            "get_account_id",
            "get_region",
        ),
    ),
)


Handler = Callable[..., Awaitable[tuple[int, dict[str, str], bytes]]]


class HookMissingError(RuntimeError):
    """The installed MiniStack lacks a name that the laptop cloud's hooks use."""


class CallError(RuntimeError):
    """A MiniStack service refused a call that was made within this process.

    Attributes:
        status: HTTP status of the refusal.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_hooks(hooks: Hooks) -> None:
    """Check that the installed MiniStack has every name in ``hooks``.

    Raises:
        HookMissingError: Some names are missing; the message lists them.
    """
    missing = [f"{owner.__name__}.{name}" for owner, names in hooks for name in names if not hasattr(owner, name)]
    if missing:
        raise HookMissingError(
            f"MiniStack {app._version()} has no {', '.join(missing)}; install the version in pyproject.toml"
        )


def scope() -> tuple[str, str]:
    """Return the (region, account) of the current request, or of the request that started this thread."""
    return responses.get_region(), responses.get_account_id()


def spawn_thread(work: Callable[..., None], *args: Any, name: str) -> threading.Thread:
    """Start a daemon thread that keeps the current request's region and account."""
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work, *args), name=name, daemon=True)
    thread.start()
    return thread


def service_model(name: str) -> ServiceModel:
    """Return botocore's model of a service, from the cache that MiniStack uses too."""
    model: ServiceModel = responses._service_model(name)
    return model


def add_service(name: str, target_prefix: str, handler: Handler) -> None:
    """Let MiniStack's gateway route requests to a handler, by X-Amz-Target and by the signature's service name."""
    app.SERVICE_HANDLERS[name] = handler
    router.SERVICE_PATTERNS[name] = {
        "target_prefixes": [target_prefix],
        "host_patterns": [rf"{name}\."],
        "credential_scope": name,
    }


def answer(
    service: str,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    query: Mapping[str, str],
) -> tuple[int, dict[str, str], bytes]:
    """Call a service within this process and return its status, headers and body.

    The call needs no socket and no valid signature, and uses the same state as calls over HTTP. Call this from
    worker threads only.

    Raises:
        CallError: The laptop cloud has no such service.
    """
    if service not in app.SERVICE_HANDLERS:
        raise CallError(501, f"the laptop cloud has no service {service}")
    query_lists = {key: [value] for key, value in query.items()}
    # The access key "test" belongs to the account's root.
    signature = f"AWS4-HMAC-SHA256 Credential=test/20260101/{responses.get_region()}/{service}/aws4_request"
    all_headers = {"host": "localhost", "authorization": signature, **headers}
    result: tuple[int, dict[str, str], bytes | str] = app.call_service_handler_sync(
        app.SERVICE_HANDLERS[service], method, path, all_headers, body, query_lists
    )
    status, response_headers, content = result
    return status, response_headers, content.encode() if isinstance(content, str) else content


def call(
    service: str,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    query: Mapping[str, str] | None = None,
) -> bytes:
    """Call a service within this process, from a worker thread, and return the body of its answer.

    Raises:
        CallError: The service answered 400 or more.
    """
    status, _, content = answer(service, method, path, headers or {}, body, query or {})
    if status >= 400:
        raise CallError(status, f"{service} {method} {path}: {content.decode('utf-8', 'replace')[:500]}")
    return content


def call_json(service: str, target: str, request: Mapping[str, Any]) -> Any:
    """Call an operation of a service that speaks JSON and return its parsed answer.

    Args:
        service: The service as its requests are signed, for example ``logs``.
        target: X-Amz-Target of the operation, for example ``Logs_20140328.PutLogEvents``.
        request: The operation's request.

    Raises:
        CallError: The service refused the request.
    """
    headers = {"x-amz-target": target, "content-type": "application/x-amz-json-1.1"}
    return json.loads(call(service, "POST", "/", headers=headers, body=json.dumps(request).encode()) or b"null")


async def serve(host: str, port: int, stop: asyncio.Event) -> None:
    """Serve MiniStack's gateway until ``stop`` is set."""
    config = Config()
    config.bind = [f"{host}:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.loglevel = "WARNING"
    logging.getLogger("hypercorn.error").setLevel(logging.WARNING)
    await hypercorn_serve(app.app, config, shutdown_trigger=stop.wait)
