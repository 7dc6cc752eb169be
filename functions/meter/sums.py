"""Add up what is spent by month: pure sums over what the meter has seen.

Instances of endpoints and functions that are kept warm are counted from tick to tick, because nobody tells afterwards
how many there were. Jobs are counted
when they have ended, by their own times, and what CloudWatch keeps is asked anew for the whole month at each tick. So a
lost tick, or one that runs twice, changes no sum.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import prices
from prices.billed import HOURS_A_MONTH
from prices.disks import has_own_disks
from prices.per_million import VOLUME_GB
from shared.spending import Fleet, Spending, month_of, month_start, next_month_start

ENDPOINTS, JOBS, RUNNING, WARM = "endpoints", "jobs", "jobs that run", "warm functions"
_HOUR = 3600.0
_WRONG_CLOCK = 600.0  # If the last tick is so many seconds in the future, its clock was wrong.


@dataclass(frozen=True)
class Seen:
    """Instances of an endpoint, and since when it exists in epoch seconds."""

    fleet: Fleet
    created: float


@dataclass(frozen=True)
class KeptWarm:
    """What of a function is kept warm.

    Attributes:
        gigabytes: memory of all its instances that are kept warm.
        item: id of the price of a GB-second.
        since: when that number was set, in epoch seconds.
    """

    gigabytes: float
    item: str
    since: float


@dataclass(frozen=True)
class Charge:
    """Dollars for the time from ``start`` to ``end``, in epoch seconds."""

    dollars: float
    start: float
    end: float


@dataclass(frozen=True)
class Observation:
    """What the meter has seen at one tick.

    Attributes:
        now: epoch seconds.
        fleets: by endpoint.
        ended: jobs that ended after ``ended_until`` of the document before and until that of this observation.
        running: jobs that still run, and those that ended later.
        ended_until: see ``Spending``.
        usage: dollars of the whole month until now, by part.
        unpriced: items of all of these whose price is not known.
        uncounted: see ``Spending``.
        warm: what is kept warm, by function, also of one that keeps nothing warm any more.
        function_megabytes, function_sizes: see ``Spending``.
    """

    now: float
    fleets: dict[str, Seen]
    ended: list[Charge] = field(default_factory=list)
    running: list[Charge] = field(default_factory=list)
    ended_until: float = 0
    usage: dict[str, float] = field(default_factory=dict)
    unpriced: set[str] = field(default_factory=set)
    uncounted: int = 0
    warm: dict[str, KeptWarm] = field(default_factory=dict)
    function_megabytes: int = 0
    function_sizes: dict[str, int] = field(default_factory=dict)


def advance(before: Spending, seen: Observation) -> Spending:
    """Return the document after one more tick."""
    now, month = seen.now, month_of(seen.now)
    seen = replace(seen, fleets={name: _with_type(each, before.fleets.get(name)) for name, each in seen.fleets.items()})
    unpriced = set(seen.unpriced)
    months = {name: dict(parts) for name, parts in before.months.items()}
    _add(months, ENDPOINTS, _endpoints(before, seen, unpriced))
    _add(months, WARM, _warm(before, seen, unpriced))
    _add(months, JOBS, seen.ended)
    for parts in months.values():
        parts.pop(RUNNING, None)
    months.setdefault(month, {}).update(
        {RUNNING: sum(_by_month(each).get(month, 0.0) for each in seen.running), **seen.usage}
    )
    kept = {month, month_of(month_start(now) - 1)}
    return before.model_copy(
        update={
            # While a clock is a little behind, the time that was counted already stays counted.
            "at": now if before.at > now + _WRONG_CLOCK else max(before.at, now),
            "months": {name: _rounded(parts) for name, parts in months.items() if name in kept},
            "fleets": {name: each.fleet for name, each in seen.fleets.items() if each.fleet.count},
            "ended_until": seen.ended_until,
            "uncounted": seen.uncounted,
            "warm": {name: each.gigabytes for name, each in seen.warm.items() if each.gigabytes},
            "function_megabytes": seen.function_megabytes,
            "function_sizes": seen.function_sizes,
            "unpriced": sorted(unpriced),
        }
    )


def _with_type(seen: Seen, before: Fleet | None) -> Seen:
    """Return a fleet whose configuration was deleted with the type that it had at the last tick."""
    if seen.fleet.instance_type:
        return seen
    known = before.instance_type if before else "an instance type that its deleted configuration had"
    return replace(seen, fleet=seen.fleet.model_copy(update={"instance_type": known}))


def _endpoints(before: Spending, seen: Observation, unpriced: set[str]) -> list[Charge]:
    """Return the charges of all endpoints since the last tick.

    Of the numbers of instances at both ends of that time the larger one counts, and an endpoint that is gone counts to
    its end: nobody knows when it changed, and a limit must not be passed unseen.
    """
    charges = []
    for name in before.fleets.keys() | seen.fleets.keys():
        then, now = before.fleets.get(name), seen.fleets.get(name)
        start = _start(before, seen, now.created if now else 0.0)
        types = {each.instance_type for each in (then, now.fleet if now else None) if each}
        count = max(then.count if then else 0, now.fleet.count if now else 0)
        price = max(_per_hour(each, unpriced) for each in types)
        if start < seen.now:
            charges.append(Charge(count * price * (seen.now - start) / _HOUR, start, seen.now))
    return charges


def _warm(before: Spending, seen: Observation, unpriced: set[str]) -> list[Charge]:
    """Return what functions that are kept warm cost since the last tick, by the larger number of both ends."""
    charges = []
    for name, now in seen.warm.items():
        gigabytes = max(before.warm.get(name, 0.0), now.gigabytes)
        # A number that has changed says nothing of the time before, which counts with the number at the last tick.
        start = _start(before, seen, 0.0 if name in before.warm else now.since)
        price = prices.dollars(now.item)
        if gigabytes and price is None:
            unpriced.add(now.item)
        if start < seen.now:
            charges.append(Charge(gigabytes * (price or 0.0) * (seen.now - start), start, seen.now))
    return charges


def _start(before: Spending, seen: Observation, since: float) -> float:
    """Return from when on something counts that has been there since a moment: the last tick or the month."""
    return max(before.at or month_start(seen.now), since)


def _per_hour(instance_type: str, unpriced: set[str]) -> float:
    """Return what an hour of an instance costs, with its volume, as far as their prices are known."""
    items = {f"hosting/{instance_type}": 1.0}
    if not has_own_disks(instance_type):
        items["hosting/volume"] = VOLUME_GB / HOURS_A_MONTH
    found = {item: prices.dollars(item, quantity) for item, quantity in items.items()}
    unpriced |= {item for item, price in found.items() if price is None}
    return sum(price or 0.0 for price in found.values())


def _add(months: dict[str, dict[str, float]], part: str, charges: Iterable[Charge]) -> None:
    for charge in charges:
        for month, dollars in _by_month(charge).items():
            parts = months.setdefault(month, {})
            parts[part] = parts.get(part, 0.0) + dollars


def _by_month(charge: Charge) -> dict[str, float]:
    """Divide a charge among the months of its time."""
    if charge.end <= charge.start:
        return {month_of(charge.end): charge.dollars}
    shares, start = {}, charge.start
    while start < charge.end:
        end = min(charge.end, next_month_start(start))
        shares[month_of(start)] = charge.dollars * (end - start) / (charge.end - charge.start)
        start = end
    return shares


def _rounded(parts: dict[str, float]) -> dict[str, float]:
    return {name: round(dollars, 6) for name, dollars in parts.items()}
