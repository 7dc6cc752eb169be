"""Service integrations of Step Functions, by botocore's models of the APIs. This module does not depend on MiniStack.

Arguments are checked before the call, as Step Functions does. botocore writes the requests of ``aws-sdk:`` calls and
reads the answers. Members and errors have the names of the AWS SDK for Java.
"""

import base64
import functools
import os
import re
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

import botocore.session
import yaml
from botocore.awsrequest import HeadersDict
from botocore.exceptions import UnknownServiceError
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from cloud.core.protocol import problems_of
from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.history import text_of

# (the service's signing name, method, path, headers, body, query) -> (status, headers, body)
Send = Callable[[str, str, str, dict[str, str], bytes, dict[str, str]], tuple[int, Mapping[str, str], bytes]]

_RESOURCE = re.compile(r"arn:aws:states:::(?P<sdk>aws-sdk:)?(?P<service>[a-z0-9]+):(?P<action>\w+)(?P<pattern>\.\w+)?")
_FUNCTION = re.compile(r"arn:aws:lambda:[a-z0-9-]+:\d{12}:function:[\w-]+(:(\$LATEST|[\w-]+))?")
_MODELS = {  # botocore's names of services, where resources name them differently
    "applicationautoscaling": "application-autoscaling",
    "cloudwatchlogs": "logs",
    "eventbridge": "events",
    "sfn": "stepfunctions",
    "states": "stepfunctions",
}
_WAITING = {  # with ``.sync``
    *("batch:submitJob", "codebuild:startBuild", "sagemaker:createHyperParameterTuningJob"),
    *("sagemaker:createProcessingJob", "sagemaker:createTrainingJob"),
}
_FIELDS = Path(__file__).with_name("fields.yaml")
ANY_JSON = ("Message", "Payload")  # Arguments that may be any JSON; the optimized integrations write them as text.
_PROTOCOLS = ("json", "query", "rest-json", "rest-xml")  # the protocols that MiniStack speaks
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
}


def with_more_fields(fields: dict[str, Any], text: str) -> dict[str, Any]:
    """Add the fields of ``KENNEL_FIELDS`` to those that the optimized integrations know.

    Args:
        fields: The known fields of each integration, each with those inside it; changed in place.
        text: For example ``sagemaker:createTrainingJob.AlgorithmSpecification.ContainerEntrypoint``; commas separate.

    Returns:
        The same fields.

    Raises:
        ValueError: The text names an integration or an outer field that is not known.
    """
    for entry in filter(None, (each.strip() for each in text.split(","))):
        *outer, name = entry.split(".")
        known: Any = fields
        for part in outer:
            known = known.get(part) if isinstance(known, dict) else None
        if not outer or not isinstance(known, dict):
            raise ValueError(
                f"KENNEL_FIELDS: {entry!r} is no field of a known integration; give names such as "
                "'sagemaker:createTrainingJob.AlgorithmSpecification.ContainerEntrypoint'"
            )
        known.setdefault(name, None)
    return fields


# The fields of the optimized integrations; fields.yaml explains them.
_KNOWN_FIELDS = with_more_fields(
    yaml.safe_load(_FIELDS.read_text(encoding="utf-8")), os.environ.get("KENNEL_FIELDS", "")
)


def problems(resource: str, arguments: Any) -> list[str]:
    """Return what Step Functions refuses in a task: its resource; unknown, missing and mistyped arguments.

    Args:
        resource: The task's resource.
        arguments: The arguments as written, or as evaluated; a JSONata expression may have any value.
    """
    if _FUNCTION.fullmatch(resource):
        return []
    match = _RESOURCE.fullmatch(resource)
    if match is None or not is_offered(resource) or match["pattern"] == ".waitForTaskToken":
        return [f"The laptop cloud has no resource {resource}"]
    operation = _operation(match["service"], match["action"])
    if operation is None or (match["sdk"] and match["pattern"]):
        problem = "The value is not a valid resource ARN, or the resource is not available in this region."
        return [f"The resource provided {resource} is not recognized. {problem}"]
    if arguments is None:
        return ["The value for the field 'Arguments' must be an OBJECT"]
    if not match["sdk"] and isinstance(arguments, dict):
        arguments = {name: "{% any %}" if name in ANY_JSON else value for name, value in arguments.items()}
    known = None if match["sdk"] else _KNOWN_FIELDS[f"{match['service']}:{match['action']}"]
    shape: Shape = operation.input_shape or StructureShape("Nothing", {"type": "structure", "members": {}})
    return list(_argument_problems(arguments, shape, "Arguments", known))


