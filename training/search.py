"""What a search for hyperparameters looks for, and how its next trials are chosen.

A search tries sets of hyperparameters and trains with the best. Optuna chooses the trials. Every choice depends only on
the trials so far and on a seed, so a search that was interrupted goes on as if it had not been.
"""

import itertools
import json
import math
import random
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

from training.hyperparameters import FIELDS, HyperparameterError, Hyperparameters, from_strings, problems_of, shortened

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

STRATEGIES = ("bayesian", "random", "hyperband", "grid")
OBJECTIVES = ("valid_top1", "valid_loss")
MAX_TRIALS = 750
# They decide where and when a training runs, not how good it becomes.
_NEVER_SEARCHED = frozenset({"mode", "precision", "checkpoint_seconds", "seed"})
_EXAMPLE = '{"epochs": {"min": 8, "max": 24}}'
_DIGITS = 4  # significant digits of a number that is chosen from an interval
_MOST_ATTEMPTS = 100  # until a trial is chosen that differs from all before

Value = int | float | str
# A weaker pull looks better on validation crops and is worse on whole photos.
# See "Pull 0.05 and learning rate 3e-3" in docs/decisions/training.md.
DEFAULT_RANGES: dict[str, dict[str, Value] | list[Value]] = {
    "epochs": {"min": 8, "max": 24, "scale": "linear"},
    "global_batch_size": {"min": 64, "max": 256, "scale": "log"},
    "learning_rate": {"min": 3e-4, "max": 3e-2, "scale": "log"},
    "pull": {"min": 0.03, "max": 0.3, "scale": "log"},
}


@dataclass(frozen=True)
class Interval:
    """All numbers from ``low`` to ``high``; ``is_log`` makes each factor as likely, otherwise each distance."""

    low: int | float
    high: int | float
    is_integer: bool
    is_log: bool


@dataclass(frozen=True)
class Search:
    """A search for hyperparameters.

    Attributes:
        trials: number of different sets of hyperparameters.
        strategy: how they are chosen; ``grid`` is every combination of listed values.
        max_parallel: number of trials that are chosen together.
        minutes: longest time; infinity for no limit.
        seed: seed of the choice.
        objective: ``valid_top1`` or ``valid_loss``.
        ranges: what to search, by hyperparameter: an interval, or the possible values.
        fixed: the hyperparameters that are not searched, and the defaults of the others.
    """

    trials: int
    strategy: str
    max_parallel: int
    minutes: float
    seed: int
    objective: str
    ranges: dict[str, Interval | tuple[Value, ...]]
    fixed: Hyperparameters

    def settings(self, values: Mapping[str, Value]) -> Hyperparameters:
        """Return all hyperparameters of a trial."""
        return from_strings({**asdict(self.fixed), **values})

    def backbones(self) -> list[str]:
        """Return the names of all backbones that trials may have."""
        searched = self.ranges.get("backbone")
        return [str(each) for each in searched] if isinstance(searched, tuple) else [self.fixed.backbone]

    def document(self) -> dict[str, Any]:
        """Return what was searched, in the form in which it was asked for."""
        ranges = {
            name: list(each)
            if isinstance(each, tuple)
            else {"min": each.low, "max": each.high, "scale": "log" if each.is_log else "linear"}
            for name, each in self.ranges.items()
        }
        plain = ("trials", "strategy", "max_parallel", "seed", "objective")
        limit = {} if math.isinf(self.minutes) else {"minutes": self.minutes}
        return {name: getattr(self, name) for name in plain} | limit | {"ranges": ranges}

    def defaults(self) -> dict[str, Value] | None:
        """Return the default values of what is searched; None if they are not within the ranges."""
        values = {name: getattr(self.fixed, name) for name in self.ranges}
        return values if all(_contains(self.ranges[name], value) for name, value in values.items()) else None


