"""InvokeEndpoint: send each request to the ready instance with the fewest requests in flight.

When an instance dies, the requests in flight at it get an error and are never sent to another instance. A request may
have been the cause of the death, so the caller must decide whether to repeat it, as on AWS.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import h11

from cloud.core import emulator
from cloud.core.protocol import ApiError, Response
from cloud.sagemaker.endpoints.endpoint import Endpoint
from cloud.sagemaker.endpoints.instance import EndpointInstance
from cloud.sagemaker.endpoints.operations import Endpoints
from cloud.sagemaker.endpoints.variant import Variant
from cloud.sagemaker.endpoints.variant_metrics import AnsweredRequest

MAX_BODY = 6_291_456  # bytes, by botocore's model of InvokeEndpoint
TIMEOUT_SECONDS = 60.0
# AWS's message as quoted in https://github.com/aws/amazon-sagemaker-examples/issues/2815.
_NO_RESPONSE = (
    "Amazon SageMaker could not get a response from the {endpoint} endpoint. This can occur when CPU or memory "
    "utilization is high. To check your utilization, see Amazon CloudWatch. To fix this problem, use an instance type "
    "with more CPU capacity or memory."
)
_TIMED_OUT = b"Your invocation timed out while waiting for a response from container primary."
_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_FORWARDED = ("content-type", "accept", _ATTRIBUTES, "x-amzn-sagemaker-inference-id")
_READ_SIZE = 65_536
_KNOWN = {
    *("EndpointName", "Body", "ContentType", "Accept", "CustomAttributes", "TargetVariant", "InferenceId"),
}

InstanceAnswer = tuple[int, dict[str, str], bytes]  # status, headers in lower case, body


class _NoInstanceError(Exception):
    """No instance is ready to take a request."""


class _InstanceConnection:
    """A connection to one instance, kept open between requests."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT)

    async def exchange(self, headers: list[tuple[str, str]], body: bytes) -> InstanceAnswer:
        """Send one ``POST /invocations`` and return the answer.

        Raises:
            ConnectionError: the server closed the connection before it answered.
            h11.RemoteProtocolError: the server closed the connection in the middle of its answer, or answered no HTTP.
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
        """Whether neither side has closed the connection."""
        return not (self._reader.at_eof() or self._writer.is_closing())

    def reusable(self) -> bool:
        """Prepare the connection for the next request; close it if that is impossible.

        Returns:
            Whether the connection can be used again.
        """
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        self.close()
        return False

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


class Router:
    """Serves ``POST /endpoints/{name}/invocations``."""

    def __init__(self, endpoints: Endpoints, account: Any, authorize: Callable[..., None]) -> None:
        """Create the router.

        Args:
            endpoints: the endpoints.
            account: returns the caller's account id, for messages.
            authorize: called with (headers, service, operation, request); raises ApiError.
        """
        self._endpoints, self._account, self._authorize = endpoints, account, authorize
        invoke = emulator.service_model("sagemaker-runtime").operation_model("InvokeEndpoint").input_shape
        assert invoke is not None
        # The members of InvokeEndpoint that the laptop cloud does not know, by their headers
        self._unknown = {
            shape.serialization["name"].lower(): name for name, shape in invoke.members.items() if name not in _KNOWN
        }

    async def handle_request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, _query: Any
    ) -> Response:
        """Answer one HTTP request; the signature is that of a MiniStack service."""
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
        if unknown := next((member for header, member in self._unknown.items() if headers.get(header)), None):
            return _error(400, "ValidationError", f"The laptop cloud has no {unknown}; leave it out.")
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
        green, fleet = endpoint.green, endpoint.fleet  # Read them in this order; Endpoint.deploy says why.
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
        answer_headers: dict[str, str] = {}
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, answer_headers, content = await _send(variant, headers, body)
        except _NoInstanceError:
            variant.answered.append(AnsweredRequest(0.0, 1000 * (time.perf_counter() - received), 503))
            return _error(503, "ServiceUnavailable", f"Endpoint {endpoint.name} has no instance that is ready.")
        except TimeoutError:
            status, content = 0, _TIMED_OUT
        except (ConnectionError, h11.RemoteProtocolError):
            status, content = 0, _NO_RESPONSE.format(endpoint=endpoint.name).encode()
        answered_at = time.perf_counter()
        model_ms, overhead_ms = 1000 * (answered_at - began), 1000 * (began - received)
        variant.answered.append(AnsweredRequest(model_ms, overhead_ms, status or 504))
        if status < 200 or status >= 400:
            return _model_error(endpoint, status, content)
        # The names are in lower case, because MiniStack replaces the value of "Content-Type" by the JSON type.
        out = {
            "content-type": answer_headers.get("content-type", "application/octet-stream"),
            "x-amzn-invoked-production-variant": variant.name,
        }
        if _ATTRIBUTES in answer_headers:
            out[_ATTRIBUTES] = answer_headers[_ATTRIBUTES]
        return 200, out, content


def _choose_variant(green: Mapping[str, Variant], fleet: Mapping[str, Variant], target: str | None) -> Variant | None:
    """Choose the variant that takes a request.

    Args:
        green: the new variants of a deployment in progress, by name. One of them is chosen with the probability of its
            share of the traffic.
        fleet: the variants that serve, by name.
        target: the variant's name; None to choose one at random by the weights.

    Returns:
        The variant; None when there is no variant of this name.
    """
    if target is None:
        weights = [variant.weight for variant in fleet.values()]
        (target,) = random.choices(list(fleet), weights if any(weights) else None)
    new = green.get(target)
    return new if new and random.random() < new.share else fleet.get(target)


async def _send(variant: Variant, headers: Mapping[str, str], body: bytes) -> InstanceAnswer:
    """Send a request to the least busy instance, or to the next one if that accepts no connection.

    Raises:
        _NoInstanceError: no instance accepts a connection.
        ConnectionError, h11.RemoteProtocolError: the instance died while it had the request.
    """
    forwarded = [(name, headers[name]) for name in _FORWARDED if name in headers]
    request = [("host", "127.0.0.1"), ("content-length", str(len(body))), *forwarded]
    tried: set[str] = set()
    while ready := [each for each in variant.active if not each.draining and each.id not in tried]:
        instance = min(ready, key=lambda each: each.in_flight)
        tried.add(instance.id)
        instance.in_flight += 1
        try:
            # Draining may have begun before the count above, so the drain does not wait for this request.
            if instance.draining:
                continue
            try:
                connection = await _connect(instance)
            except OSError:
                continue  # The instance is dead; the endpoint's thread will replace it.
            return await _exchange(instance, connection, request, body)
        finally:
            instance.in_flight -= 1
    raise _NoInstanceError


async def _connect(instance: EndpointInstance) -> _InstanceConnection:
    while instance.idle:
        connection: _InstanceConnection = instance.idle.pop()
        if connection.open:
            return connection
        connection.close()
    return _InstanceConnection(*await asyncio.open_connection("127.0.0.1", instance.port))


async def _exchange(
    instance: EndpointInstance, connection: _InstanceConnection, headers: list[tuple[str, str]], body: bytes
) -> InstanceAnswer:
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
