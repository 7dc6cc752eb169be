"""The knee of one instance, and what follows from it for scaling; pure but for the load that is handed in."""

import itertools
import math
from collections.abc import Callable

from measure.probe import Load, quantile
from shared.contracts import Capacity, Measurement, Scaling, Trial
from shared.errors import MeasurementError

SAFETY = 0.7  # of the knee: what an instance is meant to bear; the rest is for a burst until others are up
_GROWTH = 2  # from a rate that was borne to the next
_CLOSE = 1.2  # the knee is known when the rate that was not borne is no further above the one that was
_MAX_TRIALS = 15
_MAX_FAILED = 0.001  # of the requests of a rate that is borne
_MAX_LATE_MS = 5.0  # from which on it is the sender that is measured
_BURST = 2  # times the target: what no longer waits for the average of the target's own alarm
_MIN_SCALE_OUT, _MIN_SCALE_IN = 10, 300  # seconds

LoadAt = Callable[[float], Load]


def search(load_at: LoadAt, first_rate: float, alone_ms: float, max_p99_ms: float) -> tuple[list[Trial], bool]:
    """The highest rate that one instance bears: p99 within the limit, next to nothing refused.

    Rates grow until one is not borne, twice, for a hiccup is no limit; then they close in on it from both sides.

    Args:
        load_at: puts so many requests/s on the instance for some seconds.
        first_rate: where to begin, requests/s.
        alone_ms: median of a request alone.

    Returns:
        the trials in the order of time, and whether it was the sender that could do no more.

    Raises:
        MeasurementError: no rate is borne.
    """
    if alone_ms > max_p99_ms:
        raise MeasurementError(
            f"a request alone takes {alone_ms:.0f} ms, and max_p99_ms allows {max_p99_ms:g}; raise it, or serve on a "
            "faster instance"
        )
    trials: list[Trial] = []
    low, high, rate = 0.0, math.inf, first_rate
    while len(trials) < _MAX_TRIALS and high > _CLOSE * low:
        load = load_at(rate)
        if load.late_ms > _MAX_LATE_MS and low:
            return trials, True
        trials.append(_trial(load, max_p99_ms))
        if not trials[-1].borne and high == math.inf:
            trials.append(_trial(load_at(rate), max_p99_ms))
        if trials[-1].borne:
            low = rate
        else:
            high = rate
        rate = low * _GROWTH if high == math.inf else math.sqrt(low * high) if low else high / 2
    if not low:
        raise MeasurementError(
            f"one instance does not keep a p99 of {max_p99_ms:g} ms even at {high:.1f} requests/s; raise max_p99_ms, "
            "or serve on a faster instance"
        )
    return trials, False


def knee(trials: list[Trial]) -> float:
    """The highest rate that was borne."""
    return max(trial.rate for trial in trials if trial.borne)


def concurrency(load: Load, overhead_ms: float) -> int:
    """Most requests within the container at once: what SageMaker's ConcurrentRequestsPerModel says of a period.

    Of that metric there are only minimum and maximum, so the mean, which is several times lower, would be no target.

    Args:
        overhead_ms: of a request, on its way to the container and back.
    """
    way = overhead_ms / 2000
    # Whoever comes as another goes has its place.
    moments = sorted(
        moment
        for sent, answered in load.spans
        if answered - sent > 2 * way
        for moment in ((sent + way, 1), (answered - way, -1))
    )
    return max(itertools.accumulate(change for _, change in moments), default=0)


def scaling(
    measurement: Measurement, reused: bool, start_seconds: float, price: float | None, max_instances: int
) -> Scaling:
    """What a measurement means for the endpoint.

    Args:
        start_seconds: of an instance, from its order until it served.
        price: dollars an hour of an instance, where known.
    """
    target = max(measurement.concurrency, 1)
    # The next instances are ordered when the last ones serve; they go only after twice as long, or five minutes.
    start = math.ceil(start_seconds / 10) * 10
    return Scaling(
        measurement=measurement,
        reused=reused,
        target_value=target,
        burst_value=_BURST * target,
        scale_out_cooldown=max(_MIN_SCALE_OUT, start),
        scale_in_cooldown=max(_MIN_SCALE_IN, 2 * start),
        capacity=[_capacity(count, measurement.rate_per_second, price) for count in range(1, max_instances + 1)],
    )


def _trial(load: Load, max_p99_ms: float) -> Trial:
    p99 = quantile(load.latencies, 0.99)
    return Trial(
        rate=round(load.rate, 1),
        p50_ms=round(quantile(load.latencies, 0.5), 1) if load.latencies else None,
        p99_ms=round(p99, 1) if load.latencies else None,
        failed=load.failed,
        borne=p99 <= max_p99_ms and load.failed <= _MAX_FAILED * (len(load.latencies) + load.failed),
    )


def _capacity(count: int, rate: float, price: float | None) -> Capacity:
    return Capacity(
        instances=count,
        requests_per_second=round(count * rate, 1),
        dollars_per_hour=None if price is None else round(count * price, 4),
        dollars_per_million=None if price is None else round(price / (3600 * rate) * 1e6, 3),
    )
