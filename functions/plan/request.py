"""Parse the input of an execution, and report all its mistakes at once."""

from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from shared.contracts import Request
from shared.errors import RequestError
from shared.own_model import OwnPreprocess
from shared.tuning import Tune


def parse(raw: Any) -> Request:
    """Return the request that an execution's input contains.

    Raises:
        RequestError: fields are unknown or wrong. The message names all of them and says what is expected.
    """
    if not isinstance(raw, dict):
        raise RequestError(f"the execution's input must be a JSON object, got {type(raw).__name__}")
    try:
        return Request.model_validate(raw, strict=True)
    except ValidationError as error:
        raise RequestError("; ".join(_sentence(e) for e in error.errors(include_url=False))) from None


def _sentence(error: Any) -> str:
    field = ".".join(str(part) for part in error["loc"]) or "request"
    if error["type"] == "extra_forbidden":
        inside = {"tune": Tune.model_fields, "preprocess": OwnPreprocess.model_fields}
        known = inside.get(error["loc"][0], Request.model_fields) if len(error["loc"]) > 1 else Request.model_fields
        matches = get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f"did you mean '{matches[0]}'?" if matches else f"known fields: {', '.join(known)}"
        return f"{field}: unknown field ({hint})"
    message = error["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field != "request" else message
