"""The meter's lock, so that two ticks never overlap: an SSM parameter with the moment at which it ends."""

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

SECONDS = 150.0  # longer than the function's timeout, so that a lock whose holder died ends


def take(ssm: "SSMClient", name: str, now: float) -> bool:
    """Take the lock; return False if another tick holds it.

    Args:
        ssm: the client.
        name: the parameter's name.
        now: epoch seconds.
    """
    if _put(ssm, name, now):
        return True
    try:
        found = ssm.get_parameter(Name=name)["Parameter"]
    except ssm.exceptions.ParameterNotFound:  # It was released meanwhile.
        return _put(ssm, name, now)
    try:
        ends = float(found["Value"])
    except ValueError:  # Somebody has written something else into it.
        ends = 0.0
    if now < ends < now + 2 * SECONDS:  # An end far ahead is that of a clock that was wrong.
        return False
    # Of two ticks that find the same old lock, one alone writes the version after it.
    written = ssm.put_parameter(Name=name, Value=str(now + SECONDS), Type="String", Overwrite=True)
    return written["Version"] == found["Version"] + 1


def release(ssm: "SSMClient", name: str) -> None:
    """Release the lock."""
    with suppress(ssm.exceptions.ParameterNotFound):
        ssm.delete_parameter(Name=name)


def _put(ssm: "SSMClient", name: str, now: float) -> bool:
    try:
        ssm.put_parameter(Name=name, Value=str(now + SECONDS), Type="String", Overwrite=False)
    except ssm.exceptions.ParameterAlreadyExists:
        return False
    return True
