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

# The objects of MiniStack that are used, each with the names that must exist in it.
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
    """This MiniStack lacks something that the laptop cloud plugs into."""


class CallError(RuntimeError):
    """A MiniStack service refused a call made in process.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_hooks(hooks: Hooks) -> None:
    """Raises HookMissingError: this version of MiniStack lacks some of these names; the message lists them."""
    missing = [f"{owner.__name__}.{name}" for owner, names in hooks for name in names if not hasattr(owner, name)]
    if missing:
        raise HookMissingError(
            f"MiniStack {app._version()} has no {', '.join(missing)}; install the version in pyproject.toml"
        )


def scope() -> tuple[str, str]:
    """(region, account) of the request, or of the thread started from one."""
    return responses.get_region(), responses.get_account_id()


def spawn_thread(work: Callable[..., None], *args: Any, name: str) -> threading.Thread:
    """Start a daemon thread that keeps the request's region and account."""
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work, *args), name=name, daemon=True)
    thread.start()
    return thread


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


def answer(
    service: str,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    query: Mapping[str, str],
) -> tuple[int, dict[str, str], bytes]:
    """What a service answers in process: status, headers, body; no socket, no signature, same state.

    Call it from worker threads only.
    """
    if service not in app.SERVICE_HANDLERS:
        raise CallError(501, f"the laptop cloud has no service {service}")
    given = {key: [value] for key, value in query.items()}
    signature = f"AWS4-HMAC-SHA256 Credential=test/20260101/{responses.get_region()}/{service}/aws4_request"  # root's
    heads = {"host": "localhost", "authorization": signature, **headers}
    result: tuple[int, dict[str, str], bytes | str] = app.call_service_handler_sync(
        app.SERVICE_HANDLERS[service], method, path, heads, body, given
    )
    status, answered, content = result
    return status, answered, content.encode() if isinstance(content, str) else content


def call(
    service: str,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    query: Mapping[str, str] | None = None,
) -> bytes:
    """Call a service in process from a worker thread.

    Raises:
        CallError: the service answered 400 or more.
    """
    status, _, content = answer(service, method, path, headers or {}, body, query or {})
    if status >= 400:
        raise CallError(status, f"{service} {method} {path}: {content.decode('utf-8', 'replace')[:500]}")
    return content


def call_json(service: str, target: str, request: Mapping[str, Any]) -> Any:
    """The answer of an operation of a JSON service, for example ``logs``, ``Logs_20140328.PutLogEvents``.

    Raises:
        CallError: the service refused.
    """
    headers = {"x-amz-target": target, "content-type": "application/x-amz-json-1.1"}
    return json.loads(call(service, "POST", "/", headers=headers, body=json.dumps(request).encode()) or b"null")


async def serve(host: str, port: int, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set."""
    config = Config()
    config.bind = [f"{host}:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.loglevel = "WARNING"
    logging.getLogger("hypercorn.error").setLevel(logging.WARNING)
    await hypercorn_serve(app.app, config, shutdown_trigger=stop.wait)
