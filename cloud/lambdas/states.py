"""What Lambda refuses while a function is created or updated, and how large requests may be: pure functions.

While a function is created, ``State`` is Pending and it cannot be invoked or changed. While it is updated, ``State``
stays Active, ``LastUpdateStatus`` is InProgress, requests reach the code and the configuration from before the update,
and the function cannot be changed: https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
The documents have no messages; those here are what users reported:
https://github.com/remotion-dev/remotion/issues/1186, https://github.com/aws/serverless-application-model/issues/2356,
https://github.com/ansible-collections/community.aws/issues/830
"""

import re
from collections.abc import Mapping
from typing import Any

# https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
MAX_REQUEST = 6 * 1024 * 1024  # bytes
MAX_EVENT = 1024 * 1024  # bytes of a request that nobody waits for
_NOT_NOW = "The operation cannot be performed at this time."
_INVOKE = re.compile(r"/[\d-]+/functions/[^/]+/(?:response-streaming-)?invocations/?")


def invoke_problem(config: Mapping[str, Any]) -> str | None:
    """Return AWS's message if a function cannot be invoked now; otherwise None."""
    if config.get("State") != "Pending":
        return None
    return f"{_NOT_NOW} The function is currently in the following state: Pending"


def change_problem(config: Mapping[str, Any]) -> str | None:
    """Return AWS's message if a function cannot be changed or published now; otherwise None."""
    arn = config.get("FunctionArn")
    if config.get("State") == "Pending":
        return (
            f"{_NOT_NOW} The resource {arn} is currently in the following state: 'Pending'. "
            f"StateReasonCode: '{config.get('StateReasonCode', 'Creating')}'"
        )
    if config.get("LastUpdateStatus") == "InProgress":
        return f"{_NOT_NOW} An update is in progress for resource: {arn}"
    return None


def stay_active(config: dict[str, Any]) -> None:
    """Let a function that is being updated, or a version that comes of it, be in state Active."""
    config["State"] = "Active"
    config.pop("StateReason", None)
    config.pop("StateReasonCode", None)


def size_problem(method: str, path: str, kind: str, size: int) -> str | None:
    """Return AWS's message if a request invokes a function with too large a payload; otherwise None.

    The messages were seen: https://github.com/awslabs/aws-athena-query-federation/issues/793,
    https://github.com/ASFHyP3/hyp3/issues/2241

    Args:
        method: The request's method.
        path: The request's path.
        kind: The invocation type; empty for the default.
        size: Bytes of the payload.
    """
    if method != "POST" or not _INVOKE.fullmatch(path):
        return None
    if kind == "Event" and size > MAX_EVENT:
        return f"{size} byte payload is too large for the Event invocation type (limit {MAX_EVENT} bytes)"
    if size > MAX_REQUEST:
        return f"Request must be smaller than {MAX_REQUEST} bytes for the InvokeFunction operation"
    return None
