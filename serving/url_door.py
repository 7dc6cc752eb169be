"""The model function's own URL: what an event of a function URL asks, and the HTTP answer to it.

Statuses, headers and documents are those of the API's IAM door, ``functions/classify`` by its URL; tests hold the two
together. Only the photo's own bytes are taken here, neither forms nor base64 in JSON nor keys in the bucket.
https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
"""

import base64
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from dataset.photo_bytes import media_type

MAX_BYTES = 4_500_000  # as the API says it: Lambda accepts 6 MB, and photos arrive as base64
CLASSIFY, BREEDS, HEALTH = "/classify", "/breeds", "/health"
_METHODS = {CLASSIFY: "POST", BREEDS: "GET", HEALTH: "GET"}
_RETRY_AFTER_SECONDS = "5"
_MAX_FACT = 2048  # characters in the log; no ARN of IAM is longer
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_HOW = "send the photo's own bytes as the body, with its content type; neither forms nor JSON are taken here"
_NO_SUCH_PATH = f"there is no such path; POST {CLASSIFY} names the breed on a photo, and GET {BREEDS} lists the breeds"
_OVERLOADED = "the model is overloaded or being updated; try again shortly"


class UrlRequestError(ValueError):
    """The request cannot be answered; the message is one sentence for its sender.

    Attributes:
        status: HTTP status of the answer.
        code: Its name in the log.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def is_request(event: Mapping[str, Any]) -> bool:
    """Whether an event comes from the function's URL. Such events have a version (payload 2.0), and no others do."""
    return event.get("version") == "2.0" and isinstance(event.get("requestContext"), dict)


def route(event: Mapping[str, Any]) -> str:
    """Return the path that a request asks, one of ``CLASSIFY``, ``BREEDS`` and ``HEALTH``.

    Raises:
        UrlRequestError: There is no such path (404), or it knows another method (405).
    """
    path = _path(event)
    if path not in _METHODS:
        raise UrlRequestError(404, "NoSuchPath", _NO_SUCH_PATH)
    if _http(event).get("method") != _METHODS[path]:
        raise UrlRequestError(405, "WrongMethod", f"this path accepts only {_METHODS[path]}")
    return path


def photo_of(event: Mapping[str, Any]) -> bytes:
    """Return the photo that a request has as its body.

    Raises:
        UrlRequestError: The body is empty (400), no photo (415), or has more than ``MAX_BYTES`` (413).
    """
    body = str(event.get("body") or "")
    try:
        photo = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode(errors="replace")
    except ValueError:
        raise UrlRequestError(400, "BadEvent", "the body is marked as base64 but is no base64") from None
    if not photo:
        raise UrlRequestError(400, "UnreadableImage", f"the photo is empty; {_HOW}")
    if not media_type(photo):  # AWS turns the body into text if its content type is one of text, JSON or XML.
        raise UrlRequestError(415, "UnsupportedImage", f"the body is no JPEG, PNG or WebP photo; {_HOW}")
    if len(photo) > MAX_BYTES:
        limit = f"the photo has {len(photo):,} bytes; the limit is {MAX_BYTES:,} bytes"
        raise UrlRequestError(413, "ImageTooLarge", limit)
    return photo


def response(event: Mapping[str, Any], status: int, document: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    """Return the answer as Lambda takes it from a function with a URL.

    Args:
        event: The request.
        status: HTTP status.
        document: The answer's document; if the status is not 200, the server's document of a refusal, which becomes a
            problem document (RFC 9457).
        request_id: Id of the invocation, by which the log finds the request.
    """
    headers = {**_HEADERS, "x-correlation-id": request_id}
    if status == 200:
        return _response(status, "application/json", headers, text_of(document))
    if status == 503:
        headers["Retry-After"] = _RETRY_AFTER_SECONDS
    if status == 405:
        headers["Allow"] = _METHODS[_path(event)]
    problem = {
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": _OVERLOADED if status == 503 else document["error"]["message"],
        "correlation_id": request_id,
    }
    return _response(status, "application/problem+json", headers, json.dumps(problem))


def text_of(document: Any) -> str:
    """Return a document as the server writes it."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def facts_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the log says of a request: route, caller and source address, and nothing else that he wrote.

    Who may invoke the function can make up the whole event, so everything in it may be of any type and length.
    """
    path = _path(event)
    identity = event["requestContext"].get("authorizer")
    iam = identity.get("iam") if isinstance(identity, dict) else None
    facts = {
        "route": path if path in _METHODS else "elsewhere",
        "user_arn": iam.get("userArn") if isinstance(iam, dict) else None,
        "source": _http(event).get("sourceIp"),
    }
    return {name: value[:_MAX_FACT] for name, value in facts.items() if isinstance(value, str)}


def _path(event: Mapping[str, Any]) -> str:
    return str(event.get("rawPath"))


def _http(event: Mapping[str, Any]) -> Mapping[str, Any]:
    http = event["requestContext"].get("http")
    return http if isinstance(http, dict) else {}


def _response(status: int, kind: str, headers: Mapping[str, str], body: str) -> dict[str, Any]:
    return {"statusCode": status, "headers": {"Content-Type": kind, **headers}, "body": body, "isBase64Encoded": False}
