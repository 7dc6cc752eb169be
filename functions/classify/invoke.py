"""Ask the model, and retry where that may help: callers do not notice an update or the loss of an instance.

See "The prediction function alone retries" in docs/decisions/deployment-and-scaling.md.
"""

import json
import random
import time
from typing import NamedTuple, Protocol

from aws_lambda_powertools import Logger
from botocore.exceptions import ConnectionError as UnreachableError
from botocore.exceptions import HTTPClientError, IncompleteReadError, ReadTimeoutError

from classify.steps import steps
from classify.trace_context import TraceContext
from shared.problems import ProblemError

CONNECT_SECONDS = 1
NO_ANSWER = (UnreachableError, HTTPClientError, IncompleteReadError)  # what botocore raises without an answer
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0
# Per photo, so that one which crashes its server does not crash the whole fleet. One without an answer in time holds up
# an instance for long, so two instances get it at most. That nothing could be reached is no fault of the photo.
_MAX_FAILURES, _MAX_TIMEOUTS = 3, 2

logger = Logger(child=True)


class Question(NamedTuple):
    """What the model is asked.

    Attributes:
        body: a photo's own bytes, or a question in JSON.
        content_type: of the body; ``application/json`` for a question.
        correlation_id: the id of the request in the logs.
        trace: the trace that the request belongs to; None if it is asked outside of one.
    """

    body: bytes
    content_type: str
    correlation_id: str
    trace: TraceContext | None = None

    @property
    def ids(self) -> str:
        """The correlation id, and behind it the trace, as they go into the model's log."""
        return self.trace.behind(self.correlation_id) if self.trace else self.correlation_id

    def next_hop(self) -> "Question":
        """Return the question as one attempt asks it, with an id of its own in the trace."""
        return self._replace(trace=self.trace.next_hop()) if self.trace else self


class Model(Protocol):
    """The model as it is hosted: by an endpoint's instances or by a function."""

    @property
    def read_seconds(self) -> int:
        """Seconds that one attempt may take once it is connected."""

    def ask(self, question: Question) -> str:
        """Ask once and return the answer, a JSON text.

        Raises:
            FailedAttemptError: another attempt may succeed, as after one of ``NO_ANSWER``.
            AbsentModelError: nothing of this name is there.
            ProblemError: further attempts cannot help.
        """


class FailedAttemptError(Exception):
    """An attempt failed, and another one may succeed.

    Attributes:
        problem: what to report if further attempts fail as well.
        is_failure: whether the model got the photo, and failed or ended.
    """

    def __init__(self, cause: str, problem: ProblemError, *, is_failure: bool) -> None:
        super().__init__(cause)
        self.problem, self.is_failure = problem, is_failure


class AbsentModelError(ProblemError):
    """There is no endpoint, or no function, of the name that was asked."""

    def __init__(self) -> None:
        super().__init__(503, "no model is serving yet; try again later")


def ask(model: Model, question: Question, deadline: float) -> str:
    """Ask the model until it answers, and return its answer, a JSON text.

    Args:
        deadline: time of ``time.monotonic`` at which all attempts are over. The first one is always made.

    Raises:
        AbsentModelError: there is no model.
        ProblemError: 4xx with the model's own message; 503 if there is no answer in time; 502 if the model fails on
            this photo again and again, 504 if it does not answer for it again.
    """
    longest_pause, failures, timeouts = _FIRST_PAUSE_SECONDS, 0, 0
    while True:
        hop = question.next_hop()
        try:
            with steps.attempting(hop.trace.parent_id if hop.trace else ""):
                return model.ask(hop)
        except FailedAttemptError as error:
            cause, problem = str(error), error.problem
            failures += error.is_failure
        except NO_ANSWER as error:
            cause, problem = str(error), ProblemError(503, "the model did not answer in time; try again shortly")
            failures += not isinstance(error, UnreachableError)
            timeouts += isinstance(error, ReadTimeoutError)
        if timeouts == _MAX_TIMEOUTS:
            seconds = model.read_seconds
            raise ProblemError(
                504, f"the model did not answer for this photo within {seconds} seconds, twice; send another"
            )
        pause = random.uniform(0, longest_pause)
        late = time.monotonic() + pause + CONNECT_SECONDS + model.read_seconds > deadline
        if late or failures == _MAX_FAILURES:
            raise problem
        logger.info("asking again", extra={"error": cause, **steps.attempt})
        time.sleep(pause)
        longest_pause = min(2 * longest_pause, _LONGEST_PAUSE_SECONDS)


def message_of(document: str) -> str:
    """Return the model's own words of a refusal, from the document with its error."""
    try:
        return str(json.loads(document)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "the model refused this photo"


def overloaded() -> ProblemError:
    """Return the problem that something else than the photo keeps the model from answering for the moment."""
    return ProblemError(503, "the model is overloaded or being updated; try again shortly")


def failed() -> ProblemError:
    """Return the problem that the model fails on the photo."""
    return ProblemError(502, "the model failed on this photo")


def forbidden(cause: str) -> ProblemError:
    """Log why the model cannot be asked, which no photo changes, and return the problem."""
    logger.warning("the model cannot be called", extra={"error": cause})
    return ProblemError(502, "the model cannot be called; the photo is not the cause")
