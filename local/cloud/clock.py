"""How fast the laptop cloud's waits run."""

import os

_SCALE = float(os.environ.get("KENNEL_TIME_SCALE", "1"))


def scaled(seconds: float) -> float:
    """How long a wait of so many seconds on AWS takes here: a tenth of it with ``KENNEL_TIME_SCALE=10``."""
    return seconds / _SCALE
