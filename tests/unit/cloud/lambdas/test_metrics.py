"""The metrics of Lambda: dimensions, values, and how points are kept."""

import pytest
from ministack.services import cloudwatch, lambda_svc

from cloud.core import emulator
from cloud.lambdas import hooks, metrics

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
FUNCTION = (("FunctionName", "f"),)


@pytest.mark.parametrize(
    ("arn", "version", "others"),
    [
        (ARN, "$LATEST", []),
        (f"{ARN}:$LATEST", "$LATEST", [(*FUNCTION, ("Resource", "f:$LATEST"))]),
        (f"{ARN}:7", "7", [(*FUNCTION, ("Resource", "f:7"))]),
        (
            f"{ARN}:live",
            "7",
            [
                (*FUNCTION, ("Resource", "f:live")),
                (*FUNCTION, ("Resource", "f:live"), ("ExecutedVersion", "7")),
            ],
        ),
    ],
)
def test_a_request_counts_for_its_function_and_for_what_it_names(arn, version, others):
    config = {"FunctionName": "f", "FunctionArn": arn, "Version": version}
    assert metrics.dimensions_in(config) == (FUNCTION, *others)


def test_utilization_is_the_share_that_is_in_use():
    points = {point.name: point.value for point in metrics.of_provisioned(False, 3, 4)}
    assert points == {
        "ProvisionedConcurrencyInvocations": 1,
        "ProvisionedConcurrentExecutions": 3,
        "ProvisionedConcurrencyUtilization": 0.75,
    }
    spilled = {point.name: point.value for point in metrics.of_provisioned(True, 4, 4)}
    assert spilled["ProvisionedConcurrencySpilloverInvocations"] == 1
    assert spilled["ProvisionedConcurrencyUtilization"] == 1.0
    assert metrics.of_use(0, 0) == []


def test_concurrency_counts_what_runs_at_once():
    told = []
    concurrency = metrics.Concurrency(lambda: ("us-east-1", "1"), lambda _, point: told.append(point.value))
    with concurrency.counting((FUNCTION,)):
        with concurrency.counting((FUNCTION,)):
            pass
        concurrency.sample()
        with concurrency.counting((FUNCTION,)):
            pass
    concurrency.sample()  # Nothing runs any more.
    assert told == [1, 2, 1, 2]


@pytest.fixture
def kept(monkeypatch):
    """Return the points that are kept, by name of the metric and dimensions."""
    buckets = {}
    monkeypatch.setattr(cloudwatch, "_metric_bucket", lambda key: buckets.setdefault(key[1:], []))
    return buckets


class Clock:
    now = 1000.0

    def time(self):
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(hooks, "time", clock)
    return clock


def test_equal_points_of_ten_seconds_are_one_that_counts_more(kept, clock):
    for now, value in ((1000.0, 0), (1009.9, 0), (1010.0, 0), (1011.0, 1), (1012.0, 0)):
        clock.now = now
        hooks.put_metric(FUNCTION, metrics.Point("Errors", value))
    points = kept["Errors", "FunctionName=f"]
    assert [(each["Timestamp"], each["Value"], each.get("Count", 1)) for each in points] == [
        (1000.0, 0.0, 2),
        (1010.0, 0.0, 1),
        (1011.0, 1.0, 1),
        (1012.0, 0.0, 1),
    ]
    assert cloudwatch._calc_stats(points) == {
        "SampleCount": 5.0,
        "Sum": 1.0,
        "Average": 0.2,
        "Minimum": 0.0,
        "Maximum": 1.0,
    }


@pytest.fixture
def measured(monkeypatch, kept, clock):
    """Install the measuring over a function that fails on demand, and over slots that run out."""
    free = [True]
    monkeypatch.setattr(emulator, "spawn_thread", lambda *_, **__: None)
    monkeypatch.setattr(lambda_svc, "_execute_function_dispatch", lambda _function, _config, event, *_: event)
    monkeypatch.setattr(
        lambda_svc, "_acquire_execution_slot", lambda *_: ("slot", None) if free[0] else (None, "function")
    )
    monkeypatch.setattr(lambda_svc, "_emit_lambda_metrics", None)
    hooks.measure_functions()
    return free


def sums(kept, dimensions):
    return {
        name: sum(point["Value"] * point.get("Count", 1) for point in points)
        for (name, key), points in kept.items()
        if key == dimensions
    }


def test_throttled_requests_are_neither_invocations_nor_errors(kept, measured):
    config = {"FunctionName": "f", "FunctionArn": f"{ARN}:live", "Version": "7"}
    lambda_svc._execute_function_dispatch({}, config, {"error": True}, "id", 0.0)
    lambda_svc._execute_function_dispatch({}, config, {"seconds": 0.25}, "id", 0.0)
    assert lambda_svc._acquire_execution_slot({}, config) == ("slot", None)
    measured[0] = False
    assert lambda_svc._acquire_execution_slot({}, config) == (None, "function")
    lambda_svc._execute_function_dispatch({}, config, {"throttle": True, "error": True}, "id", 0.0)
    for dimensions in (
        "FunctionName=f",
        "FunctionName=f|Resource=f:live",
        "ExecutedVersion=7|FunctionName=f|Resource=f:live",
    ):
        assert sums(kept, dimensions) == {
            "Invocations": 2.0,
            "Errors": 1.0,
            "Throttles": 2.0,
            "Duration": 250.0,
            "ConcurrentExecutions": 3.0,
        }
