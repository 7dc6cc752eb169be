"""The lines that Lambda itself writes into a function's log.

https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
"""

import math


def start(request_id: str, version: str) -> str:
    """Return the line before a request."""
    return f"START RequestId: {request_id} Version: {version}"


def end(request_id: str) -> str:
    """Return the line after a request."""
    return f"END RequestId: {request_id}"


def init(seconds: float, status: str, error_type: str = "") -> str:
    """Return the line about an initialization that failed.

    Args:
        seconds: How long it took.
        status: ``error`` or ``timeout``.
        error_type: What failed.
    """
    kind = f"\tError Type: {error_type}" if status == "error" else ""
    return f"INIT_REPORT Init Duration: {1000 * seconds:.2f} ms\tPhase: init\tStatus: {status}{kind}"


def report(
    request_id: str,
    seconds: float,
    memory: tuple[int, int],
    init_seconds: float | None = None,
    is_init_billed: bool = True,
    failure: tuple[str, str] | None = None,
) -> str:
    """Return the line with what a request took and what is billed for it.

    Lambda bills whole milliseconds, and bills the initialization with the request that waited for it. It bills that of
    provisioned concurrency by another meter, so it is not part of ``Billed Duration``.

    Args:
        request_id: The request's id.
        seconds: How long the function's process had the request.
        memory: MB of the function, and MB that its processes used at most.
        init_seconds: How long the initialization took; None when the environment had served before.
        is_init_billed: Whether the request pays for the initialization.
        failure: Status and error type of a request that failed.
    """
    billed = math.ceil(1000 * (seconds + (init_seconds or 0.0) * is_init_billed))
    parts = [
        f"REPORT RequestId: {request_id}",
        f"Duration: {1000 * seconds:.2f} ms",
        f"Billed Duration: {billed} ms",
        f"Memory Size: {memory[0]} MB",
        f"Max Memory Used: {memory[1]} MB",
    ]
    if init_seconds is not None:
        parts.append(f"Init Duration: {1000 * init_seconds:.2f} ms")
    if failure:
        parts.append(f"Status: {failure[0]}")
    if failure and failure[0] == "error":
        parts.append(f"Error Type: {failure[1]}")
    return "\t".join(parts)
