"""Train the trials of a search for hyperparameters on all cores of all ranks.

The search goes in rounds. In each one, every trial of the round trains to the next of its three ends: after a
sixteenth, a quarter and all of its epochs. Only the best quarter of all trials that have come so far goes on
(successive halving, Li et al. 2018, arXiv:1810.05934), beside new trials. A trial trains on one core with all photos,
so its result does not depend on the number of ranks or cores, nor on what trains beside it; and what a round trains
depends only on the results of the rounds before.
"""

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from training.checkpoint import Checkpoint
from training.distributed import Cores, World, broadcast_from_main, gather, sum_over_ranks
from training.head import HeadStart, HeadTraining, NonFiniteLossError, Samples, no_checkpoint
from training.hyperparameters import HyperparameterError, Hyperparameters
from training.search import Search, Tried, Value, next_trials
from training.stopping import stop_is_requested, stop_together
from training.workers import worker_pool

_PARTS = (1 / 16, 1 / 4, 1.0)  # of its epochs, after which a trial is compared
_ONE_OF = 4  # One of so many trials goes on.
_FEWEST = 3  # But so many go on in any case.


@dataclass(frozen=True)
class TrialData:
    """All photos of all ranks as features of one backbone, in the order of their paths, and the head's start."""

    start: HeadStart
    train: Samples
    valid: Samples


def data_of_all_ranks(world: World, start: HeadStart, train: Samples, valid: Samples) -> TrialData:
    """Give every rank the samples of all ranks; all ranks must call it."""
    return TrialData(start, _all_samples(world, train), _all_samples(world, valid))


def _all_samples(world: World, own: Samples) -> Samples:
    # Features have been float16 in the cache, so nothing is lost.
    shares = gather(world, (own.features.half().cpu(), own.labels.cpu(), list(own.photos)))
    photos = [photo for _, _, part in shares for photo in part]
    order = sorted(range(len(photos)), key=lambda index: photos[index].path)
    features, labels = (torch.cat([share[item] for share in shares])[order] for item in (0, 1))
    return Samples(features.float().to(world.device), labels.to(world.device), [photos[index] for index in order])


@dataclass
class Trial:
    """One set of hyperparameters.

    Attributes:
        number: from 1, in the order of choice.
        values: its hyperparameters among those that are searched.
        ends: the epochs after which it is compared; the last is its number of epochs.
        top1, loss: its figures on the validation photos at the ends that it has reached.
        cpu_seconds: of its training.
        ended: why it ended; empty as long as it trains.
        is_finished: whether it trained all its epochs.
    """

    number: int
    values: dict[str, Value]
    ends: list[int]
    top1: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    ended: str = ""
    is_finished: bool = False

    def objectives(self, name: str) -> list[float]:
        """Return the objective at each end so far; larger is better."""
        return self.top1 if name == "valid_top1" else [-loss for loss in self.loss]

    def rank(self, name: str) -> tuple[float, float, int]:
        """Return a sort key by the last figures: the best trial comes first, and of equal ones the surer."""
        return (-self.objectives(name)[-1], self.loss[-1], self.number)


@dataclass(frozen=True)
class Job:
    """A part of a trial's training: from a state, or from the beginning, to an epoch."""

    settings: Hyperparameters
    last_epoch: int
    state: dict[str, Any] | None


@dataclass(frozen=True)
class JobResult:
    """What came of a job.

    Attributes:
        top1, loss: figures on the validation photos.
        cpu_seconds: of the core that trained it.
        failure: why it failed; empty if it did not.
        state: to continue from.
        correct: which validation photos it names correctly, in the order of their paths.
    """

    top1: float
    loss: float
    cpu_seconds: float
    failure: str
    state: dict[str, Any]
    correct: Tensor


