"""The model as a function: it takes one event at a time and answers with what the model server would answer.

An event is ``{"photo": BASE64}`` or the question ``{"describe": "breeds"}``, both perhaps with ``correlation_id``. The
answer is ``{"status": STATUS, "body": DOCUMENT}`` with the status and the document of the server. Requests to the
function's own URL are events of another form, and are answered as ``serving.url_door`` says.
"""

import base64
import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from serving import url_door
from serving.answers import BREEDS_QUESTION, breeds, error_document, too_many_bytes
from serving.cpu_precision import cpu_kind
from serving.decoder import Decoder, DecoderTimeoutError
from serving.model import Prediction, ServedModel
from serving.preprocess import MAX_BYTES, PhotoError, open_photo
from serving.served_artifact import ArtifactError, ServedArtifact, archived_files, read_artifact
from serving.telemetry import ENDPOINT_VARIABLE, JsonLines, RequestFigures, log, log_event
from serving.trace_context import caller_facts, header_of, trace_facts

# No other photo waits for one that is decoded here, so only those that take long are left to a process that the kernel
# ends in time. It starts in 0.15 s of a core, more than all of these take.
_OWN_MS = 30.0
_COSTLY_SECONDS = 5.0
_SPARE_SECONDS = 1.0  # of the function's timeout, for what follows the decoding
_FIGURES_SECONDS = 60.0
_SLOW_MS = 1000.0  # An answer that took so long is logged by itself.

_BAD_EVENT = 'The event is neither {"photo": BASE64} with the base64 of one photo nor {"describe": "breeds"}.'


class EventError(ValueError):
    """The event is none that the function knows."""


class PhotoFunction:
    """A model that has answered its golden photos. One thread calls it.

    Args:
        archive: The served artifact's ``model.tar.gz``.
        source: Where it comes from, for messages.
        manifest: The SHA-256 that its manifest must have.

    Raises:
        ArtifactError: It is another artifact, or one that cannot be served here.
    """

    def __init__(self, archive: bytes, source: str, manifest: str) -> None:
        _log_as_json()
        self._model = _checked_model(read_artifact(archived_files(archive, source), source, manifest))
        self._decoder = Decoder(self._model.artifact.preprocess)
        self._figures = RequestFigures(os.environ.get(ENDPOINT_VARIABLE, ""))
        self._flushed = time.monotonic()

    def log_loaded(self, seconds: float) -> None:
        """Log what was loaded, and in how many seconds."""
        card = self._model.artifact.card
        facts = {
            "model_version": card.version,
            "classes": card.classes,
            "precision": self._model.precision,
            "precisions_offered": self._model.artifact.precisions,
            "cpu": cpu_kind(),
            "compiled_ahead": self._model.is_imported,
            "load_seconds": round(seconds, 3),
        }
        log_event("loaded", facts)

    def invoke(self, payload: bytes, seconds: float, request_id: str) -> bytes:
        """Answer an event, and log one line about it if it came by the function's URL, was refused, or took long.

        A caller who records the request's trace gets its line as well.

        Args:
            payload: The event, JSON.
            seconds: Seconds until the function's timeout ends.
            request_id: Lambda's id of the invocation.

        Returns:
            The answer, JSON.

        Raises:
            Exception: The function failed. It is logged.
        """
        started = time.perf_counter()
        facts: dict[str, Any] = {}
        event: dict[str, Any] = {}
        is_recorded = False
        try:
            event = _event(payload)
            facts, is_recorded = _caller(event, request_id)
            status, body = 200, self._answer(event, seconds, facts)
        except (PhotoError, url_door.UrlRequestError) as error:
            status, body = error.status, _refusal(error.code, str(error), facts)
        except EventError as error:
            status, body = 400, _refusal("BadEvent", str(error), facts)
        except DecoderTimeoutError:
            message = "The function had too little time to decode the photo; try again shortly."
            status, body = 503, _refusal("Overloaded", message, facts)
        except Exception:
            log.exception("unexpected error", extra={"facts": facts})
            self._figures.add(500, facts)
            raise
        self._figures.add(status, facts)
        total_ms = round((time.perf_counter() - started) * 1e3, 2)
        by_url = url_door.is_request(event)
        if by_url or is_recorded or status != 200 or total_ms >= _SLOW_MS:
            seen = {"model_version": self._model.artifact.card.version, "status": status, "total_ms": total_ms}
            log_event("request" if by_url else "invocation", facts | seen)
        answer = url_door.response(event, status, body, request_id) if by_url else {"status": status, "body": body}
        return url_door.text_of(answer).encode()

    def log_figures(self) -> None:
        """Log the metrics if the last ones are a minute old."""
        if time.monotonic() - self._flushed >= _FIGURES_SECONDS:
            self._figures.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """End the process that decodes, if there is one."""
        self._decoder.close()

    def _answer(self, event: dict[str, Any], seconds: float, facts: dict[str, Any]) -> dict[str, Any]:
        """Return the answer's document, and add what the log says to the facts."""
        if url_door.is_request(event):
            return self._answer_request(event, seconds, facts)
        if "describe" in event:
            return breeds(event, self._model.artifact)
        return self._predict(_photo(event), seconds, facts).to_json()

    def _answer_request(self, event: dict[str, Any], seconds: float, facts: dict[str, Any]) -> dict[str, Any]:
        """Return the document for a request to the function's URL."""
        route = url_door.route(event)
        if route == url_door.HEALTH:
            return {"status": "serving"}
        if route == url_door.BREEDS:
            return breeds(BREEDS_QUESTION, self._model.artifact)
        return self._predict(url_door.photo_of(event), seconds, facts).to_json()

    def _predict(self, photo: bytes, seconds: float, facts: dict[str, Any]) -> Prediction:
        """Return the prediction for a photo, and add its size and times to the facts."""
        facts["bytes"] = len(photo)
        started = time.perf_counter()
        opened = open_photo(photo, self._model.artifact.preprocess)
        if opened.estimated_ms <= _OWN_MS and not opened.is_large:
            image = opened.pixels()
        else:
            facts["lane"] = "process"
            image = self._decoder.pixels(photo, min(_COSTLY_SECONDS, seconds - _SPARE_SECONDS))
        prediction = self._model.predict_pixels(image, (time.perf_counter() - started) * 1e3)
        times = {"queue_ms": 0.0, "decode_ms": prediction.decode_ms, "model_ms": prediction.model_ms}
        facts.update({name: round(milliseconds, 2) for name, milliseconds in times.items()})
        return prediction


