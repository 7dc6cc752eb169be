"""The laptop cloud's clock: how fast its waits run, and times in AWS's form."""

import os
import time


def read_scale(text: str) -> float:
    """Return the value of ``KENNEL_TIME_SCALE`` as a number.

    Raises:
        ValueError: The text is not a number above 0.
    """
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 0 < scale < float("inf"):
        raise ValueError(f"KENNEL_TIME_SCALE is {text!r}; give a number above 0, where 1 is as fast as AWS")
    return scale


_SCALE = read_scale(os.environ.get("KENNEL_TIME_SCALE", "1"))


def scaled(seconds: float) -> float:
    """Return how many seconds a wait takes here that takes ``seconds`` on AWS.

    With ``KENNEL_TIME_SCALE=10`` it is a tenth.
    """
    return seconds / _SCALE


def now() -> float:
    """Return the time in epoch seconds with milliseconds, as AWS's JSON protocol sends times."""
    return round(time.time(), 3)
