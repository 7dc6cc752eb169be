"""InvokeEndpoint: a request to the ready instance with the fewest in flight, over kept connections.

A request that its instance took along is answered with an error and never sent to another: it may have been what ended
the first, and to ask again is for callers to decide, as on AWS.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import h11

from cloud.core.protocol import ApiError, Response
from cloud.sagemaker.endpoints.endpoint import Endpoint
from cloud.sagemaker.endpoints.hosting import Instance
from cloud.sagemaker.endpoints.metering import Answered
from cloud.sagemaker.endpoints.operations import Endpoints
from cloud.sagemaker.endpoints.variant import Variant

MAX_BODY = 6_291_456  # bytes, botocore's InvokeEndpoint model
TIMEOUT_SECONDS = 60.0
_NO_RESPONSE = (  # seen on AWS: https://github.com/aws/amazon-sagemaker-examples/issues/2815
    "Amazon SageMaker could not get a response from the {endpoint} endpoint. This can occur when CPU or memory "
    "utilization is high. To check your utilization, see Amazon CloudWatch. To fix this problem, use an instance type "
    "with more CPU capacity or memory."
)
_TIMED_OUT = b"Your invocation timed out while waiting for a response from container primary."
_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_FORWARDED = ("content-type", "accept", _ATTRIBUTES, "x-amzn-sagemaker-inference-id")
_READ_SIZE = 65_536

Answer = tuple[int, dict[str, str], bytes]  # status, headers in lower case, body


class _NoInstanceError(Exception):
    """No instance is ready to take a request."""


class _Connection:
    """A kept-alive connection to one instance."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT)

    async def exchange(self, headers: list[tuple[str, str]], body: bytes) -> Answer:
        """Send one POST /invocations; (status, headers, body) of the answer.

        Raises:
            ConnectionError, h11.RemoteProtocolError: the server went away before it answered.
        """
        request = h11.Request(method="POST", target="/invocations", headers=headers)
        self._writer.write((self._http.send(request) or b"") + (self._http.send(h11.Data(data=body)) or b""))
        self._http.send(h11.EndOfMessage())
        response: h11.Response | None = None
        parts: list[bytes] = []
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = await self._reader.read(_READ_SIZE)
                if not data and response is None:
                    raise ConnectionResetError("the instance closed the connection")
                self._http.receive_data(data)
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                break
        assert response is not None
        return response.status_code, {k.decode(): v.decode() for k, v in response.headers}, b"".join(parts)

    @property
    def open(self) -> bool:
        """Whether the server has not closed it."""
        return not (self._reader.at_eof() or self._writer.is_closing())

    def reusable(self) -> bool:
        """Make ready for the next request, if both sides keep the connection."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        self.close()
        return False

    def close(self) -> None:
        self._writer.close()


class Router:
    """Serves ``POST /endpoints/{name}/invocations``."""

    def __init__(self, endpoints: Endpoints, account: Any, authorize: Callable[..., None]) -> None:
        """Args:
        account: gives the caller's account id, for messages.
        authorize: called with (headers, service, operation, request); raises ApiError.
        """
        self._endpoints, self._account, self._authorize = endpoints, account, authorize

    async def handle_request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, _query: Any
    ) -> Response:
        """MiniStack's signature of a service."""
        received = time.perf_counter()
        parts = path.strip("/").split("/")
        if method != "POST" or len(parts) != 3 or parts[0] != "endpoints" or parts[2] != "invocations":
            return _error(404, "UnknownOperationException", f"SageMaker Runtime has no {method} {path}")
        if len(body) > MAX_BODY:
            return _error(
                400,
                "ValidationError",
                "1 validation error detected: Value at 'body' failed to satisfy constraint: "
                f"Member must have length less than or equal to {MAX_BODY}",
            )
        name = unquote(parts[1])
        try:
            self._authorize(headers, "sagemaker", "InvokeEndpoint", {"EndpointName": name})
        except ApiError as error:
            return _error(403, error.code, error.message)
        not_found = _error(400, "ValidationError", f"Endpoint {name} of account {self._account()} not found.")
        try:
            endpoint = self._endpoints.find(name)
        except ApiError:
            return not_found
        green, fleet = endpoint.green, endpoint.fleet  # in this order, see Endpoint.deploy
        if not fleet:
            return not_found
        variant = _choose_variant(green, fleet, headers.get("x-amzn-sagemaker-target-variant"))
        if variant is None:
            return _error(400, "ValidationError", f"Endpoint {endpoint.name} has no such variant.")
        return await self._invoke(endpoint, variant, headers, body, received)

    async def _invoke(
        self, endpoint: Endpoint, variant: Variant, headers: Mapping[str, str], body: bytes, received: float
    ) -> Response:
        began = time.perf_counter()
        answered: dict[str, str] = {}
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, answered, content = await _send(variant, headers, body)
        except _NoInstanceError:
            variant.answered.append(Answered(0.0, 1000 * (time.perf_counter() - received), 503))
            return _error(503, "ServiceUnavailable", f"Endpoint {endpoint.name} has no instance that is ready.")
        except TimeoutError:
            status, content = 0, _TIMED_OUT
        except (ConnectionError, h11.RemoteProtocolError):
            status, content = 0, _NO_RESPONSE.format(endpoint=endpoint.name).encode()
        answered_at = time.perf_counter()
        variant.answered.append(Answered(1000 * (answered_at - began), 1000 * (began - received), status or 504))
        if status < 200 or status >= 400:
            return _model_error(endpoint, status, content)
        # Names in lower case: MiniStack would give "Content-Type" the JSON API's own type.
        out = {
            "content-type": answered.get("content-type", "application/octet-stream"),
            "x-amzn-invoked-production-variant": variant.name,
        }
        if _ATTRIBUTES in answered:
            out[_ATTRIBUTES] = answered[_ATTRIBUTES]
        return 200, out, content