def parse(text: str, settings: Hyperparameters, named: frozenset[str] = frozenset()) -> Search:
    """Read a search from JSON.

    Args:
        text: an object with the fields of ``Search`` except ``fixed``; all of them are optional.
        settings: the hyperparameters that the search varies.
        named: names of the hyperparameters that somebody has fixed; those are not searched by default.

    Raises:
        HyperparameterError: the message names every mistake.
    """
    try:
        raw = json.loads(text)
    except ValueError as error:
        place = f" from character {error.pos + 1} on" if isinstance(error, json.JSONDecodeError) else ""
        raise HyperparameterError(f'tune: not JSON{place}; it must be an object such as {{"trials": 64}}') from None
    if not isinstance(raw, dict):
        raise HyperparameterError('tune: must be a JSON object such as {"trials": 64}')
    raw = {name: each for name, each in raw.items() if each is not None or name not in ("minutes", "max_parallel")}
    known = {field.name for field in fields(Search)} - {"fixed"}
    problems = []
    if strangers := sorted(raw.keys() - known):
        names = ", ".join(f"'{shortened(name)}'" for name in strangers)
        verb = "are" if len(strangers) > 1 else "is"
        problems.append(f"{names} {verb} unknown (known are {', '.join(sorted(known))})")
    trials = _number(raw, "trials", 64, 1, MAX_TRIALS, problems)
    seed = _number(raw, "seed", 0, 0, 2**31 - 1, problems)
    max_parallel = _number(raw, "max_parallel", 8, 1, 100, problems)
    minutes = raw.get("minutes", math.inf)
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not _is_positive(minutes):
        problems.append(f"'minutes' must be a number above 0, not {_shown(minutes)}")
    strategy, objective = raw.get("strategy", "auto"), raw.get("objective", OBJECTIVES[0])
    for name, value, choices in (("strategy", strategy, ("auto", *STRATEGIES)), ("objective", objective, OBJECTIVES)):
        if value not in choices:
            problems.append(f"'{name}' must be {' or '.join(choices)}, not {_shown(value)}")
    ranges = {}
    given = raw.get("ranges", {})
    if not isinstance(given, dict):
        problems.append(f"'ranges' must be an object such as {_EXAMPLE}, not {_shown(given)}")
        given = {}
    given = given or {name: each for name, each in DEFAULT_RANGES.items() if name not in named}
    for name, each in given.items():
        try:
            if name in named:
                raise ValueError("has no sense, because the hyperparameter is fixed as well; leave out one of them")
            ranges[name] = _range(name, each)
        except ValueError as error:
            problems.append(f"the range of '{shortened(name)}' {error}")
    if not ranges and not problems:
        problems.append("nothing is left to search; name 'ranges', or fix fewer hyperparameters")
    if any(problem.endswith("' is unknown") for problem in problems):
        problems.append(f"hyperparameters are {', '.join(FIELDS)}")
    if problems:
        raise HyperparameterError(f"tune: {'; '.join(problems)}")
    strategy, trials = _strategy(strategy, trials, ranges)
    return Search(trials, strategy, min(trials, max_parallel), minutes, seed, objective, ranges, settings)


def _number(raw: Mapping[str, Any], name: str, default: int, low: int, high: int, problems: list[str]) -> int:
    value = raw.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        problems.append(f"'{name}' must be a whole number from {low} to {high}, not {_shown(value)}")
        return default
    return value


def _is_positive(value: float) -> bool:
    """Whether a number is above 0 and no larger than a float, or infinity; nan is not."""
    return value > 0 and (isinstance(value, float) or value <= sys.float_info.max)


def _shown(value: Any) -> str:
    return shortened(repr(value) if isinstance(value, str) else json.dumps(value))


