"""Pure functions that turn the benchmarks' measurements into figures."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, minimum and maximum of a figure over the rounds."""
    return {"median": rounded(statistics.median(values)), "min": rounded(min(values)), "max": rounded(max(values))}


def spreads(rounds: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the spread of each figure of the rounds."""
    return {figure: spread([measured[figure] for measured in rounds]) for figure in rounds[0]}


def rotated(items: Sequence[Any], by: int) -> list[Any]:
    """Return the items from another start, so that no system always runs first."""
    by %= len(items)
    return [*items[by:], *items[:by]]


def rounded(value: float) -> float:
    """Round to four digits. No figure here is more precise."""
    return float(f"{value:.4g}")


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of the values, in (0, 1], do not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1]


def goal(measured: float, *, at_least: float | None = None, at_most: float | None = None) -> dict[str, Any]:
    """Return a goal with its bound, the measured value, and whether the value meets the bound."""
    if at_least is not None:
        return {"at_least": at_least, "measured": rounded(measured), "met": measured >= at_least}
    assert at_most is not None
    return {"at_most": at_most, "measured": rounded(measured), "met": measured <= at_most}


def max_rate_within(capacity: float, p99_at: Callable[[float], float], limit: float) -> float:
    """Find the highest rate whose p99 latency is within a limit.

    Args:
        capacity: Requests/s that a closed loop reached. The search goes down from 110 % of it in steps of 5 %, to 20 %.
        p99_at: Measures the p99 at a rate.
        limit: Limit of the p99, in the same unit.

    Returns:
        Requests/s; 0 if no rate is within the limit.
    """
    rates = (capacity * percent / 100 for percent in range(110, 15, -5))
    return next((rate for rate in rates if p99_at(rate) <= limit), 0.0)
