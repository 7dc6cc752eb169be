"""From an execution's input to a request, with every mistake named at once."""

from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from shared.contracts import Request
from shared.errors import RequestError


def parse(raw: Any) -> Request:
    """Raises: RequestError naming every unknown or wrong field and what belongs there."""
    if not isinstance(raw, dict):
        raise RequestError(f"the execution's input must be a JSON object, got {type(raw).__name__}")
    try:
        return Request.model_validate(raw, strict=True)
    except ValidationError as error:
        raise RequestError("; ".join(_sentence(e) for e in error.errors(include_url=False))) from None


def _sentence(error: Any) -> str:
    field = ".".join(str(part) for part in error["loc"]) or "request"
    if error["type"] == "extra_forbidden":
        near = get_close_matches(field, Request.model_fields, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(Request.model_fields)}"
        return f"{field}: unknown field ({hint})"
    message = error["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field != "request" else message
