"""The model function's own URL answers what the API's IAM door answers: the same statuses, headers and documents."""

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from benchmarks import forged_photos as forged
from classify.accounting import request_facts
from classify.wrappings import MAX_BYTES
from prices.per_million import MODEL_LOG_BYTES
from serving import url_door
from serving.decoder import Decoder, DecoderTimeoutError
from serving.model import ServedModel
from serving.photo_function import PhotoFunction
from serving.server import make_app
from serving.telemetry import JsonLines, RequestFigures
from tests.prediction_function import imported

from .conftest import COLOURS, photo
from .test_server import Client

ID = "8f5b2c1e-0000-4000-8000-123456789abc"
JPEG = photo(COLOURS["001.Red_setter"], 950)
CALLER = "arn:aws:sts::000000000000:assumed-role/kennel-callers/i-0123456789abcdef0"
Answer = tuple[int, dict[str, str], str]
SAME = {
    "jpeg": JPEG,
    "png": photo(COLOURS["002.Green_hound"], 951, "PNG"),
    "webp": photo(COLOURS["003.Blue_terrier"], 952, "WEBP"),
    "costly": forged.flat_png(2000, 1500),
    "cut": JPEG[:400],
    "too many pixels": forged.flat_png(4100, 4000),
    "too many bytes": JPEG + bytes(MAX_BYTES + 1 - len(JPEG)),
}
NO_PHOTOS = {"empty": b"", "text": b"no photo", "gif": b"GIF89a" + bytes(20), "gzip": b"\x1f\x8b\x08" + bytes(20)}


