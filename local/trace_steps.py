"""What the lines of the logs say about one request: its steps with their times, and the attempts to ask the model."""

import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from local.trace_lines import Groups, Line

_SERVER_STEPS = {"queue_ms": "wait for a core", "decode_ms": "decode", "model_ms": "network"}
_ABOUT = ("route", "status", "detail", "key_id", "user", "user_arn", "source", "bytes", "photo_bytes", "sent_bytes")
_OF_ATTEMPT = {"attempt_ms": 0.0, "error": "", "span_id": ""}  # Functions of earlier releases write the error alone.
_IDS = ("trace_id", "parent_id", "xray_root", "function_request_id")
_STREAM = re.compile(r"\d{4}/\d\d/\d\d/.*\[([^\]]+)\]")  # the version of the function in the name of its log stream


@dataclass
class Step:
    """A part of a request.

    Attributes:
        name: what happens.
        depth: of how many other steps it is a part.
        start_ms: when it began, in milliseconds since the request's begin.
        milliseconds: how long it took.
        note: what came of it.
    """

    name: str
    depth: int
    start_ms: float
    milliseconds: float
    note: str = ""


@dataclass
class Attempt:
    """An attempt to ask the model.

    Attributes:
        number: 1 for the first one.
        milliseconds: that it took.
        error: why the model was asked again; empty for the last attempt.
        span_id: its id in the trace.
        where: the instance or the function's environment that answered, by the name of its log stream; empty if none
            wrote a line.
        model: the line that it wrote.
    """

    number: int
    milliseconds: float
    error: str = ""
    span_id: str = ""
    where: str = ""
    model: dict[str, Any] = field(default_factory=dict)


@dataclass
class Followed:
    """A request.

    Attributes:
        correlation_id: its id in the logs.
        door: by which it came.
        began: when, ISO 8601.
        milliseconds: that it took, as far as the logs tell.
        ids: other ids of the request and its trace.
        about: who asked for what, and what came of it.
        steps: in the order of their begin.
        attempts: to ask the model.
        versions: what answered.
        notes: what the logs do not say, and why.
    """

    correlation_id: str
    door: str
    began: str
    milliseconds: float
    ids: dict[str, Any]
    about: dict[str, Any]
    steps: list[Step]
    attempts: list[Attempt]
    versions: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as a document."""
        return asdict(self)


def followed(lines: list[Line], groups: Groups) -> Followed:
    """Return a request by its lines, which may be those of one door alone."""
    of_model = [line for line in lines if line.group in (groups.endpoint, groups.model_function)]
    of_function = [line for line in lines if line.group in (groups.function, groups.page)]
    access = next((line for line in lines if line.group == groups.access), None)
    request = next((line for line in of_function if line.event == "request"), None)
    if request:
        again = [line for line in of_function if line.event == "asking again"]
        return _by_function(request, again, of_model, access, groups)
    if of_function:
        return _unfinished(of_function[-1])
    if of_model:
        return _by_model(of_model[-1], groups)
    return _by_door_alone(lines[-1])


def _by_function(
    request: Line, again: list[Line], of_model: list[Line], access: Line | None, groups: Groups
) -> Followed:
    """Return a request that the prediction function answered."""
    said = request.document
    took, door_ms = float(said["milliseconds"]), float(said.get("door_ms", 0.0))
    began = _at(request) - took - door_ms
    steps = [Step("function", 0, door_ms, took)]
    if door_ms:
        steps.insert(0, Step("from the door to the function", 0, 0.0, door_ms))
    if access and str(access.document.get("milliseconds", "")).isdigit():
        steps.insert(0, Step("API Gateway", 0, 0.0, float(access.document["milliseconds"])))
    start = door_ms
    for name, words in (("read_ms", "read the photo"), ("shrink_ms", "make it smaller")):
        if name in said:
            steps.append(Step(words, 1, start, said[name]))
            start += said[name]
    if "asked_ms" in said:
        steps.append(Step("ask the model", 1, start, said["asked_ms"]))
    attempts = [
        Attempt(number, *(line.document.get(name, none) for name, none in _OF_ATTEMPT.items()))
        for number, line in enumerate(again, 1)
    ]
    ends = [_at(line) - began for line in again]
    if "attempt_ms" in said and said["attempt"] > len(attempts):
        attempts.append(Attempt(said["attempt"], said["attempt_ms"], span_id=said["span_id"]))
        ends.append(start + said.get("asked_ms", said["attempt_ms"]))
    for line in _place(steps, attempts, ends, of_model):
        _add_server_steps(steps, line, 1, door_ms, took)
    asks = "POST /classify" if said.get("route") == "/classify" else f"GET {said.get('route')}"
    door = "REST API" if "function_request_id" in said else "function's URL"
    result = Followed(
        correlation_id=str(said["correlation_id"]),
        door=door,
        began=_iso(began),
        milliseconds=round(took + door_ms, 1),
        ids={name: said[name] for name in _IDS if name in said},
        about={"asks": asks, **{name: said[name] for name in _ABOUT if name in said}},
        steps=steps,
        attempts=attempts,
        versions={"model_version": said.get("model_version"), "function_version": _version(request)},
    )
    if of_model:
        _add_model(result, of_model[-1], groups)
    if "attempt_ms" not in said and said.get("status") == 200 and "photo_bytes" in said:
        result.notes.append(
            "The logs have no steps of this request, because it was answered within a second and its caller records no "
            "trace of it. Of a request with a sampled traceparent they have."
        )
    elif attempts and not of_model:
        result.notes.append(
            "The model's log has no line about it: the model was not reached, ended before it could write, its log is "
            "some seconds late, or its release is older than this command."
        )
    return result


def _place(steps: list[Step], attempts: list[Attempt], ends: list[float], of_model: list[Line]) -> list[Line]:
    """Add the attempts' steps with what the model wrote about each, and return the model's other lines."""
    left = list(of_model)
    for attempt, end in zip(attempts, ends, strict=True):
        begin = end - attempt.milliseconds
        line = next((each for each in left if each.document.get("parent_id") == attempt.span_id), None)
        note = attempt.error
        if line:
            left.remove(line)
            attempt.where, attempt.model = line.stream, line.document
            note = attempt.error or line.stream
        steps.append(Step(f"attempt {attempt.number}", 2, begin, attempt.milliseconds, note))
        if line:
            _add_server_steps(steps, line, 3, begin, attempt.milliseconds)
    return left


def _add_server_steps(steps: list[Step], line: Line, depth: int, begin: float, within: float) -> None:
    """Add what the model did. Its machine has a clock of its own, so it is drawn in the middle of the attempt."""
    total = float(line.document.get("total_ms", 0.0))
    start = begin + max(0.0, (within - total) / 2)
    status = line.document.get("error") or line.document.get("status")
    steps.append(Step("model server", depth, start, total, str(status)))
    for name, words in _SERVER_STEPS.items():
        if name in line.document:
            steps.append(Step(words, depth + 1, start, line.document[name]))
            start += line.document[name]


def _by_model(line: Line, groups: Groups) -> Followed:
    """Return a request that no line of the prediction function names: it came by the URL of the model's function."""
    said = line.document
    took = float(said.get("total_ms", 0.0))
    by_url = line.group == groups.model_function
    result = Followed(
        correlation_id=str(said["correlation_id"]),
        door="URL of the model's function" if by_url and line.event == "request" else "model itself, asked directly",
        began=_iso(line.at_ms - took),
        milliseconds=took,
        ids={name: said[name] for name in _IDS if name in said},
        about={name: said[name] for name in _ABOUT if name in said},
        steps=[],
        attempts=[],
        versions={"model_version": said.get("model_version")},
    )
    _add_server_steps(result.steps, line, 0, 0.0, took)
    _add_model(result, line, groups)
    return result


