"""Asking the endpoint, again where that may help: an instance's death and an update are not its callers' business."""

import json
import random
import time
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as UnreachableError

from classify.problems import Problem

if TYPE_CHECKING:
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

_CONNECT_SECONDS, _READ_SECONDS = 1, 7  # a photo takes milliseconds; a stuck instance must leave time for another
# botocore's own retries would multiply ours.
CONFIG = Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, retries={"total_max_attempts": 1})
NO_ANSWER = (UnreachableError, HTTPClientError, IncompleteReadError)  # botocore's, of a service that cannot be asked
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0
_MAX_FAILURES = 3  # on one photo: one that ends its server must not end the whole fleet
_LOST = 0  # what SageMaker gives as the status of a container that did not answer
_FAILED = (_LOST, 500, 502, 504)

logger = Logger(child=True)


def ask(
    runtime: "SageMakerRuntimeClient",
    endpoint_name: str,
    body: bytes,
    content_type: str,
    correlation_id: str,
    seconds: float,
) -> str:
    """The endpoint's answer to a photo or a question, as the JSON text it sent.

    Args:
        seconds: that all attempts together may take; the first is made in any case.

    Raises:
        Problem: 4xx with the container's own sentence, 503 when there is no endpoint or none answered in time,
            502 when the model fails on this photo again and again.
    """
    deadline = time.monotonic() + seconds
    longest_pause, failures = _FIRST_PAUSE_SECONDS, 0
    while True:
        try:
            answer = runtime.invoke_endpoint(
                EndpointName=endpoint_name, Body=body, ContentType=content_type, CustomAttributes=correlation_id
            )
            return answer["Body"].read().decode()
        except (ClientError, *NO_ANSWER) as error:
            problem = _passing_problem(error)
            failures += _original_status(error) in _FAILED
            pause = random.uniform(0, longest_pause)
            late = time.monotonic() + pause + _CONNECT_SECONDS + _READ_SECONDS > deadline
            if late or failures == _MAX_FAILURES:
                raise problem from error
            logger.info("asking again", extra={"error": str(error)})
        time.sleep(pause)
        longest_pause = min(2 * longest_pause, _LONGEST_PAUSE_SECONDS)


def _passing_problem(error: Exception) -> Problem:
    """What to tell the caller if asking again does not help either.

    Raises:
        Problem: asking again cannot help.
    """
    if not isinstance(error, ClientError):
        return Problem(503, "the model did not answer in time; try again shortly")
    code, http_status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    status = _original_status(error)
    if status is not None and 400 <= status < 500:
        raise Problem(status, _sentence(error)) from None
    if status == 500:
        return Problem(502, "the model failed on this photo")
    if status is not None or http_status >= 500:
        return Problem(503, "the model is overloaded or being changed; try again shortly")
    if code in ("ModelNotReadyException", "ThrottlingException"):
        raise Problem(503, "the model is overloaded; try again shortly") from error
    if code == "ValidationError":
        raise Problem(503, "no model is serving yet; try again later") from None
    raise Problem(502, "the model cannot be asked; this is not the photo's fault") from error


def _original_status(error: Exception) -> int | None:
    """The status that the container answered, if it did or should have."""
    said: dict[str, Any] = dict(error.response) if isinstance(error, ClientError) else {}
    return said.get("OriginalStatusCode")


def _sentence(error: ClientError) -> str:
    said: dict[str, Any] = dict(error.response)
    try:
        return str(json.loads(said["OriginalMessage"])["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "the model refused this photo"
