"""What the benchmarks do with the numbers they took; pure."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of a figure's rounds."""
    return {"median": rounded(statistics.median(values)), "min": rounded(min(values)), "max": rounded(max(values))}


def spreads(rounds: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The spread of each figure that the rounds took."""
    return {figure: spread([each[figure] for each in rounds]) for figure in rounds[0]}


def rotated(items: Sequence[Any], by: int) -> list[Any]:
    """The items from another start, so that no system always comes after the same other."""
    by %= len(items)
    return [*items[by:], *items[:by]]


def rounded(value: float) -> float:
    """To four digits, which is more than any figure here is good for."""
    return float(f"{value:.4g}")


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least ``share`` of them, in (0, 1], do not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1]


def goal(measured: float, *, at_least: float | None = None, at_most: float | None = None) -> dict[str, Any]:
    """A goal with its bound, what was measured, and whether that meets it."""
    if at_least is not None:
        return {"at_least": at_least, "measured": rounded(measured), "met": measured >= at_least}
    assert at_most is not None
    return {"at_most": at_most, "measured": rounded(measured), "met": measured <= at_most}


def knee(capacity: float, p99_at: Callable[[float], float], limit: float) -> float:
    """The highest rate whose p99 latency stays within a limit, found from above.

    Args:
        capacity: requests/s that a closed loop reached; the search steps down from 110 % of it by 5 %, to 20 %.
        p99_at: measures the p99 at a rate.
        limit: of the p99, in the same unit.

    Returns:
        requests/s; 0 when no rate passes.
    """
    rates = (capacity * percent / 100 for percent in range(110, 15, -5))
    return next((rate for rate in rates if p99_at(rate) <= limit), 0.0)
