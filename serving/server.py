"""The HTTP interface of the model: ``GET /ping`` and ``POST /invocations``, as SageMaker calls them.

A small pool of threads, two per core, decodes and answers the photos, so that the event loop is always free to refuse
a photo: when the queue is full, the answer is an immediate 503 instead of a slow 200. A photo takes a slot in the queue
only after all its bytes have arrived, so that slow senders do not block others.
See "Two callers per core" in docs/decisions/serving.md.
See "A photo enters the queue when it has arrived" in docs/decisions/serving.md.

``/invocations`` takes a JPEG, PNG or WebP under any content type: the bytes decide. It also takes ``application/json``
with the one question ``{"describe": "breeds"}``; the answer is ``{"breeds": […]}`` with all breeds that the model
knows, and the question takes no slot in the queue.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dataset.photo_bytes import media_type
from serving.model import Prediction, ServedModel
from serving.preprocess import MAX_BYTES, PhotoError, PhotoTooLargeError, UnsupportedPhotoError
from serving.telemetry import RequestFigures, log, log_event

# SageMaker passes this header of InvokeEndpoint through in both directions.
CORRELATION_HEADER = "X-Amzn-SageMaker-Custom-Attributes"
_QUESTION = {"describe": "breeds"}
_QUEUE_PER_THREAD = 8  # At 5 to 10 ms per photo and core, the last photo in the queue waits about 0.2 s.
_MAX_ARRIVING_BYTES = 64_000_000  # limit for all photos together that have not arrived completely
_RECEIVE_SECONDS = 30.0
_FIGURES_SECONDS = 60.0


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


class _Service:
    """The model's threads, their queue, and the handler of ``/invocations``."""

    def __init__(self, model: ServedModel, queue_per_thread: int) -> None:
        self._model = model
        self._threads = ThreadPoolExecutor(model.num_threads, thread_name_prefix="infer")
        self._num_slots = model.num_threads * (1 + queue_per_thread)
        self._used_slots = 0
        self._arriving_bytes = 0
        self._figures = RequestFigures()

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

    async def invoke(self, request: Request) -> Response:
        """Answer one photo, and log one line about it."""
        started = time.perf_counter()
        facts = {"correlation_id": request.headers.get(CORRELATION_HEADER) or f"{random.getrandbits(128):032x}"}
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
            response = _error(500, "InternalError", "The model server failed; see its log.", facts)
        response.headers[CORRELATION_HEADER] = facts["correlation_id"]
        self._figures.add(response.status_code, facts)
        total_ms = round((time.perf_counter() - started) * 1e3, 2)
        log_event("invocation", {**facts, "status": response.status_code, "total_ms": total_ms})
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
        try:
            queue_ms, prediction = await self._predict(photo)
        finally:
            self._used_slots -= 1
        times = {"queue_ms": queue_ms, "decode_ms": prediction.decode_ms, "model_ms": prediction.model_ms}
        facts.update({name: round(milliseconds, 2) for name, milliseconds in times.items()})
        return prediction.to_json()

    def _describe(self, body: bytes) -> dict[str, Any]:
        """Answer the question for the breeds that the model knows."""
        try:
            question = json.loads(body)
        except (ValueError, RecursionError):
            question = None
        if question != _QUESTION:
            raise UnsupportedPhotoError(
                f"The JSON is not the question {json.dumps(_QUESTION)}; send a photo as its own bytes, without JSON."
            )
        return {"breeds": [label.breed for label in self._model.artifact.labels]}

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
            raise _too_many_bytes()
        body = bytearray()
        try:
            async with asyncio.timeout(_RECEIVE_SECONDS):
                async for chunk in request.stream():
                    body += chunk
                    self._arriving_bytes += len(chunk)
                    if len(body) > MAX_BYTES:
                        raise _too_many_bytes()
                    if self._arriving_bytes > _MAX_ARRIVING_BYTES:
                        raise OverloadedError
        finally:
            self._arriving_bytes -= len(body)
        return bytes(body)

    async def _predict(self, photo: bytes) -> tuple[float, Prediction]:
        """Answer a photo on one of the threads.

        Returns:
            Milliseconds that the photo waited for a thread, and the answer.
        """
        queued = time.perf_counter()

        def predict() -> tuple[float, Prediction]:
            return (time.perf_counter() - queued) * 1e3, self._model.predict(photo)

        return await asyncio.get_running_loop().run_in_executor(self._threads, predict)


async def _ping(request: Request) -> Response:
    return Response()  # The server listens only after the model is loaded and its golden answers are checked.


def _too_many_bytes() -> PhotoTooLargeError:
    return PhotoTooLargeError(f"The image has more than {MAX_BYTES // 1_000_000} MB; send a smaller one.")


def _error(
    status: int, code: str, message: str, facts: dict[str, Any], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error's answer, and add its code to the facts for the log."""
    facts["error"] = code
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Return Starlette's own errors (404, 405) in the same form as ours."""
    assert isinstance(error, HTTPException)
    code = "".join(word.capitalize() for word in error.detail.split())
    message = f"{error.detail}: this server answers GET /ping and POST /invocations."
    return _error(error.status_code, code, message, {}, error.headers)