def _checked_model(artifact: ServedArtifact) -> ServedModel:
    """Return the model after it has answered the golden photos, by the network that was compiled ahead if it can.

    Raises:
        ArtifactError: The artifact cannot be served here.
    """
    try:
        model = ServedModel(artifact, num_streams=1, import_compiled=True)
        model.check_golden()
    except (ArtifactError, RuntimeError) as error:  # OpenVINO raises the latter.
        if not artifact.compiled:
            raise
        log_event("compiled network dropped", {"error": str(error)})
        return _checked_model(replace(artifact, compiled={}))
    return model


def _event(payload: bytes) -> dict[str, Any]:
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError):
        raise EventError(_BAD_EVENT) from None
    if not isinstance(event, dict):
        raise EventError(_BAD_EVENT)
    return event


def _caller(event: dict[str, Any], request_id: str) -> tuple[dict[str, Any], bool]:
    """Return what the log says of who asks, and whether he records the trace; take his ids out of the event."""
    if url_door.is_request(event):
        trace, is_recorded = trace_facts(header_of(event))
        return {**url_door.facts_of(event), "correlation_id": request_id, **trace}, is_recorded
    return caller_facts(event.pop("correlation_id", None))


def _photo(event: Mapping[str, Any]) -> bytes:
    text = event.get("photo")
    if not isinstance(text, str):
        raise EventError(_BAD_EVENT)
    try:
        photo = base64.b64decode(text, validate=True)
    except ValueError:
        raise EventError(_BAD_EVENT) from None
    if len(photo) > MAX_BYTES:
        raise too_many_bytes()
    return photo


def _refusal(code: str, message: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Return a refusal's document, and add its code to the facts for the log."""
    facts["error"] = code
    return error_document(code, message)


def _log_as_json() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(logging.INFO)
