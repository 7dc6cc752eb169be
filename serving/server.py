"""The HTTP side of serving: ``GET /ping`` and ``POST /invocations``, as SageMaker calls them.

Photos are decoded and answered on a small pool of threads, one per core, so that the event loop is
always free to refuse: when the queue is full the answer is 503 at once, not a slow 200.
"""

import asyncio
import json
import logging
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.model import Model, Prediction
from serving.preprocess import MEDIA_TYPES, PhotoError, PhotoTooLargeError, UnsupportedPhotoError

MAX_BYTES = 6_000_000
# SageMaker passes this header of InvokeEndpoint through in both directions.
CORRELATION_HEADER = "X-Amzn-SageMaker-Custom-Attributes"
_QUEUE_PER_THREAD = 16  # at 5 to 10 ms a photo the last in the queue waits about 0.1 s
_RECEIVE_SECONDS = 30.0

log = logging.getLogger("kennel.serving")


def make_app(model: Model, queue_per_thread: int = _QUEUE_PER_THREAD) -> Starlette:
    """The application for a model that has answered its golden photos.

    Args:
        queue_per_thread: requests that may wait for each thread; one more is answered with 503.
    """
    service = _Service(model, queue_per_thread)
    return Starlette(
        routes=[
            Route("/ping", _ping, methods=["GET"]),
            Route("/invocations", service.invoke, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _http_error},
    )


class _Service:
    def __init__(self, model: Model, queue_per_thread: int) -> None:
        self._model = model
        self._threads = ThreadPoolExecutor(model.num_threads, thread_name_prefix="infer")
        self._places = model.num_threads * (1 + queue_per_thread)
        self._taken = 0

    async def invoke(self, request: Request) -> Response:
        """Answer one photo, and log one line about it."""
        started = time.perf_counter()
        correlation_id = request.headers.get(CORRELATION_HEADER) or uuid.uuid4().hex
        facts: dict[str, Any] = {}
        try:
            response = await self._answer(request, facts)
        except Exception as error:
            log.exception("unexpected error", extra={"facts": {"correlation_id": correlation_id}})
            facts["error"] = type(error).__name__
            response = _error(500, "InternalError", "The model server failed; see its log.")
        response.headers[CORRELATION_HEADER] = correlation_id
        log.info(
            "invocation",
            extra={
                "facts": {
                    "correlation_id": correlation_id,
                    "status": response.status_code,
                    "total_ms": round((time.perf_counter() - started) * 1e3, 2),
                    **facts,
                }
            },
        )
        return response

    async def _answer(self, request: Request, facts: dict[str, Any]) -> Response:
        if self._taken >= self._places:
            facts["error"] = "Overloaded"
            response = _error(503, "Overloaded", "All cores are busy and the queue is full; try again shortly.")
            response.headers["Retry-After"] = "1"
            return response
        self._taken += 1
        try:
            photo = await _read_photo(request)
            facts["bytes"] = len(photo)
            prediction = await self._predict(photo)
        except PhotoError as error:
            facts["error"] = error.code
            return _error(error.status, error.code, str(error))
        except TimeoutError:
            facts["error"] = "RequestTimeout"
            return _error(408, "RequestTimeout", f"The photo did not arrive within {_RECEIVE_SECONDS:.0f} seconds.")
        except ClientDisconnect:
            facts["error"] = "ClientDisconnect"
            return Response(status_code=400)  # nobody is there to read it; the log has the reason
        finally:
            self._taken -= 1
        facts.update(decode_ms=round(prediction.decode_ms, 2), model_ms=round(prediction.model_ms, 2))
        return JSONResponse(prediction.to_json())

    async def _predict(self, photo: bytes) -> Prediction:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._model.predict, photo)


async def _ping(request: Request) -> Response:
    return Response()  # the server listens only after the model was loaded and has answered


async def _read_photo(request: Request) -> bytes:
    """The request's body, given up as soon as its type or size is refused."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        raise UnsupportedPhotoError(f"Content-Type '{media_type[:100]}' is not one of {', '.join(MEDIA_TYPES)}.")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > MAX_BYTES:
        raise _too_many_bytes()
    body = bytearray()
    async with asyncio.timeout(_RECEIVE_SECONDS):
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BYTES:
                raise _too_many_bytes()
    return bytes(body)


def _too_many_bytes() -> PhotoTooLargeError:
    return PhotoTooLargeError(f"The image has more than {MAX_BYTES // 1_000_000} MB; send a smaller one.")


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (404, 405) in the same form as ours."""
    assert isinstance(error, HTTPException)
    code = "".join(word.capitalize() for word in error.detail.split())
    message = f"{error.detail}: this server answers GET /ping and POST /invocations."
    response = _error(error.status_code, code, message)
    response.headers.update(error.headers or {})
    return response


class JsonLines(logging.Formatter):
    """One JSON object per log record: time, level, event, and the facts given with it."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record as one line."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
