"""The words with which AWS refuses definitions. This module does not depend on MiniStack."""

import re
from collections.abc import Mapping
from typing import Any

from cloud.stepfunctions import asl
from cloud.stepfunctions.history import value_of

_MAX_DIAGNOSTICS = 100
_CODED = re.compile(r"(?P<code>[A-Z][A-Z_]+): (?P<message>.*)", re.DOTALL)
_PLACED = re.compile(r"(?P<message>.*) at (?P<location>/.*)", re.DOTALL)
_SOURCE = re.compile(r".*\n at (?P<location>\[Source: .*\])", re.DOTALL)


def refusal(text: Any) -> str | None:
    """Return why AWS refuses a definition; None if it accepts it.

    Args:
        text: The definition in JSON. Other values are not checked: an update may leave out the definition.
    """
    if not isinstance(text, str):
        return None
    found = _problems_of(text)
    return in_words(found) if found else None


def in_words(problems: list[str]) -> str:
    """Return the message with which a definition is refused."""
    return f"Invalid State Machine Definition: '{', '.join(problems)}'"


def problems(definition: Any) -> list[str]:
    """Return each problem of a definition with its code and its location."""
    found = asl.problems(definition)
    return [problem if _CODED.match(problem) else f"SCHEMA_VALIDATION_FAILED: {problem}" for problem in found]


def diagnosis(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer of ValidateStateMachineDefinition."""
    most = request.get("maxResults") or _MAX_DIAGNOSTICS
    found = [_diagnostic(problem) for problem in _problems_of(request.get("definition", ""))]
    return {"result": "FAIL" if found else "OK", "diagnostics": found[:most], "truncated": len(found) > most}


def _problems_of(text: str) -> list[str]:
    """Return each problem of a definition with its code and its location."""
    if not text.strip():
        return ["SCHEMA_VALIDATION_FAILED: Definition must be a valid JSON object"]
    try:
        definition = value_of(text)
    except ValueError as error:
        return [f"INVALID_JSON_DESCRIPTION: {_syntax_error(text, error)}"]
    return problems(definition)


def _diagnostic(problem: str) -> dict[str, str]:
    """Return a problem as ValidateStateMachineDefinition tells it."""
    coded = _CODED.match(problem)
    code, message = (coded["code"], coded["message"]) if coded else ("SCHEMA_VALIDATION_FAILED", problem)
    if source := _SOURCE.fullmatch(message):
        return {"severity": "ERROR", "code": code, "message": message, "location": source["location"]}
    message = message.removesuffix(" at null")
    placed = _PLACED.fullmatch(message)
    where = {"message": placed["message"], "location": placed["location"]} if placed else {"message": message}
    return {"severity": "ERROR", "code": code, **where}


def _syntax_error(text: str, error: ValueError) -> str:
    """Return what is wrong with text that is not JSON; AWS's words where its parser meets a word first."""
    word = re.match(r"\s*([A-Za-z_]\w*)", text)
    if word is None or word[1] in ("true", "false", "null"):
        return str(error)
    source = f'[Source: (String)"{text}"; line: 1, column: {word.end(1) + 1}]'
    expected = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
    return f"Unrecognized token '{word[1]}': was expecting {expected}\n at {source}"
