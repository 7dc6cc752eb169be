"""How tuning jobs choose hyperparameters and stop training jobs, by AWS's documented rules."""

import math
from typing import Any

import pytest

from cloud.sagemaker.tuning import definitions, ranges, stopping
from cloud.sagemaker.tuning.strategies import strategy

SEARCHED = {
    "CategoricalParameterRanges": [{"Name": "backbone", "Values": ["lite0", "lite2"]}],
    "IntegerParameterRanges": [{"Name": "depth", "MinValue": "1", "MaxValue": "3"}],
    "ContinuousParameterRanges": [
        {"Name": "lr", "MinValue": "0.0001", "MaxValue": "1", "ScalingType": "Logarithmic"},
        {"Name": "momentum", "MinValue": "0", "MaxValue": "0.999", "ScalingType": "ReverseLogarithmic"},
        {"Name": "dropout", "MinValue": "0", "MaxValue": "0.5", "ScalingType": "Linear"},
    ],
}


def drawn(name: str, count: int, seed: int = 3) -> list[dict[str, str]]:
    chooser = strategy(name, ranges.parse(SEARCHED), seed, True, [])
    chosen = [chooser.suggest() for _ in range(count)]
    assert None not in chosen
    return [dict(each) for each in chosen if each]


@pytest.mark.parametrize("name", ["Random", "Hyperband", "Bayesian"])
def test_choices_are_texts_within_the_ranges_and_the_same_for_a_seed(name: str) -> None:
    chosen = drawn(name, 30)
    assert chosen == drawn(name, 30) != drawn(name, 30, seed=4)
    for each in chosen:
        assert each["backbone"] in ("lite0", "lite2")
        assert each["depth"] in ("1", "2", "3")
        assert 0.0001 <= float(each["lr"]) <= 1
        assert 0 <= float(each["momentum"]) <= 0.999
        assert 0 <= float(each["dropout"]) <= 0.5


def test_scales_decide_where_values_are_likely() -> None:
    chosen = drawn("Random", 1000)
    small = sum(float(each["lr"]) < 0.01 for each in chosen) / 1000  # half of the decades
    near_1 = sum(float(each["momentum"]) > 1 - math.sqrt(0.001) for each in chosen) / 1000  # half of log(1 - x)
    half = sum(float(each["dropout"]) < 0.25 for each in chosen) / 1000
    for share in (small, near_1, half):
        assert share == pytest.approx(0.5, abs=0.06)


def test_scaling_auto_is_logarithmic_from_two_decades_on() -> None:
    def scaling(low: str, high: str) -> str:
        (parsed,) = ranges.parse({"ContinuousParameterRanges": [{"Name": "x", "MinValue": low, "MaxValue": high}]})
        assert isinstance(parsed, ranges.Interval)
        return parsed.scaling

    assert [scaling("0.001", "0.1"), scaling("0.01", "0.1"), scaling("0", "1")] == ["Logarithmic", "Linear", "Linear"]


def test_grid_takes_every_combination_once() -> None:
    searched = ranges.parse(
        {"CategoricalParameterRanges": [{"Name": "a", "Values": ["1", "2"]}, {"Name": "b", "Values": ["x", "y"]}]}
    )
    grid = strategy("Grid", searched, 0, True, [])
    chosen = [grid.suggest() for _ in range(5)]
    assert chosen == [
        {"a": "1", "b": "x"},
        {"a": "1", "b": "y"},
        {"a": "2", "b": "x"},
        {"a": "2", "b": "y"},
        None,
    ]


@pytest.mark.parametrize("name", ["Random", "Bayesian"])
def test_a_small_space_is_searched_without_repetition(name: str) -> None:
    searched = ranges.parse({"IntegerParameterRanges": [{"Name": "n", "MinValue": "1", "MaxValue": "5"}]})
    chooser = strategy(name, searched, 1, True, [])
    assert sorted(str((chooser.suggest() or {})["n"]) for _ in range(5)) == ["1", "2", "3", "4", "5"]


def test_bayesian_tries_what_is_left_when_its_sampler_only_repeats() -> None:
    """Results that point at one value make the sampler draw the same few again and again."""
    searched = ranges.parse(
        {
            "CategoricalParameterRanges": [{"Name": "b", "Values": ["x", "y"]}],
            "IntegerParameterRanges": [{"Name": "e", "MinValue": "8", "MaxValue": "24", "ScalingType": "Linear"}],
        }
    )
    for space, combinations in ((searched[1:], 17), (searched, 34)):
        chooser = strategy("Bayesian", space, 0, True, [])
        tried = set()
        for _ in range(combinations):
            values = chooser.suggest()
            assert values
            chooser.observe(values, -((float(values["e"]) - 15) ** 2))
            tried.add(tuple(sorted(values.items())))
        assert len(tried) == combinations
        assert {int(dict(each)["e"]) for each in tried} == set(range(8, 25))
        assert chooser.suggest() is None


