"""What Step Functions checks in a request before it does anything else. This module does not depend on MiniStack.

Names: https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html. The words are AWS's, as
recorded; those about JSON are the words of Jackson, which AWS uses.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from cloud.core.protocol import ApiError
from cloud.stepfunctions.history import value_of

_MAX_NAME = 80
MAX_BYTES = 262_144  # of an input in UTF-8
_NO_NAME = re.compile(r"""[\s<>{}\[\]?*"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\U0010ffff]""")
_VALUE = "JSON String, Number, Array, Object or token 'null', 'true' or 'false'"
_WORD = re.compile(r"[A-Za-z_$][\w$]*")


def check_name(request: Mapping[str, Any]) -> None:
    """Check the name that a request gives to an execution, a state machine or an activity.

    Raises:
        ApiError: ``ValidationException`` or ``InvalidName``.
    """
    name = request.get("name")
    if not isinstance(name, str):
        return
    if not 1 <= len(name) <= _MAX_NAME:
        bound = f"less than or equal to {_MAX_NAME}" if name else "greater than or equal to 1"
        raise _broken(f"Value '{name}' at 'name'", f"Member must have length {bound}")
    if _NO_NAME.search(name):
        raise ApiError("InvalidName", f"Invalid Name: '{name}'")


def check_input(request: Mapping[str, Any]) -> None:
    """Check the input of an execution.

    Raises:
        ApiError: ``ValidationException``, because it is too large, or ``InvalidExecutionInput``, because it is no JSON.
    """
    text = request.get("input", "{}")
    if not isinstance(text, str):
        return
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:  # AWS tells no value of a member that may be secret.
        raise _broken("Value at 'input'", f"Member must have length less than or equal to {MAX_BYTES}")
    try:
        value_of(text)
    except ValueError as error:
        problem = _syntax_problem(text, error)
        raise ApiError("InvalidExecutionInput", f"Invalid State Machine Execution Input: '{problem}'") from None


def _broken(what: str, rule: str) -> ApiError:
    return ApiError("ValidationException", f"1 validation error detected: {what} failed to satisfy constraint: {rule}")


def _syntax_problem(text: str, error: ValueError) -> str:
    """Return what is wrong with text that is no JSON; Python's words where Jackson's are not known."""
    if not text.strip():
        return "Invalid execution input."
    if not isinstance(error, json.JSONDecodeError) or error.pos >= len(text):
        return str(error)
    character = text[error.pos]
    unexpected = f"Unexpected character ('{character}' (code {ord(character)}))"
    if error.msg == "Expecting value":
        if word := _WORD.match(text, error.pos):
            return f"Unrecognized token '{word[0]}': was expecting ({_VALUE})"
        return f"{unexpected}: expected a valid value ({_VALUE})"
    if "property name" in error.msg:
        return f"{unexpected}: was expecting double-quote to start field name"
    if error.msg == "Expecting ':' delimiter":
        return f"{unexpected}: was expecting a colon to separate field name and value"
    return str(error)
