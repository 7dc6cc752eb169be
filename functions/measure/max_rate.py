"""Find the highest rate that one instance answers within the limits, and derive the scaling from it.

All functions are pure, except that ``search`` calls the load function that its caller passes in.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

from measure.probe import ProbeLoad, quantile
from prices import dollars
from prices.per_million import CALLS, DOORS, HALF, Endpoint, instances_share, parts, total
from shared.errors import MeasurementError
from shared.scaling import Capacity, Measurement, Scaling, Trial

SAFETY = 0.7  # share of the highest rate that one instance is given; the rest absorbs a burst until others are up
_GROWTH = 2  # factor from a rate within the limits to the next rate
_CLOSE = 1.2  # The search ends when the lowest rate beyond the limits is at most this factor above the highest within.
_MAX_TRIALS = 15
_MAX_FAILED = 0.001  # share of requests that may fail at a rate within the limits
_MAX_LATE_MS = 5.0  # If requests start later than this, the trial measures the sender.
PHOTO_BYTES = 100_000  # of the photos whose price is told; make run prints it for other sizes, too
_BURST = 2  # factor from the target to the number of requests that cannot wait for the target's averaging alarm
_MIN_SCALE_OUT, _MIN_SCALE_IN = 10, 300  # seconds

LoadAt = Callable[[float], ProbeLoad]


def search(load_at: LoadAt, first_rate: float, alone_ms: float, max_p99_ms: float) -> tuple[list[Trial], bool]:
    """Search the highest rate at which p99 stays within the limit and almost no request fails.

    The rates grow until one is beyond the limits in two trials, because one trial may be a hiccup. Then the search
    narrows the gap between the rates within and beyond the limits.
    See "The highest rate is found by open-loop load" in docs/decisions/deployment-and-scaling.md.

    Args:
        load_at: sends requests to the instance at a rate (requests per second) for some seconds.
        first_rate: rate of the first trial, requests per second.
        alone_ms: median time of a request alone.
        max_p99_ms: limit of the latency at the 99th percentile.

    Returns:
        The trials in the order of time, and whether the sender was the one that could send no more.

    Raises:
        MeasurementError: no rate is within the limits.
    """
    if alone_ms > max_p99_ms:
        raise MeasurementError(
            f"a request alone takes {alone_ms:.0f} ms, but max_p99_ms is {max_p99_ms:g}; raise it, or serve on a "
            "faster instance"
        )
    trials: list[Trial] = []
    low, high, rate = 0.0, math.inf, first_rate
    while len(trials) < _MAX_TRIALS and high > _CLOSE * low:
        load = load_at(rate)
        if load.late_ms > _MAX_LATE_MS and low:
            return trials, True
        trials.append(_trial(load, max_p99_ms))
        if not trials[-1].within_limits and high == math.inf:
            trials.append(_trial(load_at(rate), max_p99_ms))
        if trials[-1].within_limits:
            low = rate
        else:
            high = rate
        rate = low * _GROWTH if high == math.inf else math.sqrt(low * high) if low else high / 2
    if not low:
        raise MeasurementError(
            f"one instance exceeds a p99 of {max_p99_ms:g} ms even at {high:.1f} requests/s; raise max_p99_ms, "
            "or serve on a faster instance"
        )
    return trials, False


def max_rate(trials: list[Trial]) -> float:
    """Return the highest rate within the limits, requests per second."""
    return max(trial.rate for trial in trials if trial.within_limits)


def concurrency(load: ProbeLoad, overhead_ms: float) -> int:
    """Return the most requests inside the container at once, as ConcurrentRequestsPerModel counts them.

    See "Scaling follows concurrent requests" in docs/decisions/deployment-and-scaling.md.

    Args:
        overhead_ms: time that a request spends on its way to the container and back.
    """
    one_way = overhead_ms / 2000  # seconds
    # On a tie count the departure first: the new request takes the freed slot.
    changes = sorted(
        change
        for sent, answered in load.spans
        if answered - sent > 2 * one_way
        for change in ((sent + one_way, 1), (answered - one_way, -1))
    )
    return max(itertools.accumulate(change for _, change in changes), default=0)


def scaling(
    measurement: Measurement,
    sha256: str,
    reused: bool,
    start_seconds: float,
    instance_type: str,
    max_instances: int,
    architecture: str = "x86_64",
) -> Scaling:
    """Derive the scaling of the endpoint from a measurement.

    Args:
        sha256: digest of the measurement as it is kept, in hex.
        start_seconds: time from the request for an instance until it serves.
        instance_type: what serves, for its price.
        max_instances: the most of them.
        architecture: of the stack's functions, for their price.
    """
    target = max(measurement.concurrency, 1)
    # Scale out again only after the last instances serve. Scale in after twice that time, at least five minutes.
    start = math.ceil(start_seconds / 10) * 10
    return Scaling(
        measurement=measurement,
        measurement_sha256=sha256,
        reused=reused,
        target_value=target,
        burst_value=_BURST * target,
        scale_out_cooldown=max(_MIN_SCALE_OUT, start),
        scale_in_cooldown=max(_MIN_SCALE_IN, 2 * start),
        capacity=[_capacity(count, measurement, instance_type, architecture) for count in range(1, max_instances + 1)],
    )


def _trial(load: ProbeLoad, max_p99_ms: float) -> Trial:
    p99 = quantile(load.latencies, 0.99)
    return Trial(
        rate=round(load.rate, 1),
        p50_ms=round(quantile(load.latencies, 0.5), 1) if load.latencies else None,
        p99_ms=round(p99, 1) if load.latencies else None,
        failed=load.failed,
        within_limits=p99 <= max_p99_ms and load.failed <= _MAX_FAILED * (len(load.latencies) + load.failed),
    )


def _capacity(count: int, measurement: Measurement, instance_type: str, architecture: str) -> Capacity:
    endpoint = Endpoint(instance_type, measurement.knee_per_second, answer_trial(measurement).p50_ms or 0.0, count)
    call = replace(CALLS[PHOTO_BYTES], architecture=architecture)
    return Capacity(
        instances=count,
        requests_per_second=round(count * measurement.rate_per_second, 1),
        dollars_per_hour=rounded(dollars(f"hosting/{instance_type}", count)),
        instance_dollars_per_million=rounded(instances_share(instance_type, HALF * endpoint.rate)),
        dollars_per_million={door: rounded(total(parts(endpoint, call, door, HALF))) for door in DOORS},
    )


def answer_trial(measurement: Measurement) -> Trial:
    """Return the trial within the limits that was closest to half load."""
    within = [trial for trial in measurement.trials if trial.within_limits and trial.p50_ms is not None]
    return min(within, key=lambda trial: abs(trial.rate - HALF * measurement.knee_per_second))


def rounded(amount: float | None) -> float | None:
    """Return dollars as a document tells them; None if they are not known."""
    return None if amount is None else round(amount, 4)
