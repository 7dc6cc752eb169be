"""What Lambda itself, not the function's runtime, tells of a failure, in its words."""

import signal
import uuid

OUT_OF_MEMORY = "Runtime.OutOfMemory"
EXITED = "Runtime.ExitError"
TIMED_OUT = "Sandbox.Timedout"


def platform_error(kind: str, message: str, request_id: str = "") -> dict[str, str]:
    """Return the description of a failure; the order of the members is AWS's.

    Args:
        kind: The error's type, for example ``Runtime.ExitError``.
        message: What happened.
        request_id: Id of the request; one is made up when it is not known.
    """
    return {"errorType": kind, "errorMessage": f"RequestId: {request_id or uuid.uuid4()} Error: {message}"}


def exit_reason(status: int | None) -> str:
    """Return how AWS tells that a function's runtime has ended.

    Args:
        status: The exit status; negative for a signal; None if it is not known.
    """
    if not status:
        return "Runtime exited without providing a reason"
    if status < 0:
        return f"Runtime exited with error: signal: {str(signal.strsignal(-status)).lower()}"
    return f"Runtime exited with error: exit status {status}"
