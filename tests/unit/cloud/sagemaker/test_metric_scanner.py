"""Metrics in the lines of a training job and in log events."""

import json
import re

import pytest

from cloud.logs.embedded import embedded
from cloud.sagemaker.jobs.metric_scanner import MetricScanner

DEFINITIONS = [
    {"Name": "loss", "Regex": r"train_loss=([0-9.]+)"},
    {"Name": "top1", "Regex": r"valid_top1=(\S+)"},
]


def test_each_definition_finds_its_number_and_the_last_is_final() -> None:
    scanner = MetricScanner(DEFINITIONS)
    for line in ("epoch=1/2 train_loss=0.9 valid_top1=0.5", "nothing here", "epoch=2/2 train_loss=0.4"):
        scanner.scan(line)
    assert [(each["MetricName"], each["Value"]) for each in scanner.take()] == [
        ("loss", 0.9),
        ("top1", 0.5),
        ("loss", 0.4),
    ]
    assert scanner.take() == []
    assert {name: datum["Value"] for name, datum in scanner.final.items()} == {"loss": 0.4, "top1": 0.5}


def test_value_that_is_no_number_is_dropped() -> None:
    scanner = MetricScanner([*DEFINITIONS, {"Name": "bare", "Regex": "epoch"}])
    scanner.scan("epoch=1 valid_top1=unknown train_loss=1.2.3")
    assert scanner.take() == []


def test_invalid_regex_is_an_error() -> None:
    with pytest.raises(re.error):
        MetricScanner([{"Name": "broken", "Regex": "("}])


def test_log_event_gives_metrics_for_each_of_its_dimension_sets() -> None:
    metrics = [{"Name": "Refused", "Unit": "Count"}, {"Name": "Seconds"}]
    directive = {"Namespace": "Kennel", "Dimensions": [[], ["service"]], "Metrics": metrics}
    metadata = {"Timestamp": 1_764_000_000_000, "CloudWatchMetrics": [directive]}
    event = {"_aws": metadata, "service": "classify", "Refused": 2, "Seconds": [0.5, 1.5], "extra": "kept"}
    without_dimensions = [("Refused", 2.0, "Count", {}), ("Seconds", 0.5, "None", {}), ("Seconds", 1.5, "None", {})]
    by_service = [(name, value, unit, {"service": "classify"}) for name, value, unit, _ in without_dimensions]
    assert list(embedded(json.dumps(event))) == [("Kennel", *each) for each in [*without_dimensions, *by_service]]


@pytest.mark.parametrize(
    "message",
    [
        "START RequestId: 1",
        '{"CloudWatchMetrics": 1}',
        'no JSON, "CloudWatchMetrics"',
        '{"_aws": {"CloudWatchMetrics": [{"Namespace": "n", "Dimensions": [["gone"]], "Metrics": [{"Name": "m"}]}]}}',
    ],
)
def test_other_log_events_give_no_metrics(message: str) -> None:
    assert list(embedded(message)) == []
