"""The results with which TestState replaces a service, checked against the service's model.

This module does not depend on MiniStack. The words are AWS's, as recorded.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from cloud.stepfunctions import integrations

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "a string"),
    "timestamp": ((str,), "a string"),
    "blob": ((str,), "a string"),
    "boolean": ((bool,), "a boolean"),
    "integer": ((int, float), "a number"),
    "long": ((int, float), "a number"),
    "float": ((int, float), "a number"),
    "double": ((int, float), "a number"),
}


def problem(resource: str, result: Any, mode: str) -> str | None:
    """Return why a mocked result cannot be the result of a task; None if it can.

    Args:
        resource: The task's resource.
        result: The mocked result.
        mode: ``STRICT`` checks everything, ``PRESENT`` only what is present, ``NONE`` nothing.
    """
    shape = integrations.result_shape(resource)
    if shape is None or mode == "NONE":
        return None
    found = next(_problems(result, shape, "", mode == "STRICT"), None)
    return f"Mock result schema validation error: {found}" if found else None


def _problems(value: Any, shape: Shape, name: str, is_strict: bool) -> Iterator[str]:
    if isinstance(shape, StructureShape):
        if not isinstance(value, dict):
            yield f"Field '{name}' must be an object" if name else "Mocked result must be an object"
            return
        yield from _member_problems(value, shape, is_strict)
    elif isinstance(shape, ListShape):
        if not isinstance(value, list):
            yield f"Field '{name}' must be an array"
            return
        for item in value:
            yield from _problems(item, shape.member, name, is_strict)
    elif isinstance(shape, MapShape):
        if not isinstance(value, dict):
            yield f"Field '{name}' must be an object"
            return
        for item in value.values():
            yield from _problems(item, shape.value, name, is_strict)
    elif name not in integrations.ANY_JSON and (kind := _KINDS.get(shape.type_name)):
        types, words = kind
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            yield f"Field '{name}' must be {words}"
            return
        yield from _limit_problems(value, shape, name)


def _member_problems(value: Mapping[str, Any], shape: StructureShape, is_strict: bool) -> Iterator[str]:
    members = {integrations.member_name(name): member for name, member in shape.members.items()}
    if is_strict:
        for name in sorted(integrations.member_name(required) for required in shape.required_members):
            if name not in value:
                yield f"Required field '{name}' is missing"
    for name, item in value.items():
        if name in members:
            yield from _problems(item, members[name], name, is_strict)


def _limit_problems(value: Any, shape: Shape, name: str) -> Iterator[str]:
    limits = shape.metadata
    if isinstance(value, str):
        if "enum" in limits and value not in limits["enum"]:
            yield f"Field '{name}' is not an expected value"
        elif len(value) < limits.get("min", 0):
            yield f"Field '{name}' is smaller than the minimum length"
        elif len(value) > limits.get("max", len(value)):
            yield f"Field '{name}' exceeds the maximum length"
    elif value < limits.get("min", value):
        yield f"Field '{name}' is less than the minimum value"
    elif value > limits.get("max", value):
        yield f"Field '{name}' exceeds the maximum value"
