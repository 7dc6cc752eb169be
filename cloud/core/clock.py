"""How fast the laptop cloud's waits run."""

import os


def read_scale(given: str) -> float:
    """The value of ``KENNEL_TIME_SCALE`` as a number.

    Raises:
        ValueError: it is none above 0.
    """
    try:
        scale = float(given)
    except ValueError:
        scale = 0.0
    if not 0 < scale < float("inf"):
        raise ValueError(f"KENNEL_TIME_SCALE is {given!r}; give a number above 0, where 1 is as fast as AWS")
    return scale


_SCALE = read_scale(os.environ.get("KENNEL_TIME_SCALE", "1"))


def scaled(seconds: float) -> float:
    """How long a wait of so many seconds on AWS takes here: a tenth of it with ``KENNEL_TIME_SCALE=10``."""
    return seconds / _SCALE