def _range(name: str, raw: Any) -> Interval | tuple[Value, ...]:
    if name in _NEVER_SEARCHED:
        raise ValueError("cannot be searched, because it does not decide how good the model becomes")
    field = Hyperparameters.__dataclass_fields__.get(name)
    if field and field.metadata["mode"] == "full":
        raise ValueError("has no effect in mode head, the only one that is searched inside a training")
    if isinstance(raw, list):
        if not raw:
            raise ValueError("is empty")
        values: tuple[Value, ...] = tuple(_checked(name, value) for value in raw)
        if len(set(values)) < len(values):
            raise ValueError("contains a value twice")
        return values
    if not isinstance(raw, dict) or isinstance(_checked(name, _default(name)), str):
        raise ValueError("must be a list of values" + ("" if isinstance(_default(name), str) else ", or min and max"))
    if raw.keys() - {"scale"} != {"min", "max"} or raw.get("scale", "linear") not in ("linear", "log"):
        raise ValueError('must have min, max and, if you like, "scale": "linear" or "log"')
    low, high = _checked(name, raw["min"]), _checked(name, raw["max"])
    assert not isinstance(low, str)
    assert not isinstance(high, str)
    if low >= high:
        raise ValueError(f"has a min of {low:g} that is not below its max of {high:g}")
    is_log = raw.get("scale") == "log"
    if is_log and low <= 0:
        raise ValueError(f"has a log scale, so its min must be above 0, not {low:g}")
    return Interval(low, high, isinstance(_default(name), int), is_log)


def _default(name: str) -> Value:
    value: Value = getattr(Hyperparameters(), name, 0)
    return value


def _checked(name: str, value: Any) -> Value:
    """Return a value that the hyperparameter may have.

    Raises:
        ValueError: it may not have it, or there is no such hyperparameter.
    """
    if isinstance(_default(name), str) and not isinstance(value, str):
        raise ValueError(f"must contain names, not {_shown(value)}")
    if problem := problems_of({name: value}):
        raise ValueError(problem[name])
    checked: Value = getattr(from_strings({name: value}), name)
    return checked


def _contains(each: Interval | tuple[Value, ...], value: Value) -> bool:
    if isinstance(each, tuple):
        return value in each
    return not isinstance(value, str) and each.low <= value <= each.high


def _strategy(wish: str, trials: int, ranges: Mapping[str, Interval | tuple[Value, ...]]) -> tuple[str, int]:
    """Return the strategy and the number of trials, for ``grid`` that of all combinations."""
    intervals = [name for name, each in ranges.items() if isinstance(each, Interval)]
    combinations = math.prod(map(_num_values, ranges.values()))
    if wish == "grid" and intervals:
        raise HyperparameterError(f"tune: a grid needs lists; give {', '.join(intervals)} as a list of values")
    if wish == "grid" or (wish == "auto" and not intervals and combinations <= trials):
        if combinations > trials:
            raise HyperparameterError(
                f"tune: the grid has {combinations} combinations, and 'trials' is {trials}; raise it, or list less"
            )
        return "grid", int(combinations)
    if combinations < trials:
        have = "combinations" if len(ranges) > 1 or not intervals else "different values"
        raise HyperparameterError(
            f"tune: the ranges have only {combinations} {have}, and 'trials' is {trials}; lower it, or widen them"
        )
    return ("bayesian" if wish == "auto" else wish), trials


def _num_values(each: Interval | tuple[Value, ...]) -> float:
    values = _values(each)
    return math.inf if values is None else len(values)


def _values(each: Interval | tuple[Value, ...]) -> Sequence[Value] | None:
    """Return the values that a trial may have; None for an interval of more fractions than any search tries."""
    if isinstance(each, tuple):
        return each
    if each.is_integer:
        return range(int(each.low), int(each.high) + 1)
    low, high = Decimal(repr(each.low)), Decimal(repr(each.high))
    rounding = Context(prec=_DIGITS, Emin=-307)  # Smaller numbers are no normal floats.
    values = [float(low)]
    while (low := rounding.next_plus(low)) < high:
        values.append(float(low))
        if len(values) == MAX_TRIALS:
            return None
    return [*values, float(high)]


@dataclass(frozen=True)
class Tried:
    """What the choice of the next trials knows about an earlier one.

    Attributes:
        values: its hyperparameters among those that are searched.
        objectives: its objective after each part of its epochs, to be maximized; empty if it failed.
        is_finished: whether it trained to its end.
        is_running: whether it still trains.
    """

    values: Mapping[str, Value]
    objectives: Sequence[float]
    is_finished: bool
    is_running: bool


