"""A variant's metrics as SageMaker puts them: concurrent requests every ten seconds, all others every minute.

The guide "Amazon SageMaker AI metrics in Amazon CloudWatch" gives what each metric counts, its unit and its statistics.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cloud.core.clock import scaled
from cloud.sagemaker import metrics

SAMPLE_SECONDS = min(0.05, scaled(0.5))  # between two samples of the requests in flight
_HIGH_RESOLUTION_SECONDS = 10
_STANDARD_SECONDS = 60
# Significant digits of a latency. Rounding leaves some hundred different values a minute instead of one a request.
_DIGITS = 3


class AnsweredRequest(NamedTuple):
    """A request that was answered.

    model_ms: milliseconds from sending the request to an instance until its answer.
    overhead_ms: milliseconds that the router needed besides.
    status: HTTP status of the instance's answer.
    """

    model_ms: float
    overhead_ms: float
    status: int


class VariantMeter:
    """Measures one variant by samples.

    Args:
        endpoint: the endpoint's name.
        variant: the variant's name.
        now: epoch seconds.
    """

    def __init__(self, endpoint: str, variant: str, now: float) -> None:
        self._dimensions = {"EndpointName": endpoint, "VariantName": variant}
        self._short_period = _period(_HIGH_RESOLUTION_SECONDS, now)
        self._minute = _period(_STANDARD_SECONDS, now)
        self._in_flight: list[int] = []
        self._answers: list[AnsweredRequest] = []
        self._per_instance = 0.0

    def sample(self, in_flight: Sequence[int], answers: deque[AnsweredRequest], now: float) -> None:
        """Take one sample, and put the metrics of each period that is over.

        Args:
            in_flight: number of requests in flight at each instance in service.
            answers: requests answered since the last sample; this method empties it.
            now: epoch seconds.
        """
        if (short_period := _period(_HIGH_RESOLUTION_SECONDS, now)) > self._short_period:
            self._put(self._short_period, _HIGH_RESOLUTION_SECONDS, concurrency_metrics(self._in_flight))
            self._short_period, self._in_flight = short_period, []
        if (minute := _period(_STANDARD_SECONDS, now)) > self._minute:
            self._put(self._minute, _STANDARD_SECONDS, invocation_metrics(self._answers, self._per_instance))
            self._minute, self._answers, self._per_instance = minute, [], 0.0
        self._in_flight += in_flight
        new_answers = [answers.popleft() for _ in range(len(answers))]
        self._answers += new_answers
        self._per_instance += len(new_answers) / max(1, len(in_flight))

    def _put(self, period: int, seconds: float, data: Iterable[dict[str, Any]]) -> None:
        middle = (period + 0.5) * scaled(seconds)
        data_with_time = [{**datum, "Timestamp": middle} for datum in data]
        metrics.put_metrics("AWS/SageMaker", self._dimensions, data_with_time)


def concurrency_metrics(samples: Sequence[int]) -> list[dict[str, Any]]:
    """Return ConcurrentRequestsPerModel of one period; nothing when there was no instance.

    The metric's valid statistics are Min and Max, so scaling goes by the busiest moment of the busiest instance.

    Args:
        samples: number of requests in flight, one for each sample of each instance.
    """
    statistics = _statistic_set(samples)
    return [{"MetricName": "ConcurrentRequestsPerModel", "StorageResolution": 1, **statistics}] if samples else []


def invocation_metrics(answers: Sequence[AnsweredRequest], per_instance: float) -> list[dict[str, Any]]:
    """Return the metrics of a minute's requests; without requests the counts are zero, so that scaling in is possible.

    Args:
        answers: the requests.
        per_instance: the sum over all requests of 1 / (number of instances at that time).
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
        *({"MetricName": name, "Unit": "None", **_statistic_set(values)} for name, values in errors.items()),
        *({"MetricName": name, "Unit": "Microseconds", **_histogram(values)} for name, values in latencies.items()),
    ]


def _period(seconds: float, now: float) -> int:
    """Return the number of the period of this length that contains a moment."""
    return int(now // scaled(seconds))


def _statistic_set(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {}
    sums = {"SampleCount": len(values), "Sum": sum(values), "Minimum": min(values), "Maximum": max(values)}
    return {"StatisticValues": sums}


def _histogram(values: Iterable[float]) -> dict[str, Any]:
    """Return values with their counts; CloudWatch computes percentiles from these, but not from a statistic set."""
    counts = Counter(float(f"{value:.{_DIGITS}g}") for value in values)
    return {"Values": list(counts), "Counts": list(counts.values())}