def _add_model(result: Followed, line: Line, groups: Groups) -> None:
    """Add what the model's line says of who answered."""
    result.versions["model_version"] = result.versions["model_version"] or line.document.get("model_version")
    if line.group == groups.model_function:
        result.versions["model_function_version"] = _version(line)
    else:
        result.versions["instance"] = line.stream


def _by_door_alone(access: Line) -> Followed:
    """Return a request of which API Gateway's log alone has a line."""
    said = access.document
    took = float(said["milliseconds"]) if str(said.get("milliseconds", "")).isdigit() else 0.0
    if said.get("refused") in (None, "-"):
        note = "It was answered without the prediction function: the page, /health or a preflight."
    else:
        note = f"API Gateway refused it itself ({said['refused']}), before a function ran."
    about = {name: value for name, value in said.items() if value != "-" and name not in ("id", "time", "milliseconds")}
    return Followed(
        correlation_id=str(said["id"]),
        door="REST API",
        began=_iso(access.at_ms - took),
        milliseconds=took,
        ids={},
        about=about,
        steps=[Step("API Gateway", 0, 0.0, took, str(said.get("status", "")))],
        attempts=[],
        versions={},
        notes=[note],
    )


def _unfinished(line: Line) -> Followed:
    """Return a request whose last line is not the usual one about it."""
    return Followed(
        correlation_id=str(line.document.get("correlation_id")),
        door="unknown",
        began=_iso(_at(line)),
        milliseconds=0.0,
        ids={},
        about={"message": line.event},
        steps=[],
        attempts=[],
        versions={"function_version": _version(line)},
        notes=[
            f"The last line about it in {line.group} is '{line.event}'. The function was ended before it could write "
            "its line about the request, or that is some seconds late."
        ],
    )


def _at(line: Line) -> float:
    """Return the time of a line as its writer says it, or else as CloudWatch does."""
    said = line.document.get("timestamp")
    try:
        return 1000 * datetime.fromisoformat(said).timestamp()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return line.at_ms


def _iso(milliseconds: float) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def _version(line: Line) -> str:
    found = _STREAM.match(line.stream)
    return found[1] if found else ""