def next_trials(search: Search, tried: Sequence[Tried], count: int) -> list[dict[str, Value]]:
    """Choose the next trials; all of them differ from each other and from those before.

    The first trial has the default values, if they are within the ranges.
    """
    if search.strategy == "grid":
        combinations = itertools.product(*(each for each in search.ranges.values() if isinstance(each, tuple)))
        grid = [dict(zip(search.ranges, values, strict=True)) for values in combinations]
        return grid[len(tried) : len(tried) + count]
    chosen: list[dict[str, Value]] = []
    if not tried and (defaults := search.defaults()):
        chosen.append(defaults)
    seen = {tuple(each.values.values()) for each in tried} | {tuple(each.values()) for each in chosen}
    ask = _asker(search, tried)
    while len(chosen) < count:
        asked = (ask() for _ in range(_MOST_ATTEMPTS))
        new = next((each for each in asked if tuple(each.values()) not in seen), None)
        values = _unseen(search, seen) if new is None else new
        seen.add(tuple(values.values()))
        chosen.append(values)
    return chosen


def _asker(search: Search, tried: Sequence[Tried]) -> Any:
    """Return a function that returns Optuna's choice, knowing the trials so far and what it has returned itself."""
    import optuna  # Only a search needs it, and the import takes a part of a second.

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = (search.seed * 1_000_003 + len(tried)) % 2**32
    distributions = {name: _distribution(each) for name, each in search.ranges.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler: BaseSampler
        if search.strategy == "bayesian":
            # Trials that still run count as bad, so that those that are chosen together differ.
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        else:
            sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials([_frozen(each, distributions) for each in tried])

    def ask() -> dict[str, Value]:
        params = study.ask(distributions).params
        return {name: _rounded(params[name], search.ranges[name]) for name in search.ranges}

    return ask


def _frozen(tried: Tried, distributions: "dict[str, BaseDistribution]") -> "FrozenTrial":
    from optuna.trial import TrialState, create_trial

    steps = dict(enumerate(tried.objectives))
    state, value = TrialState.PRUNED, None
    if tried.is_running:
        state = TrialState.RUNNING
    elif not tried.objectives:
        state = TrialState.FAIL
    elif tried.is_finished:
        state, value = TrialState.COMPLETE, tried.objectives[-1]
    return create_trial(
        state=state, value=value, params=dict(tried.values), distributions=distributions, intermediate_values=steps
    )


def _distribution(each: Interval | tuple[Value, ...]) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(each, tuple):
        return CategoricalDistribution(each)
    if each.is_integer:
        return IntDistribution(int(each.low), int(each.high), log=each.is_log)
    return FloatDistribution(each.low, each.high, log=each.is_log)


def _rounded(value: Value, each: Interval | tuple[Value, ...]) -> Value:
    """Return a number that people can read and that is still within its interval."""
    if isinstance(each, tuple) or isinstance(value, str) or each.is_integer:
        return value
    return min(max(float(f"{value:.{_DIGITS}g}"), float(each.low)), float(each.high))


def _unseen(search: Search, seen: set[tuple[Value, ...]]) -> dict[str, Value]:
    """Return a set of hyperparameters that is new, where chance finds hardly one because few are left.

    There is one, because ``parse`` refuses more trials than there are sets.
    """
    chance = random.Random(search.seed + len(seen))
    ranges = [(each, _values(each)) for each in search.ranges.values()]

    def draw(each: Interval | tuple[Value, ...], values: Sequence[Value] | None) -> Value:
        if isinstance(each, Interval) and values is None:
            return _rounded(chance.uniform(each.low, each.high), each)
        assert values is not None
        return chance.choice(values)

    while True:
        drawn = tuple(draw(each, values) for each, values in ranges)
        if drawn not in seen:
            return dict(zip(search.ranges, drawn, strict=True))
