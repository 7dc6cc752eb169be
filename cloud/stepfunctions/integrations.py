"""Service integrations of Step Functions, by the APIs' own models; knows nothing of MiniStack.

Arguments are checked before the call as Step Functions does; ``aws-sdk:`` calls are written and their answers
read by botocore; members and errors have the names of the AWS SDK for Java.
"""

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

import botocore.session
from botocore.awsrequest import HeadersDict
from botocore.exceptions import UnknownServiceError
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from cloud.core.protocol import problems_of
from cloud.stepfunctions.executions import StatesError

# (service as it signs, method, path, headers, body, query) -> (status, headers, body)
Send = Callable[[str, str, str, dict[str, str], bytes, dict[str, str]], tuple[int, Mapping[str, str], bytes]]

_RESOURCE = re.compile(r"arn:aws:states:::(?P<sdk>aws-sdk:)?(?P<service>[a-z0-9]+):(?P<action>\w+)(?P<pattern>\.\w+)?")
_MODELS = {  # botocore's names where they are not the resource's
    "applicationautoscaling": "application-autoscaling",
    "cloudwatchlogs": "logs",
    "eventbridge": "events",
    "sfn": "stepfunctions",
}
_OPTIMIZED = {  # all whose arguments are their API's; of AWS's own, those that the laptop cloud has
    "codebuild:startBuild.sync",
    "lambda:invoke",
    "sagemaker:createEndpoint",
    "sagemaker:createEndpointConfig",
    "sagemaker:createModel",
    "sagemaker:createProcessingJob",
    "sagemaker:createProcessingJob.sync",
    "sagemaker:createTrainingJob",
    "sagemaker:createTrainingJob.sync",
    "sagemaker:updateEndpoint",
    "sns:publish",
}
_FREE = ("Message", "Payload")  # any JSON: the optimized integrations write it as text themselves
_PROTOCOLS = ("json", "query", "rest-json", "rest-xml")  # those that MiniStack speaks
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
}


def misfits(resource: str, arguments: Any) -> list[str]:
    """What Step Functions says against a task: its resource; unknown, missing and mistyped arguments.

    Args:
        resource: the task's.
        arguments: as written or as evaluated; a JSONata expression stands for anything.
    """
    found = _RESOURCE.fullmatch(resource)
    offered = found and (found["sdk"] or resource.removeprefix("arn:aws:states:::") in _OPTIMIZED)
    if found is None or not offered or found["pattern"] == ".waitForTaskToken":
        return [f"The laptop cloud has no resource {resource}"]
    operation = _operation(found["service"], found["action"])
    if operation is None or (found["sdk"] and found["pattern"]):
        return [f"The resource provided {resource} is not recognized"]
    if arguments is None:
        return ["The value for the field 'Arguments' must be an OBJECT"]
    if not found["sdk"] and isinstance(arguments, dict):
        arguments = {name: "{% any %}" if name in _FREE else value for name, value in arguments.items()}
    return list(_misfits(arguments, operation.input_shape, "Arguments"))


def check(resource: str, arguments: Any) -> None:
    """Refuse arguments as Step Functions does when a task starts.

    Raises:
        StatesError: States.Runtime, which no wildcard catches.
    """
    if found := misfits(resource, arguments):
        written = json.dumps(arguments, separators=(",", ":"))
        cause = f"The Arguments '{written}' could not be used to start the Task: [{', '.join(found)}]"
        raise StatesError("States.Runtime", cause)


def call_sdk(resource: str, arguments: dict[str, Any], send: Send) -> Any:
    """The result of an ``aws-sdk:`` integration, whose arguments are checked already.

    Raises:
        StatesError: the service refused.
    """
    found = _RESOURCE.fullmatch(resource)
    operation = _operation(found["service"], found["action"]) if found else None
    if operation is None:
        raise StatesError("States.Runtime", f"The resource provided {resource} is not recognized")
    service, request = operation.service_model, _on_wire(arguments, operation.input_shape)
    if broken := list(problems_of(request, operation.input_shape)):
        codes = ("ValidationException", "InvalidParameterException")
        code = next((code for code in codes if code in _errors(service)), "")
        raise _refused(service, code, f"{len(broken)} validation error(s) detected: {'; '.join(broken)}", 400)
    spoken = service.metadata.get("protocols", [service.metadata["protocol"]])  # older models name one
    protocol = next(name for name in _PROTOCOLS if name in spoken)
    written = create_serializer(protocol).serialize_to_request(request, operation)
    path, _, flags = written["url_path"].partition("?")
    query = [*parse_qsl(flags, keep_blank_values=True), *dict(written["query_string"] or {}).items()]
    status, headers, body = send(
        service.signing_name,
        written["method"],
        path,
        {name.lower(): str(value) for name, value in written["headers"].items()},
        urlencode(written["body"]).encode() if isinstance(written["body"], dict) else written["body"],
        {name: str(value) for name, value in query},
    )
    shape: Any = operation.output_shape
    answer = create_parser(protocol).parse(
        {"status_code": status, "headers": HeadersDict(headers), "body": body}, shape
    )
    if error := answer.get("Error"):
        raise _refused(service, error.get("Code", ""), error.get("Message", ""), status)
    return _as_java(answer, shape) if shape else {}


