"""What the meter counts of the model's function, and how it holds what is kept ready of it."""

from datetime import UTC, datetime
from unittest import mock

import pytest

from meter import model_function, scaling, usage
from meter.sums import KeptWarm
from shared.model_function import Found, find
from tests.unit.functions.model_functions import NAME, Lambda, refused
from tests.unit.functions.test_meter import DECEMBER, HOUR

DAY = 24 * HOUR
NOW = DECEMBER + 2.5 * DAY


class Metrics:
    """CloudWatch with points of days: (metric, Resource or nothing) -> [(day, sum, number)]."""

    def __init__(self, **points):
        self.points, self.asked = points, []

    def get_metric_statistics(self, MetricName, Dimensions, StartTime, EndTime, **request):
        assert (request["Namespace"], request["Period"]) == ("AWS/Lambda", DAY)
        assert (StartTime.timestamp(), EndTime.timestamp()) == (DECEMBER, NOW)
        dimensions = {each["Name"]: each["Value"] for each in Dimensions}
        assert dimensions.pop("FunctionName") == NAME
        assert dimensions == ({} if MetricName == "Duration" else {"Resource": f"{NAME}:live"})
        days = self.points.get(MetricName, [])
        self.asked.append(MetricName)
        return {
            "Datapoints": [
                {"Timestamp": datetime.fromtimestamp(DECEMBER + day * DAY, UTC), "Sum": total, "SampleCount": number}
                for day, total, number in days
            ]
        }


def test_time_counts_with_the_memory_of_its_day():
    metrics = Metrics(Duration=[(0, 1_000_000.0, 50.0), (1, 500_000.0, 10.0)])
    known = {"2026-12-01": 1024, "2026-12-02": 2048}
    assert model_function.amounts(metrics, NAME, "x86_64", known, NOW) == {
        "lambda/request": 60.0,
        "lambda/gb-second": pytest.approx(1000 * 1 + 500 * 2),
        "lambda/provisioned-duration-gb-second": 0.0,
    }


def test_requests_to_functions_that_were_ready_cost_less():
    metrics = Metrics(Duration=[(0, 1_000_000.0, 100.0)], ProvisionedConcurrencyInvocations=[(0, 75.0, 75.0)])
    found = model_function.amounts(metrics, NAME, "arm64", {"2026-12-01": 1024}, NOW)
    assert found == {
        "lambda/request": 100.0,
        "lambda/gb-second-arm": pytest.approx(250.0),
        "lambda/provisioned-duration-gb-second-arm": pytest.approx(750.0),
    }


def test_function_that_was_gone_before_the_meter_saw_it_counts_with_the_usual_memory():
    found = model_function.amounts(Metrics(Duration=[(0, 1000.0, 1.0)]), NAME, "x86_64", {}, NOW)
    assert found["lambda/gb-second"] == pytest.approx(1769 / 1024)


def test_function_that_nobody_asked_is_asked_for_once_and_costs_nothing():
    metrics = Metrics()
    names = usage.Names("dogs", "k", "arn:p", (), ())
    metered = usage.Usage(metrics, Lambda(), names)
    assert metered.of_function("x86_64", {}, NOW) == 0
    assert (metrics.asked, metered.unpriced) == (["Duration"], set())


def test_dollars_are_those_of_the_book():
    metrics = Metrics(Duration=[(0, 1_000_000.0, 100.0)])
    metered = usage.Usage(metrics, Lambda(), usage.Names("dogs", "k", "arn:p", (), ()))
    dollars = metered.of_function("x86_64", {"2026-12-01": 1024}, NOW)
    assert dollars == pytest.approx(1000 * 1.66667e-05 + 100 * 2e-7)


@pytest.mark.parametrize(
    ("before", "megabytes", "expected"),
    [
        ({}, 0, {}),
        ({}, 1769, {"2026-12-03": 1769}),
        ({"2026-12-01": 1769}, 1769, {"2026-12-01": 1769}),
        ({"2026-12-01": 1769}, 1024, {"2026-12-01": 1769, "2026-12-03": 1024}),
        ({"2026-12-03": 3008}, 1024, {"2026-12-03": 3008}),  # The larger one of a day.
        ({"2026-12-01": 1769}, 0, {"2026-12-01": 1769}),  # It was deleted, and has answered before.
        ({"2026-11-02": 1024, "2026-11-20": 1769}, 1769, {"2026-12-01": 1769}),  # The month has turned.
    ],
)
def test_memory_is_kept_by_the_day_since_when_it_was_so(before, megabytes, expected):
    assert model_function.sizes(before, megabytes, NOW) == expected


def test_smaller_memory_counts_from_the_next_day_on():
    known = model_function.sizes({"2026-12-03": 3008}, 1024, NOW)
    assert model_function.sizes(known, 1024, NOW + DAY) == {"2026-12-03": 3008, "2026-12-04": 1024}


def test_function_is_found_as_its_alias_serves_it_or_as_it_is_tried():
    live = mock.Mock(get_function_configuration=lambda **_: {"MemorySize": 1024, "Architectures": ["arm64"]})
    assert find(live, NAME) == Found(1024, "arm64")

    def tried(**request):
        if "Qualifier" in request:
            raise refused("ResourceNotFoundException")
        return {"MemorySize": 1769}

    assert find(mock.Mock(get_function_configuration=tried), NAME) == Found(1769, "x86_64")
    assert find(Lambda(), NAME) == Found()


def test_what_is_kept_ready_counts_with_its_memory_since_it_was_set():
    told = {"AllocatedProvisionedConcurrentExecutions": 2, "LastModified": "2026-12-01T00:00:00+0000"}
    lambdas = mock.Mock(get_provisioned_concurrency_config=lambda **_: told)
    kept = model_function.kept_ready(lambdas, NAME, Found(1536), was_ready=False)
    assert kept == {NAME: KeptWarm(3.0, "lambda/provisioned-gb-second", DECEMBER)}


@pytest.mark.parametrize("found", [Found(), Found(1769)])
def test_what_is_not_kept_ready_any_more_counts_until_now(found):
    item = "lambda/provisioned-gb-second"
    assert model_function.kept_ready(Lambda((1, {}), {"1": ""}), NAME, found, True) == {NAME: KeptWarm(0.0, item, 0.0)}
    assert model_function.kept_ready(Lambda((1, {}), {"1": ""}), NAME, found, False) == {}


class Target:
    """The scalable target of the function's alias."""

    def __init__(self, *range_):
        self.range = list(range_)

    def describe_scalable_targets(self, ServiceNamespace, ResourceIds, ScalableDimension):
        assert (ServiceNamespace, ResourceIds) == ("lambda", [f"function:{NAME}:live"])
        assert ScalableDimension == "lambda:function:ProvisionedConcurrency"
        return {"ScalableTargets": [dict(zip(("MinCapacity", "MaxCapacity"), self.range, strict=True))]}

    def register_scalable_target(self, MinCapacity, MaxCapacity, **_):
        self.range = [MinCapacity, MaxCapacity]


def test_cap_keeps_the_fewest_ready_and_is_lifted_to_twice_as_many():
    target = Target(2, 4)
    kept_ready = scaling.of_function(target, "dogs")
    kept_ready.cap(None)
    assert target.range == [2, 2]
    kept_ready.lift(None)
    assert target.range == [2, 4]
    target.range = [2, 9]  # Somebody has set it.
    kept_ready.lift(None)
    assert target.range == [2, 9]
