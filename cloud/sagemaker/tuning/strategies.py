"""How a tuning job chooses the hyperparameters of its next training job.

Random, Grid and Hyperband choose by AWS's documented rules. Bayesian is Optuna's tree-structured Parzen estimator, not
AWS's Gaussian process: it makes better choices than chance from the same results, but not the same ones as on AWS.
See "Bayesian tuning on the laptop is Optuna's, not AWS's" in docs/decisions/laptop-cloud.md.
"""

import itertools
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from cloud.sagemaker.tuning.ranges import Categories, Range

Values = Mapping[str, str]

_DRAWS = 100  # How often a combination that was tried before is drawn again; a small space may have no other left.


class Strategy(Protocol):
    """Chooses combinations of hyperparameters."""

    def suggest(self) -> Values | None:
        """Return the next combination; None when there is no other."""

    def observe(self, values: Values, objective: float | None) -> None:
        """Take note of a training job's result.

        Args:
            values: a combination that was suggested.
            objective: the objective's last value; None when there is none.
        """


def strategy(
    name: str, ranges: Sequence[Range], seed: int, maximize: bool, known: Sequence[tuple[Values, float]]
) -> Strategy:
    """Return the strategy of this name.

    Args:
        name: Bayesian, Random, Hyperband or Grid.
        ranges: what is searched.
        seed: the same seed chooses the same combinations, as far as results come in the same order.
        maximize: whether larger objectives are better.
        known: combinations with objectives of earlier tuning jobs, for a warm start.
    """
    if name == "Grid":
        return _Grid(ranges)
    return _Bayesian(ranges, seed, maximize, known) if name == "Bayesian" else _Random(ranges, seed)


class _Grid:
    """Every combination of categories once."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        names = [each.name for each in ranges]
        values = [each.values for each in ranges if isinstance(each, Categories)]
        self._left: Iterator[Values] = (dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values))

    def suggest(self) -> Values | None:
        return next(self._left, None)

    def observe(self, values: Values, objective: float | None) -> None: ...


class _Random:
    """Independent draws, each combination once as long as there are others."""

    def __init__(self, ranges: Sequence[Range], seed: int) -> None:
        self._ranges = ranges
        self._generator = random.Random(seed)
        self._tried: set[tuple[str, ...]] = set()

    def suggest(self) -> Values | None:
        for _ in range(_DRAWS):
            chosen = tuple(each.draw(self._generator) for each in self._ranges)
            if chosen not in self._tried:
                break
        self._tried.add(chosen)
        return dict(zip((each.name for each in self._ranges), chosen, strict=True))

    def observe(self, values: Values, objective: float | None) -> None: ...


class _Bayesian:
    """Optuna's sampler, which learns from the results so far, those of running jobs taken for bad ones."""

    def __init__(
        self, ranges: Sequence[Range], seed: int, maximize: bool, known: Sequence[tuple[Values, float]]
    ) -> None:
        # Importing Optuna takes half a second, which only tuning jobs are worth.
        import optuna

        self._optuna = optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        directions = optuna.study.StudyDirection
        direction = directions.MAXIMIZE if maximize else directions.MINIMIZE
        self._study = optuna.create_study(direction=direction, sampler=sampler)
        self._ranges = ranges
        self._distributions = {each.name: self._distribution(each) for each in ranges}
        self._asked: dict[tuple[str, ...], Any] = {}
        for values, objective in known:
            parameters = self._parameters(values)
            if parameters is not None:
                trial = optuna.trial.create_trial(params=parameters, distributions=self._distributions, value=objective)
                self._study.add_trial(trial)

    def suggest(self) -> Values | None:
        for _ in range(_DRAWS):
            trial = self._study.ask(self._distributions)
            values = {each.name: _value(each, trial.params[each.name]) for each in self._ranges}
            key = tuple(values.values())
            if key not in self._asked:
                break
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        else:
            left = self._untried()
            if left is None:
                return None
            self._study.enqueue_trial(self._parameters(left) or {})
            trial, values, key = self._study.ask(self._distributions), left, tuple(left.values())
        self._asked[key] = trial
        return values

    def _untried(self) -> dict[str, str] | None:
        """Return a combination that was not tried; None if there is none, or if a range is continuous."""
        names, enough = [each.name for each in self._ranges], len(self._asked) + 1
        values = [list(itertools.islice(_all_values(each), enough)) for each in self._ranges]
        left = (chosen for chosen in itertools.product(*values) if chosen not in self._asked)
        return next((dict(zip(names, chosen, strict=True)) for chosen in left), None)

    def observe(self, values: Values, objective: float | None) -> None:
        trial = self._asked[tuple(values.values())]
        if trial is None:
            return
        self._asked[tuple(values.values())] = None
        if objective is None:
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, objective)

    def _distribution(self, each: Range) -> Any:
        distributions = self._optuna.distributions
        if isinstance(each, Categories):
            return distributions.CategoricalDistribution(each.values)
        if each.is_integer:
            return distributions.IntDistribution(int(each.low), int(each.high), log=each.scaling == "Logarithmic")
        return distributions.FloatDistribution(*each.scaled_bounds)

    def _parameters(self, values: Values) -> dict[str, Any] | None:
        """Return an earlier combination as Optuna's parameters; None when it is outside the ranges of today."""
        parameters: dict[str, Any] = {}
        for each in self._ranges:
            text = values.get(each.name)
            if text is None:
                return None
            if isinstance(each, Categories):
                if text not in each.values:
                    return None
                parameters[each.name] = text
                continue
            value = float(text)
            if not each.low <= value <= each.high:
                return None
            parameters[each.name] = int(value) if each.is_integer else each.scaled(value)
        return parameters


def _all_values(each: Range) -> Iterator[str]:
    """Yield the values of a range as texts; none of a continuous range with several."""
    if isinstance(each, Categories):
        yield from each.values
    elif each.is_integer:
        yield from map(str, range(int(each.low), int(each.high) + 1))
    elif each.low == each.high:
        yield each.text(each.low)


def _value(each: Range, parameter: Any) -> str:
    if isinstance(each, Categories):
        return str(parameter)
    return each.text(parameter if each.is_integer else each.unscaled(parameter))
