"""What ``python -m local trace`` reads out of log lines, and how it says that there are none."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local import trace
from local.home import LocalError
from local.trace_lines import Groups, Line, Logs, names_of
from local.trace_steps import Step, followed

GROUPS = Groups.of("kennel", "dogs")
TRACE, ID = "4bf92f3577b34da6a3ce929d0e0e4736", "Xk0VpHXqIAMFu_w="
BEGAN = datetime(2026, 11, 30, 20, 0, tzinfo=UTC)
STREAM = "2026/11/30/[7]0a1b"


def line(group: str, after_ms: float, stream: str = STREAM, **document: Any) -> Line:
    """Return a line that was written so many milliseconds after the request's begin."""
    at = BEGAN.timestamp() * 1000 + after_ms
    if group == GROUPS.function:
        document["timestamp"] = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
    return Line(group, stream, at + 40, {"correlation_id": ID, **document})


def request(after_ms: float, **facts: Any) -> Line:
    usual = {"message": "request", "route": "/classify", "key_id": "k1", "function_request_id": "u", "status": 200}
    usual |= {"photo_bytes": 900, "model_version": "run-1"}
    return line(GROUPS.function, after_ms, **(usual | facts))


AGAIN = line(
    GROUPS.function, 25, message="asking again", error="ModelError 500", attempt=1, attempt_ms=12, span_id="a" * 16
)
TRACED = {"milliseconds": 90, "door_ms": 10, "read_ms": 2, "shrink_ms": 1, "asked_ms": 80, "attempt": 2}
TRACED |= {"attempt_ms": 30, "span_id": "b" * 16, "trace_id": TRACE, "parent_id": "c" * 16}
SERVER = line(
    GROUPS.endpoint,
    95,
    "AllTraffic/i-2",
    event="invocation",
    trace_id=TRACE,
    parent_id="b" * 16,
    status=200,
    total_ms=20,
    queue_ms=1,
    decode_ms=4,
    model_ms=12,
    model_version="run-1",
)


def test_request_that_was_asked_again_has_each_attempt_in_its_place() -> None:
    """The function took 90 ms from the 10th on, of which it asked for 80 from the 13th on, the last time for 30."""
    found = followed([AGAIN, request(100, **TRACED), SERVER], GROUPS)
    assert found.steps == [
        Step("from the door to the function", 0, 0, 10),
        Step("function", 0, 10, 90),
        Step("read the photo", 1, 10, 2),
        Step("make it smaller", 1, 12, 1),
        Step("ask the model", 1, 13, 80),
        Step("attempt 1", 2, 13, 12, "ModelError 500"),
        Step("attempt 2", 2, 63, 30, "AllTraffic/i-2"),
        Step("model server", 3, 68, 20, "200"),
        Step("wait for a core", 4, 68, 1),
        Step("decode", 4, 69, 4),
        Step("network", 4, 73, 12),
    ]
    assert [(each.number, each.where, each.error) for each in found.attempts] == [
        (1, "", "ModelError 500"),
        (2, "AllTraffic/i-2", ""),
    ]
    assert (found.began, found.milliseconds, found.door) == ("2026-11-30T20:00:00.000+00:00", 100, "REST API")
    assert found.versions == {"model_version": "run-1", "function_version": "7", "instance": "AllTraffic/i-2"}
    assert found.ids["trace_id"] == TRACE
    assert found.notes == []


def test_usual_request_says_why_it_has_no_steps() -> None:
    found = followed([request(30, milliseconds=30)], GROUPS)
    assert found.steps == [Step("function", 0, 0, 30)]
    assert "sampled traceparent" in found.notes[0]


def test_attempt_without_a_line_of_the_model_says_what_may_be_the_reason() -> None:
    facts = {"milliseconds": 60, "asked_ms": 60, "attempt": 1, "attempt_ms": 60, "span_id": "b" * 16, "status": 503}
    found = followed([request(60, **facts)], GROUPS)
    assert [(each.number, each.where) for each in found.attempts] == [(1, "")]
    assert "ended before it could write" in found.notes[0]


def test_request_at_the_model_functions_own_url_has_the_models_steps() -> None:
    facts = {"event": "request", "route": "/classify", "user_arn": "arn", "status": 200, "total_ms": 20.0}
    times = {"queue_ms": 0, "decode_ms": 5, "model_ms": 14}
    found = followed([line(GROUPS.model_function, 20, model_version="run-1", **facts, **times)], GROUPS)
    assert (found.door, found.milliseconds) == ("URL of the model's function", 20)
    assert found.versions == {"model_version": "run-1", "model_function_version": "7"}
    assert [(step.name, step.start_ms) for step in found.steps] == [
        ("model server", 0), ("wait for a core", 0), ("decode", 0), ("network", 5)
    ]  # fmt: skip


def test_request_that_the_door_refused_says_so() -> None:
    said = {"id": ID, "status": "403", "refused": "INVALID_API_KEY", "milliseconds": "3", "key_id": "-", "user": "-"}
    access = Line(GROUPS.access, "api-v1", BEGAN.timestamp() * 1000 + 3, said)
    found = followed([access], GROUPS)
    assert (found.correlation_id, found.began) == (ID, "2026-11-30T20:00:00.000+00:00")
    assert found.about == {"status": "403", "refused": "INVALID_API_KEY"}
    assert found.notes == ["API Gateway refused it itself (INVALID_API_KEY), before a function ran."]


