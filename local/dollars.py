"""After a run: what answers cost on AWS with everything. What the stack costs while nobody asks is in the receipt."""

from typing import Any

from rich.table import Table

from local.console import columns, plural
from local.stack import KeyLimits
from prices import per_million

_PHOTO_BYTES = 100_000
_DAYS = (10_000, 100_000, 1_000_000)  # requests of a day
_DAY = 24 * 3600  # seconds


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


def by_hosting(rows: list[dict[str, Any]], key: KeyLimits) -> Table:
    """Return a table of what a function and an endpoint cost in a month, by the photos of a day.

    Args:
        rows: ``HostingRow`` documents.
        key: what one key of the API may ask.
    """
    cells: list[tuple[str, ...]] = [
        ("photos a day", "by", "its URL", "REST API", "50 / 99 %", "cold (share)"),
    ]
    for row in rows:
        count, is_beyond = f"{row['requests_per_day']:,.0f}", _is_beyond(row, key)
        cells.append((count, "function", *_side(row["function"], is_beyond)))
        instances = plural(row["instances"]["instances"], "instance")
        cells.append(("", instances, *_side(row["instances"], is_beyond)))
    return columns(cells, right=(0, 2, 3, 4))


def _is_beyond(row: dict[str, Any], key: KeyLimits) -> bool:
    """Whether one key may not ask so much by the REST API."""
    requests: float = row["requests_per_day"]
    return requests > min(key.requests_per_day, _DAY * key.requests_per_second)


def _side(running: dict[str, Any], is_beyond: bool) -> tuple[str, str, str, str]:
    """Return the cells of one hosting, with ~ before what is estimated and * before what one key may not ask."""
    mark, by_door = "~" if running["estimated"] else "", running["dollars_per_month"]
    unknown = "–" if running["reason"] else "price not known"  # The reason stands below the table.
    url, rest = (
        unknown if by_door.get(door) is None else f"{mark}${by_door[door]:,.2f}"
        for door in (per_million.FUNCTION_URL, per_million.REST_API)
    )
    times = [f"{each:,.0f}" for each in (running["p50_ms"], running["p99_ms"]) if each is not None]
    cold_ms, share = running["cold_ms"], running["cold_share"]
    cold = "" if cold_ms is None else f"{cold_ms / 1e3:.1f} s ({share:.1%})"
    return url, "*" * is_beyond + rest, f"{mark}{' / '.join(times)} ms" if times else "–", cold


def reasons(rows: list[dict[str, Any]], key: KeyLimits, max_instances: int) -> list[str]:
    """Return what there is to know of the table of ``by_hosting``, a sentence each.

    Args:
        rows: ``HostingRow`` documents.
        key: what one key of the API may ask.
        max_instances: the most that the run lets serve.
    """
    said = [(side, row[side]["reason"]) for side in ("function", "instances") for row in rows if row[side]["reason"]]
    sentences = [f"{side}: {reason}" for side, reason in dict.fromkeys(said)]
    if any(row["instances"]["instances"] > max_instances for row in rows):
        sentences.append(f"instances: more than {max_instances} are beyond max_instances of this run")
    if any(_is_beyond(row, key) for row in rows):
        sentences.append(
            f"*: one key of the API may ask only {key.requests_per_day:,} times a day and {key.requests_per_second:g} "
            "times a second (ApiRequestsPerDay, ApiRequestsPerSecond)"
        )
    return sentences


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
