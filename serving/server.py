"""The HTTP interface of the model: ``GET /ping`` and ``POST /invocations``, as SageMaker calls them.

A small pool of threads, two per core, decodes and answers the photos, so that the event loop is always free to refuse
a photo: when the queue is full, the answer is an immediate 503 instead of a slow 200. A photo takes a slot in the queue
only after all its bytes have arrived, so that slow senders do not block others. A photo that may take long to decode
leaves these threads at once: it is decoded in a process of its own, for which few photos may wait.
See "Costly photos are decoded in processes of their own" in docs/decisions/serving.md.
See "Two callers per core" in docs/decisions/serving.md.
See "A photo enters the queue when it has arrived" in docs/decisions/serving.md.

``/invocations`` takes a JPEG, PNG or WebP under any content type: the bytes decide. It also takes ``application/json``
with the one question ``{"describe": "breeds"}``; the answer is ``{"breeds": […]}`` with all breeds that the model
knows, and the question takes no slot in the queue.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dataset.cores import num_cores
from dataset.photo_bytes import media_type
from serving.answers import FAILED, breeds, error_document, too_many_bytes
from serving.decoder import Decoder, DecoderTimeoutError
from serving.model import CostlyPhotoError, Prediction, ServedModel
from serving.preprocess import MAX_BYTES, PhotoError
from serving.telemetry import ENDPOINT_VARIABLE, RequestFigures, log, log_event
from serving.trace_context import caller_facts

# SageMaker passes this header of InvokeEndpoint through in both directions.
CORRELATION_HEADER = "X-Amzn-SageMaker-Custom-Attributes"
_QUEUE_PER_THREAD = 8  # At 5 to 10 ms per photo and core, the last photo in the queue waits about 0.2 s.
# Places for photos that may take long to decode, those that are being decoded included.
_PLACES_PER_CORE, _LARGE_PLACES = 9, 2
MEDIUM_MS = 30.0  # Photos that take up to so long do not wait for those that take longer.
_COSTLY_SECONDS = 5.0  # The classify function waits for 7 s.
_MAX_ARRIVING_BYTES = 64_000_000  # limit for all photos together that have not arrived completely
_RECEIVE_SECONDS = 30.0
_FIGURES_SECONDS = 60.0
_SLOW_MS = 1000.0  # An answer that took so long is logged by itself.


def make_app(model: ServedModel, queue_per_thread: int = _QUEUE_PER_THREAD) -> Starlette:
    """Make the application for a model whose golden answers were checked.

    Args:
        model: The model.
        queue_per_thread: Number of photos that may wait per thread. A photo beyond that is answered with 503.
    """
    service = _Service(model, queue_per_thread)
    return Starlette(
        routes=[
            Route("/ping", _ping, methods=["GET"]),
            Route("/invocations", service.invoke, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=service.lifespan,
    )


class OverloadedError(Exception):
    """The queue is full, or too many bytes of photos are arriving. The caller can only try again later."""


class _Lane:
    """The photos of one kind of cost, of which a few are decoded at once and a few may wait.

    Args:
        at_once: Number that are decoded at once.
        places: Number that are decoded or wait; one more is refused.
    """

    def __init__(self, at_once: int, places: int) -> None:
        self._turns, self._places = asyncio.Semaphore(at_once), places

    @asynccontextmanager
    async def turn(self, deadline: float) -> AsyncIterator[None]:
        """Wait for a turn, until a time of ``time.perf_counter``.

        Raises:
            OverloadedError: All places are taken, or none had its turn in time.
        """
        if not self._places:
            raise OverloadedError
        self._places -= 1
        try:
            try:
                await asyncio.wait_for(self._turns.acquire(), deadline - time.perf_counter())
            except TimeoutError:
                raise OverloadedError from None
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._places += 1


class _Service:
    """The model's threads, their queue, and the handler of ``/invocations``."""

    def __init__(self, model: ServedModel, queue_per_thread: int) -> None:
        self._model = model
        self._threads = ThreadPoolExecutor(model.num_threads, thread_name_prefix="infer")
        self._lanes = {
            "medium": _Lane(num_cores(), _PLACES_PER_CORE * num_cores()),
            "costly": _Lane(num_cores(), _PLACES_PER_CORE * num_cores()),
            "large": _Lane(1, _LARGE_PLACES),
        }
        # One thread for each photo that may have its turn. They only wait for the processes that decode.
        self._decoding = ThreadPoolExecutor(2 * num_cores() + 1, thread_name_prefix="decode")
        self._idle_decoders: list[Decoder] = []
        self._num_slots = model.num_threads * (1 + queue_per_thread)
        self._used_slots = 0
        self._arriving_bytes = 0
        self._figures = RequestFigures(os.environ.get(ENDPOINT_VARIABLE, ""))

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Log the metrics every minute while the server runs, and the remaining ones when it ends."""

        async def flush_regularly() -> None:
            while True:
                await asyncio.sleep(_FIGURES_SECONDS)
                self._figures.flush()

        task = asyncio.create_task(flush_regularly())
        yield
        task.cancel()
        self._figures.flush()
        self._decoding.shutdown()
        for decoder in self._idle_decoders:
            decoder.close()

    async def invoke(self, request: Request) -> Response:
        """Answer one photo, and log one line about it unless it was answered in time and nobody records its trace.

        The function in front logs each request, and AWS charges for each byte, so usual ones are in the metrics alone.
        """
        started = time.perf_counter()
        facts, is_recorded = caller_facts(request.headers.get(CORRELATION_HEADER))
        facts["correlation_id"] = facts.get("correlation_id") or f"{random.getrandbits(128):032x}"
        try:
            response = JSONResponse(await self._answer(request, facts))
        except PhotoError as error:
            response = _error(error.status, error.code, str(error), facts)
        except OverloadedError:
            message = "The server is busy and its queue is full; try again shortly."
            response = _error(503, "Overloaded", message, facts, {"Retry-After": "1"})
        except TimeoutError:
            message = f"The photo did not arrive within {_RECEIVE_SECONDS:.0f} seconds."
            response = _error(408, "RequestTimeout", message, facts, {"Connection": "close"})
        except ClientDisconnect:
            response = _error(400, "ClientDisconnect", "The photo did not arrive completely.", facts)
        except Exception:
            log.exception("unexpected error", extra={"facts": facts})
            response = _error(500, "InternalError", FAILED, facts)
        response.headers[CORRELATION_HEADER] = facts["correlation_id"]
        self._figures.add(response.status_code, facts)
        total_ms = round((time.perf_counter() - started) * 1e3, 2)
        if is_recorded or response.status_code != 200 or total_ms >= _SLOW_MS:
            seen = {"model_version": self._model.artifact.card.version, "status": response.status_code}
            log_event("invocation", {**facts, **seen, "total_ms": total_ms})
        return response

    async def _answer(self, request: Request, facts: dict[str, Any]) -> dict[str, Any]:
        """Return the answer's document, and add the photo's size and times to the facts for the log."""
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_json = content_type == "application/json"
        if not is_json:
            self._check_slots()  # A full queue is refused before the photo is read.
        photo = await self._read(request)
        if is_json and not media_type(photo):
            return self._describe(photo)
        facts["bytes"] = len(photo)
        self._check_slots()
        self._used_slots += 1
        costly: CostlyPhotoError | None = None
        try:
            queue_ms, prediction = await self._in_thread(lambda: self._model.predict_quick(photo))
        except CostlyPhotoError as error:
            costly = error
        finally:
            self._used_slots -= 1
        if costly:
            lane = "large" if costly.is_large else "medium" if costly.estimated_ms <= MEDIUM_MS else "costly"
            facts["lane"] = lane
            queue_ms, prediction = await self._predict_costly(photo, self._lanes[lane])
        times = {"queue_ms": queue_ms, "decode_ms": prediction.decode_ms, "model_ms": prediction.model_ms}
        facts.update({name: round(milliseconds, 2) for name, milliseconds in times.items()})
        return prediction.to_json()

    def _describe(self, body: bytes) -> dict[str, Any]:
        """Answer the question for the breeds that the model knows."""
        try:
            question = json.loads(body)
        except (ValueError, RecursionError):
            question = None
        return breeds(question, self._model.artifact)

    def _check_slots(self) -> None:
        if self._used_slots >= self._num_slots:
            raise OverloadedError

    async def _read(self, request: Request) -> bytes:
        """Read the request's body, and stop as soon as it is too large.

        Raises:
            PhotoTooLargeError: The body has more bytes than a request may have.
            OverloadedError: All arriving photos together have too many bytes.
            TimeoutError: The body did not arrive in time.
        """
        content_length = request.headers.get("content-length", "")
        if content_length.isdigit() and int(content_length) > MAX_BYTES:
            raise too_many_bytes()
        body = bytearray()
        try:
            async with asyncio.timeout(_RECEIVE_SECONDS):
                async for chunk in request.stream():
                    body += chunk
                    self._arriving_bytes += len(chunk)
                    if len(body) > MAX_BYTES:
                        raise too_many_bytes()
                    if self._arriving_bytes > _MAX_ARRIVING_BYTES:
                        raise OverloadedError
        finally:
            self._arriving_bytes -= len(body)
        return bytes(body)

    async def _in_thread(self, predict: Callable[[], Prediction]) -> tuple[float, Prediction]:
        """Answer a photo on one of the threads.

        Returns:
            Milliseconds that the photo waited for a thread, and the answer.
        """
        queued = time.perf_counter()

        def measured() -> tuple[float, Prediction]:
            return (time.perf_counter() - queued) * 1e3, predict()

        return await asyncio.get_running_loop().run_in_executor(self._threads, measured)

    async def _predict_costly(self, photo: bytes, lane: _Lane) -> tuple[float, Prediction]:
        """Decode a photo in a process of its own, and answer it on one of the threads.

        Returns:
            Milliseconds that the photo waited for its turn and for a thread, and the answer.

        Raises:
            OverloadedError: Too many such photos wait, or the cores were too busy to decode this one in time.
        """
        arrived = time.perf_counter()
        deadline = arrived + _COSTLY_SECONDS
        async with lane.turn(deadline):
            began = time.perf_counter()
            image = await asyncio.get_running_loop().run_in_executor(self._decoding, self._decode, photo, deadline)
        decoded = time.perf_counter()
        waited, prediction = await self._in_thread(lambda: self._model.predict_pixels(image, (decoded - began) * 1e3))
        return (began - arrived) * 1e3 + waited, prediction

    def _decode(self, photo: bytes, deadline: float) -> np.ndarray:
        decoder = self._idle_decoders.pop() if self._idle_decoders else Decoder(self._model.artifact.preprocess)
        try:
            return decoder.pixels(photo, deadline - time.perf_counter())
        except DecoderTimeoutError:
            raise OverloadedError from None
        finally:
            self._idle_decoders.append(decoder)


async def _ping(request: Request) -> Response:
    return Response()  # The server listens only after the model is loaded and its golden answers are checked.


def _error(
    status: int, code: str, message: str, facts: dict[str, Any], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error's answer, and add its code to the facts for the log."""
    facts["error"] = code
    return JSONResponse(error_document(code, message), status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Return Starlette's own errors (404, 405) in the same form as ours."""
    assert isinstance(error, HTTPException)
    code = "".join(word.capitalize() for word in error.detail.split())
    message = f"{error.detail}: this server answers GET /ping and POST /invocations."
    return _error(error.status_code, code, message, {}, error.headers)
