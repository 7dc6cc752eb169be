"""MiniStack, the AWS emulator that the laptop cloud is built on: calls of its services, threads, and its server.

Written for MiniStack 1.5.33. Each room's ``hooks.py`` changes MiniStack where its service needs it and lists in
``HOOKS`` every name that it uses from MiniStack's inside; ``cloud.hooks`` checks all of them at the start. Import
this module only after ``settings.prepare``, because MiniStack reads its environment when it is imported.
"""

import asyncio
import contextlib
import contextvars
import json
import logging
import secrets
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import ministack.app as app
from botocore.model import ServiceModel
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from ministack.core import responses, router

from cloud.core import members, missing
from cloud.core.door import Door

# Pairs of an object of MiniStack and the names that must exist in it.
Hooks = tuple[tuple[Any, tuple[str, ...]], ...]

HOOKS: Hooks = (
    (
        app,
        (
            "SERVICE_HANDLERS",
            "_handle_execute_api_request",
            "_handle_lambda_url_request",
            "_handle_post_body_shortcuts",
            "_handle_pre_body_request",
            "_handle_special_data_plane_request",
            "_parse_execute_api_url",
            "_parse_lambda_url",
            "_with_data_plane_headers",
            "app",
            "call_service_handler_sync",
        ),
    ),
    (router, ("SERVICE_PATTERNS", "_is_aws_service_name")),
    (
        responses,
        (
            "_service_model",
            "get_account_id",
            "get_region",
        ),
    ),
)


Answer = tuple[int, dict[str, str], bytes]
Handler = Callable[..., Awaitable[Answer]]
# The paths of a user pool that browsers ask for: https://docs.aws.amazon.com/cognito/latest/developerguide/federation-endpoints.html
_USER_POOLS = ("/oauth2/authorize", "/oauth2/token", "/login", "/logout")

# The access key of calls within this process. They act for the account's root, and nobody outside knows the key.
INSIDE = secrets.token_hex(20)


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


def limit_members(service: str, folder: str, code: str) -> None:
    """Refuse members of requests to a JSON service of MiniStack that the laptop cloud does not know.

    Args:
        service: The service, by its name in MiniStack.
        folder: Folder of the service in ``cloud``, which lists the members of the operations that are checked.
        code: AWS's code for a request that is refused.
    """
    known, handle = members.read(folder), app.SERVICE_HANDLERS[service]
    model = service_model({"states": "stepfunctions"}.get(service, service))

    async def handle_or_refuse(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: Any
    ) -> tuple[int, dict[str, str], bytes]:
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        shape = model.operation_model(operation).input_shape if operation in model.operation_names else None
        if shape and shape.name in known:
            # What is no JSON or has other types is MiniStack's to refuse.
            with contextlib.suppress(ValueError, TypeError, AttributeError):
                if member := members.first_unknown(json.loads(body or b"{}"), shape, known):
                    document = {"__type": code, "message": f"The laptop cloud has no {member}; leave it out."}
                    return 400, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(document).encode()
        answered: tuple[int, dict[str, str], bytes] = await handle(method, path, headers, body, query)
        return answered

    app.SERVICE_HANDLERS[service] = handle_or_refuse


def add_operation(
    service: str, operation: str, work: Callable[[Mapping[str, Any]], tuple[int, Mapping[str, Any]]]
) -> None:
    """Let a JSON service of MiniStack answer an operation that it lacks.

    Args:
        service: The service, by its name in MiniStack.
        operation: The operation, as X-Amz-Target ends.
        work: Called on a worker thread with the request; returns the answer's HTTP status and its document.
    """
    handle = app.SERVICE_HANDLERS[service]

    async def handle_or_work(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: Any
    ) -> tuple[int, dict[str, str], bytes]:
        if headers.get("x-amz-target", "").rpartition(".")[2] != operation:
            answered: tuple[int, dict[str, str], bytes] = await handle(method, path, headers, body, query)
            return answered
        status, document = await asyncio.to_thread(work, json.loads(body))
        return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(document).encode()

    app.SERVICE_HANDLERS[service] = handle_or_work


class _Handlers(dict[str, Handler]):
    """Handlers by service; that of a service which the laptop cloud lacks refuses each request."""

    def get(self, service: str, default: Any = None) -> Any:  # noqa: ARG002
        """Return a service's handler; MiniStack's gateway asks so."""

        async def refuse(
            _method: str, _path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]
        ) -> tuple[int, dict[str, str], bytes]:
            return missing.answer(service, headers, body, query, list(self))

        return self[service] if service in self else refuse  # noqa: SIM401