def event_of(method: str, path: str, body: bytes = b"") -> dict[str, Any]:
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "image/jpeg", "x-kennel-photo": "whole"},
        "requestContext": {
            "http": {"method": method, "path": path, "sourceIp": "192.0.2.8"},
            "authorizer": {"iam": {"accessKey": "AKIA", "userArn": CALLER}},
            "requestId": ID,
            "stage": "$default",
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def answer_of(response: dict[str, Any]) -> Answer:
    assert not response["isBase64Encoded"]
    return (
        response["statusCode"],
        {name.lower(): value for name, value in response["headers"].items()},
        response["body"],
    )


@pytest.fixture(scope="module")
def api(model: ServedModel) -> Iterator[Callable[[dict[str, Any]], Answer]]:
    """The prediction function by its URL, before an endpoint with the same model."""
    endpoint = Client(make_app(model))

    def call(_: Any, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = endpoint.post(request["Body"], request["ContentType"])
        if answer.status_code == 200:
            return {"Body": StreamingBody(io.BytesIO(answer.content), len(answer.content))}
        refused = {"OriginalStatusCode": answer.status_code, "OriginalMessage": answer.text}
        error = {"Error": {"Code": "ModelError"}, "ResponseMetadata": {"HTTPStatusCode": 424}}
        raise ClientError({**error, **refused}, operation)  # type: ignore[misc]

    def ask(event: dict[str, Any]) -> Answer:
        context = SimpleNamespace(function_name="f", memory_limit_in_mb=1024, invoked_function_arn="a")
        context.aws_request_id = ID
        context.get_remaining_time_in_millis = lambda: 2000
        return answer_of(app.handler(event, context))

    with imported("classify.app") as (app, patch):
        patch.setattr("botocore.client.BaseClient._make_api_call", call)
        yield ask


@pytest.fixture(scope="module")
def function(model: ServedModel) -> Iterator[PhotoFunction]:
    """The function around the model that the tests have already compiled."""
    made = PhotoFunction.__new__(PhotoFunction)
    made._model, made._decoder = model, Decoder(model.artifact.preprocess)
    made._figures, made._flushed = RequestFigures(), 0.0
    yield made
    made.close()


def ask(function: PhotoFunction, event: dict[str, Any]) -> Answer:
    return answer_of(json.loads(function.invoke(json.dumps(event).encode(), 60, ID)))


@pytest.mark.parametrize("kind", SAME)
def test_photo_is_answered_as_at_the_iam_door(function: PhotoFunction, api: Any, kind: str) -> None:
    event = event_of("POST", "/classify", SAME[kind])
    assert ask(function, event) == api(event)


@pytest.mark.parametrize("path", ["/breeds", "/health"])
def test_question_is_answered_as_at_the_iam_door(function: PhotoFunction, api: Any, path: str) -> None:
    status, headers, text = ask(function, event_of("GET", path))
    expected_status, expected_headers, expected_text = api(event_of("GET", path))
    assert (status, headers) == (expected_status, expected_headers) == (200, headers)
    assert json.loads(text) == json.loads(expected_text)


@pytest.mark.parametrize(
    "event",
    [
        *(event_of("POST", "/classify", body) for body in NO_PHOTOS.values()),
        event_of("POST", "/elsewhere"),
        event_of("GET", "/classify"),
        event_of("POST", "/breeds"),
        {**event_of("POST", "/classify"), "body": "a?b"},
        {**event_of("POST", "/classify"), "body": "\ufffd\ufffd\ufffd\ufffd", "isBase64Encoded": False},
    ],
)
def test_what_is_no_photo_is_refused_as_at_the_iam_door_but_for_the_detail(
    function: PhotoFunction, api: Any, event: dict[str, Any]
) -> None:
    (status, headers, text), (expected_status, expected_headers, expected_text) = ask(function, event), api(event)
    assert (status, headers) == (expected_status, expected_headers)
    problem, expected = json.loads(text), json.loads(expected_text)
    assert problem.pop("detail")
    assert expected.pop("detail")
    assert problem == expected
    assert problem["correlation_id"] == ID


def test_photo_that_cannot_be_decoded_in_time_is_told_as_the_api_tells_it(
    function: PhotoFunction, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: Any) -> None:
        raise DecoderTimeoutError

    def overloaded(_: Any, operation: str, __: Any) -> None:
        error = {"Error": {"Code": "ModelError"}, "ResponseMetadata": {"HTTPStatusCode": 424}}
        raise ClientError({**error, "OriginalStatusCode": 503, "OriginalMessage": ""}, operation)  # type: ignore[misc]

    event = event_of("POST", "/classify", SAME["costly"])
    monkeypatch.setattr(Decoder, "pixels", late)
    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", overloaded)
    answer = ask(function, event)
    assert answer == api(event)
    assert (answer[0], answer[1]["retry-after"]) == (503, "5")


def test_fault_of_the_model_is_an_error_of_the_function(
    function: PhotoFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda then answers 502, and the alarm of an update sees it."""

    def broken(*_: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(ServedModel, "predict_pixels", broken)
    with pytest.raises(RuntimeError, match="out of order"):
        ask(function, event_of("POST", "/classify", JPEG))


def test_log_says_who_asked_what_as_the_prediction_function_does(
    function: PhotoFunction, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kennel.serving")
    event = event_of("POST", "/classify", JPEG)
    ask(function, event)
    (record,) = caplog.records
    facts = record.facts  # type: ignore[attr-defined]
    assert (record.message, facts["status"], facts["correlation_id"]) == ("request", 200, ID)
    assert request_facts(event).items() <= facts.items()
    assert len(JsonLines().format(record)) == pytest.approx(MODEL_LOG_BYTES, rel=0.1)
    secret = {**event_of("POST", "/secret"), "headers": {"x": "secret"}}
    ask(function, secret)
    assert "secret" not in JsonLines().format(caplog.records[-1])


def test_log_names_the_trace_of_a_caller_who_sends_one(
    function: PhotoFunction, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kennel.serving")
    trace_id, parent_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    for sent in (f"00-{trace_id}-{parent_id}-00", f"ff-{trace_id}-{parent_id}-00", 7, None):
        ask(function, {**event_of("GET", "/breeds"), "headers": {"traceparent": sent}})
    first, *others = [record.facts for record in caplog.records]  # type: ignore[attr-defined]
    assert (first["trace_id"], first["parent_id"], first["correlation_id"]) == (trace_id, parent_id, ID)
    assert not [facts for facts in others if "trace_id" in facts]


@pytest.mark.parametrize("context", [{}, {"http": 1, "authorizer": 1}, {"authorizer": {"iam": None}}])
def test_request_without_its_usual_parts_is_refused(function: PhotoFunction, context: dict[str, Any]) -> None:
    event = {"version": "2.0", "rawPath": "/classify", "requestContext": context}
    assert ask(function, event)[0] == 405


@pytest.mark.parametrize("forged", [[], {}, 7, None, "\ud800"])
def test_request_that_somebody_has_made_up_is_no_error_of_the_function(
    function: PhotoFunction, caplog: pytest.LogCaptureFixture, forged: Any
) -> None:
    """Whoever may invoke the function can send any event, and one error takes an update back."""
    caplog.set_level(logging.INFO, "kennel.serving")
    context: dict[str, Any] = {
        "http": {"method": forged, "sourceIp": forged},
        "authorizer": {"iam": {"userArn": forged}},
    }
    event = {"version": "2.0", "rawPath": forged, "requestContext": context, "body": forged, "headers": forged}
    assert ask(function, event)[0] == 404
    assert ask(function, {**event, "rawPath": "/classify"})[0] == 405
    context["http"]["method"] = "POST"
    assert ask(function, {**event, "rawPath": "/classify"})[0] in (400, 415)
    assert [record.message for record in caplog.records] == 3 * ["request"]


def test_log_has_only_so_much_of_what_somebody_has_made_up(
    function: PhotoFunction, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kennel.serving")
    context: dict[str, Any] = {"http": {"sourceIp": {"a": 1}}, "authorizer": {"iam": {"userArn": 1_000_000 * "x"}}}
    ask(function, {"version": "2.0", "rawPath": "/secret", "requestContext": context})
    assert len(JsonLines().format(caplog.records[-1])) < 3_000


def test_limit_is_that_of_the_api() -> None:
    assert url_door.MAX_BYTES == MAX_BYTES
