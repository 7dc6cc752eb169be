"""What answers cost with a function and with instances, and which of both shall serve.

All functions are pure. Both are asked for photos of 100 KB that come at random times, as many in each hour.
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from measure.max_rate import PHOTO_BYTES, answer_trial, rounded
from prices.billed import HOURS_A_MONTH
from prices.per_million import (
    CALLS,
    DOORS,
    FUNCTION_URL,
    MILLION,
    REQUESTS_PER_CONCURRENCY,
    REST_API,
    Endpoint,
    ModelFunction,
    cold_share,
    month_of_endpoint,
    month_of_function,
    num_instances,
    total,
)
from shared.errors import MeasurementError
from shared.scaling import (
    HostingChoice,
    HostingQuestion,
    HostingRow,
    MemorySize,
    PricedSize,
    Running,
    Scaling,
)
from shared.sentence import sentence_of

_CALL = CALLS[PHOTO_BYTES]
_REQUESTS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)  # a day
_DAY = 24 * 3600  # seconds
_ANY_NUMBER = 10_000  # of instances, where nobody has limited them


@dataclass(frozen=True)
class Instances:
    """The instances that would serve, and what is known of their answers; None if nobody measured it."""

    endpoint: Endpoint
    p99_ms: float | None
    estimate: str = ""  # what the figures are taken from, if nobody measured them


def estimated_instances(instance_type: str, min_instances: int, challenger: dict[str, Any]) -> Instances:
    """Return what the evaluation tells of instances: milliseconds of the model, and its rate on all cores.

    Args:
        challenger: the part of ``evaluation.json`` about the model that would serve.
    """
    rate, milliseconds = challenger["photos_per_s"], challenger["latency_ms"]
    return Instances(
        Endpoint(instance_type, rate, milliseconds, max(min_instances, 1), _ANY_NUMBER),
        p99_ms=None,
        estimate=f"nobody has measured instances in this run; the evaluation's {rate:.0f} photos/s and "
        f"{milliseconds:.1f} ms a photo, without a server, stand for them, and nothing tells the slowest of a hundred",
    )


def measured_instances(instance_type: str, min_instances: int, scaling: Scaling) -> Instances:
    """Return what the measurement of staging tells of instances."""
    trial = answer_trial(scaling.measurement)
    most = len(scaling.capacity)
    rate = scaling.measurement.knee_per_second
    return Instances(Endpoint(instance_type, rate, trial.p50_ms or 0.0, max(min_instances, 1), most), trial.p99_ms)


def _host(size: MemorySize, requests_per_day: float, provisioned: int) -> ModelFunction:
    # Environments that are kept ready spare almost everybody the cold start.
    share = cold_share(math.inf if provisioned else requests_per_day)
    return ModelFunction(size.memory_mb, size.billed_ms, size.hop_ms, share, size.cold_billed_ms, provisioned)


def priced(size: MemorySize, requests_per_day: float, provisioned: int, max_p99_ms: float) -> PricedSize:
    """Return a size of memory with what a million answers cost by the function's own URL.

    What is kept ready is among it, as it is shared by the requests that are expected; it grows with the memory.
    """
    month = total(month_of_function(_host(size, requests_per_day, provisioned), _CALL, "", requests_per_day))
    millions = requests_per_day * HOURS_A_MONTH / 24 / MILLION
    return PricedSize(
        **size.model_dump(),
        within_limits=size.warm_p99_ms <= max_p99_ms,
        dollars_per_million=rounded(None if month is None else month / millions),
    )


def cheapest(sizes: Iterable[PricedSize], max_p99_ms: float) -> PricedSize:
    """Return the cheapest size of memory that keeps the limit; where no price is known, the one with least GB-seconds.

    Raises:
        MeasurementError: none keeps it.
    """
    sizes = list(sizes)
    within = [size for size in sizes if size.within_limits]
    if not within:
        fastest = min(sizes, key=lambda size: size.warm_p99_ms)
        raise MeasurementError(
            f"the function's slowest warm request of a hundred takes {fastest.warm_p99_ms:.0f} ms even with "
            f"{fastest.memory_mb:,} MB, but max_p99_ms is {max_p99_ms:g}; raise it, or let instances answer "
            '("hosting": "instances")'
        )
    return min(within, key=lambda size: (size.dollars_per_million or size.billed_ms * size.memory_mb, size.memory_mb))


def rows(
    size: MemorySize, provisioned: int, concurrency_limit: int, instances: Instances, requests_per_day: float
) -> list[HostingRow]:
    """Return the table of both hostings, for ``_REQUESTS`` and for the expected number of requests a day."""
    return [
        HostingRow(
            requests_per_day=requests,
            function=_running_function(size, provisioned, concurrency_limit, requests),
            instances=_running_instances(instances, requests),
        )
        for requests in sorted({*_REQUESTS, requests_per_day})
    ]


def _running_function(size: MemorySize, provisioned: int, concurrency_limit: int, requests: float) -> Running:
    host = _host(size, requests, provisioned)
    cold_ms = statistics.median(size.cold_ms)
    rate = requests / _DAY
    busy = math.ceil(rate * (size.warm_p50_ms + host.cold_share * cold_ms) / 1e3)
    at_once = max(busy, math.ceil(rate / REQUESTS_PER_CONCURRENCY))
    is_possible = at_once <= concurrency_limit
    months = {
        door: month_of_function(host, _CALL, "" if door == FUNCTION_URL else door, requests) if is_possible else {}
        for door in DOORS
    }
    reason = f"{at_once} requests at once, of which the account allows the function {concurrency_limit}"
    if at_once > busy:
        reason += (
            f"; Lambda takes {REQUESTS_PER_CONCURRENCY} requests a second for each of them, however short they are"
        )
    return Running(
        dollars_per_month={door: rounded(total(parts)) if parts else None for door, parts in months.items()},
        p50_ms=size.warm_p50_ms,
        p99_ms=size.warm_p99_ms,
        cold_ms=cold_ms,
        cold_share=round(host.cold_share, 4),
        instances=0,
        estimated=False,
        reason="" if is_possible else reason,
    )


def _running_instances(instances: Instances, requests: float) -> Running:
    endpoint, reason = instances.endpoint, instances.estimate
    dollars: dict[str, float | None] = dict.fromkeys(DOORS)
    try:
        dollars |= {door: rounded(total(month_of_endpoint(endpoint, _CALL, door, requests))) for door in DOORS}
    except ValueError as error:
        reason = str(error)
    return Running(
        dollars_per_month=dollars,
        p50_ms=round(endpoint.answer_ms, 1),
        p99_ms=instances.p99_ms,
        cold_ms=None,
        cold_share=0,
        instances=num_instances(endpoint, requests / _DAY),
        estimated=bool(instances.estimate),
        reason=reason,
    )


def choose(question: HostingQuestion) -> HostingChoice:
    """Return the cheaper hosting that keeps the limit at the expected number of requests a day.

    The dollars are those by the REST API, which every stack has. Where a price is not known, instances serve, which
    need no price to be predictable.

    Raises:
        MeasurementError: neither could be measured.
    """
    function, scaling, refused = question.function, question.instances, sentence_of(question.refused)
    if not function and not scaling:
        raise MeasurementError(f"neither a function nor instances keep max_p99_ms: {refused}")
    if not scaling:
        assert function
        reason = f"only a function keeps max_p99_ms: {refused}"
        return HostingChoice(hosting="function", reason=reason, table=function.table)
    if not function:
        return HostingChoice(hosting="instances", reason=f"only instances keep max_p99_ms: {refused}", table=[])
    size = next(each for each in function.sizes if each.memory_mb == function.memory_mb)
    instances = measured_instances(function.instance_type, function.min_instances, scaling)
    table = rows(size, function.provisioned, function.concurrency_limit, instances, question.requests_per_day)
    row = next(each for each in table if each.requests_per_day == question.requests_per_day)
    hosting, reason = _cheaper(row, question.max_p99_ms)
    return HostingChoice(hosting=hosting, reason=reason, table=table)


_NAMES: dict[Literal["instances", "function"], str] = {"instances": "instances", "function": "a function"}


def _cheaper(row: HostingRow, max_p99_ms: float) -> tuple[Literal["instances", "function"], str]:
    """Return the cheaper hosting that keeps the limit, and why; instances if both cost the same.

    Raises:
        MeasurementError: neither keeps it.
    """
    hostings = {name: row.instances if name == "instances" else row.function for name in _NAMES}
    dollars = {name: running.dollars_per_month[REST_API] for name, running in hostings.items()}
    in_time = [name for name, running in hostings.items() if (running.p99_ms or 0.0) <= max_p99_ms]
    if not in_time:
        raise MeasurementError(f"neither instances nor a function keep a p99 of {max_p99_ms:g} ms; raise max_p99_ms")
    chosen = min(in_time, key=lambda name: math.inf if (amount := dollars[name]) is None else amount)
    costs = " and ".join(f"{_NAMES[name]} {_told(dollars[name], hostings[name].reason)}" for name in hostings)
    reason = f"at {row.requests_per_day:,.0f} requests a day {costs} by the REST API"
    reason += "".join(f"; {_NAMES[name]} would exceed max_p99_ms" for name in hostings if name not in in_time)
    cold_ms, share = row.function.cold_ms or 0.0, row.function.cold_share
    return chosen, f"{reason}; {share:.1%} of the requests to a function would wait {cold_ms / 1e3:.1f} s for its start"


def _told(dollars: float | None, reason: str) -> str:
    if dollars is not None:
        return f"would cost ${dollars:,.2f} a month"
    return f"cannot be priced ({reason or 'the price book lacks a price'})"