def test_request_whose_function_was_ended_has_its_last_line() -> None:
    found = followed([AGAIN], GROUPS)
    assert found.about == {"message": "asking again"}
    assert "ended before it could write" in found.notes[0]


def test_lines_of_an_earlier_release_are_read() -> None:
    again = line(GROUPS.function, 25, message="asking again", error="ModelError 500")
    server = line(GROUPS.endpoint, 50, "AllTraffic/i-1", event="invocation", status=500, total_ms=9)
    found = followed([again, server, request(60, milliseconds=60, status=502)], GROUPS)
    assert [(step.name, step.milliseconds) for step in found.steps] == [
        ("function", 60), ("attempt 1", 0), ("model server", 9)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (json.dumps({"title": "Bad Request", "correlation_id": ID}), ID),
        (f"HTTP/1.1 200 OK\r\nx-amzn-RequestId: u-u-i-d\r\nX-Correlation-Id: {ID}\r\n\r\n{{}}", ID),
        (f"HTTP/1.1 403 Forbidden\r\nx-amz-apigw-id: {ID}\r\n\r\n", ID),
        (f"traceparent: 00-{TRACE}-{'1' * 16}-01\n", TRACE),
    ],
)
def test_answer_in_a_file_names_its_request(tmp_path: Path, content: str, name: str) -> None:
    (tmp_path / "answer").write_text(content)
    assert names_of(str(tmp_path / "answer"))[0] == name


def test_trace_id_also_stands_for_the_invocation_with_which_a_trace_began() -> None:
    uuid = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
    assert names_of(TRACE) == names_of(f"00-{TRACE}-{'1' * 16}-01") == [TRACE, uuid]
    assert names_of(f" {ID}\n") == [ID]
    assert names_of("1-5759e988-bd862e3fe1be46a994272793") == ["1-5759e988-bd862e3fe1be46a994272793"]


@pytest.mark.parametrize("text", ["", "a b", 'x"y', "a" * 5000, "%", "*?[a]"])
def test_what_is_no_id_is_told(text: str) -> None:
    with pytest.raises(LocalError, match="is no id of a request; give the x-correlation-id"):
        names_of(text)


def test_prediction_in_a_file_names_no_request(tmp_path: Path) -> None:
    (tmp_path / "answer.json").write_text('{"breed": "Beagle"}')
    with pytest.raises(LocalError, match="keep an answer's headers with curl --include"):
        names_of(str(tmp_path / "answer.json"))


class FakeLogs:
    """CloudWatch Logs with the lines of a list, of which it finds each that contains the quoted term."""

    def __init__(self, *lines: Line, groups: tuple[str, ...]) -> None:
        self._lines, self._groups = lines, groups

    def client(self, _: str) -> "FakeLogs":
        return self

    def get_paginator(self, _: str) -> "FakeLogs":
        return self

    def paginate(self, logGroupName: str, filterPattern: str, **_: int) -> Any:
        if logGroupName not in self._groups:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "FilterLogEvents")
        for each in self._lines:
            text = json.dumps(each.document)
            if each.group == logGroupName and filterPattern.strip('"') in text:
                yield {"events": [{"logStreamName": each.stream, "timestamp": each.at_ms, "message": text}]}

    @property
    def url(self) -> str:
        return ""


def test_each_request_of_a_trace_is_found_with_its_own_lines() -> None:
    second = request(500, **TRACED, correlation_id="second")
    other = request(700, milliseconds=9, correlation_id="other", detail=f"names {ID} and {TRACE}")
    cloud = FakeLogs(
        *(other, second, request(100, **TRACED), AGAIN, SERVER), groups=(GROUPS.function, GROUPS.endpoint, GROUPS.page)
    )
    logs = Logs(cloud, GROUPS, 1)
    of_trace = [[line.event for line in lines] for lines in logs.requests([TRACE])]
    assert of_trace == [["asking again", "invocation", "request"], ["request"]]
    assert [len(lines) for lines in logs.requests([ID])] == [3]
    assert logs.requests(["unknown"]) == []
    assert logs.missing == {GROUPS.model_function, GROUPS.access}
    words = trace._not_found("unknown", logs)
    assert (
        "no line of the logs names 'unknown'; searched: /aws/lambda/kennel-classify, /aws/lambda/kennel-page" in words
    )
    assert "ApiAccessLog=true" in words


def test_picture_puts_each_step_at_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    """A column stands for 2.5 ms."""
    found = followed([AGAIN, request(100, **TRACED), SERVER], GROUPS)
    trace.show_request(found)
    out = capsys.readouterr().out
    assert out.startswith("2026-11-30T20:00:00.000+00:00  POST /classify  200  100.0 ms  by the REST API\n")
    bars = {row[: row.index(" ms")].rsplit(None, 1)[0].strip(): row for row in out.splitlines() if " ms  " in row[30:]}
    first = bars["attempt 2"].index("█")
    assert first - bars["function"].index("█") == (63 - 10) / 2.5 // 1
    assert bars["attempt 2"].count("█") in (11, 12)
    assert "ModelError 500" in bars["attempt 1"]