def peak(values: Any) -> float:
    return -((math.log10(float(values["lr"])) + 2) ** 2)  # the best is 0.01


def best_found(name: str, known: list[Any] | None = None, count: int = 30) -> float:
    found = []
    for seed in range(5):
        searched = ranges.parse({"ContinuousParameterRanges": [{"Name": "lr", "MinValue": "1e-6", "MaxValue": "100"}]})
        chooser = strategy(name, searched, seed, True, known or [])
        results = []
        for _ in range(count):
            values = chooser.suggest()
            assert values
            chooser.observe(values, peak(values))
            results.append(peak(values))
        found.append(max(results))
    return sum(found) / len(found)


def test_bayesian_learns_from_results() -> None:
    assert best_found("Bayesian") > best_found("Random")


def test_a_warm_start_begins_near_the_best_of_its_parents() -> None:
    known = [({"lr": repr(10**power)}, peak({"lr": 10**power})) for power in (-6, -5, -4, -3, -2.1, -2, -1.9, -1, 0, 1)]
    outside = [({"lr": "1e-9"}, 5.0), ({"depth": "2"}, 5.0)]  # Today's ranges do not have these, so they teach nothing.
    assert best_found("Bayesian", [*known, *outside], 3) > best_found("Bayesian", [], 3)


def test_the_median_rule_compares_with_running_averages_of_the_same_epoch() -> None:
    previous = [[0.2, 0.4, 0.9], [0.4, 0.6], [0.1]]
    # After two epochs the running averages are 0.3 and 0.5; the job with one epoch is not compared. Their median: 0.4.
    assert stopping.is_worse_than_median([0.9, 0.39], previous, maximize=True)
    assert not stopping.is_worse_than_median([0.0, 0.41], previous, maximize=True)
    assert stopping.is_worse_than_median([0.0, 0.41], previous, maximize=False)
    assert not stopping.is_worse_than_median([0.1, 0.1, 0.1, 0.1], previous, maximize=True)
    assert not stopping.is_worse_than_median([0.1], [], maximize=True)


def test_hyperband_lets_one_of_three_go_on() -> None:
    band = stopping.Hyperband(1, 9, maximize=True)  # rungs at 1 and 3 epochs; brackets start at 1, at 3, and at none
    assert not band.is_over(0, [0.5])
    assert not band.is_over(3, [0.4])  # Two are too few to judge.
    assert band.is_over(6, [0.3])
    assert not band.is_over(9, [0.9])
    assert not band.is_over(1, [0.0, 0.0])  # The second bracket looks at 3 epochs first.
    assert not band.is_over(2, [0.0] * 9)  # The third never compares.
    assert band.is_over(2, [0.0] * 10)  # Nobody goes on after MaxResource.


def test_one_percent_is_an_improvement() -> None:
    assert stopping.not_improving([], True) == 0
    assert stopping.not_improving([0.5, 0.5, 0.504, 0.4], True) == 3
    assert stopping.not_improving([0.5, 0.4, 0.51], True) == 0
    assert stopping.not_improving([0.5, 0.4, 0.399, 0.398], False) == 2


def test_autotune_searches_around_a_hint() -> None:
    hints = [("epochs", "20"), ("lr", "0.01"), ("dropout", "0.3"), ("optimizer", "adam")]
    request = {
        "HyperParameterTuningJobConfig": {
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "m"},
            "ParameterRanges": {"AutoParameters": [{"Name": name, "ValueHint": hint} for name, hint in hints]},
        },
        "TrainingJobDefinition": {},
    }
    (found,) = definitions.of(request)
    assert found.static == {"optimizer": "adam"}
    bounds = {each.name: (each.low, each.high) for each in found.ranges if isinstance(each, ranges.Interval)}
    assert bounds == {"epochs": (2, 200), "lr": pytest.approx((0.001, 0.1)), "dropout": pytest.approx((0.03, 1.0))}


def test_of_several_instance_types_the_first_trains() -> None:
    preferred = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 5}
    config = {"InstanceConfigs": [preferred, {**preferred, "InstanceType": "ml.m5.xlarge"}]}
    request = {"HyperParameterTuningResourceConfig": {**config, "AllocationStrategy": "Prioritized"}}
    made = definitions.Definition("", request, "m", True, [], {"epochs": "3"}).training_job("t-001", {"lr": "0.1"})
    assert made == {
        "TrainingJobName": "t-001",
        "HyperParameters": {"epochs": "3", "lr": "0.1", "_tuning_objective_metric": "m"},
        "ResourceConfig": preferred,
    }
