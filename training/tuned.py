"""End a search for hyperparameters: train its best trials again, choose the winner, and say what it gains.

The best of many trials is partly the luckiest. So the best three and the default hyperparameters are trained again with
other seeds, and these trainings alone decide.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from training.checkpoint import Checkpoint
from training.distributed import World, gather, sum_over_ranks
from training.hyperparameters import HyperparameterError, Hyperparameters
from training.search import Search, Value
from training.stopping import stop_is_requested, stop_together
from training.trials import Job, JobResult, Trainer, Trial

_NUM_BEST, _NUM_SEEDS = 3, 2
_SEEDS = 2**31  # number of seeds that a training takes
_Z = 1.96  # standard errors on each side of a 95 % confidence interval


@dataclass(frozen=True)
class Finalist:
    """Hyperparameters that were trained again.

    Attributes:
        trial: number of the trial; 0 for the defaults, which need not have been a trial.
        values: its hyperparameters among those that are searched.
        seeds: the seeds of its trainings.
        top1, loss: figures on the validation photos after each of them.
        cpu_seconds: of these trainings.
        correct: share of its trainings that name each validation photo correctly, ``[N]``.
    """

    trial: int
    values: dict[str, Value]
    seeds: list[int]
    top1: list[float]
    loss: list[float]
    cpu_seconds: float
    correct: Tensor

    def mean_top1(self) -> float:
        """Return the mean accuracy."""
        return sum(self.top1) / len(self.top1)

    def rank(self, objective: str) -> tuple[float, float, int]:
        """Return a sort key; the best comes first, and of equal ones the surer."""
        loss = sum(self.loss) / len(self.loss)
        return (-self.mean_top1() if objective == "valid_top1" else loss, loss, self.trial)


def run_finals(
    world: World, search: Search, trainer: Trainer, trials: Sequence[Trial], checkpoint: Checkpoint
) -> list[Finalist]:
    """Train the best trials and the defaults again; all ranks must call it.

    Returns:
        The finalists, the winner first.

    Raises:
        HyperparameterError: all of these trainings failed.
        StopRequestedError: a rank received SIGTERM; every rank raises it, with a checkpoint.
        FileWriteError: the checkpoint cannot be written.
    """
    name = search.objective
    best = sorted((trial for trial in trials if trial.is_finished), key=lambda trial: trial.rank(name))[:_NUM_BEST]
    numbered = {trial.number: trial.values for trial in best}
    defaults = {each: getattr(search.fixed, each) for each in search.ranges}
    if defaults not in numbered.values():
        numbered[0] = defaults
    seeds = [(search.fixed.seed + 1 + index) % _SEEDS for index in range(_NUM_SEEDS)]
    settings = {
        number * _NUM_SEEDS + index: replace(search.settings(values), seed=seed)
        for number, values in numbered.items()
        for index, seed in enumerate(seeds)
    }
    jobs = {key: Job(each, each.epochs, None) for key, each in settings.items()}
    done = _train(world, trainer, jobs, checkpoint)
    finalists = []
    for number, values in numbered.items():
        results = [done[number * _NUM_SEEDS + index] for index in range(_NUM_SEEDS)]
        if not any(result.failure for result in results):
            finalists.append(_finalist(number, values, seeds, results))
            world.print_once(_line(finalists[-1]))
    if not finalists:
        raise HyperparameterError(
            "tune: the best trials failed with other seeds; lower the max of learning_rate's range"
        )
    return sorted(finalists, key=lambda each: each.rank(name))


def _train(world: World, trainer: Trainer, jobs: dict[int, Job], checkpoint: Checkpoint) -> dict[int, JobResult]:
    saved = checkpoint.load() or {"done": {}}
    done = {number: JobResult(**each) for number, each in saved["done"].items()}
    own = trainer.run({number: job for number, job in jobs.items() if number not in done}, math.inf)
    for part in gather(world, {number: replace(result, state={}) for number, result in own.items()}):
        done |= part
    (is_stopping,) = sum_over_ranks(world, stop_is_requested())
    checkpoint.save({"done": {number: vars(result) for number, result in done.items()}})
    if is_stopping:
        stop_together(world)
    return done


def _finalist(trial: int, values: dict[str, Value], seeds: list[int], results: Sequence[JobResult]) -> Finalist:
    return Finalist(
        trial,
        values,
        seeds,
        [result.top1 for result in results],
        [result.loss for result in results],
        sum(result.cpu_seconds for result in results),
        torch.stack([result.correct.double() for result in results]).mean(0),
    )


def _line(finalist: Finalist) -> str:
    name = f"trial {finalist.trial}" if finalist.trial else "the defaults"
    seeds = " and ".join(map(str, finalist.seeds))
    return f"{name} again with seeds {seeds}: top-1 {' and '.join(f'{each:.4f}' for each in finalist.top1)}"


def winning_settings(search: Search, finalists: Sequence[Finalist]) -> Hyperparameters:
    """Return the hyperparameters of the winner, with the seed of the request."""
    return search.settings(finalists[0].values)


def gain(search: Search, finalists: Sequence[Finalist]) -> dict[str, Any]:
    """Return what the winner gains over the defaults on the validation photos.

    The interval pairs the photos, each with the share of the trainings that name it correctly. These photos chose the
    winner, so only photos that the search has not seen can prove the gain.
    """
    winner = finalists[0]
    defaults = next((each for each in finalists if search.settings(each.values) == search.fixed), None)
    if defaults is None:
        sentence = "the training with the default hyperparameters failed, so there is no gain to state"
        return {"top1": None, "interval": None, "photos": len(winner.correct), "gained": False, "sentence": sentence}
    difference = winner.correct - defaults.correct
    mean, count = float(difference.mean()), len(difference)
    margin = _Z * float(difference.std()) / math.sqrt(count) if count > 1 else math.inf
    interval = [mean - margin, mean + margin]
    gained = interval[0] > 0
    figures = (
        f"{100 * mean:+.2f} points on the same {count:,} validation photos "
        f"({100 * interval[0]:+.2f} to {100 * interval[1]:+.2f} with 95% confidence)"
    )
    if winner is defaults:
        sentence = "nothing gained: no other hyperparameters are better than the defaults"
    elif gained:
        sentence = f"the winner gains {figures}"
    else:
        sentence = f"nothing gained: {figures}"
    return {"top1": mean, "interval": interval, "photos": count, "gained": gained, "sentence": sentence}


def tuned_document(
    world: World, search: Search, trials: Sequence[Trial], finalists: Sequence[Finalist], seconds: float
) -> dict[str, Any]:
    """Return the content of ``tuned.json``.

    Its ``winner`` and ``train_again`` are enough to train the winner again, to the same bits on the same kind of CPU.

    Args:
        world: this rank among its peers.
        search: what was searched.
        trials: all trials.
        finalists: the finalists, the winner first.
        seconds: time from the first trial to the last.
    """
    settings = winning_settings(search, finalists)
    return {
        "where": "inside",
        "search": search.document(),
        "trials": [_trial_document(trial) for trial in trials],
        "finalists": [
            {
                "trial": each.trial,
                "hyperparameters": each.values,
                "seeds": each.seeds,
                "valid_top1": each.top1,
                "valid_loss": each.loss,
                "cpu_seconds": round(each.cpu_seconds, 2),
            }
            for each in finalists
        ],
        "winner": finalists[0].trial,
        "gain": gain(search, finalists),
        "train_again": {"hyperparameters": asdict(settings) | {"mode": "head"}, "processes": world.world_size},
        "torch": torch.__version__,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(sum(each.cpu_seconds for each in trials) + sum(each.cpu_seconds for each in finalists), 1),
    }


def _trial_document(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "hyperparameters": trial.values,
        "epochs": trial.ends[-1],
        "compared_after": trial.ends[: len(trial.top1)],
        "valid_top1": trial.top1,
        "valid_loss": trial.loss,
        "cpu_seconds": round(trial.cpu_seconds, 2),
        "finished": trial.is_finished,
        "ended": trial.ended,
    }