def denied(resource: str, reason: str) -> StatesError:
    """The error of an ``aws-sdk:`` integration whose call IAM refuses."""
    found = _RESOURCE.fullmatch(resource)
    operation = _operation(found["service"], found["action"]) if found else None
    if operation is None:
        return StatesError("States.TaskFailed", reason)
    return _refused(operation.service_model, "AccessDeniedException", reason, 400)


@functools.cache
def _operation(service: str, action: str) -> OperationModel | None:
    try:
        model = botocore.session.get_session().get_service_model(_MODELS.get(service, service))
    except UnknownServiceError:
        return None
    name = action[:1].upper() + action[1:]
    return model.operation_model(name) if name in model.operation_names and action[:1].islower() else None


def _refused(service: ServiceModel, code: str, message: str, status: int) -> StatesError:
    """The service's exception; its general one for a code that its model does not name."""
    prefix = _class_name(service.service_id.replace(" ", ""))
    name = _errors(service).get(code, f"{prefix}Exception")
    return StatesError(f"{prefix}.{name}", f"{message} (Service: {prefix}, Status Code: {status})")


def _errors(service: ServiceModel) -> dict[str, str]:
    """Classes of exceptions by their codes."""
    codes = {shape.name: shape.metadata.get("error", {}).get("code", shape.name) for shape in service.error_shapes}
    return {code: _class_name(name, "Exception") for name, code in codes.items()}


def _class_name(name: str, kind: str = "") -> str:
    """As the SDK for Java writes a class: acronyms like words, exceptions with their ending."""
    stem = name.removesuffix("Fault").removesuffix(kind) if kind else name
    return re.sub(r"[A-Z]+(?![a-z])", lambda word: word[0].capitalize(), stem) + kind


def _member(name: str) -> str:
    """As Step Functions writes a member: large first letter, a leading acronym like a word."""
    leading = re.sub(r"^[A-Z]+(?![a-z])", lambda word: word[0].capitalize(), name)
    return leading[:1].upper() + leading[1:]


def _misfits(value: Any, shape: Shape | None, at: str) -> Iterator[str]:
    if value is None or (isinstance(value, str) and value.startswith("{%")):
        return  # null is handed on, for the service to judge
    if isinstance(shape, StructureShape) or shape is None:
        members = {_member(name): member for name, member in shape.members.items()} if shape else {}
        required = {_member(name) for name in shape.required_members} if shape else set()
        if not isinstance(value, dict):
            yield f"The value for the field '{at}' must be an OBJECT"
            return
        yield from (f"The field '{name}' is not supported by Step Functions" for name in value if name not in members)
        yield from (f"The field '{name}' is required but was missing" for name in sorted(required - set(value)))
        for name in members.keys() & value.keys():
            yield from _misfits(value[name], members[name], name)
    elif isinstance(shape, ListShape):
        if not isinstance(value, list):
            yield f"The value for the field '{at}' must be an ARRAY"
            return
        for item in value:
            yield from _misfits(item, shape.member, at)
    elif isinstance(shape, MapShape):
        if not isinstance(value, dict):
            yield f"The value for the field '{at}' must be an OBJECT"
            return
        for item in value.values():
            yield from _misfits(item, shape.value, at)
    elif (types := _TYPES.get(shape.type_name)) and (
        not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
    ):
        yield f"The value for the field '{at}' must be a {shape.type_name.upper()}"


def _on_wire(value: Any, shape: Shape | None) -> Any:
    """Arguments with the API's own names."""
    if isinstance(shape, StructureShape):
        names = {_member(name): name for name in shape.members}
        return {
            names[key]: _on_wire(item, shape.members[names[key]]) for key, item in value.items() if item is not None
        }
    if isinstance(shape, ListShape):
        return [_on_wire(item, shape.member) for item in value]
    if isinstance(shape, MapShape):
        return {key: _on_wire(item, shape.value) for key, item in value.items()}
    return value


def _as_java(value: Any, shape: Shape) -> Any:
    """An answer as Step Functions shows it."""
    if isinstance(shape, StructureShape):
        members = shape.members
        return {_member(name): _as_java(item, members[name]) for name, item in value.items() if name in members}
    if isinstance(shape, ListShape):
        return [_as_java(item, shape.member) for item in value]
    if isinstance(shape, MapShape):
        return {key: _as_java(item, shape.value) for key, item in value.items()}
    if isinstance(value, datetime):
        moment = value.astimezone(UTC)
        return moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")
    if shape.type_name == "blob":  # bytes, or a stream of them
        return (value if isinstance(value, bytes) else value.read()).decode("utf-8", "replace")
    return value