def is_offered(resource: str) -> bool:
    """Whether the laptop cloud has a resource."""
    if _FUNCTION.fullmatch(resource):
        return True
    match = _RESOURCE.fullmatch(resource)
    if match is None or match["sdk"]:
        return match is not None
    name = f"{match['service']}:{match['action']}"
    patterns = {None, ".sync"} if name in _WAITING else {None}
    return name in _KNOWN_FIELDS and match["pattern"] in patterns


def result_shape(resource: str) -> Shape | None:
    """Return the model of a task's result; None where it is not known: for ``.sync`` and Lambda functions."""
    match = _RESOURCE.fullmatch(resource)
    operation = _operation(match["service"], match["action"]) if match and not match["pattern"] else None
    shape: Shape | None = operation.output_shape if operation else None
    return shape


def check(resource: str, arguments: Any) -> None:
    """Check a task's arguments as Step Functions does when the task starts.

    Raises:
        StatesError: ``States.Runtime``, which no wildcard catches, because some arguments are wrong.
    """
    if messages := problems(resource, arguments):
        cause = f"The Arguments '{text_of(arguments)}' could not be used to start the Task: [{', '.join(messages)}]"
        raise StatesError("States.Runtime", cause)


class ServiceRefusalError(Exception):
    """A service refused a request.

    Attributes:
        service: The service's model.
        code: The service's code of the error.
        message: The reason in words.
        status: HTTP status of the answer.
        headers: Headers of the answer.
    """

    def __init__(
        self, service: ServiceModel, code: str, message: str, status: int, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.service, self.code, self.message = service, code, message
        self.status, self.headers = status, headers or {}


def call_sdk(resource: str, arguments: dict[str, Any], send: Send) -> Any:
    """Carry out an ``aws-sdk:`` integration and return its result.

    Args:
        resource: The task's resource.
        arguments: The task's arguments, which ``check`` has accepted.
        send: Sends the request to the service and returns the answer.

    Raises:
        StatesError: The service refused the request.
    """
    try:
        return request(resource, arguments, send)[0]
    except ServiceRefusalError as refusal:
        raise _refusal(refusal.service, refusal.code, refusal.message, refusal.status, refusal.headers) from None


def request(resource: str, arguments: dict[str, Any], send: Send) -> tuple[Any, int, Mapping[str, str]]:
    """Send a task's request to its service; return the result, and the answer's status and headers.

    Args:
        resource: The task's resource.
        arguments: The task's arguments, which ``check`` has accepted.
        send: Sends the request to the service and returns the answer.

    Raises:
        ServiceRefusalError: The service refused the request.
        StatesError: There is no such operation.
    """
    operation = _operation_of(resource)
    if operation is None:
        raise StatesError("States.Runtime", f"The resource provided {resource} is not recognized")
    service, members = operation.service_model, _to_request(arguments, operation.input_shape)
    _write_body(members, operation.input_shape)
    if messages := list(problems_of(members, operation.input_shape)):
        codes = ("ValidationException", "InvalidParameterException")
        code = next((code for code in codes if code in _error_classes(service)), "")
        problem = f"{len(messages)} validation error(s) detected: {'; '.join(messages)}"
        raise ServiceRefusalError(service, code, problem, 400)
    # Older models name one protocol, newer ones a list.
    offered = service.metadata.get("protocols", [service.metadata["protocol"]])
    protocol = next(name for name in _PROTOCOLS if name in offered)
    message = create_serializer(protocol).serialize_to_request(members, operation)
    checksum = _add_checksum(message, operation)
    path, _, flags = message["url_path"].partition("?")
    query = [*parse_qsl(flags, keep_blank_values=True), *dict(message["query_string"] or {}).items()]
    status, headers, body = send(
        service.signing_name,
        message["method"],
        unquote(path),  # MiniStack's services get paths as its server reads them.
        {name.lower(): str(value) for name, value in message["headers"].items()},
        urlencode(message["body"]).encode() if isinstance(message["body"], dict) else message["body"],
        {name: str(value) for name, value in query},
    )
    shape: Any = operation.output_shape
    # botocore cannot read a body that is not text, such as an object's. Only the headers are given to it then.
    payload = shape.serialization.get("payload") if shape and status < 300 else None
    has_raw_body = payload is not None and shape.members[payload].type_name == "blob"
    parsed_body = b"" if has_raw_body else body
    answer = create_parser(protocol).parse(
        {"status_code": status, "headers": HeadersDict(headers), "body": parsed_body}, shape
    )
    if has_raw_body:
        answer[payload] = body
    if error := answer.get("Error"):
        code, reason = error.get("Code", ""), error.get("Message", "")
        if message["method"] == "HEAD" and status == 404 and operation.error_shapes:
            # The answer has no body, so the SDK takes the one error that the model names, and has no message.
            code, reason = operation.error_shapes[0].name, "null"
        raise ServiceRefusalError(service, code, reason, status, headers)
    answer = checksum | answer
    result = _to_result(answer, shape, "seconds" if service.service_name == "s3" else "auto") if shape else {}
    content = member_name(payload) if payload and has_raw_body else ""
    return dict(sorted(result.items(), key=lambda member: (member[0] == content, member[0]))), status, headers


def _add_checksum(message: dict[str, Any], operation: OperationModel) -> dict[str, str]:
    """Add the checksum that the SDK for Java adds to a request whose API has checksums, unless it names one itself.

    Returns:
        The members of the answer with which S3 confirms the checksum; MiniStack checks it and does not tell.
    """
    headers = message["headers"]
    has_checksums = bool(operation.http_checksum.get("requestAlgorithmMember"))
    if not has_checksums or any("checksum" in name.lower() for name in headers):
        return {}
    body = message["body"] if isinstance(message["body"], bytes) else str(message["body"] or "").encode()
    checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    headers.update({"x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-crc32": checksum})
    members: Any = operation.output_shape.members if operation.output_shape else {}
    return {"ChecksumCRC32": checksum, "ChecksumType": "FULL_OBJECT"} if "ChecksumCRC32" in members else {}


def null_problem(resource: str, arguments: Any) -> tuple[str, bool] | None:
    """Return why a task's request cannot be made, because arguments that the API requires are null.

    Step Functions takes null for a value of any type, as recorded. The SDK leaves the member out of the request, so the
    service misses it; a member that belongs into the path stops the SDK itself.

    Args:
        resource: The task's resource.
        arguments: The task's arguments, which ``check`` has accepted.

    Returns:
        The words, and whether they are the SDK's own. None if nothing is wrong.
    """
    match, operation = _RESOURCE.fullmatch(resource), _operation_of(resource)
    if match is None or operation is None or operation.input_shape is None:
        return None
    shape: Any = operation.input_shape
    if not (paths := list(_null_paths(arguments, shape, ""))):
        return None
    for name, member in shape.members.items():
        if member.serialization.get("location") == "uri" and name[:1].lower() + name[1:] in paths:
            form = "XML" if operation.service_model.metadata["protocol"].endswith("xml") else "JSON"
            problem = f"Parameter '{name}' must not be null" if match["sdk"] else f"{name} cannot be null"
            return f"Unable to marshall request to {form}: {problem}", True
    parts = [f"Value null at '{path}' failed to satisfy constraint: Member must not be null" for path in paths]
    return f"{len(parts)} validation error{'s' * (len(parts) > 1)} detected: {'; '.join(parts)}", False


def inner_values(value: Any, shape: Any) -> Iterator[tuple[str | None, Any, Any]]:
    """Yield the values directly inside a value that has the type of its model: (member of a structure, value, model).

    Args:
        value: The value, whose members have the names that Step Functions gives them.
        shape: Its model. What a structure's model does not have is left out.
    """
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        members = {member_name(name): member for name, member in shape.members.items()}
        yield from ((name, item, members[name]) for name, item in value.items() if name in members)
    elif isinstance(shape, ListShape) and isinstance(value, list):
        yield from ((None, item, shape.member) for item in value)
    elif isinstance(shape, MapShape) and isinstance(value, dict):
        yield from ((None, item, shape.value) for item in value.values())


def type_problem(value: Any, shape: Any) -> str | None:
    """Return the JSON type that a value must have by its model, where it has another: OBJECT or ARRAY."""
    if isinstance(shape, StructureShape | MapShape) and not isinstance(value, dict):
        return "OBJECT"
    return "ARRAY" if isinstance(shape, ListShape) and not isinstance(value, list) else None


def _null_paths(value: Any, shape: Any, at: str) -> Iterator[str]:
    """Yield the paths of required members that are null."""
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        for name, member in shape.members.items():
            path = f"{at}.{name[:1].lower()}{name[1:]}".lstrip(".")
            item = value.get(member_name(name), ...)
            if item is None and name in shape.required_members:
                yield path
            yield from _null_paths(item, member, path)
    elif isinstance(shape, ListShape) and isinstance(value, list):
        for index, item in enumerate(value, 1):
            yield from _null_paths(item, shape.member, f"{at}.{index}.member")
    elif isinstance(shape, MapShape) and isinstance(value, dict):
        for key, item in value.items():
            yield from _null_paths(item, shape.value, f"{at}.{key}")


def without_nulls(resource: str, arguments: Any) -> Any:
    """Return a task's arguments without the members that are null, which the SDK does not send.

    Null as a whole message or payload stays, because it is a value there.
    """
    operation = _operation_of(resource)
    return arguments if operation is None else _without_nulls(arguments, operation.input_shape)


def _without_nulls(value: Any, shape: Any) -> Any:
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        members = {member_name(name): member for name, member in shape.members.items()}
        return {
            name: _without_nulls(item, members.get(name))
            for name, item in value.items()
            if item is not None or name in ANY_JSON
        }
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_without_nulls(item, shape.member) for item in value]
    if isinstance(shape, MapShape) and isinstance(value, dict):
        return {key: _without_nulls(item, shape.value) for key, item in value.items()}
    return value


