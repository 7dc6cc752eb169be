"""The HTTP side of serving: ``GET /ping`` and ``POST /invocations``, as SageMaker calls them.

Photos are decoded and answered on a small pool of threads, two per core, so that the event loop is
always free to refuse: when the queue is full the answer is 503 at once, not a slow 200. A photo takes
its place in the queue only when it has wholly arrived, so that slow senders keep nobody out.

``/invocations`` takes ``image/jpeg``, ``image/png`` and ``image/webp``, or ``application/json`` with the one question
``{"describe": "breeds"}``, which is answered with ``{"breeds": […]}``, all that the model knows, and takes no place.
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

from serving.model import Prediction, ServedModel
from serving.preprocess import MAX_BYTES, MEDIA_TYPES, PhotoError, PhotoTooLargeError, UnsupportedPhotoError
from serving.telemetry import RequestFigures, log, log_event

# SageMaker passes this header of InvokeEndpoint through in both directions.
CORRELATION_HEADER = "X-Amzn-SageMaker-Custom-Attributes"
_QUESTION = {"describe": "breeds"}
_QUEUE_PER_THREAD = 8  # at 5 to 10 ms a photo and core the last in the queue waits about 0.2 s
_MAX_ARRIVING_BYTES = 64_000_000  # of photos on their way in, together
_RECEIVE_SECONDS = 30.0
_FIGURES_SECONDS = 60.0


def make_app(model: ServedModel, queue_per_thread: int = _QUEUE_PER_THREAD) -> Starlette:
    """The application for a model that has answered its golden photos.

    Args:
        queue_per_thread: photos that may wait for each thread; one more is answered with 503.
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
    """The queue is full, or what is on its way into it is too much; nothing but a later try helps."""


class _Service:
    def __init__(self, model: ServedModel, queue_per_thread: int) -> None:
        self._model = model
        self._threads = ThreadPoolExecutor(model.num_threads, thread_name_prefix="infer")
        self._places = model.num_threads * (1 + queue_per_thread)
        self._taken = 0
        self._arriving = 0  # bytes
        self._figures = RequestFigures()

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """While the server runs: its figures every minute, and what is left of them at the end."""

        async def tell() -> None:
            while True:
                await asyncio.sleep(_FIGURES_SECONDS)
                self._figures.tell()

        telling = asyncio.create_task(tell())
        yield
        telling.cancel()
        self._figures.tell()

    async def invoke(self, request: Request) -> Response:
        """Answer one photo, and log one line about it."""
        started = time.perf_counter()
        facts = {"correlation_id": request.headers.get(CORRELATION_HEADER) or f"{random.getrandbits(128):032x}"}
        try:
            response = JSONResponse(await self._answer(request, facts))
        except PhotoError as error:
            response = _error(error.status, error.code, str(error), facts)
        except OverloadedError:
            sentence = "There is no place for one more photo now; try again shortly."
            response = _error(503, "Overloaded", sentence, facts, {"Retry-After": "1"})
        except TimeoutError:
            sentence = f"The photo did not arrive within {_RECEIVE_SECONDS:.0f} seconds."
            response = _error(408, "RequestTimeout", sentence, facts, {"Connection": "close"})
        except ClientDisconnect:
            response = _error(400, "ClientDisconnect", "The photo did not arrive wholly.", facts)
        except Exception:
            log.exception("unexpected error", extra={"facts": facts})
            response = _error(500, "InternalError", "The model server failed; see its log.", facts)
        response.headers[CORRELATION_HEADER] = facts["correlation_id"]
        self._figures.add(response.status_code, facts)
        total_ms = round((time.perf_counter() - started) * 1e3, 2)
        log_event("invocation", {**facts, "status": response.status_code, "total_ms": total_ms})
        return response

    async def _answer(self, request: Request, facts: dict[str, Any]) -> dict[str, Any]:
        """The answer's document; ``facts`` gets what the log shall say of the way to it."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == "application/json":
            return self._describe(await self._read(request))
        if media_type not in MEDIA_TYPES:
            raise UnsupportedPhotoError(f"Content-Type '{media_type[:100]}' is not one of {', '.join(MEDIA_TYPES)}.")
        self._check_places()  # before the photo is read
        photo = await self._read(request)
        facts["bytes"] = len(photo)
        self._check_places()
        self._taken += 1
        try:
            queue_ms, prediction = await self._predict(photo)
        finally:
            self._taken -= 1
        times = {"queue_ms": queue_ms, "decode_ms": prediction.decode_ms, "model_ms": prediction.model_ms}
        facts.update({name: round(milliseconds, 2) for name, milliseconds in times.items()})
        return prediction.to_json()

    def _describe(self, body: bytes) -> dict[str, Any]:
        try:
            question = json.loads(body)
        except (ValueError, RecursionError):
            question = None
        if question != _QUESTION:
            raise UnsupportedPhotoError(f"The one question that application/json may hold is {json.dumps(_QUESTION)}.")
        return {"breeds": [label.breed for label in self._model.artifact.labels]}

    def _check_places(self) -> None:
        if self._taken >= self._places:
            raise OverloadedError

    async def _read(self, request: Request) -> bytes:
        """The request's body, given up as soon as its size is refused."""
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > MAX_BYTES:
            raise _too_many_bytes()
        body = bytearray()
        try:
            async with asyncio.timeout(_RECEIVE_SECONDS):
                async for chunk in request.stream():
                    body += chunk
                    self._arriving += len(chunk)
                    if len(body) > MAX_BYTES:
                        raise _too_many_bytes()
                    if self._arriving > _MAX_ARRIVING_BYTES:
                        raise OverloadedError
        finally:
            self._arriving -= len(body)
        return bytes(body)

    async def _predict(self, photo: bytes) -> tuple[float, Prediction]:
        """The milliseconds that the photo waited for a thread, and the answer."""
        queued = time.perf_counter()

        def predict() -> tuple[float, Prediction]:
            return (time.perf_counter() - queued) * 1e3, self._model.predict(photo)

        return await asyncio.get_running_loop().run_in_executor(self._threads, predict)


async def _ping(request: Request) -> Response:
    return Response()  # the server listens only after the model was loaded and has answered


def _too_many_bytes() -> PhotoTooLargeError:
    return PhotoTooLargeError(f"The image has more than {MAX_BYTES // 1_000_000} MB; send a smaller one.")


def _error(
    status: int, code: str, message: str, facts: dict[str, Any], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error's answer; ``facts`` gets its code."""
    facts["error"] = code
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (404, 405) in the same form as ours."""
    assert isinstance(error, HTTPException)
    code = "".join(word.capitalize() for word in error.detail.split())
    message = f"{error.detail}: this server answers GET /ping and POST /invocations."
    return _error(error.status_code, code, message, {}, error.headers)
