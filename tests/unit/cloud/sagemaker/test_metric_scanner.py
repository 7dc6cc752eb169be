"""Metrics in the lines of a training job."""

import re

import pytest

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
