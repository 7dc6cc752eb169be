"""When a tuning job stops a training job early, and when it ends: pure functions of the objective's values."""

import math
import statistics
from collections.abc import Sequence

_REDUCTION = 3  # Hyperband goes on with one of three training jobs
_IMPROVEMENT = 0.01  # of the best value; less is no improvement
CONVERGED_AFTER = 10  # training jobs without an improvement; AWS does not publish its own rule


def is_worse_than_median(values: Sequence[float], previous: Sequence[Sequence[float]], maximize: bool) -> bool:
    """Return whether early stopping Auto ends a training job.

    Args:
        values: the objective's values of the training job, one for each epoch so far.
        previous: the values of the training jobs that have ended.
        maximize: whether larger values are better.
    """
    epoch = len(values)
    averages = [statistics.fmean(each[:epoch]) for each in previous if len(each) >= epoch]
    if not epoch or not averages:
        return False
    median = statistics.median(averages)
    return values[-1] < median if maximize else values[-1] > median


class Hyperband:
    """The early stopping of Hyperband: at each rung, one of three training jobs goes on.

    A training job that has reported the objective ``min_resource * 3 ** k`` times is at a rung. It goes on if it is
    among the best third of those that were there before it, itself included. Training jobs take turns in starting at
    rung 0, 1, 2, …, so that some get more time before they are compared.

    AWS documents that Hyperband stops weak training jobs by intermediate results between MinResource and MaxResource,
    not how; this is its published asynchronous form (Li et al., A System for Massively Parallel Hyperparameter Tuning,
    2020).
    """

    def __init__(self, min_resource: int, max_resource: int, maximize: bool) -> None:
        """Create it.

        Args:
            min_resource: epochs that every training job gets.
            max_resource: epochs that no training job exceeds.
            maximize: whether larger values are better.
        """
        self._max = max_resource
        self._sign = 1.0 if maximize else -1.0
        self._rungs = []
        epochs = min_resource
        while epochs < max_resource:
            self._rungs.append(epochs)
            epochs *= _REDUCTION
        self._seen: dict[tuple[int, int], list[float]] = {}  # values by (bracket, rung)
        self._judged: dict[int, int] = {}  # epochs that were looked at, by training job

    def is_over(self, number: int, values: Sequence[float]) -> bool:
        """Return whether a training job must stop.

        Args:
            number: the training job's number, from 0.
            values: its objective's values so far.
        """
        if len(values) > self._max:
            return True
        bracket = number % (len(self._rungs) + 1)
        before = self._judged.get(number, 0)
        self._judged[number] = len(values)
        for rung, epochs in enumerate(self._rungs[bracket:]):
            if before < epochs <= len(values):
                seen = self._seen.setdefault((bracket, rung), [])
                seen.append(self._sign * values[epochs - 1])
                keep = max(1, len(seen) // _REDUCTION)
                if len(seen) >= _REDUCTION and seen[-1] < sorted(seen, reverse=True)[keep - 1]:
                    return True
        return False


def not_improving(objectives: Sequence[float], maximize: bool) -> int:
    """Return how many training jobs in a row did not improve the best value by 1 percent.

    Args:
        objectives: the last values of training jobs, in the order in which these ended.
        maximize: whether larger values are better.
    """
    sign, best, count = (1.0 if maximize else -1.0), -math.inf, 0
    for each in objectives:
        improved = best == -math.inf or (sign * each >= best + abs(best) * _IMPROVEMENT and sign * each > best)
        count = 0 if improved else count + 1
        best = max(best, sign * each)
    return count
