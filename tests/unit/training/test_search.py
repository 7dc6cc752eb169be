"""What a search looks for, what it refuses, and how it chooses trials."""

import json
import math
from collections.abc import Callable

import pytest

from serving import evaluate
from training import train
from training.hyperparameters import HyperparameterError, Hyperparameters
from training.search import Interval, Search, Tried, _unseen, next_trials, parse

RANGES = {
    "epochs": {"min": 5, "max": 40},
    "global_batch_size": {"min": 16, "max": 512, "scale": "log"},
    "learning_rate": {"min": 1e-4, "max": 1e-1, "scale": "log"},
    "pull": {"min": 0, "max": 1},
    "sampling": ["natural", "balanced"],
}


def search(settings: Hyperparameters | None = None, **fields: object) -> Search:
    return parse(json.dumps(fields), settings or Hyperparameters())


def quality(values: dict[str, object]) -> float:
    """Return how good a trial is: best with a learning rate of 0.01 and a pull of 0.5."""
    return -abs(math.log10(float(values.get("learning_rate", 1e-2))) + 2) - abs(float(values.get("pull", 0.5)) - 0.5)


def run(wanted: Search, at_once: int = 8) -> list[Tried]:
    tried: list[Tried] = []
    while len(tried) < wanted.trials:
        chosen = next_trials(wanted, tried, min(at_once, wanted.trials - len(tried)))
        tried += [Tried(each, [quality(each)], True, False) for each in chosen]
    return tried


def test_ranges_are_read_with_their_kind_and_scale():
    ranges = search(ranges=RANGES).ranges
    assert ranges["epochs"] == Interval(5, 40, True, False)
    assert ranges["global_batch_size"] == Interval(16, 512, True, True)
    assert ranges["learning_rate"] == Interval(1e-4, 1e-1, False, True)
    assert ranges["pull"] == Interval(0.0, 1.0, False, False)
    assert ranges["sampling"] == ("natural", "balanced")


@pytest.mark.parametrize("strategy", ["random", "bayesian", "hyperband"])
def test_trials_are_within_their_ranges_and_differ(strategy):
    tried = run(search(trials=40, strategy=strategy, ranges=RANGES))
    assert len({tuple(each.values.values()) for each in tried}) == 40
    for each in tried:
        values = each.values
        assert 5 <= values["epochs"] <= 40
        assert isinstance(values["epochs"], int)
        assert 16 <= values["global_batch_size"] <= 512
        assert 1e-4 <= values["learning_rate"] <= 1e-1
        assert 0 <= values["pull"] <= 1
        assert values["sampling"] in ("natural", "balanced")
    assert {each.values["sampling"] for each in tried} == {"natural", "balanced"}


def test_a_log_scale_gives_each_factor_the_same_chance():
    wanted = search(trials=200, strategy="random", ranges={"learning_rate": {"min": 1e-4, "max": 1, "scale": "log"}})
    rates = [each.values["learning_rate"] for each in run(wanted, 50)]
    assert 70 <= sum(rate < 1e-2 for rate in rates) <= 130  # half of the factors; on a linear scale it would be 1 %
    wanted = search(trials=200, strategy="random", ranges={"learning_rate": {"min": 1e-4, "max": 1}})
    assert sum(each.values["learning_rate"] < 1e-2 for each in run(wanted, 50)) <= 10


def test_the_first_trial_is_the_defaults_if_they_are_within_the_ranges():
    assert next_trials(search(), [], 3)[0] == {
        "epochs": 20,
        "global_batch_size": 128,
        "learning_rate": 3e-3,
        "pull": 0.05,
    }
    assert next_trials(search(ranges={"epochs": {"min": 1, "max": 5}}, trials=3), [], 1)[0]["epochs"] <= 5


def test_bayesian_trials_learn_from_those_before():
    tried = run(search(trials=64, ranges=RANGES))
    early, late = [quality(each.values) for each in tried[1:17]], [quality(each.values) for each in tried[48:]]
    assert sum(late) / 16 > sum(early) / 16 + 0.2


@pytest.mark.parametrize("strategy", ["random", "bayesian", "hyperband", "grid"])
def test_the_choice_depends_only_on_the_trials_before_and_the_seed(strategy):
    ranges = RANGES if strategy != "grid" else {"epochs": list(range(1, 25))}
    wanted = search(trials=24, strategy=strategy, seed=5, ranges=ranges)
    tried = run(wanted)
    assert next_trials(wanted, tried[:16], 8) == [each.values for each in tried[16:]]
    other = run(search(trials=24, strategy=strategy, seed=6, ranges=ranges))
    assert (other == tried) == (strategy == "grid")