def refuse(service: str, refusal_of: Callable[[str, str, Mapping[str, str], bytes], Answer | None]) -> None:
    """Refuse requests to a service of MiniStack by what they are as a whole.

    Args:
        service: The service, by its name in MiniStack.
        refusal_of: Called with method, path, headers and body; returns the answer to a request that is refused.
    """
    handle = app.SERVICE_HANDLERS[service]

    async def handle_or_refuse(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: Any
    ) -> tuple[int, dict[str, str], bytes]:
        refused = refusal_of(method, path, headers, body)
        return refused or await handle(method, path, headers, body, query)

    app.SERVICE_HANDLERS[service] = handle_or_refuse


def refuse_missing_services() -> None:
    """Let clients of services that the laptop cloud lacks read why; MiniStack's refusal has no form of AWS."""
    app.SERVICE_HANDLERS = _Handlers(app.SERVICE_HANDLERS)
    # Otherwise MiniStack loads all models of botocore to know what a service's name is, and answers nobody for seconds.
    router._is_aws_service_name = lambda _name: True


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
    signature = f"AWS4-HMAC-SHA256 Credential={INSIDE}/20260101/{responses.get_region()}/{service}/aws4_request"
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


def is_data_plane(host: str, path: str) -> bool:
    """Whether a request with this Host and path calls a deployed API or a function's URL."""
    return app._parse_execute_api_url(host, path) is not None or app._parse_lambda_url(host, path) is not None


def is_open_to_pages(host: str, path: str) -> bool:
    """Whether pages of any origin may send such a request: to the data plane, or to a user pool.

    On AWS a user pool has a host of its own, to which pages send people and from which they fetch tokens. None of its
    paths takes a signature, and its cookie is not sent along with what another site's page posts.
    """
    return is_data_plane(host, path) or path in _USER_POOLS


def check_callers(refusal_of: Callable[..., Answer | None]) -> None:
    """Let deployed APIs and functions' URLs have every path of their own, and check who calls anything else.

    MiniStack looks for paths of its own first, on every host, such as ``/health``, which it answers itself.

    Args:
        refusal_of: Called with method, path, headers, body and query of each request to the cloud's own services before
            any of them sees it. It returns the answer to a caller who is not known, otherwise None.
    """
    serve_special = app._handle_special_data_plane_request

    def keep_off(handle: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def handle_unless_data_plane(method: str, path: str, headers: Mapping[str, str], *rest: Any) -> Any:
            is_public = is_data_plane(headers.get("host", ""), path)
            return None if is_public else await handle(method, path, headers, *rest)

        return handle_unless_data_plane

    async def answer_or_check(
        method: str, path: str, headers: dict[str, str], body: bytes, query: Any, request_id: str, **sent: Any
    ) -> Any:
        host = headers.get("host", "")
        if not is_data_plane(host, path):
            refusal = refusal_of(method, path, headers, body, query)
            return refusal or await serve_special(method, path, headers, body, query, request_id, **sent)
        raw = {name: sent[name] for name in ("raw_path", "raw_query_string")}
        if answered := await app._handle_execute_api_request(host, path, method, headers, body, query, **raw):
            return app._with_data_plane_headers(answered, request_id, wildcard_cors=False)
        status, fields, content = await app._handle_lambda_url_request(host, path, method, headers, body, query)
        if not any(name.lower() == "x-amzn-requestid" for name in fields):
            fields["x-amzn-RequestId"] = request_id
        return status, fields, content

    app._handle_pre_body_request = keep_off(app._handle_pre_body_request)
    app._handle_post_body_shortcuts = keep_off(app._handle_post_body_shortcuts)
    app._handle_special_data_plane_request = answer_or_check


async def serve(host: str, port: int, stop: asyncio.Event) -> None:
    """Serve MiniStack's gateway, behind the door, until ``stop`` is set."""
    config = Config()
    config.bind = [f"{host}:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.loglevel = "WARNING"
    logging.getLogger("hypercorn.error").setLevel(logging.WARNING)
    door: Any = Door(app.app, is_open_to_pages)  # Hypercorn's types name each kind of message.
    await hypercorn_serve(door, config, shutdown_trigger=stop.wait)
