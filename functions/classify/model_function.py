"""The model as a Lambda function hosts it. Its events and answers are those of docs/function.md."""

import base64
import json
from typing import Any

from botocore.session import Session

from classify.invoke import (
    CONNECT_SECONDS,
    AbsentModelError,
    FailedAttemptError,
    Question,
    failed,
    forbidden,
    message_of,
    overloaded,
)
from classify.signed import SignedClient
from shared.problems import ProblemError

ALIAS = "live"
# A new environment takes two or three seconds until it answers, and a costly photo five. Two attempts fit into the
# prediction function's timeout.
_READ_SECONDS = 12
_THROTTLED, _NOT_ACTIVE = 429, 409  # A function whose image Lambda prepares anew is not active for some seconds.


class FunctionModel:
    """The model in a function, asked by its alias.

    Args:
        client: sends requests to Lambda.
        name: the function's name.
    """

    read_seconds = _READ_SECONDS

    def __init__(self, client: SignedClient, name: str) -> None:
        self._client, self._target = client, f"/2015-03-31/functions/{name}/invocations?Qualifier={ALIAS}"

    @classmethod
    def of(cls, session: Session, name: str) -> "FunctionModel":
        """Return the model with a client of its own."""
        return cls(SignedClient(session, "lambda", CONNECT_SECONDS, _READ_SECONDS), name)

    def ask(self, question: Question) -> str:
        """Ask once; see ``Model``."""
        response = self._client.post(self._target, _event(question), {"Content-Type": "application/json"})
        status, cause = response.status_code, f"Lambda answered {response.status_code} {response.text[:500]}"
        if status == 404:
            raise AbsentModelError
        if status in (_THROTTLED, _NOT_ACTIVE) or status >= 500:
            raise FailedAttemptError(cause, overloaded(), is_failure=False)
        if status != 200:
            raise forbidden(cause)
        if "x-amz-function-error" in response.headers:
            raise FailedAttemptError(cause, failed(), is_failure=True)
        return _answered(json.loads(response.content), cause)


def _event(question: Question) -> bytes:
    """Return the event of a photo or of a question. That of a photo of 4.5 MB has the 6 MB that Lambda takes."""
    if question.content_type == "application/json":
        event = json.loads(question.body)
    else:
        event = {"photo": base64.b64encode(question.body).decode()}
    return json.dumps({**event, "correlation_id": question.ids}).encode()


def _answered(answer: dict[str, Any], cause: str) -> str:
    """Return the document of an answer as an endpoint's container writes it."""
    status, document = answer["status"], json.dumps(answer["body"], ensure_ascii=False, separators=(",", ":"))
    if status == 200:
        return document
    if 400 <= status < 500:
        raise ProblemError(status, message_of(document))
    raise FailedAttemptError(cause, overloaded(), is_failure=False)
