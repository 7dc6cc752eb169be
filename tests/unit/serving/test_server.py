import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette

from benchmarks import forged_photos as forged
from serving import server
from serving.decoder import Decoder
from serving.model import CostlyPhotoError, Prediction, ServedModel
from serving.preprocess import MAX_BYTES
from serving.served_artifact import ServedArtifact
from serving.server import CORRELATION_HEADER, make_app
from serving.telemetry import JsonLines

from .conftest import COLOURS, encoded, photo

BODY = photo(COLOURS["001.Red_setter"], 800)


def caller(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


class Client:
    """Calls an application one request at a time, without a socket."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self._request("GET", path))

    def post(self, body: bytes | AsyncIterator[bytes], kind: str = "image/jpeg", **headers: str) -> httpx.Response:
        headers = {"Content-Type": kind, **headers}
        return asyncio.run(self._request("POST", "/invocations", content=body, headers=headers))

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async with caller(self._app) as client:
            return await client.request(method, path, **options)


@pytest.fixture
def client(model: ServedModel) -> Client:
    return Client(make_app(model))


def test_ping_answers(client: Client) -> None:
    assert client.get("/ping").status_code == 200


def test_collector_of_metrics_is_told_that_there_are_none_without_a_line_in_the_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """SageMaker's collector asks each minute; see "Detailed observability" in docs/decisions/serving.md."""
    caplog.set_level(logging.DEBUG)
    assert client.get("/metrics").status_code == 404
    assert [record for record in caplog.records if not record.name.startswith(("asyncio", "httpx"))] == []


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_invocation_answers_each_kind(client: Client, kind: str) -> None:
    response = client.post(photo(COLOURS["002.Green_hound"], 801, kind.upper()), f"image/{kind}")
    assert response.status_code == 200
    assert response.json()["class"] == "002.Green_hound"
    assert len(response.json()["top"]) == 3


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", "image/jpeg", 400, "UnreadableImage"),
        (BODY[: len(BODY) // 2], "image/jpeg", 400, "UnreadableImage"),
        (b"hello dog", "image/png", 415, "UnsupportedImage"),
        (b"GIF89a", "image/gif", 415, "UnsupportedImage"),
        (b"", "application/json", 415, "UnsupportedImage"),
        (b'{"instances": [{"b64": "/9j/"}]}', "application/json", 415, "UnsupportedImage"),
        (b'{"describe": "photos"}', "application/json", 415, "UnsupportedImage"),
        (b"[" * 100_000, "application/json", 415, "UnsupportedImage"),
        (BODY + bytes(MAX_BYTES), "image/jpeg", 413, "ImageTooLarge"),
    ],
)
def test_bad_photo_gets_a_sentence(client: Client, body: bytes, kind: str, status: int, code: str) -> None:
    response = client.post(body, kind)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert response.json()["error"]["message"].endswith(".")


@pytest.mark.parametrize(
    "kind",
    [
        *("image/jpg", "image/png", "image/*", "image/gif", "application/x-image", "application/octet-stream"),
        *(
            "binary/octet-stream",
            "application/x-www-form-urlencoded",
            "text/plain",
            "application/json",
            "multipart/form-data",
        ),
        *("IMAGE/JPEG; charset=binary", ";", ""),
    ],
)
def test_photo_is_answered_whatever_its_content_type_says(client: Client, kind: str) -> None:
    response = client.post(BODY, kind)
    assert (response.status_code, response.json()["class"]) == (200, "001.Red_setter")


def test_photo_without_a_content_type_is_answered(model: ServedModel) -> None:
    async def ask() -> httpx.Response:
        async with caller(make_app(model)) as client:
            return await client.post("/invocations", content=BODY)

    assert asyncio.run(ask()).status_code == 200


def test_body_without_content_length_is_limited(client: Client) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BYTES // 1_000_000 + 1):
            yield bytes(1_000_000)

    assert client.post(chunks()).status_code == 413


def test_other_paths_and_methods_are_refused_in_the_same_form(client: Client) -> None:
    assert client.get("/models").json()["error"]["code"] == "NotFound"
    response = client.get("/invocations")
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "MethodNotAllowed"


def test_breeds_are_answered_without_a_slot_in_the_queue(artifact: ServedArtifact) -> None:
    client = Client(make_app(ServedModel(artifact), queue_per_thread=-1))
    assert client.post(BODY).status_code == 503
    response = client.post(b'{"describe":"breeds"}', "application/json; charset=utf-8")
    assert (response.status_code, response.json()) == (200, {"breeds": ["Red setter", "Green hound", "Blue terrier"]})


def test_only_refusals_and_late_answers_have_a_log_line(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """The function in front logs each request, and AWS charges for each byte."""
    with caplog.at_level(logging.INFO, "kennel.serving"):
        assert client.post(BODY).status_code == 200
        assert not [r for r in caplog.records if r.name == "kennel.serving"]
        assert client.post(b"no photo").status_code == 415
    (record,) = [r for r in caplog.records if r.name == "kennel.serving"]
    assert json.loads(JsonLines().format(record))["status"] == 415


def test_log_line_has_the_correlation_id_and_no_photo(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SLOW_MS", 0.0)
    with caplog.at_level(logging.INFO, "kennel.serving"):
        response = client.post(BODY, **{CORRELATION_HEADER: "run-7"})
    assert response.headers[CORRELATION_HEADER] == "run-7"
    (record,) = [r for r in caplog.records if r.name == "kennel.serving"]
    line = json.loads(JsonLines().format(record))
    assert set(line) == {
        *("time", "level", "event", "correlation_id", "model_version", "status", "bytes"),
        *("queue_ms", "decode_ms", "model_ms", "total_ms"),
    }
    assert (line["correlation_id"], line["status"], line["bytes"]) == ("run-7", 200, len(BODY))


@pytest.mark.parametrize(("flags", "lines"), [("00", 0), ("01", 1)])
def test_usual_answer_has_a_line_where_the_caller_records_its_trace(
    client: Client, model: ServedModel, caplog: pytest.LogCaptureFixture, flags: str, lines: int
) -> None:
    trace_id, parent_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    sent = f"run-7;traceparent=00-{trace_id}-{parent_id}-{flags};tracestate=secret=1"
    with caplog.at_level(logging.INFO, "kennel.serving"):
        response = client.post(BODY, **{CORRELATION_HEADER: sent})
    assert response.headers[CORRELATION_HEADER] == "run-7"
    seen = [json.loads(JsonLines().format(r)) for r in caplog.records if r.name == "kennel.serving"]
    told = [(line["correlation_id"], line["trace_id"], line["parent_id"], line["model_version"]) for line in seen]
    assert told == [("run-7", trace_id, parent_id, model.artifact.card.version)] * lines
    assert "secret" not in caplog.text


def test_ids_that_a_caller_makes_up_neither_break_nor_fill_the_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    forged = f'x"}}\\u000a{{"event": "{"y" * 5000};traceparent=00-{"0" * 32}-{"1" * 16}-01'
    with caplog.at_level(logging.INFO, "kennel.serving"):
        assert client.post(b"no photo", **{CORRELATION_HEADER: forged}).status_code == 415
    (record,) = [r for r in caplog.records if r.name == "kennel.serving"]
    text = JsonLines().format(record)
    assert "\n" not in text
    assert len(text) < 600
    line = json.loads(text)
    assert (line["event"], line["correlation_id"], "trace_id" in line) == ("invocation", forged[:256], False)


class HeldModel(ServedModel):
    """The real model, but its answers wait until they are released."""

    def __init__(self, artifact: ServedArtifact) -> None:
        super().__init__(artifact)
        self.released = threading.Event()

    def predict_quick(self, photo: bytes) -> Prediction:
        assert self.released.wait(10)
        return super().predict_quick(photo)


async def burst(app: Starlette, model: HeldModel, count: int) -> list[httpx.Response]:
    """Send requests at once, and let the model answer once a request was refused."""
    async with caller(app) as client:
        kind = {"Content-Type": "image/jpeg"}
        tasks = [asyncio.create_task(client.post("/invocations", content=BODY, headers=kind)) for _ in range(count)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=5)
        model.released.set()
        return await asyncio.gather(*tasks)


def test_full_queue_is_refused_at_once_and_recovers(artifact: ServedArtifact) -> None:
    model = HeldModel(artifact)
    app = make_app(model, queue_per_thread=1)
    num_slots = 2 * model.num_threads
    responses = asyncio.run(burst(app, model, num_slots + 3))
    refused = [r for r in responses if r.status_code == 503]
    assert len(refused) == 3
    assert sum(r.status_code == 200 for r in responses) == num_slots
    assert refused[0].headers["Retry-After"] == "1"
    assert refused[0].json()["error"]["code"] == "Overloaded"
    assert Client(app).post(BODY).status_code == 200


async def beside_slow_senders(app: Starlette, count: int) -> tuple[int, int]:
    """Send a photo while slow senders have sent all but a byte; return its status, and that of one slow sender."""
    finish = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield BODY[:-1]
        await finish.wait()
        yield BODY[-1:]

    async with caller(app) as client:
        kind = {"Content-Type": "image/jpeg"}
        slow, *others = (
            asyncio.create_task(client.post("/invocations", content=slowly(), headers=kind)) for _ in range(count)
        )
        await asyncio.sleep(0.05)
        quick = await client.post("/invocations", content=BODY, headers=kind)
        for task in others:
            task.cancel()
        finish.set()
        return quick.status_code, (await slow).status_code


def test_slow_senders_take_no_slot_in_the_queue(artifact: ServedArtifact) -> None:
    model = ServedModel(artifact)
    app = make_app(model, queue_per_thread=0)
    assert asyncio.run(beside_slow_senders(app, model.num_threads)) == (200, 200)


def test_arriving_bytes_are_limited_together(artifact: ServedArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(ServedModel(artifact))
    monkeypatch.setattr(server, "_MAX_ARRIVING_BYTES", 4 * len(BODY))
    assert asyncio.run(beside_slow_senders(app, 4)) == (503, 200)
    assert asyncio.run(beside_slow_senders(app, 3)) == (200, 200)  # The bytes of the former four no longer count.


def test_photo_of_medium_cost_does_not_wait_for_costly_ones(
    artifact: ServedArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have processes of their own: a page's photo is answered while costly ones keep all of theirs busy."""
    monkeypatch.setattr(server, "_COSTLY_SECONDS", 600.0)  # The machine may be slow.
    medium = encoded(Image.effect_noise((1024, 768), 60).convert("RGB"), quality=75)
    costly = forged.flat_png(2800, 2800, 2, 8, 0, 4)

    async def order() -> list[str]:
        finished = []
        async with caller(make_app(ServedModel(artifact))) as client:

            async def ask(name: str, photo: bytes) -> None:
                assert (await client.post("/invocations", content=photo)).status_code == 200
                finished.append(name)

            await ask("first", medium)  # Now a process runs.
            tasks = [asyncio.create_task(ask("costly", costly)) for _ in range(10)]
            await asyncio.sleep(0.1)
            await asyncio.gather(*tasks, ask("medium", medium))
        return finished

    assert asyncio.run(order()).index("medium") < 6  # Behind the costly ones it would be the last.


async def beside_costly_photos(app: Starlette, costly: bytes, count: int) -> tuple[list[httpx.Response], float]:
    """Send costly photos at once, and usual ones one after the other until all costly ones have an answer.

    Returns:
        The answers to the costly ones, and the longest wait for a usual one, in seconds.
    """
    async with caller(app) as client:

        def ask(photo: bytes) -> asyncio.Task[httpx.Response]:
            return asyncio.create_task(client.post("/invocations", content=photo))

        tasks, waits = [ask(costly) for _ in range(count)], []
        while not all(task.done() for task in tasks):
            begun = time.perf_counter()
            assert (await ask(BODY)).status_code == 200
            waits.append(time.perf_counter() - begun)
        return await asyncio.gather(*tasks), max(waits)


def test_usual_photos_do_not_wait_for_large_ones(artifact: ServedArtifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large photos on the threads of the others would take all of these threads."""
    monkeypatch.setattr(server, "_COSTLY_SECONDS", 60.0)
    model = ServedModel(artifact)
    large = forged.flat_png(3900, 4000, 6)
    begun = time.perf_counter()
    model.predict(large)
    alone = time.perf_counter() - begun
    answers, longest = asyncio.run(beside_costly_photos(make_app(model), large, 2 * model.num_threads))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(503)) == (server._LARGE_PLACES, len(statuses) - server._LARGE_PLACES)
    assert {answer.headers.get("Retry-After") for answer in answers if answer.status_code == 503} == {"1"}
    assert longest < alone / 2


def test_costly_photo_is_answered_as_in_the_servers_own_process(
    model: ServedModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SLOW_MS", 0.0)  # so that a usual answer has a line of its own
    monkeypatch.setattr(server, "_COSTLY_SECONDS", 600.0)
    picture = np.random.default_rng(0).integers(0, 256, (900, 1000, 3), np.uint8) // 3 + np.array([160, 0, 0], np.uint8)
    costly = encoded(Image.fromarray(picture), "PNG")
    with pytest.raises(CostlyPhotoError):
        model.predict_quick(costly)
    with caplog.at_level(logging.INFO, "kennel.serving"):
        answer = Client(make_app(model)).post(costly)
    assert (answer.status_code, answer.json()) == (200, model.predict(costly).to_json())
    (line,) = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert (line["lane"], line["decode_ms"] > 0, line["queue_ms"] < line["total_ms"]) == ("medium", True, True)


def test_photo_that_takes_too_long_to_decode_is_refused_and_the_server_goes_on(
    artifact: ServedArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(ServedModel(artifact))
    monkeypatch.setattr(server, "Decoder", lambda spec: Decoder(spec, cpu_seconds=0.05))
    client, slow = Client(app), forged.flat_png(3900, 4000, 6)
    for _ in range(3):
        answer = client.post(slow)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "ImageTooLarge")
        assert "takes too long to decode" in answer.json()["error"]["message"]
        assert client.post(BODY).status_code == 200
        assert client.get("/ping").status_code == 200


def test_photo_for_which_the_cores_are_too_busy_may_come_again(
    artifact: ServedArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(make_app(ServedModel(artifact)))
    assert client.post(forged.flat_png(1000, 1000)).status_code == 200  # Now the process runs.
    monkeypatch.setattr(server, "_COSTLY_SECONDS", 0.02)
    answer = client.post(forged.flat_png(3900, 4000, 6))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    monkeypatch.undo()
    assert client.post(forged.flat_png(1000, 1000)).status_code == 200


def test_broken_costly_photo_gets_the_decoders_sentence(client: Client) -> None:
    whole = forged.flat_png(1500, 1500)
    answer = client.post(whole[:-40])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "UnreadableImage")
    assert answer.json()["error"]["message"] == "The image is damaged or incomplete and cannot be decoded."


class BrokenModel(ServedModel):
    def predict_quick(self, photo: bytes) -> Prediction:
        raise RuntimeError(f"secret detail about {len(photo)} bytes")


def test_unexpected_failure_shows_no_detail(artifact: ServedArtifact) -> None:
    response = Client(make_app(BrokenModel(artifact))).post(BODY)
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "InternalError"
    assert "secret" not in response.text
