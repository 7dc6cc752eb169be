"""Invoke the endpoint, and retry where that may help: callers do not notice an update or the loss of an instance.

See "The prediction function alone retries" in docs/decisions/deployment-and-scaling.md.
"""

import json
import random
import time
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError, ReadTimeoutError
from botocore.exceptions import ConnectionError as UnreachableError

from shared.problems import ProblemError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

# A photo takes milliseconds. The timeout on a stuck instance leaves time for a second attempt on another one.
_CONNECT_SECONDS, _READ_SECONDS = 1, 7
# One attempt only: the retries of botocore would multiply the ones below.
CONFIG = Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, retries={"total_max_attempts": 1})
NO_ANSWER = (UnreachableError, HTTPClientError, IncompleteReadError)  # what botocore raises without an answer
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0
# Per photo, so that one which crashes its server does not crash the whole fleet. One without an answer in time holds up
# an instance for long, so two instances get it at most. That nothing could be reached is no fault of the photo.
_MAX_FAILURES, _MAX_TIMEOUTS = 3, 2
_NO_STATUS = 0  # SageMaker's status for a container that did not answer
_FAILED = (_NO_STATUS, 500, 502, 504)

logger = Logger(child=True)


def ask(
    runtime: "SageMakerRuntimeClient",
    endpoint_name: str,
    body: bytes,
    content_type: str,
    correlation_id: str,
    seconds: float,
) -> str:
    """Send a photo or a question to the endpoint and return its answer, a JSON text.

    Args:
        seconds: time limit for all attempts together. The first attempt is always made.

    Raises:
        ProblemError: 4xx with the container's own message; 503 if there is no endpoint or no answer in time;
            502 if the model fails on this photo again and again, 504 if it does not answer for it again.
    """
    deadline = time.monotonic() + seconds
    longest_pause, failures, timeouts = _FIRST_PAUSE_SECONDS, 0, 0
    while True:
        try:
            answer = runtime.invoke_endpoint(
                EndpointName=endpoint_name, Body=body, ContentType=content_type, CustomAttributes=correlation_id
            )
            return answer["Body"].read().decode()
        except (ClientError, *NO_ANSWER) as error:
            problem = _temporary_problem(error)
            failures += _is_failure(error)
            timeouts += isinstance(error, ReadTimeoutError)
            if timeouts == _MAX_TIMEOUTS:
                raise ProblemError(
                    504, f"the model did not answer for this photo within {_READ_SECONDS} seconds, twice; send another"
                ) from error
            pause = random.uniform(0, longest_pause)
            late = time.monotonic() + pause + _CONNECT_SECONDS + _READ_SECONDS > deadline
            if late or failures == _MAX_FAILURES:
                raise problem from error
            logger.info("asking again", extra={"error": str(error)})
        time.sleep(pause)
        longest_pause = min(2 * longest_pause, _LONGEST_PAUSE_SECONDS)


def _temporary_problem(error: Exception) -> ProblemError:
    """Return the problem to report if further attempts fail as well.

    Raises:
        ProblemError: further attempts cannot help.
    """
    if not isinstance(error, ClientError):
        return ProblemError(503, "the model did not answer in time; try again shortly")
    code, http_status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    status = _original_status(error)
    if status is not None and 400 <= status < 500:
        raise ProblemError(status, _container_message(error)) from None
    if status == 500:
        return ProblemError(502, "the model failed on this photo")
    if status is not None or http_status >= 500:
        return ProblemError(503, "the model is overloaded or being updated; try again shortly")
    if code in ("ModelNotReadyException", "ThrottlingException"):
        raise ProblemError(503, "the model is overloaded; try again shortly") from error
    if code == "ValidationError":
        raise ProblemError(503, "no model is serving yet; try again later") from None
    raise ProblemError(502, "the model cannot be called; the photo is not the cause") from error


def _is_failure(error: Exception) -> bool:
    """Whether the model got the photo, and failed, ended, or did not answer in time."""
    if isinstance(error, ClientError):
        return _original_status(error) in _FAILED
    return not isinstance(error, UnreachableError)


def _original_status(error: Exception) -> int | None:
    """Return the status of the container's answer, ``_NO_STATUS`` without an answer, None for other errors."""
    response: dict[str, Any] = dict(error.response) if isinstance(error, ClientError) else {}
    return response.get("OriginalStatusCode")


def _container_message(error: ClientError) -> str:
    response: dict[str, Any] = dict(error.response)
    try:
        return str(json.loads(response["OriginalMessage"])["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "the model refused this photo"