def test_trials_that_failed_or_still_run_are_known_to_the_choice():
    wanted = search(trials=30, ranges=RANGES)
    tried = run(wanted)[:20]
    tried[3] = Tried(tried[3].values, [], False, False)
    tried[4] = Tried(tried[4].values, [0.1, 0.2], False, False)
    tried[19] = Tried(tried[19].values, [0.1], False, True)
    assert len(next_trials(wanted, tried, 4)) == 4


def test_a_small_space_is_tried_to_its_last_combination():
    ranges = {"epochs": {"min": 5, "max": 9}, "sampling": ["natural", "balanced"]}
    for strategy in ("random", "bayesian"):
        tried = next_trials(search(trials=10, strategy=strategy, ranges=ranges), [], 10)
        assert len({tuple(each.values()) for each in tried}) == 10


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [
        (0.01, 0.010001, [0.01, 0.010001]),
        (0.5, 0.5003, [0.5, 0.5001, 0.5002, 0.5003]),
        (0.9998, 1.001, [0.9998, 0.9999, 1.0, 1.001]),
    ],
)
@pytest.mark.parametrize("strategy", ["random", "bayesian"])
def test_a_narrow_interval_of_fractions_is_tried_to_its_last_value(low, high, values, strategy):
    ranges = {"learning_rate": {"min": low, "max": high}}
    tried = run(search(trials=len(values), strategy=strategy, ranges=ranges))
    assert sorted(each.values["learning_rate"] for each in tried) == values
    with pytest.raises(HyperparameterError) as error:
        search(trials=len(values) + 1, ranges=ranges)
    assert f"the ranges have only {len(values)} different values, and 'trials' is" in str(error.value)


def test_a_new_trial_beside_a_wide_interval_is_within_it():
    wanted = search(ranges={"learning_rate": {"min": 0.0003, "max": 0.03, "scale": "log"}, "epochs": [1, 2]})
    found = _unseen(wanted, set())
    assert 0.0003 <= found["learning_rate"] <= 0.03
    assert found["epochs"] in (1, 2)


def test_a_grid_is_every_combination_in_order():
    wanted = search(trials=6, ranges={"epochs": [5, 10, 20], "sampling": ["natural", "balanced"]})
    assert (wanted.strategy, wanted.trials) == ("grid", 6)
    first = next_trials(wanted, [], 4)
    assert [tuple(each.values()) for each in first] == [
        (5, "natural"),
        (5, "balanced"),
        (10, "natural"),
        (10, "balanced"),
    ]
    done = [Tried(each, [0.5], True, False) for each in first]
    assert [tuple(each.values()) for each in next_trials(wanted, done, 2)] == [(20, "natural"), (20, "balanced")]


