"""Lambda functions as tasks, and their errors as AWS tells them."""

import json
import math
from typing import Any

from cloud.core import emulator
from cloud.lambdas import hooks
from cloud.stepfunctions import integrations
from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.history import text_of

_MEMBERS = ("errorMessage", "errorType", "requestId", "stackTrace")
_PLATFORM_MEMBERS = ("errorType", "errorMessage")


class FunctionError(Exception):
    """A function failed.

    Attributes:
        error: The error's name: the exception's class.
        body: What the function's runtime answered, or Lambda in place of a runtime that died or took too long.
    """

    def __init__(self, error: str, body: dict[str, Any]) -> None:
        super().__init__(error)
        self.error = error
        self.body = body

    @property
    def text(self) -> str:
        """The answer as it came: the runtime of Python writes spaces, Lambda itself does not."""
        return json.dumps(self.body) if "requestId" in self.body else text_of(self.body)


def invoke(function: str, payload: Any, qualifier: str | None = None) -> tuple[str, Any]:
    """Run a function; return the version that ran and what it returned.

    Args:
        function: Name or ARN of the function, with or without a version or alias.
        payload: The event, any JSON.
        qualifier: The version or alias, if not in the name.

    Raises:
        FunctionError: The function failed.
        StatesError: There is no such function, too many run already, or the result is no JSON.
    """
    reference = f"{function}:{qualifier}" if qualifier else function
    name, version, result = hooks.run_function(reference, payload)
    if version is None:
        region, account = emulator.scope()
        arn = f"arn:aws:lambda:{region}:{account}:function:{name}:{qualifier or '$LATEST'}"
        words = integrations.older_words(
            f"Function not found: {arn}", "AWSLambda", 404, "ResourceNotFoundException", {}
        )
        raise StatesError("Lambda.ResourceNotFoundException", words)
    body = result.get("body")
    if result.get("throttle"):
        words = integrations.older_words("Rate Exceeded.", "AWSLambda", 429, "TooManyRequestsException", {})
        raise StatesError("Lambda.TooManyRequestsException", words)
    if result.get("error"):
        details = body if isinstance(body, dict) else {"errorMessage": str(body)}
        members = _MEMBERS if "requestId" in details else _PLATFORM_MEMBERS
        ordered = {name: details[name] for name in members if name in details}
        raise FunctionError(str(details.get("errorType", "Lambda.Unknown")), ordered)
    if isinstance(body, str | bytes):
        try:
            body = json.loads(body)
        except ValueError:
            body = body if isinstance(body, str) else body.decode("utf-8", "replace")
    if word := _no_number(body):
        raise StatesError("States.Runtime", f"The function's result is no JSON: {word} is no number of JSON")
    return version, body


def _no_number(value: Any) -> str | None:
    """Return the name of a number in a function's result that JSON does not have, such as NaN; None if all are JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next(filter(None, map(_no_number, items)), None)