def _choose_variant(green: Mapping[str, Variant], fleet: Mapping[str, Variant], target: str | None) -> Variant | None:
    """The target, or a variant by weight; a new one of that name as often as its share of the traffic says."""
    if target is None:
        weights = [variant.weight for variant in fleet.values()]
        (target,) = random.choices(list(fleet), weights if any(weights) else None)
    new = green.get(target)
    return new if new and random.random() < new.share else fleet.get(target)


async def _send(variant: Variant, headers: Mapping[str, str], body: bytes) -> Answer:
    """Send to the least busy instance; to another when that one takes no connection.

    Raises:
        _NoInstanceError: none takes one.
        ConnectionError, h11.RemoteProtocolError: the instance went away with the request.
    """
    forwarded = [(name, headers[name]) for name in _FORWARDED if name in headers]
    request = [("host", "127.0.0.1"), ("content-length", str(len(body))), *forwarded]
    tried: set[str] = set()
    while ready := [each for each in variant.active if not each.draining and each.id not in tried]:
        instance = min(ready, key=lambda each: each.in_flight)
        tried.add(instance.id)
        instance.in_flight += 1
        try:
            if instance.draining:  # since a moment ago: whoever ends it may not have seen this request
                continue
            try:
                connection = await _connect(instance)
            except OSError:
                continue  # it died; the endpoint's thread replaces it
            return await _exchange(instance, connection, request, body)
        finally:
            instance.in_flight -= 1
    raise _NoInstanceError


async def _connect(instance: Instance) -> _Connection:
    while instance.idle:
        connection: _Connection = instance.idle.pop()
        if connection.open:
            return connection
        connection.close()
    return _Connection(*await asyncio.open_connection("127.0.0.1", instance.port))


async def _exchange(instance: Instance, connection: _Connection, headers: list[tuple[str, str]], body: bytes) -> Answer:
    try:
        async with instance.turn():
            answer = await connection.exchange(headers, body)
    except BaseException:
        connection.close()
        raise
    if connection.reusable():
        instance.idle.append(connection)
    return answer


def _error(status: int, code: str, message: str, **members: Any) -> Response:
    document = {"message": message, "Message": message, **members}
    headers = {"content-type": "application/json", "x-amzn-errortype": code}
    return status, headers, json.dumps(document).encode()


def _model_error(endpoint: Endpoint, status: int, content: bytes) -> Response:
    original = content.decode("utf-8", "replace")
    side = "client" if 400 <= status < 500 else "server"
    return _error(
        424,
        "ModelError",
        f'Received {side} error ({status}) from primary with message "{original}". See '
        f"log group /aws/sagemaker/Endpoints/{endpoint.name} for more information.",
        OriginalStatusCode=status,
        OriginalMessage=original,
        LogStreamArn=endpoint.arn.replace(":sagemaker:", ":logs:").rpartition(":")[0]
        + f":log-group:/aws/sagemaker/Endpoints/{endpoint.name}",
    )
