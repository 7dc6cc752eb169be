"""The function answers what the server answers: the same documents and the same statuses."""

import base64
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import forged_photos as forged
from serving import photo_function
from serving.decoder import Decoder, DecoderTimeoutError
from serving.model import ServedModel
from serving.photo_function import PhotoFunction
from serving.preprocess import MAX_BYTES
from serving.served_artifact import ArtifactError, pack
from serving.server import make_app
from serving.telemetry import ENDPOINT_VARIABLE, RequestFigures

from .conftest import COLOURS, photo
from .test_server import Client

ID = "request-1"
PHOTOS = {
    "jpeg": photo(COLOURS["001.Red_setter"], 900),
    "png": photo(COLOURS["002.Green_hound"], 901, "PNG"),
    "webp": photo(COLOURS["003.Blue_terrier"], 902, "WEBP"),
    "costly": forged.flat_png(2000, 1500),
    "empty": b"",
    "text": b"no photo",
    "cut": photo(COLOURS["001.Red_setter"], 903)[:400],
    "too many pixels": forged.flat_png(4100, 4000),
    "too many scans": forged.repeated_scans(1000, 3000),
}


@pytest.fixture(scope="module")
def archive(served: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("archive") / "model.tar.gz"
    pack(served, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def manifest(served: Path) -> str:
    return hashlib.sha256((served / "manifest.json").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def function(archive: bytes, manifest: str) -> Iterator[PhotoFunction]:
    made = PhotoFunction(archive, "s3://kennel/m", manifest)
    yield made
    made.close()


def ask(function: PhotoFunction, event: Any, seconds: float = 60) -> tuple[int, Any]:
    answer = json.loads(function.invoke(json.dumps(event).encode(), seconds, ID))
    assert answer.keys() == {"status", "body"}
    return answer["status"], answer["body"]


def event_of(content: bytes) -> dict[str, str]:
    return {"photo": base64.b64encode(content).decode()}


@pytest.mark.parametrize("kind", PHOTOS)
def test_function_answers_a_photo_as_the_server_does(function: PhotoFunction, model: ServedModel, kind: str) -> None:
    response = Client(make_app(model)).post(PHOTOS[kind])
    assert ask(function, event_of(PHOTOS[kind])) == (response.status_code, response.json())


def test_answer_has_the_servers_bytes(function: PhotoFunction, model: ServedModel) -> None:
    response = Client(make_app(model)).post(PHOTOS["jpeg"])
    answer = function.invoke(json.dumps(event_of(PHOTOS["jpeg"])).encode(), 60, ID)
    assert answer == b'{"status":200,"body":' + response.content + b"}"


def test_function_computes_with_one_thread_what_the_server_computes(
    function: PhotoFunction, model: ServedModel
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    logits, dog = function._model.infer(image)
    expected, expected_dog = model.infer(image)
    assert logits.tobytes() == expected.tobytes()
    assert dog == expected_dog


def test_too_many_bytes_are_refused_with_the_servers_words(function: PhotoFunction, model: ServedModel) -> None:
    content = PHOTOS["jpeg"] + bytes(MAX_BYTES)
    response = Client(make_app(model)).post(content)
    assert response.status_code == 413
    assert ask(function, event_of(content)) == (413, response.json())


@pytest.mark.parametrize("question", [{"describe": "breeds"}, {"describe": "cats"}])
def test_question_is_answered_as_the_server_does(
    function: PhotoFunction, model: ServedModel, question: dict[str, str]
) -> None:
    response = Client(make_app(model)).post(json.dumps(question).encode(), "application/json")
    assert ask(function, {**question, "correlation_id": "c-1"}) == (response.status_code, response.json())


@pytest.mark.parametrize(("flags", "lines"), [("00", 0), ("01", 1)])
def test_usual_answer_has_a_line_where_the_caller_records_its_trace(
    function: PhotoFunction, caplog: pytest.LogCaptureFixture, flags: str, lines: int
) -> None:
    caplog.set_level(logging.INFO, "kennel.serving")
    trace_id, parent_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    sent = f"c-1;traceparent=00-{trace_id}-{parent_id}-{flags}"
    for event in (event_of(PHOTOS["jpeg"]), {"describe": "breeds"}):
        caplog.clear()
        assert ask(function, {**event, "correlation_id": sent})[0] == 200
        told = [record.facts for record in caplog.records]  # type: ignore[attr-defined]
        told = [(facts["correlation_id"], facts["trace_id"], facts["parent_id"]) for facts in told]
        assert told == [("c-1", trace_id, parent_id)] * lines


@pytest.mark.parametrize("payload", [b"null", b"[]", b"{}", b'{"photo": 1}', b'{"photo": "a?b"}', b"{", b"[" * 100_000])
def test_other_events_are_refused(function: PhotoFunction, payload: bytes) -> None:
    answer = json.loads(function.invoke(payload, 60, ID))
    assert (answer["status"], answer["body"]["error"]["code"]) == (400, "BadEvent")


def test_costly_photo_is_decoded_by_another_process_within_the_time_that_is_left(
    function: PhotoFunction, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given: list[float] = []

    def late(self: Decoder, content: bytes, seconds: float) -> np.ndarray:
        given.append(seconds)
        raise DecoderTimeoutError

    monkeypatch.setattr(Decoder, "pixels", late)
    caplog.set_level(logging.INFO, "kennel.serving")
    assert ask(function, {**event_of(PHOTOS["costly"]), "correlation_id": "c-2"}, seconds=3)[0] == 503
    assert ask(function, event_of(PHOTOS["costly"]), seconds=60)[0] == 503
    assert given == [2, 5]
    assert caplog.records[0].facts["correlation_id"] == "c-2"  # type: ignore[attr-defined]
    assert ask(function, event_of(PHOTOS["jpeg"]))[0] == 200  # It needs no other process.


def test_unexpected_error_is_logged_and_raised(
    function: PhotoFunction, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: ServedModel, *_: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(ServedModel, "predict_pixels", broken)
    with pytest.raises(RuntimeError, match="out of order"):
        function.invoke(json.dumps(event_of(PHOTOS["jpeg"])).encode(), 60, ID)
    assert caplog.records[-1].message == "unexpected error"


def test_figures_are_logged_once_a_minute(function: PhotoFunction, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[bool] = []
    monkeypatch.setattr(RequestFigures, "flush", lambda _: flushed.append(True))
    monkeypatch.setattr(function, "_flushed", photo_function.time.monotonic() - 61)
    function.log_figures()
    function.log_figures()
    assert len(flushed) == 1


def test_figures_are_those_that_the_alarms_of_the_endpoint_watch(
    archive: bytes, manifest: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT_VARIABLE, "dogs")
    watched = PhotoFunction(archive, "s3://kennel/m", manifest)
    try:
        assert ask(watched, event_of(PHOTOS["webp"]))[0] == 200
        monkeypatch.setattr(watched, "_flushed", photo_function.time.monotonic() - 61)
        with caplog.at_level("INFO", "kennel.serving"):
            watched.log_figures()
    finally:
        watched.close()
    facts = caplog.records[-1].__dict__["facts"]
    assert (facts["EndpointName"], facts["ServerErrors"]) == ("dogs", 0)
    assert len(facts["ModelMicroseconds"]) == 1


def test_another_artifact_is_refused(archive: bytes, manifest: str) -> None:
    with pytest.raises(
        ArtifactError, match=f"s3://kennel/m: this is not the model that was judged: .*{manifest}.*0000"
    ):
        PhotoFunction(archive, "s3://kennel/m", "0" * 64)


def test_damaged_archive_is_refused(archive: bytes, manifest: str) -> None:
    with pytest.raises(ArtifactError, match="s3://kennel/m: not a readable model archive"):
        PhotoFunction(archive[: len(archive) // 2], "s3://kennel/m", manifest)
