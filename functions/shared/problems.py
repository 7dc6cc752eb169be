"""The answers of the API in JSON, and its errors, which are problem documents (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from aws_lambda_powertools.event_handler import Response

RETRY_AFTER_SECONDS = "5"
# No browser guesses that an answer is something else than its type says, and no cache keeps it. The gateway's own
# refusals have both, too (template.yaml).
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def json_response(document: str) -> Response[str]:
    """Return the answer 200 with a JSON text."""
    return Response(200, "application/json", document, headers=HEADERS)


class ProblemError(Exception):
    """A request cannot be answered. It contains the HTTP status and one sentence for the caller."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self._headers = headers or {}

    def response(self, correlation_id: str) -> Response[str]:
        """Return the problem document. A 503 has the header Retry-After, because trying again may help."""
        document = {
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": str(self),
            "correlation_id": correlation_id,
        }
        headers = {"Retry-After": RETRY_AFTER_SECONDS} if self.status == 503 else self._headers
        return Response(self.status, "application/problem+json", json.dumps(document), headers={**HEADERS, **headers})