def test_defaults_are_filled_in_and_what_is_fixed_is_not_searched():
    wanted = parse("{}", Hyperparameters(epochs=7), frozenset({"epochs"}))
    assert (wanted.trials, wanted.strategy, wanted.max_parallel, wanted.minutes) == (64, "bayesian", 8, math.inf)
    assert wanted.ranges.keys() == {"global_batch_size", "learning_rate", "pull"}
    assert wanted.settings({"pull": 0.2}) == Hyperparameters(epochs=7, pull=0.2)
    assert parse(json.dumps(wanted.document()), Hyperparameters(epochs=7)).ranges == wanted.ranges


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"trails": 3}, "'trails' is unknown (known are max_parallel, minutes, objective, "),
        ({"trials": 0}, "'trials' must be a whole number from 1 to 750, not 0"),
        ({"trials": 2.5}, "'trials' must be a whole number from 1 to 750, not 2.5"),
        ({"minutes": 0}, "'minutes' must be a number above 0, not 0"),
        ({"minutes": float("nan")}, "'minutes' must be a number above 0, not NaN"),
        ({"minutes": 10**400}, f"'minutes' must be a number above 0, not 1{'0' * 39}…"),
        ({"ranges": "abc"}, "'ranges' must be an object such as {\"epochs\": {\"min\": 8, \"max\": 24}}, not 'abc'"),
        ({"ranges": []}, "'ranges' must be an object such as"),
        ({"ranges": None}, "'ranges' must be an object such as {\"epochs\": {\"min\": 8, \"max\": 24}}, not null"),
        ({"ranges": {"backbone": [None]}}, "the range of 'backbone' must contain names, not null"),
        ({"ranges": {"backbone": ["a", '"a"', " a"]}}, "the range of 'backbone' contains a value twice"),
        ({"strategy": "Grid"}, "'strategy' must be auto or bayesian or random or hyperband or grid, not 'Grid'"),
        ({"strategy": "guess"}, "'strategy' must be auto or bayesian or random or hyperband or grid, not 'guess'"),
        ({"objective": "test_top1"}, "'objective' must be valid_top1 or valid_loss, not 'test_top1'"),
        ({"ranges": {"learning_rat": [1]}}, "'learning_rat' is unknown (did you mean 'learning_rate'?)"),
        ({"ranges": {"seed": [1]}}, "the range of 'seed' cannot be searched"),
        ({"ranges": {"keep": [0.1]}}, "the range of 'keep' has no effect in mode head"),
        ({"ranges": {"epochs": []}}, "the range of 'epochs' is empty"),
        ({"ranges": {"epochs": [2, 2]}}, "the range of 'epochs' contains a value twice"),
        ({"ranges": {"epochs": {"min": 9, "max": 5}}}, "'epochs' has a min of 9 that is not below its max of 5"),
        ({"ranges": {"pull": {"min": 0, "max": 1, "scale": "log"}}}, "log scale, so its min must be above 0, not 0"),
        ({"ranges": {"learning_rate": {"min": 1, "max": 99}}}, "'learning_rate' must be between 1e-08 and 10, not 99"),
        ({"ranges": {"sampling": {"min": 0, "max": 1}}}, "the range of 'sampling' must be a list of values"),
        ({"trials": 3, "ranges": {"epochs": [1, 2, 3, 4]}, "strategy": "grid"}, "the grid has 4 combinations"),
        ({"ranges": {"pull": {"min": 0, "max": 1}}, "strategy": "grid"}, "a grid needs lists; give pull as a list"),
        ({"trials": 9, "ranges": {"epochs": {"min": 1, "max": 8}}}, "only 8 different values, and 'trials' is 9"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_what_is_allowed(fields, sentence):
    with pytest.raises(HyperparameterError) as error:
        search(**fields)
    assert str(error.value).startswith("tune: ")
    assert sentence in str(error.value)


def test_known_names_are_listed_once():
    for fields, name in (({"trails": 3, "qqq": 4}, "objective"), ({"ranges": {"qqq": [1], "zzz": [1]}}, "layer_decay")):
        with pytest.raises(HyperparameterError) as error:
            search(**fields)
        assert str(error.value).count(name) == 1


def test_null_is_not_given_where_plan_may_write_it():
    wanted = parse('{"minutes": null, "max_parallel": null}', Hyperparameters())
    assert (wanted.minutes, wanted.max_parallel) == (math.inf, 8)


def test_text_that_is_no_search_is_refused():
    for text in ("64", "trials=64", "[]"):
        with pytest.raises(HyperparameterError, match="tune: "):
            parse(text, Hyperparameters())
    with pytest.raises(HyperparameterError, match="the hyperparameter is fixed as well"):
        parse('{"ranges": {"epochs": [1, 2]}}', Hyperparameters(), frozenset({"epochs"}))
    with pytest.raises(HyperparameterError, match="nothing is left to search"):
        parse("{}", Hyperparameters(), frozenset({"epochs", "global_batch_size", "learning_rate", "pull"}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"trials" 3}', 'tune: not JSON from character 11 on; it must be an object such as {"trials": 64}'),
        ("[3]", 'tune: must be a JSON object such as {"trials": 64}'),
    ],
)
def test_a_search_that_is_no_json_says_where(text: str, words: str) -> None:
    with pytest.raises(HyperparameterError) as caught:
        parse(text, Hyperparameters())
    assert str(caught.value) == words


@pytest.mark.parametrize("main", [train.main, evaluate.main])
def test_an_option_that_is_no_json_is_told_in_words(
    main: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    options = {train.main: ["--data", "x", "--model-dir", "x", "--hyperparameters"], evaluate.main: ["--preprocess"]}
    with pytest.raises(SystemExit):
        main([*options[main], "{"])
    assert "'{' must be a JSON object, such as {}" in capsys.readouterr().err
