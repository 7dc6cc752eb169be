"""What an execution's history says: its events in AWS's form, and how they are chained.

This module does not depend on MiniStack. The rules were derived from histories that AWS recorded.
"""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_WHOLE = {"truncated": False}  # Step Functions never shortens what its API returns.


@dataclass
class Track:
    """Where one line of an execution stands. A branch and an iteration have a track of their own.

    Attributes:
        previous: Id of the event that the next event follows.
        entered: Id of the event with which the current state was entered.
        before: Id of the event that the entering followed.
        deadline: When the execution times out, on the track's clock.
        skipped: Seconds by which the track's clock is ahead of the machine's, because waits were shortened.
        waited: Names of the Wait states that this track has passed.
        latest: Id of the track's last event, also if the next event does not follow it.
        index: Which branch or iteration this is.
        is_in_task: Whether the current state is a Task.
        is_done: Whether the branch or iteration has succeeded.
    """

    previous: int = 0
    entered: int = 0
    before: int = 0
    deadline: float = float("inf")
    skipped: float = 0.0
    waited: frozenset[str] = frozenset()
    latest: int = 0
    index: int = 0
    is_in_task: bool = False
    is_done: bool = False

    def branch(self) -> "Track":
        """Return the track of a branch or an iteration that begins now."""
        return Track(self.previous, self.entered, self.before, self.deadline, self.skipped, self.waited)

    @property
    def before_evaluation(self) -> int:
        """Id of the event that a failed evaluation follows: nothing of a state counts before it has done something."""
        return self.before if self.previous == self.entered else self.previous


def text_of(value: Any) -> str:
    """Return a value as Step Functions writes JSON: without spaces, in Unicode, fractions in Java's form."""
    if _has_unlike_fraction(value):
        return in_unicode(_written(value))
    return in_unicode(_dumps(value))


_dumps = functools.partial(json.dumps, ensure_ascii=False, separators=(",", ":"))


def _has_unlike_fraction(value: Any) -> bool:
    """Whether Java writes a number in a value in another form than Python."""
    if isinstance(value, float):
        return value != 0 and not 1e-3 <= abs(value) < 1e7
    if isinstance(value, dict):
        return any(map(_has_unlike_fraction, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_unlike_fraction, value))


def _written(value: Any) -> str:
    if isinstance(value, float):
        return _as_java_writes(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_dumps(str(name))}:{_written(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    return _dumps(value)


def _as_java_writes(number: float) -> str:
    """Return a number as Java's Double.toString does: scientific below 10^-3 and from 10^7 on."""
    if not math.isfinite(number) or number == 0 or 1e-3 <= abs(number) < 1e7:
        return _dumps(number)
    shortest = Decimal(repr(number)).normalize()
    two = f"{number:.1e}"  # Java takes the closest of the numbers with two digits where one digit would do.
    sign, digits, exponent = (Decimal(two).normalize() if float(two) == number else shortest).as_tuple()
    first, *rest = map(str, digits)
    return f"{'-' * sign}{first}.{''.join(rest) or '0'}E{int(exponent) + len(rest)}"


def value_of(text: str) -> Any:
    """Return the value of text in JSON.

    Raises:
        ValueError: The text is no JSON. NaN and Infinity, which Python would take, are no JSON; so are numbers that a
            float cannot hold, with which no expression could calculate.
    """

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is no number of JSON")

    def finite(digits: str) -> float:
        if math.isinf(number := float(digits)):
            raise ValueError(f"{digits[:40]} is larger than any number can be")
        return number

    return json.loads(text, parse_constant=refuse, parse_float=finite)


def in_unicode(text: str) -> str:
    """Return text with a question mark, as Java writes it, for each half of a pair of UTF-16 that stands alone.

    JSON's escapes and JSONata's regular expressions can make such halves, and no answer of the API can carry them.
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def input_of(text: str) -> dict[str, Any]:
    """Return the members of an event that show an input."""
    return {"input": text, "inputDetails": _WHOLE}


def output_of(text: str) -> dict[str, Any]:
    """Return the members of an event that show an output."""
    return {"output": text, "outputDetails": _WHOLE}


def exited(name: str, output: str, assigned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the details of a state's exit.

    Args:
        name: The state's name.
        output: Its output in JSON.
        assigned: The variables that it assigned.
    """
    details = {"name": name, **output_of(output)}
    if assigned:
        values = {variable: text_of(value) for variable, value in assigned.items()}
        details.update(assignedVariables=values, assignedVariablesDetails=_WHOLE)
    return details


def failure(error: str | None, cause: str | None) -> dict[str, str]:
    """Return the members of an event that tell an error; what a Fail state does not have is left out."""
    return {name: in_unicode(value) for name, value in (("error", error), ("cause", cause)) if value is not None}


def key_of(kind: str) -> str:
    """Return the name of the member in which an event has its details."""
    for ending in ("StateEntered", "StateExited"):
        if kind.endswith(ending):  # All types of states share these.
            kind = ending
    return f"{kind[:1].lower()}{kind[1:]}EventDetails"


@dataclass(frozen=True)
class TaskWords:
    """How the history tells of a task.

    Attributes:
        stem: Start of its events' names.
        name: What a cause calls it.
        task: The members by which its events name it.
        resource: Its resource.
    """

    stem: str
    name: str
    task: dict[str, str]
    resource: str

    @classmethod
    def of(cls, resource: str) -> "TaskWords":
        """Return the words for a state's resource: a service integration or the ARN of a Lambda function."""
        if not resource.startswith("arn:aws:states:::"):
            return cls("LambdaFunction", resource, {}, resource)
        kind, _, action = resource.removeprefix("arn:aws:states:::").rpartition(":")
        return cls("Task", kind, {"resource": action, "resourceType": kind}, resource)

    def scheduled(self, arguments: Any, region: str) -> dict[str, Any]:
        """Return what the event of scheduling says."""
        text = text_of(arguments)
        if self.stem == "LambdaFunction":
            return {**input_of(text), "resource": self.resource}
        return {**self.task, "parameters": text, "region": region}
