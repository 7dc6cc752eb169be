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


def by_hosting(rows: list[dict[str, Any]]) -> Table:
    """Return a table of what a function and an endpoint cost in a month, by the requests of a day.

    Args:
        rows: ``HostingRow`` documents.
    """
    cells: list[tuple[str, ...]] = [
        ("", "function:", "", "", "instances:", "", ""),
        ("requests a day", *("its URL", "REST API", "median / 99 %") * 2),
    ]
    for row in rows:
        sides = [cell for side in ("function", "instances") for cell in _side(row[side])]
        cells.append((f"{row['requests_per_day']:,.0f}", *sides))
    return columns(cells, right=tuple(range(7)))


def _side(running: dict[str, Any]) -> tuple[str, str, str]:
    """Return the cells of one hosting, with ~ before what is estimated."""
    mark, by_door = "~" if running["estimated"] else "", running["dollars_per_month"]
    url, rest = (
        "–" if by_door.get(door) is None else f"{mark}${by_door[door]:,.2f}"
        for door in (per_million.FUNCTION_URL, per_million.REST_API)
    )
    median, slowest = ("–" if each is None else f"{each:,.0f}" for each in (running["p50_ms"], running["p99_ms"]))
    return url, rest, f"{mark}{median} / {slowest} ms"


def reasons(rows: list[dict[str, Any]]) -> list[str]:
    """Return why something in the table of ``by_hosting`` is estimated or missing, each reason once."""
    said = [(side, row[side]["reason"]) for side in ("function", "instances") for row in rows if row[side]["reason"]]
    return [f"{side}: {reason}" for side, reason in dict.fromkeys(said)]


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
