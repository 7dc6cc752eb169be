"""A variant's metrics as SageMaker puts them: requests in flight each ten seconds, all else each minute.

What each metric counts, its unit and its statistics are those of SageMaker's guide, "Amazon SageMaker AI metrics in
Amazon CloudWatch".
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cloud.core.clock import scaled
from cloud.sagemaker import metrics

SAMPLE_SECONDS = min(0.05, scaled(0.5))  # between samples of the requests in flight
_HIGH_RESOLUTION_SECONDS = 10
_STANDARD_SECONDS = 60
_DIGITS = 3  # of a latency that are kept, so that a minute's are some hundred values and not one per request


class Answered(NamedTuple):
    """An answered request.

    Attributes:
        model_ms: milliseconds from sending it to an instance until the answer.
        overhead_ms: milliseconds around that.
        status: HTTP status of the instance's answer.
    """

    model_ms: float
    overhead_ms: float
    status: int


class Meter:
    """Measures one variant by samples.

    Args:
        endpoint: its name.
        variant: its name.
        now: epoch seconds.
    """

    def __init__(self, endpoint: str, variant: str, now: float) -> None:
        self._dimensions = {"EndpointName": endpoint, "VariantName": variant}
        self._short, self._minute = _period(_HIGH_RESOLUTION_SECONDS, now), _period(_STANDARD_SECONDS, now)
        self._in_flight: list[int] = []
        self._answers: list[Answered] = []
        self._per_instance = 0.0

    def sample(self, in_flight: Sequence[int], answers: deque[Answered], now: float) -> None:
        """Look once; puts the metrics of a period that is over.

        Args:
            in_flight: how many requests each instance in service has.
            answers: requests answered since the last look; emptied.
            now: epoch seconds.
        """
        if (short := _period(_HIGH_RESOLUTION_SECONDS, now)) > self._short:
            self._put(self._short, _HIGH_RESOLUTION_SECONDS, concurrency(self._in_flight))
            self._short, self._in_flight = short, []
        if (minute := _period(_STANDARD_SECONDS, now)) > self._minute:
            self._put(self._minute, _STANDARD_SECONDS, invocations(self._answers, self._per_instance))
            self._minute, self._answers, self._per_instance = minute, [], 0.0
        self._in_flight += in_flight
        fresh = [answers.popleft() for _ in range(len(answers))]
        self._answers += fresh
        self._per_instance += len(fresh) / max(1, len(in_flight))

    def _put(self, period: int, seconds: float, data: Iterable[dict[str, Any]]) -> None:
        middle = (period + 0.5) * scaled(seconds)
        stamped = [{**datum, "Timestamp": middle} for datum in data]
        metrics.put_metrics("AWS/SageMaker", self._dimensions, stamped)


def concurrency(samples: Sequence[int]) -> list[dict[str, Any]]:
    """ConcurrentRequestsPerModel of samples of single instances; nothing when there was no instance.

    Its valid statistics are Min and Max: the busiest moment of the busiest instance is what scaling goes by.
    """
    statistics = _statistics(samples)
    return [{"MetricName": "ConcurrentRequestsPerModel", "StorageResolution": 1, **statistics}] if samples else []


def invocations(answers: Sequence[Answered], per_instance: float) -> list[dict[str, Any]]:
    """The metrics of a minute's requests; zeros when there were none, for a scale-in to go by.

    Args:
        per_instance: for each request, one divided by the number of instances at that time; their sum.
    """
    counts = [
        {"MetricName": "Invocations", "Value": len(answers), "Unit": "None"},
        {"MetricName": "InvocationsPerInstance", "Value": per_instance, "Unit": "None"},
    ]
    if not answers:
        return counts
    statuses = [answer.status for answer in answers]
    errors = {
        "Invocation4XXErrors": [int(400 <= status < 500) for status in statuses],
        "Invocation5XXErrors": [int(status >= 500) for status in statuses],
    }
    latencies = {
        "ModelLatency": [1000 * answer.model_ms for answer in answers],
        "OverheadLatency": [1000 * answer.overhead_ms for answer in answers],
    }
    return [
        *counts,
        *({"MetricName": name, "Unit": "None", **_statistics(each)} for name, each in errors.items()),
        *({"MetricName": name, "Unit": "Microseconds", **_histogram(each)} for name, each in latencies.items()),
    ]


def _period(seconds: float, now: float) -> int:
    """The number of the period of so many seconds in which a moment falls."""
    return int(now // scaled(seconds))


def _statistics(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {}
    sums = {"SampleCount": len(values), "Sum": sum(values), "Minimum": min(values), "Maximum": max(values)}
    return {"StatisticValues": sums}


def _histogram(values: Iterable[float]) -> dict[str, Any]:
    """Values with their counts, of which CloudWatch computes percentiles; a statistic set has none."""
    counts = Counter(float(f"{value:.{_DIGITS}g}") for value in values)
    return {"Values": list(counts), "Counts": list(counts.values())}
