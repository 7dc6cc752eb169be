"""How much of a core a function of Lambda has, and how long its work takes with it."""

import math

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
CORE_MEGABYTES = 1769  # of memory, with which a function has one core
_PERIOD_MS = 20.0  # in which Lambda gives a function its share; measured by others, see the decision
_NUM_MOMENTS = 200


def core_share(megabytes: float) -> float:
    """Return the share of a core that comes with so much memory; 1 for all that has a core or more."""
    return min(1.0, megabytes / CORE_MEGABYTES)


def elapsed_ms(busy_ms: float, megabytes: float) -> float:
    """Return the milliseconds in which a function does so much work in one go, after it has waited.

    It runs at the full speed of a core until its share of the period is used, and goes on with the next period. When
    a request comes is left to chance, so this is the mean over the moments of a period.
    See "The function has 512 MB: $0.11 less a million for 7 ms more" in docs/decisions/prices.md.

    Args:
        busy_ms: milliseconds on a whole core.
        megabytes: of memory.
    """
    if core_share(megabytes) == 1:
        return busy_ms
    quota = _PERIOD_MS * core_share(megabytes)

    def from_moment(left_ms: float) -> float:
        """Return it where so much of the current period is left."""
        rest = busy_ms - min(busy_ms, quota, left_ms)
        if not rest:
            return busy_ms
        whole_periods = math.ceil(rest / quota) - 1
        return left_ms + whole_periods * _PERIOD_MS + rest - whole_periods * quota

    # The module statistics would make the start of the function longer that imports this one.
    return sum(from_moment(_PERIOD_MS * (moment + 0.5) / _NUM_MOMENTS) for moment in range(_NUM_MOMENTS)) / _NUM_MOMENTS
