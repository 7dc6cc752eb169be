"""GetMetricData with expressions."""

import json

import pytest
from ministack.services import cloudwatch

from cloud.cloudwatch import hooks

MINUTE = 1_796_083_200  # a whole minute in epoch seconds


@pytest.fixture
def get(monkeypatch):
    """GetMetricData over two metrics: 30 and 12 requests in two minutes, whose shares of instances are 10 and 12."""
    points = {
        ("AWS/SageMaker", "Invocations", ""): [(0, 30.0), (60, 12.0)],
        ("AWS/SageMaker", "InvocationsPerInstance", ""): [(0, 10.0), (60, 12.0)],
    }
    stored = {
        key: [{"Timestamp": MINUTE + at, "Value": value, "Unit": "None"} for at, value in each]
        for key, each in points.items()
    }
    monkeypatch.setattr(cloudwatch, "_metrics", stored)
    monkeypatch.setattr(cloudwatch, "_get_metric_data", cloudwatch._get_metric_data)
    hooks.evaluate_expressions()
    return cloudwatch._get_metric_data


def request(expression):
    def metric(name, label):
        stat = {"Metric": {"Namespace": "AWS/SageMaker", "MetricName": name}, "Period": 60, "Stat": "Sum"}
        return {"Id": label, "MetricStat": stat, "ReturnData": False}

    queries = [
        {"Id": "instances", "Expression": "double / 2"},
        metric("Invocations", "requests"),
        metric("InvocationsPerInstance", "shares"),
    ]
    queries.insert(0, {"Id": "double", "Expression": expression, "Label": "twice"})
    return {"MetricDataQueries": queries, "StartTime": MINUTE, "EndTime": MINUTE + 120}


def test_expression_is_answered_beside_metrics_that_stay_hidden(get):
    status, _, body = get({}, request("2 * requests / shares"), False, True)
    assert status == 200
    assert json.loads(body)["MetricDataResults"] == [
        {
            "Id": "double",
            "Label": "twice",
            "Timestamps": [MINUTE, MINUTE + 60],
            "Values": [6.0, 2.0],
            "StatusCode": "Complete",
        },
        {
            "Id": "instances",
            "Label": "instances",
            "Timestamps": [MINUTE, MINUTE + 60],
            "Values": [3.0, 1.0],
            "StatusCode": "Complete",
        },
    ]


def test_other_functions_of_metric_math_are_refused(get):
    status, _, body = get({}, request("FILL(requests, 0)"), False, True)
    assert status == 400
    assert "not 'FILL(requests, 0)'" in json.loads(body)["message"]


def test_expression_by_the_old_protocol_is_refused(get):
    status, _, body = get({"MetricDataQueries.member.1.Expression": ["a + b"]}, {}, False)
    assert status == 400
    assert b"not by the query protocol" in body
