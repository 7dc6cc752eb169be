"""The results with which TestState replaces a service, checked against the service's model.

This module does not depend on MiniStack. The words are AWS's, as recorded.
"""

from collections.abc import Iterator
from typing import Any

from botocore.model import Shape, StructureShape

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
    if kind := integrations.type_problem(value, shape):
        what = f"Field '{name}'" if name else "Mocked result"
        yield f"{what} must be an {kind.lower()}"
        return
    if isinstance(shape, StructureShape) and is_strict:
        for required in sorted(integrations.member_name(member) for member in shape.required_members):
            if required not in value:
                yield f"Required field '{required}' is missing"
    if name not in integrations.ANY_JSON and (known := _KINDS.get(shape.type_name)):
        types, words = known
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            yield f"Field '{name}' must be {words}"
            return
        yield from _limit_problems(value, shape, name)
    for member, item, inner in integrations.inner_values(value, shape):
        yield from _problems(item, inner, member or name, is_strict)


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
