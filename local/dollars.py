"""After a run: what answers cost on AWS with everything. What the stack costs while nobody asks is in the receipt."""

from typing import Any

from rich.table import Table

from local.console import columns
from prices import per_million

_PHOTO_BYTES = 100_000
_DAYS = (10_000, 100_000, 1_000_000)  # requests of a day


def table(output: dict[str, Any]) -> Table:
    """Return a table of the dollars for a million answers under half load, by size of photo and door.

    Args:
        output: the output of an execution that promoted.
    """
    endpoint = _endpoint(output)
    rows: list[tuple[str, ...]] = [("photos of", "REST API", "function's URL", "of which instances")]
    for size, call in per_million.CALLS.items():
        by_door = [per_million.parts(endpoint, call, door) for door in per_million.DOORS]
        dollars = [_words(per_million.total(parts)) for parts in by_door]
        rows.append((f"{size // 1000} KB", *dollars, _words(by_door[0]["instances"])))
    return columns(rows, right=(0, 1, 2))


def by_day(output: dict[str, Any]) -> str:
    """Return a sentence that says what a million answers cost where few are asked for, so that instances wait."""
    endpoint, call, words = _endpoint(output), per_million.CALLS[_PHOTO_BYTES], []
    for requests in _DAYS:
        try:
            parts = per_million.on_a_day(endpoint, call, per_million.FUNCTION_URL, requests)
        except ValueError:  # The endpoint's range is too small for so many.
            break
        words.append(f"{_words(per_million.total(parts))} at {requests:,} photos a day")
    listed = ", ".join(words) or f"its instances cannot answer {_DAYS[0]:,} photos a day"
    return f"with the hours in which instances wait, 100 KB, function's URL: {listed}"


def _endpoint(output: dict[str, Any]) -> per_million.Endpoint:
    plan, measured = output["run"]["endpoint"], output["endpoint"]["scaling"]["measurement"]
    half = per_million.HALF * measured["knee_per_second"]
    trials = [trial for trial in measured["trials"] if trial["within_limits"]]
    closest = min(trials, key=lambda trial: abs(trial["rate"] - half))
    return per_million.Endpoint(
        plan["instance_type"],
        measured["knee_per_second"],
        closest["p50_ms"],
        plan["min_instances"],
        plan["max_instances"],
    )


def _words(amount: float | None) -> str:
    return "price not known" if amount is None else f"${amount:,.2f}"
