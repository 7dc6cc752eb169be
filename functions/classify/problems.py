"""Asking the endpoint, and telling callers what went wrong in problem documents (RFC 9457)."""

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler import Response
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

RETRY_AFTER_SECONDS = "5"
# InvokeEndpoint's errors that go by themselves.
_PASSING = (
    "InternalDependencyException",
    "InternalFailure",
    "ModelNotReadyException",
    "ServiceUnavailable",
    "ThrottlingException",
)


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


def ask(
    runtime: "SageMakerRuntimeClient", endpoint_name: str, photo: bytes, content_type: str, correlation_id: str
) -> str:
    """The endpoint's prediction, as the JSON text it sent.

    Raises:
        Problem: 4xx with the container's own sentence, 503 when there is no endpoint or it is overloaded,
            502 when it fails.
    """
    try:
        answer = runtime.invoke_endpoint(
            EndpointName=endpoint_name, Body=photo, ContentType=content_type, CustomAttributes=correlation_id
        )
    except runtime.exceptions.ModelError as error:
        said: dict[str, Any] = dict(error.response)
        raise _from_container(said["OriginalStatusCode"], said["OriginalMessage"]) from None
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ValidationError":
            raise Problem(503, "no model is serving yet; try again later") from None
        if code in _PASSING:
            raise Problem(503, "the model is overloaded or being changed; try again shortly") from error
        raise Problem(502, "the model cannot be asked; this is not the photo's fault") from error
    except BotoCoreError as error:  # a timeout, a lost connection
        raise Problem(503, "the model did not answer in time; try again shortly") from error
    return answer["Body"].read().decode()


def _from_container(status: int, message: str) -> Problem:
    if status == 503:
        return Problem(503, "the model is overloaded; try again shortly")
    if not 400 <= status < 500:
        return Problem(502, "the model failed on this photo")
    try:
        return Problem(status, json.loads(message)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return Problem(status, "the model refused this photo")