def failed_by_null(resource: str, message: str, is_sdk: bool) -> StatesError:
    """Return the error of an ``aws-sdk:`` integration for what ``null_problem`` returned."""
    operation = _operation_of(resource)
    if operation and is_sdk:
        prefix = _class_name(operation.service_model.service_id.replace(" ", ""))
        return StatesError(f"{prefix}.SdkClientException", message)
    return _refused(resource, "ValidationException", message, 400)


def missing(resource: str, reason: str) -> StatesError:
    """Return the error of an ``aws-sdk:`` integration that the laptop cloud does not have; catchers can select it."""
    return _refused(resource, "", reason, 501)


def to_request(resource: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a task's arguments in the form of its service's API.

    Args:
        resource: The task's resource.
        arguments: The task's arguments, which ``check`` has accepted.
    """
    operation = _operation_of(resource)
    members: dict[str, Any] = _to_request(arguments, operation.input_shape) if operation else arguments
    return members


def denied(resource: str, reason: str) -> StatesError:
    """Return the error of an ``aws-sdk:`` integration whose call IAM denies."""
    return _refused(resource, "AccessDeniedException", reason, 400)


def _refused(resource: str, code: str, reason: str, status: int) -> StatesError:
    operation = _operation_of(resource)
    if operation is None:
        return StatesError("States.TaskFailed", reason)
    return _refusal(operation.service_model, code, reason, status)


def request_id(headers: Mapping[str, str]) -> str:
    """Return the id that a service gave to a request; a new one where it gave none."""
    names = {name.lower(): value for name, value in headers.items()}
    return names.get("x-amzn-requestid") or names.get("x-amz-request-id") or str(uuid.uuid4())


def with_metadata(result: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the result of an optimized integration as Step Functions gives it, which tells of the HTTP answer too.

    Args:
        result: The members of the service's answer.
        status: HTTP status of the answer.
        headers: Its headers.
    """
    number = request_id(headers)
    always = {"x-amzn-RequestId": number, "Date": formatdate(usegmt=True)}
    known = {name: value for name, value in headers.items() if name.lower() not in ("x-amzn-requestid", "date")}
    found = {**known, **always}
    metadata = {
        "AllHttpHeaders": {name: [value] for name, value in found.items()},
        "HttpHeaders": found,
        "HttpStatusCode": status,
    }
    members = {**result, "SdkHttpMetadata": metadata, "SdkResponseMetadata": {"RequestId": number}}
    return dict(sorted(members.items()))


def older_words(message: str, service: str, status: int, code: str, headers: Mapping[str, str]) -> str:
    """Return the cause of an optimized integration's error: the words of the older AWS SDK for Java."""
    number = request_id(headers)
    return (
        f"{message} (Service: {service}; Status Code: {status}; Error Code: {code}; Request ID: {number}; Proxy: null)"
    )


def _operation_of(resource: str) -> OperationModel | None:
    match = _RESOURCE.fullmatch(resource)
    return _operation(match["service"], match["action"]) if match else None


@functools.cache
def _operation(service: str, action: str) -> OperationModel | None:
    try:
        model = botocore.session.get_session().get_service_model(_MODELS.get(service, service))
    except UnknownServiceError:
        return None
    name = action[:1].upper() + action[1:]
    return model.operation_model(name) if name in model.operation_names and action[:1].islower() else None


def _refusal(
    service: ServiceModel, code: str, message: str, status: int, headers: Mapping[str, str] | None = None
) -> StatesError:
    """Return the service's exception for a code; its general exception for a code that its model does not name."""
    prefix = _class_name(service.service_id.replace(" ", ""))
    name = _error_classes(service).get(code, f"{prefix}Exception")
    found = headers or {}
    number = f"Request ID: {request_id(found)}"
    if prefix == "S3":
        number += f", Extended Request ID: {found.get('x-amz-id-2', uuid.uuid4().hex)}"
    return StatesError(f"{prefix}.{name}", f"{message} (Service: {prefix}, Status Code: {status}, {number})")


def _error_classes(service: ServiceModel) -> dict[str, str]:
    """Return the names of a service's exception classes by their codes."""
    codes = {shape.name: shape.metadata.get("error", {}).get("code", shape.name) for shape in service.error_shapes}
    return {code: _class_name(name, "Exception") for name, code in codes.items()}


def _class_name(name: str, kind: str = "") -> str:
    """Return a class name as the SDK for Java writes it: acronyms like words, exceptions with their ending."""
    stem = name.removesuffix("Fault").removesuffix(kind) if kind else name
    return re.sub(r"[A-Z]+(?![a-z])", lambda word: word[0].capitalize(), stem) + kind


def member_name(name: str) -> str:
    """Return a member's name as Step Functions writes it: capital first letter, a leading acronym like a word."""
    leading = re.sub(r"^[A-Z]+(?![a-z])", lambda word: word[0].capitalize(), name)
    return leading[:1].upper() + leading[1:]


def _argument_problems(value: Any, shape: Shape, at: str, known: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Yield what is wrong with arguments.

    Args:
        value: The arguments, or a part of them.
        shape: Their model.
        at: Name of the field in which they stand.
        known: The fields that the integration knows, each with those inside it; None for all that the model has.
    """
    if value is None or (isinstance(value, str) and value.startswith("{%")):
        return  # The value of an expression is not known yet. The service itself checks null.
    if kind := type_problem(value, shape):
        yield f"The value for the field '{at}' must be an {kind}"
        return
    if isinstance(shape, StructureShape):
        names = {member_name(name) for name in shape.members}
        names = names if known is None else names & known.keys()
        required = {member_name(name) for name in shape.required_members}
        yield from (f"The field '{name}' is not supported by Step Functions" for name in value if name not in names)
        yield from (f"The field '{name}' is required but was missing" for name in sorted(required - set(value)))
        value = {name: item for name, item in value.items() if name in names}
    elif (types := _TYPES.get(shape.type_name)) and (
        not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
    ):
        yield f"The value for the field '{at}' must be a {shape.type_name.upper()}"
    for name, item, inner in inner_values(value, shape):
        yield from _argument_problems(item, inner, name or at, known[name] if known and name else known)


def _to_request(value: Any, shape: Shape | None) -> Any:
    """Rename the members of arguments to the API's own names, and remove members that are null."""
    if isinstance(shape, StructureShape):
        names = {member_name(name): name for name in shape.members}
        return {
            names[key]: _to_request(item, shape.members[names[key]]) for key, item in value.items() if item is not None
        }
    if isinstance(shape, ListShape):
        return [_to_request(item, shape.member) for item in value]
    if isinstance(shape, MapShape):
        return {key: _to_request(item, shape.value) for key, item in value.items()}
    return value


def _write_body(members: dict[str, Any], shape: Any) -> None:
    """Write the member that is the request's body, such as an object's content, in JSON, text in quotes included.

    Args:
        members: The members of the request.
        shape: Their model; None where the API has no request.
    """
    payload = shape.serialization.get("payload") if shape else None
    if payload in members and shape.members[payload].type_name == "blob":
        members[payload] = text_of(members[payload]).encode()
        if "ContentType" in shape.members:
            members.setdefault("ContentType", "text/plain; charset=UTF-8")


def _to_result(value: Any, shape: Shape, timespec: str) -> Any:
    """Rename the members of an answer as Step Functions does, and write times and bytes as text.

    Args:
        value: The answer, or a part of it.
        shape: Its model.
        timespec: ``seconds`` for a service whose times have no fractions, such as S3; ``auto`` for others.
    """
    if isinstance(shape, StructureShape):
        members = shape.members
        return {
            member_name(name): _to_result(item, members[name], timespec)
            for name, item in value.items()
            if name in members
        }
    if isinstance(shape, ListShape):
        return [_to_result(item, shape.member, timespec) for item in value]
    if isinstance(shape, MapShape):
        return {key: _to_result(item, shape.value, timespec) for key, item in value.items()}
    if isinstance(value, datetime):
        moment = value.astimezone(UTC)
        has_fraction = moment.microsecond and timespec == "auto"
        return moment.isoformat(timespec="milliseconds" if has_fraction else "seconds").replace("+00:00", "Z")
    if shape.type_name == "blob":  # The value is bytes or a stream.
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return value
