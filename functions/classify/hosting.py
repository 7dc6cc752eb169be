"""What hosts the model at the moment, an endpoint or a function, and how its callers follow a change.

Each hosting's module is imported when that hosting is first asked, so that no instance starts later for the other.
See "The prediction function follows the pointer within a minute" in docs/decisions/api.md.
"""

import json
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.session import Session

from classify.invoke import CONNECT_SECONDS, NO_ANSWER, AbsentModelError, Model, Question, ask, logger
from classify.settings import ClassifySettings

if TYPE_CHECKING:
    from classify.signed import SignedClient

INSTANCES, FUNCTION = "instances", "function"
_OTHER = {INSTANCES: FUNCTION, FUNCTION: INSTANCES}
FOLLOW_SECONDS = 60  # A change of hosting is followed within so many seconds.
_ABSENT_SECONDS = 1  # Callers of a model that is absent cannot use up the account's calls to the parameters.
_READ_SECONDS = 2


class PointerError(Exception):
    """The pointer cannot be read; the message says why."""


class Hosting:
    """The hosting that this instance of the function asks.

    Args:
        first: what is asked first, ``instances`` or ``function``.
        models: make the model of each hosting. Each is called once, when it is first needed.
        pointer: reads which hosting serves. It raises ``PointerError`` or one of ``NO_ANSWER``.
    """

    def __init__(self, first: str, models: Mapping[str, Callable[[], Model]], pointer: Callable[[], str]) -> None:
        self.serving = first
        self._makers, self._models, self._pointer = models, dict[str, Model](), pointer
        # While Lambda keeps an instance frozen, the clock of time.monotonic may stand still.
        self._started, self._read_at = time.time(), 0.0
        self._named: str | None = None  # by the pointer; None if it could not be read

    @property
    def model(self) -> Model:
        """The model that is asked."""
        if self.serving not in self._models:
            self._models[self.serving] = self._makers[self.serving]()
        return self._models[self.serving]

    def ask(self, question: Question, seconds: float) -> str:
        """Ask the model that serves and return its answer, a JSON text.

        Args:
            seconds: time limit for all attempts together. The first attempt is always made.

        Raises:
            ProblemError: see ``invoke.ask``.
        """
        deadline = time.monotonic() + seconds
        if time.time() - max(self._started, self._read_at) >= FOLLOW_SECONDS:
            self._follow()
        try:
            return ask(self.model, question, deadline)
        except AbsentModelError:
            asked = self.serving
            if time.time() - self._read_at >= _ABSENT_SECONDS:
                self._follow()
            if self._named is None or self._named == asked:
                raise
            # It names the other one, or none: in a stack of an earlier release an endpoint serves until the next run.
            self.serving = _OTHER[asked]
            return ask(self.model, question, deadline)

    def _follow(self) -> None:
        """Read the pointer. What was asked until now stays where it names nothing, or cannot be read."""
        self._read_at, self._named = time.time(), None
        try:
            self._named = self._pointer()
        except (PointerError, *NO_ANSWER) as error:
            logger.warning("the pointer to the hosting cannot be read", extra={"error": str(error)})
        if self._named in _OTHER:
            self.serving = self._named


class Pointer:
    """The parameter of Systems Manager that says which hosting serves.

    Args:
        session: has the credentials.
        name: the parameter's name.
    """

    def __init__(self, session: Session, name: str) -> None:
        self._session, self._name = session, name

    def read(self) -> str:
        """Return the parameter's value.

        Raises:
            PointerError: Systems Manager refuses it. Without an answer, one of ``NO_ANSWER`` is raised.
        """
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.GetParameter"}
        response = self._client.post("/", json.dumps({"Name": self._name}).encode(), headers)
        if response.status_code != 200:
            raise PointerError(f"Systems Manager answered {response.status_code} {response.text[:500]}")
        return str(json.loads(response.content)["Parameter"]["Value"])

    @cached_property
    def _client(self) -> "SignedClient":
        from classify.signed import SignedClient

        return SignedClient(self._session, "ssm", CONNECT_SECONDS, _READ_SECONDS)


def hosting_of(settings: ClassifySettings, session: Session) -> Hosting:
    """Return the stack's hosting. With ``auto`` the pointer tells what the run chose."""

    def endpoint() -> Model:
        from classify.endpoint import EndpointModel

        return EndpointModel.of(session, settings.endpoint_name)

    def function() -> Model:
        from classify.model_function import FunctionModel

        return FunctionModel.of(session, settings.model_function)

    first = FUNCTION if settings.hosting == FUNCTION else INSTANCES
    return Hosting(first, {INSTANCES: endpoint, FUNCTION: function}, Pointer(session, settings.hosting_parameter).read)
