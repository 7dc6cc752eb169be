"""Telling callers what went wrong, in problem documents (RFC 9457)."""

import json
from http import HTTPStatus

from aws_lambda_powertools.event_handler import Response

RETRY_AFTER_SECONDS = "5"


class Problem(Exception):
    """A request that gets no prediction: an HTTP status and a sentence for the caller."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status

    def response(self, correlation_id: str) -> Response[str]:
        """The problem document, with Retry-After where trying again may help."""
        document = {
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": str(self),
            "correlation_id": correlation_id,
        }
        headers = {"Retry-After": RETRY_AFTER_SECONDS} if self.status == 503 else {}
        return Response(self.status, "application/problem+json", json.dumps(document), headers=headers)
