"""AWS's JSON protocol: checks requests against botocore's service models and answers with AWS's error codes."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import regex
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from botocore.validate import ParamValidator

from cloud.core import members

log = logging.getLogger("kennel.api")

Request = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]
Operation = Callable[[Request], Mapping[str, Any]]


class ApiError(Exception):
    """A request is refused with one of AWS's error codes.

    Attributes:
        code: AWS's error code, for example ``ValidationException``.
        message: One sentence, in AWS's wording where AWS's is known.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def invalid(message: str) -> ApiError:
    """Return a ``ValidationException``, which AWS answers to most wrong requests."""
    return ApiError("ValidationException", message)


class JsonApi:
    """One AWS service that speaks JSON: checks requests by botocore's model and calls the operations' handlers.

    Args:
        model: botocore's model of the service.
        operations: Handlers by operation name. Each takes the checked request and returns the members of the
            response; members that the model's output lacks, and members that are None, are left out.
        known: The members of requests that the operations know; another one is refused.
        tag: Called with (ARN, the request's Tags) after an operation that created a resource.
        authorize: Called with (headers, service, operation, request) for each request over HTTP; raises ApiError
            when the caller lacks the permission.
    """

    def __init__(
        self,
        model: ServiceModel,
        operations: Mapping[str, Operation],
        known: members.Known,
        tag: Callable[[str, list[dict[str, str]]], None] | None = None,
        authorize: Callable[[Mapping[str, str], str, str, Request], None] | None = None,
    ) -> None:
        self._model = model
        self._operations = operations
        self._known = known
        self._tag = tag
        self._authorize = authorize

    def call(self, operation: str, request: Request, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Check a request, carry it out and return the response. It blocks, so never call it on the event loop.

        Args:
            operation: Name of the operation, for example ``CreateModel``.
            request: The request's members.
            headers: Headers of the HTTP request; None when the caller was authorized before.

        Raises:
            ApiError: AWS would refuse the request, or the laptop cloud has no such operation.
        """
        handler = self._operations.get(operation)
        if handler is None:
            offered = ", ".join(sorted(self._operations))
            raise ApiError(
                "UnknownOperationException",
                f"The laptop cloud has no operation {operation}; it has {offered}.",
            )
        shape = self._model.operation_model(operation)
        if problems := list(problems_of(request, shape.input_shape)):
            count = "1 validation error" if len(problems) == 1 else f"{len(problems)} validation errors"
            raise invalid(f"{count} detected: {'; '.join(problems)}")
        refuse_unknown(request, shape.input_shape, self._known)
        if self._authorize and headers is not None:
            self._authorize(headers, self._model.service_name, operation, request)
        answer = handler(request)
        if self._tag and request.get("Tags") and operation.startswith("Create"):
            arn = next(value for key, value in answer.items() if key.endswith("Arn"))
            self._tag(arn, request["Tags"])
        offered_members = shape.output_shape.members if shape.output_shape else {}
        return {key: value for key, value in answer.items() if key in offered_members and value is not None}

    async def handle_request(
        self, _method: str, _path: str, headers: Mapping[str, str], body: bytes, _query: Any
    ) -> Response:
        """Answer an HTTP request. MiniStack requires this signature of a service's handler."""
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        try:
            request = json.loads(body or b"{}")
            # An operation may wait for S3, which answers on the event loop, so it must not run there itself.
            answer = await asyncio.to_thread(self.call, operation, request, headers)
            return self._respond(200, answer)
        except ApiError as error:
            return self._respond(400, {"__type": error.code, "message": error.message})
        except ValueError as error:
            return self._respond(400, {"__type": "SerializationException", "message": str(error)})
        except Exception as error:
            log.exception("%s failed", operation)
            message = f"{type(error).__name__}: {error}"
            return self._respond(500, {"__type": "InternalFailure", "message": message})

    def _respond(self, status: int, document: Mapping[str, Any]) -> Response:
        version = self._model.metadata.get("jsonVersion", "1.1")
        return status, {"Content-Type": f"application/x-amz-json-{version}"}, json.dumps(document).encode()


def refuse_unknown(request: Request, shape: Shape | None, known: members.Known) -> None:
    """Refuse a request with a member that the laptop cloud does not know; see ``members.first_unknown``.

    Raises:
        ApiError: It has one; the message names it.
    """
    if member := members.first_unknown(request, shape, known):
        raise invalid(f"The laptop cloud has no {member}; leave it out.")


def problems_of(request: Any, shape: Shape | None) -> Iterator[str]:
    """Yield one sentence for each way in which a request breaks the service model."""
    if not isinstance(request, dict):
        yield "the request must be a JSON object"
        return
    if shape is None:
        return
    if report := ParamValidator().validate(request, shape).generate_report():
        yield from report.splitlines()
    else:
        # botocore's client does not check enums, patterns and upper bounds; the service does.
        yield from _broken_constraints(request, shape, "")


def _broken_constraints(value: Any, shape: Shape, path: str) -> Iterator[str]:
    if isinstance(shape, StructureShape):
        for name, item in value.items():
            yield from _broken_constraints(item, shape.members[name], f"{path}.{_camel(name)}".lstrip("."))
    elif isinstance(shape, ListShape):
        yield from _too_many(value, shape, path)
        for index, item in enumerate(value, 1):
            yield from _broken_constraints(item, shape.member, f"{path}.{index}.member")
    elif isinstance(shape, MapShape):
        yield from _too_many(value, shape, path)
        for key, item in value.items():
            yield from _broken_constraints(key, shape.key, path)
            yield from _broken_constraints(item, shape.value, f"{path}.{key}")
    else:
        yield from _broken_scalar(value, shape, path)


def _broken_scalar(value: Any, shape: Shape, path: str) -> Iterator[str]:
    rules = shape.metadata
    if shape.type_name == "string":
        if "enum" in rules and value not in rules["enum"]:
            allowed = ", ".join(rules["enum"])
            yield _constraint(value, path, f"Member must satisfy enum value set: [{allowed}]")
        if "max" in rules and len(value) > rules["max"]:
            yield _constraint(value, path, f"Member must have length less than or equal to {rules['max']}")
        if "pattern" in rules and not _matches(rules["pattern"], value):
            yield _constraint(value, path, f"Member must satisfy regular expression pattern: {rules['pattern']}")
    elif shape.type_name in ("integer", "long", "float", "double") and value > rules.get("max", value):
        yield _constraint(value, path, f"Member must have value less than or equal to {rules['max']}")


def _too_many(value: Any, shape: Shape, path: str) -> Iterator[str]:
    if len(value) > shape.metadata.get("max", len(value)):
        limit = shape.metadata["max"]
        yield _constraint("[...]", path, f"Member must have length less than or equal to {limit}")


def _constraint(value: Any, path: str, rule: str) -> str:
    return f"Value '{value}' at '{path}' failed to satisfy constraint: {rule}"


def _camel(name: str) -> str:
    return name[:1].lower() + name[1:]


def _matches(pattern: str, value: str) -> bool:
    # The model's patterns are written for Java. They use classes such as \p{L}, which Python's re does not have.
    try:
        return regex.fullmatch(pattern, value) is not None
    except regex.error:
        return True  # Only Java understands this pattern, so the check is left to AWS.
