"""Evaluate JSONata as Step Functions does: by the reference implementation, in an embedded JavaScript engine.

This module does not depend on MiniStack. ``jsonata/jsonata.min.js`` is the npm package jsonata 2.0.6 as published, and
``jsonata/states.js`` adds what Step Functions adds: functions and limits.
See "The reference implementation of JSONata evaluates expressions" in docs/decisions/laptop-cloud.md.
"""

import json
import re
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

from cloud.stepfunctions import engine
from cloud.stepfunctions.engine import Reads
from cloud.stepfunctions.history import text_of

_LIMITS = {
    "depth": "Stack overflow error: Check for non-terminating recursive function. Consider rewriting as tail-recursive",
    "time": "Expression evaluation timeout: Check for infinite loop",
    "memory": "Expression evaluation memory limit exceeded: Check for excessive memory usage",
}
_EXACT = 2**53  # JavaScript has all whole numbers below.
_LONG = 2**63  # Step Functions has all whole numbers below.
_LARGE_NUMBER = re.compile(r"(?:^|(?<=[:\[]\s)|(?<=[:,\[\s]))-?\d{16,19}(?=[,\]}]|$)")


class ExpressionError(Exception):
    """An expression has no value that is JSON. The error is named ``States.QueryEvaluationError``.

    Attributes:
        expression: The expression.
        kind: ``undefined``: it returned nothing. ``threw``: JSONata raised an error. ``limit``: it took too long, or
            became too deep or too large. ``unsupported``: its value is no JSON. ``internal``: JavaScript failed.
        message: For ``threw`` JSONata's code and message, for ``limit`` the limit in words.
    """

    def __init__(self, expression: str, kind: str, message: str = "") -> None:
        super().__init__(f"{expression}: {kind} {message}".rstrip())
        self.expression = expression
        self.kind = kind
        self.message = _LIMITS[message] if kind == "limit" else message
        self._id = uuid.uuid4()  # AWS gives an error inside its engine a number instead of a reason.

    def cause(self, field: str) -> str:
        """Return AWS's words, without the sentence before them that names the state.

        Args:
            field: Where the expression stands, for example ``Output/name``.
        """
        problem = {
            "undefined": "returned nothing (undefined).",
            "threw": f"threw an error during evaluation. {self.message}",
            "limit": f"threw an error during evaluation: {self.message}",
            "unsupported": "returned an unsupported result type.",
            "internal": f"threw an internal error during evaluation. {self._id}",
        }
        return f"{_subject(self.expression, field)} {problem[self.kind]}"


def type_cause(expression: str, field: str, expected: str, value: Any) -> str:
    """Return AWS's words for a value of another type than the field takes.

    Args:
        expression: The expression.
        field: Where it stands.
        expected: The type that the field takes, as JSON names it.
        value: The expression's value.
    """
    names: list[tuple[type, str]] = [(bool, "boolean"), (str, "string"), (list, "array"), (dict, "object")]
    kind = next((name for kind, name in names if isinstance(value, kind)), "null" if value is None else "number")
    problem = f"returned an unexpected result type. Expected '{expected}', but was '{kind}' for value: {text_of(value)}"
    return f"{_subject(expression, field)} {problem}"


def _subject(expression: str, field: str) -> str:
    return f"The JSONata expression '{expression}' specified for the field '{field}'"


def evaluate(expression: str, variables: Mapping[str, Any], states: Mapping[str, Any]) -> Any:
    """Return the value of an expression.

    Args:
        expression: The text between ``{%`` and ``%}``.
        variables: The variables that it can use, by their names without ``$``; None is JSON's null.
        states: The members of ``$states`` that exist.

    Raises:
        ExpressionError: The expression failed, or its value is no JSON.
        EngineError: The JavaScript engine does not load.
    """
    with engine.borrowed() as javascript:
        facts = javascript.compile(expression)
        if facts.problem:
            if facts.code == engine.LIMIT:
                raise ExpressionError(expression, "limit", facts.problem)
            raise ExpressionError(expression, "threw" if facts.code else "internal", f"{facts.code}: {facts.problem}")
        data = json.dumps(_part({**variables, "states": states}, facts.reads))
        outcome = javascript.run(expression, data)
    if outcome.startswith("!"):
        raise ExpressionError(expression, **json.loads(outcome[1:]))
    return _exact(outcome[1:], data) if outcome.startswith("#") else json.loads(outcome[1:])


def problems(expression: str, absent: tuple[str, ...] = ()) -> list[str]:
    """Return why AWS refuses a definition for an expression in it, in AWS's words.

    Args:
        expression: The expression.
        absent: The members of ``$states`` that do not exist where the expression stands.
    """
    with engine.borrowed() as javascript:
        facts = javascript.compile(expression)
    if facts.problem:
        return [f"INVALID_JSONATA_EXPRESSION: {_LIMITS.get(facts.problem, facts.problem)}"]
    states = facts.reads.get("states") or {}
    found = [f"Reference to '{name}' at the top level is not supported." for name in facts.context if name != "$$"]
    found += ["Reference to '$$' is not supported."] * ("$$" in facts.context)
    found += [f"Field '$states.{name}' does not exist." for name in absent if name in states]
    return [f"UNSUPPORTED_JSONATA_EXPRESSION: {problem}" for problem in found]


def _part(value: Any, reads: Reads | None) -> Any:
    """Return the part of a value that an expression reads, because writing and parsing all of it would take longer."""
    if reads is None or not isinstance(value, Mapping):
        return value
    return {name: _part(value[name], inner) for name, inner in reads.items() if name in value}


def _exact(text: str, data: str) -> Any:
    """Return the value of a result that has large numbers as Step Functions has them.

    There, whole numbers are exact below 2^63 as long as nobody calculates with them, and larger ones are floating.

    Args:
        text: The result as JavaScript wrote it.
        data: What the expression read.
    """
    numbers = {int(digits) for digits in _LARGE_NUMBER.findall(data)}
    close = Counter(
        map(float, numbers)
    )  # Several numbers may be the same one in JavaScript, which then stays as it is.
    exact = {float(number): number for number in numbers if abs(number) < _LONG and close[float(number)] == 1}

    def whole(digits: str) -> float:
        value = float(digits)
        if abs(value) < _EXACT:
            return int(digits)
        return exact.get(value, int(value) if abs(value) < _LONG else value)

    return json.loads(text, parse_int=whole)
