"""The model as instances of a SageMaker endpoint host it."""

from typing import TYPE_CHECKING, Any, cast

from botocore.config import Config
from botocore.exceptions import ClientError
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
from shared.problems import ProblemError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

# A photo takes milliseconds. The timeout on a stuck instance leaves time for a second attempt on another one.
_READ_SECONDS = 7
# One attempt only: the retries of botocore would multiply those of ``invoke``.
CONFIG = Config(connect_timeout=CONNECT_SECONDS, read_timeout=_READ_SECONDS, retries={"total_max_attempts": 1})
_NO_STATUS = 0  # SageMaker's status for a container that did not answer
_FAILED = (_NO_STATUS, 500, 502, 504)


class EndpointModel:
    """The model behind an endpoint.

    Args:
        runtime: a client with ``CONFIG``.
        name: the endpoint's name.
    """

    read_seconds = _READ_SECONDS

    def __init__(self, runtime: "SageMakerRuntimeClient", name: str) -> None:
        self.runtime, self._name = runtime, name

    @classmethod
    def of(cls, session: Session, name: str) -> "EndpointModel":
        """Return the model with a client of its own."""
        return cls(cast("SageMakerRuntimeClient", session.create_client("sagemaker-runtime", config=CONFIG)), name)

    def ask(self, question: Question) -> str:
        """Ask once; see ``Model``."""
        try:
            answer = self.runtime.invoke_endpoint(
                EndpointName=self._name,
                Body=question.body,
                ContentType=question.content_type,
                CustomAttributes=question.ids,
            )
        except ClientError as error:
            raise _failed_attempt(error) from error
        return answer["Body"].read().decode()


def _failed_attempt(error: ClientError) -> FailedAttemptError:
    """Return the failure of an attempt that another one may mend.

    Raises:
        ProblemError: further attempts cannot help.
    """
    response: dict[str, Any] = dict(error.response)
    code, http_status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    status = response.get("OriginalStatusCode")  # the container's; None for errors of SageMaker itself
    if status is not None and 400 <= status < 500:
        raise ProblemError(status, message_of(response.get("OriginalMessage", ""))) from None
    if status == 500:
        return FailedAttemptError(str(error), failed(), is_failure=True)
    if status is not None or http_status >= 500:
        return FailedAttemptError(str(error), overloaded(), is_failure=status in _FAILED)
    if code in ("ModelNotReadyException", "ThrottlingException"):
        raise ProblemError(503, "the model is overloaded; try again shortly") from error
    if code == "ValidationError":
        raise AbsentModelError from None
    raise forbidden(str(error)) from None