class Trainer:
    """Trains jobs on all cores of all ranks.

    Args:
        world: this rank among its peers.
        cores: the cores of each rank.
        data: the photos by backbone.
    """

    def __init__(self, world: World, cores: Cores, data: Mapping[str, TrialData]) -> None:
        self._world, self._cores, self._data = world, cores, data
        self._alone = replace(world, rank=0, world_size=1, local_rank=0, local_world_size=1, backend="none")

    def run(self, jobs: Mapping[int, Job], deadline: float) -> dict[int, JobResult]:
        """Train jobs, each on one core of one rank; all ranks must call it.

        Args:
            jobs: the jobs by a number; the same on every rank.
            deadline: this rank's monotonic clock when unfinished jobs are given up.

        Returns:
            The results of this rank's jobs; those that were given up are missing.
        """
        own = self._own(jobs)
        with worker_pool(self._cores.taken[self._world.rank]) as pool:
            return self._results(pool, {number: jobs[number] for number in own}, deadline)

    def _own(self, jobs: Mapping[int, Job]) -> list[int]:
        """Return the numbers of this rank's jobs: the longest job goes to the core with the least to do, and so on."""
        loads = [(0.0, rank, core) for rank, count in enumerate(self._cores.taken) for core in range(count)]
        own = []
        for number in sorted(jobs, key=lambda number: (-_length(jobs[number]), number)):
            load, rank, core = min(loads)
            loads[loads.index((load, rank, core))] = (load + _length(jobs[number]), rank, core)
            if rank == self._world.rank:
                own.append(number)
        return own

    def _results(self, pool: ThreadPoolExecutor, jobs: Mapping[int, Job], deadline: float) -> dict[int, JobResult]:
        results = pool.map(lambda job: self._train(job, deadline), jobs.values())
        return {number: result for number, result in zip(jobs, results, strict=True) if result}

    def _train(self, job: Job, deadline: float) -> JobResult | None:
        begin, data = time.thread_time(), self._data[job.settings.backbone]
        training = HeadTraining(
            self._alone,
            job.settings,
            data.start,
            data.train,
            data.valid,
            len(data.train.labels),
            no_checkpoint(self._alone),
        )
        first = 1
        if job.state:
            training.restore(job.state["training"])
            first = job.state["epochs"] + 1
        failure = ""
        for epoch in range(first, job.last_epoch + 1):
            if stop_is_requested() or time.monotonic() >= deadline:
                return None
            try:
                training.train_epoch(epoch)
            except NonFiniteLossError as error:
                failure = str(error)
                break
        loss, top1 = training.evaluate()
        if not failure and not math.isfinite(loss):
            failure = f"the loss on the validation photos became {loss}"
        state = {"epochs": job.last_epoch, "training": _on_cpu(training.state())}
        return JobResult(top1, loss, time.thread_time() - begin, failure, state, training.correct().cpu())


def _on_cpu(value: Any) -> Any:
    """Return a state whose tensors any rank can read, whichever GPU it has."""
    if isinstance(value, dict):
        return {key: _on_cpu(each) for key, each in value.items()}
    return value.cpu() if isinstance(value, Tensor) else value


def _length(job: Job) -> float:
    """Return about how long a job takes; smaller batches take more steps."""
    begun = job.state["epochs"] if job.state else 0
    return (job.last_epoch - begun) * (1 + 64 / job.settings.global_batch_size)


