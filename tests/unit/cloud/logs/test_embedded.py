"""Metrics in log events, in CloudWatch's embedded metric format."""

import json

import pytest

from cloud.logs.embedded import metrics_in


def test_a_log_event_contains_each_metric_once_per_set_of_dimensions() -> None:
    metrics = [{"Name": "Refused", "Unit": "Count"}, {"Name": "Seconds"}]
    directive = {"Namespace": "Kennel", "Dimensions": [[], ["service"]], "Metrics": metrics}
    metadata = {"Timestamp": 1_764_000_000_000, "CloudWatchMetrics": [directive]}
    event = {"_aws": metadata, "service": "classify", "Refused": 2, "Seconds": [0.5, 1.5], "extra": "kept"}
    by_none = [("Refused", 2.0, "Count", {}), ("Seconds", 0.5, "None", {}), ("Seconds", 1.5, "None", {})]
    by_service = [(name, value, unit, {"service": "classify"}) for name, value, unit, _ in by_none]
    assert list(metrics_in(json.dumps(event))) == [("Kennel", *each) for each in [*by_none, *by_service]]


@pytest.mark.parametrize(
    "message",
    [
        "START RequestId: 1",
        '{"CloudWatchMetrics": 1}',
        'no JSON, "CloudWatchMetrics"',
        '{"_aws": {"CloudWatchMetrics": [{"Namespace": "n", "Dimensions": [["gone"]], "Metrics": [{"Name": "m"}]}]}}',
    ],
)
def test_other_log_events_contain_no_metrics(message: str) -> None:
    assert list(metrics_in(message)) == []
