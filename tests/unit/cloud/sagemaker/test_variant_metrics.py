"""The metrics of a variant's requests."""

from collections import deque
from typing import Any

import pytest

from cloud.sagemaker import metrics
from cloud.sagemaker.endpoints.variant_metrics import (
    AnsweredRequest,
    VariantMeter,
    concurrency_metrics,
    invocation_metrics,
)


def test_concurrency_maximum_is_the_busiest_moment_of_the_busiest_instance() -> None:
    (datum,) = concurrency_metrics([0, 3, 1, 4])
    assert datum["MetricName"] == "ConcurrentRequestsPerModel"
    assert datum["StorageResolution"] == 1
    assert datum["StatisticValues"] == {"SampleCount": 4, "Sum": 8, "Minimum": 0, "Maximum": 4}
    assert concurrency_metrics([]) == []


def test_a_minutes_metrics_count_requests_errors_and_microseconds() -> None:
    answers = [AnsweredRequest(10.0, 1.0, 200), AnsweredRequest(10.001, 1.0, 503), AnsweredRequest(20.0, 1.5, 400)]
    data = {datum.pop("MetricName"): datum for datum in invocation_metrics(answers, 1.5)}
    assert data["Invocations"] == {"Value": 3, "Unit": "None"}
    assert data["InvocationsPerInstance"] == {"Value": 1.5, "Unit": "None"}
    assert data["Invocation4XXErrors"]["StatisticValues"]["Sum"] == 1
    assert data["Invocation5XXErrors"]["StatisticValues"] == {"SampleCount": 3, "Sum": 1, "Minimum": 0, "Maximum": 1}
    assert data["ModelLatency"] == {"Unit": "Microseconds", "Values": [10_000.0, 20_000.0], "Counts": [2, 1]}
    assert data["OverheadLatency"] == {"Unit": "Microseconds", "Values": [1000.0, 1500.0], "Counts": [2, 1]}


def test_a_minute_without_requests_has_counts_of_zero() -> None:
    data = [(datum["MetricName"], datum["Value"]) for datum in invocation_metrics([], 0.0)]
    assert data == [("Invocations", 0), ("InvocationsPerInstance", 0.0)]


def test_meter_puts_each_period_once_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[dict[str, Any]] = []
    monkeypatch.setattr(metrics, "put_metrics", lambda _namespace, _dimensions, data: put.extend(data))
    meter = VariantMeter("dogs", "main", 0.0)
    meter.sample([1, 0], deque([AnsweredRequest(10.0, 1.0, 200)]), 1.0)
    meter.sample([2, 0], deque(), 9.9)
    assert put == []
    meter.sample([5], deque([AnsweredRequest(10.0, 1.0, 200)]), 10.0)
    assert [(each["MetricName"], each["Timestamp"]) for each in put] == [("ConcurrentRequestsPerModel", 5.0)]
    assert put[0]["StatisticValues"]["Maximum"] == 2
    meter.sample([0], deque(), 60.0)
    values = {each["MetricName"]: each["Value"] for each in put if "Value" in each}
    assert values == {"Invocations": 2, "InvocationsPerInstance": 1.5}
    assert {each["Timestamp"] for each in put if "Value" in each} == {30.0}