class TrialRounds:
    """The rounds of a search; interruptions do not change the result.

    Args:
        world: this rank among its peers.
        search: what to search.
        trainer: trains the jobs.
        checkpoint: the checkpoint to resume from and to write.

    Attributes:
        trials: all trials so far; the same on every rank.
        seconds: time spent, over all interruptions.
    """

    def __init__(self, world: World, search: Search, trainer: Trainer, checkpoint: Checkpoint) -> None:
        self._world, self._search, self._trainer, self._checkpoint = world, search, trainer, checkpoint
        self.trials: list[Trial] = []
        self.seconds = 0.0
        self._states: dict[int, dict[str, Any]] = {}  # of the trials that go on
        self._is_interrupted = False  # whether the round that comes next was chosen before, and partly trained
        self._done: dict[int, JobResult] = {}  # what it had finished then

    def run(self) -> list[Trial]:
        """Run all rounds.

        Returns:
            All trials.

        Raises:
            HyperparameterError: no trial reached its end, because all failed or the time was too short.
            StopRequestedError: a rank received SIGTERM; every rank raises it, with a checkpoint.
            FileWriteError: the checkpoint cannot be written.
        """
        if state := self._checkpoint.load():
            self._restore(state)
            ended = sum(bool(trial.ended) for trial in self.trials)
            self._world.print_once(f"resumed the search with {ended} of {self._search.trials} trials ended")
        begin = time.monotonic() - self.seconds
        deadline = begin + 60 * self._search.minutes
        while self._plan_round(self._is_over(deadline)):
            jobs = self._jobs()
            own = self._trainer.run({number: job for number, job in jobs.items() if number not in self._done}, deadline)
            results = {number: result for part in gather(self._world, own) for number, result in part.items()}
            results |= self._done
            self.seconds = time.monotonic() - begin
            is_stopping, is_due = sum_over_ranks(
                self._world, stop_is_requested(), self._world.is_main and self._checkpoint.due()
            )
            if is_stopping:
                self._is_interrupted, self._done = True, results
                self._save()
                stop_together(self._world)
            self._is_interrupted, self._done = False, {}
            self._take(results, sorted(jobs))
            if is_due:
                self._save()
        self._save()
        self._refuse_if_none_is_finished()
        return self.trials

    def _is_over(self, deadline: float) -> bool:
        """Whether the time is used up, by the clock of rank 0."""
        return bool(broadcast_from_main(self._world, time.monotonic() >= deadline))

    def _plan_round(self, is_over: bool) -> bool:
        """Choose new trials; return whether there is anything to train."""
        if is_over:
            for trial in self.trials:
                trial.ended = trial.ended or "the time was used up"
        elif not self._is_interrupted:
            count = min(self._search.max_parallel, self._search.trials - len(self.trials))
            # Only rank 0 chooses, because other machines might compute the choice with other roundings.
            chosen = next_trials(self._search, self._tried(), count) if self._world.is_main and count else []
            for values in broadcast_from_main(self._world, chosen):
                number = len(self.trials) + 1
                settings = self._search.settings(values)
                self.trials.append(Trial(number, values, self._ends(number, settings.epochs)))
        return any(not trial.ended for trial in self.trials)

    def _ends(self, number: int, epochs: int) -> list[int]:
        ends = [min(epochs, max(1, round(epochs * part))) for part in _PARTS]
        if self._search.strategy == "hyperband":  # Its brackets begin to compare at different ends.
            ends = ends[(number - 1) % len(_PARTS) :]
        return sorted(set(ends))

    def _tried(self) -> list[Tried]:
        name = self._search.objective
        return [Tried(each.values, each.objectives(name), each.is_finished, not each.ended) for each in self.trials]

    def _jobs(self) -> dict[int, Job]:
        return {
            trial.number: Job(
                self._search.settings(trial.values), trial.ends[len(trial.top1)], self._states.get(trial.number)
            )
            for trial in self.trials
            if not trial.ended
        }

    def _take(self, results: Mapping[int, JobResult], numbers: Sequence[int]) -> None:
        """Take the results of a round, end the weak trials, and print every trial of the round."""
        states = {}
        for number in numbers:
            trial, result = self.trials[number - 1], results.get(number)
            if result is None:
                trial.ended = "the time was used up"
                continue
            trial.cpu_seconds += result.cpu_seconds
            if result.failure:
                trial.ended = f"failed: {result.failure}"
                continue
            trial.top1.append(result.top1)
            trial.loss.append(result.loss)
            states[number] = result.state
            if len(trial.top1) == len(trial.ends):
                trial.ended, trial.is_finished = "finished", True
        for number in numbers:
            trial = self.trials[number - 1]
            if not trial.ended and not self._goes_on(trial):
                place = f"{trial.ends[len(trial.top1) - 1]} of {trial.ends[-1]} epochs"
                trial.ended = f"not among the best quarter after {place}"
        self._states = {number: state for number, state in states.items() if not self.trials[number - 1].ended}
        self._world.print_once(*(trial_line(self.trials[number - 1], self._search) for number in numbers))

    def _goes_on(self, trial: Trial) -> bool:
        """Whether a trial is among the best quarter of those that were compared at the same end of as many."""
        reached, name = len(trial.top1), self._search.objective
        rivals = [each for each in self.trials if len(each.top1) >= reached and len(each.ends) == len(trial.ends)]
        place = sorted(
            rivals, key=lambda each: (-each.objectives(name)[reached - 1], each.loss[reached - 1], each.number)
        )
        return place.index(trial) < max(_FEWEST, math.ceil(len(rivals) / _ONE_OF))

    def _refuse_if_none_is_finished(self) -> None:
        if any(trial.is_finished for trial in self.trials):
            return
        failed = [trial for trial in self.trials if trial.ended.startswith("failed")]
        if self.trials and len(failed) == len(self.trials):
            raise HyperparameterError(
                f"tune: all {len(failed)} trials failed, the last because {failed[-1].ended.removeprefix('failed: ')}; "
                "lower the max of learning_rate's range"
            )
        raise HyperparameterError(
            f"tune: the {self._search.minutes:g} minutes were used up before the first trial was finished; "
            "raise 'minutes', or lower the max of epochs' range"
        )

    def _save(self) -> None:
        self._checkpoint.save(
            {
                "trials": [asdict(trial) for trial in self.trials],
                "seconds": self.seconds,
                "states": self._states,
                "is_interrupted": self._is_interrupted,
                "done": {number: vars(result) for number, result in self._done.items()},
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.trials = [Trial(**each) for each in state["trials"]]
        self.seconds = state["seconds"]
        self._states = state["states"]
        self._is_interrupted = state["is_interrupted"]
        self._done = {number: JobResult(**each) for number, each in state["done"].items()}


def trial_line(trial: Trial, search: Search) -> str:
    """Return the line to print when a trial has come to one of its ends, for people and the runner."""
    epochs = trial.ends[len(trial.top1) - 1] if trial.top1 else 0
    figures = f"trial_top1={trial.top1[-1]:.4f} trial_loss={trial.loss[-1]:.4f} " if trial.top1 else ""
    values = " ".join(f"{name}={value}" for name, value in trial.values.items())
    return (
        f"trial={trial.number}/{search.trials} epochs={epochs}/{trial.ends[-1]} {figures}"
        f"cpu_s={trial.cpu_seconds:.1f} {values} ({trial.ended or 'goes on'})"
    )
