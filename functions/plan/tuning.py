"""Decide the search for hyperparameters: its ranges, its strategy, where it runs, and what both ways would cost.

See "A search runs inside the training job" in docs/decisions/training.md for the figures.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from plan import ec2, ranges
from plan.tunable import Range
from shared.contracts import Dataset, Request
from shared.errors import RequestError
from shared.prices import per_hour
from shared.tuning import MAX_NAME, Strategy, Tune, TuningPlan, TuningQuote, repeated_job_name

_DEFAULT_PARALLEL = 8
_MIN_PHOTOS_PER_CLASS = 20  # the limit for mode full in training/train.py
_EPOCHS = {"head": 20, "full": 5}  # the defaults in training/hyperparameters.py
_JOB_START_SECONDS = 120.0  # of a SageMaker job, from its request until its program runs
_FEATURES_PER_SECOND = 92.0  # photos, for each vCPU
_FULL_PHOTOS_PER_SECOND = 18.0  # photos of one epoch in mode full, for each vCPU
# Seconds of one core for a photo of one epoch of mode head: a part for itself, and one for each class.
_HEAD_SECONDS = (4e-6, 1.3e-7)
_SHARE_OF_EPOCHS = 0.25  # the part of its epochs that a trial trains in the mean, because weak ones end early
_FINAL_TRAININGS = 8  # The best three and the defaults are trained again, each with two other seeds.
_LONGEST_TEXT = 2500  # characters of a hyperparameter on SageMaker
_MAX_PARALLEL_JOBS = 10  # training jobs of a tuning job at once, the limit of an AWS account that asked for no more
_MAX_MINUTES_OF_JOBS = 480  # The state machine ends the first tuning job after that time.
_MIN_DIGITS = 6  # hexadecimal ones, which keep the names of two tuning jobs different
_LONGEST_NAME = MAX_NAME - len(repeated_job_name("")) - len("-") - _MIN_DIGITS


@dataclass(frozen=True)
class Machines:
    """What trains: instances of one type, and whether they have GPUs."""

    instance_type: str
    count: int
    has_gpus: bool


def plan(
    request: Request,
    machines: Machines,
    dataset: Dataset,
    endpoint_name: str,
    run: str,
    document_uri: str,
    checkpoint_uri: str,
) -> TuningPlan | None:
    """Return the search that the request asks for, or None if it asks for none.

    Args:
        request: the request.
        machines: what trains.
        dataset: the photos.
        endpoint_name: with which the names of all jobs begin.
        run: the run's id.
        document_uri: where the run keeps ``tuned.json``.
        checkpoint_uri: where tuning jobs keep their checkpoints.

    Raises:
        RequestError: the search is impossible; the message says what to change.
    """
    tune = request.tune
    if tune is None:
        return None
    if "tune" in request.hyperparameters:
        raise RequestError("hyperparameters.tune: the request's field tune says it; leave it out here")
    mode = _mode(request.hyperparameters, machines, dataset)
    parsed = ranges.parse(tune.ranges, request.hyperparameters, mode)
    if "backbone" in parsed and request.weights:
        raise RequestError("tune.ranges.backbone: weights names the file of one backbone; leave out one of them")
    strategy, trials = _strategy(tune.strategy, tune.trials, parsed)
    max_parallel = min(trials, tune.max_parallel or _DEFAULT_PARALLEL)
    inside, jobs = _quotes(
        mode, trials, max_parallel, _epochs(mode, parsed, request.hyperparameters), machines, dataset
    )
    obstacle = _obstacle_to_jobs(tune, request.train_on, strategy, max_parallel, endpoint_name)
    where = _where(tune.where, mode, inside, jobs, obstacle)
    return TuningPlan(
        where=where,
        reason=_reason(tune.where, mode, trials, inside, jobs, obstacle),
        mode=mode,
        trials=trials,
        strategy=strategy,
        max_parallel=max_parallel,
        minutes=tune.minutes,
        seed=tune.seed,
        objective=tune.objective,
        goal="Minimize" if tune.objective == "valid_loss" else "Maximize",
        ranges=parsed,
        parameter_ranges=ranges.for_sagemaker(parsed),
        job_name=job_name(endpoint_name, run) if where == "jobs" else "",
        checkpoint_uri=checkpoint_uri,
        document_uri=document_uri,
        inside=inside,
        jobs=jobs,
    )


def hyperparameter(tuning: TuningPlan) -> str:
    """Return the value of the training's hyperparameter ``tune``.

    Raises:
        RequestError: it is longer than SageMaker allows.
    """
    fields = {"trials", "strategy", "max_parallel", "minutes", "seed", "objective", "ranges"}
    text = json.dumps(tuning.model_dump(include=fields, exclude_none=True), separators=(",", ":"), sort_keys=True)
    if len(text) > _LONGEST_TEXT:
        raise RequestError(
            f"tune.ranges: as text they have {len(text)} characters; SageMaker allows {_LONGEST_TEXT}; "
            "name fewer values"
        )
    return text


def backbones(request: Request, default: str) -> list[str]:
    """Return the backbones that the training needs, without checking them."""
    if request.tune and isinstance(values := request.tune.ranges.get("backbone"), list) and values:
        return [str(each) for each in values]
    return [str(request.hyperparameters.get("backbone", default))]


def _mode(hyperparameters: Mapping[str, Any], machines: Machines, dataset: Dataset) -> Literal["head", "full"]:
    """Return the mode that the training will choose, see ``choose_mode`` in training/train.py."""
    mode = str(hyperparameters.get("mode", "auto")).strip('" ')
    if mode in ("head", "full"):
        return "full" if mode == "full" else "head"
    is_enough = dataset.counts.get("train", 0) >= _MIN_PHOTOS_PER_CLASS * dataset.num_classes
    return "full" if machines.has_gpus and is_enough else "head"


def _strategy(wish: str, trials: int, parsed: Mapping[str, Range]) -> tuple[Strategy, int]:
    """Return the strategy, and the number of trials: with ``grid`` that of all combinations."""
    combinations = ranges.num_combinations(parsed)
    listed = all(isinstance(each, list) for each in parsed.values())
    if wish == "grid" and not listed:
        names = [name for name, each in parsed.items() if not isinstance(each, list)]
        raise RequestError(f"tune.strategy: grid tries listed values; give {', '.join(names)} as a list of values")
    if wish == "grid" or (wish == "auto" and listed and combinations <= trials):
        if combinations > trials:
            raise RequestError(
                f"tune.trials: the grid has {combinations:,} combinations and trials is {trials}; "
                "raise trials, or list fewer values"
            )
        return "grid", int(combinations)
    if combinations < trials:
        have = "combinations" if len(parsed) > 1 or listed else "different values"
        raise RequestError(
            f"tune.trials: the ranges have only {combinations:,} {have} and trials is {trials}; "
            "lower trials, or widen the ranges"
        )
    strategies: dict[str, Strategy] = {"random": "random", "hyperband": "hyperband"}
    return strategies.get(wish, "bayesian"), trials


def _epochs(mode: str, parsed: Mapping[str, Range], hyperparameters: Mapping[str, Any]) -> float:
    """Return the epochs of a training in the mean of all trials."""
    name = "epochs" if mode == "head" else "full_epochs"
    searched = parsed.get(name)
    if isinstance(searched, dict):
        return (float(searched["min"]) + float(searched["max"])) / 2
    if searched:
        return sum(map(float, searched)) / len(searched)
    try:
        return float(hyperparameters.get(name, _EPOCHS[mode]))
    except ValueError:  # The training will refuse it, with its own sentence.
        return _EPOCHS[mode]


def _quotes(
    mode: str,
    trials: int,
    max_parallel: int,
    epochs: float,
    machines: Machines,
    dataset: Dataset,
) -> tuple[TuningQuote | None, TuningQuote]:
    """Return the quotes of a search inside the training job, None where that is impossible, and of one as jobs."""
    photos, cores = dataset.counts.get("train", 0), ec2.num_vcpus(machines.instance_type)
    features = sum(dataset.counts.get(split, 0) for split in ("train", "valid")) / (_FEATURES_PER_SECOND * cores)
    photo, of_class = _HEAD_SECONDS
    core_seconds = epochs * photos * (photo + of_class * dataset.num_classes)
    price = per_hour(machines.instance_type, machines.count)
    before = _JOB_START_SECONDS + features / machines.count
    seconds: float | None = before + core_seconds
    inside = None
    if mode == "full":
        seconds = None
        if not machines.has_gpus:
            seconds = before + epochs * photos / (_FULL_PHOTOS_PER_SECOND * cores * machines.count)
    else:
        searching = (trials * _SHARE_OF_EPOCHS + _FINAL_TRAININGS) * core_seconds / (cores * machines.count)
        inside = _quote(searching, searching, price)
    num_jobs = trials + _FINAL_TRAININGS
    if seconds is None:
        return inside, TuningQuote(minutes=None, dollars=None)
    return inside, _quote(math.ceil(num_jobs / max_parallel) * seconds, num_jobs * seconds, price)


def _quote(seconds: float, billed_seconds: float, price: float | None) -> TuningQuote:
    dollars = None if price is None else round(price * billed_seconds / 3600, 4)
    return TuningQuote(minutes=round(seconds / 60, 1), dollars=dollars)


def _obstacle_to_jobs(tune: Tune, train_on: str, strategy: Strategy, max_parallel: int, endpoint_name: str) -> str:
    """Return a sentence that says why training jobs cannot search, and what to change; empty if they can."""
    if train_on == "ec2":
        return (
            "tune.where: jobs of a search run on SageMaker, and train_on is ec2; ask for inside with "
            '{"hyperparameters": {"mode": "head"}}, or leave out train_on'
        )
    if strategy == "hyperband":
        return (
            "tune.strategy: as jobs of their own, trials are not searched by hyperband, because SageMaker would read "
            "the length of a training from the hyperparameter epochs, which is itself searched in mode head and not "
            'that of mode full; ask for bayesian or random, or for inside with {"hyperparameters": {"mode": "head"}}'
        )
    if max_parallel > _MAX_PARALLEL_JOBS:
        return (
            f"tune.max_parallel: SageMaker runs {_MAX_PARALLEL_JOBS} training jobs of a search at once and not "
            f"{max_parallel}; lower it"
        )
    if tune.minutes is not None and tune.minutes > _MAX_MINUTES_OF_JOBS:
        return (
            f"tune.minutes: a search by jobs has {_MAX_MINUTES_OF_JOBS} minutes at most and not {tune.minutes:g}; "
            "lower it; the time in which the best are trained again is not counted"
        )
    if not can_name_jobs(endpoint_name):
        return (
            f"tune.where: the names of a search's jobs begin with the endpoint's, and '{endpoint_name}' has "
            f"{len(endpoint_name)} characters; that is too long for SageMaker's {MAX_NAME} characters; ask for inside "
            'with {"hyperparameters": {"mode": "head"}}, or deploy the stack with an EndpointName of at most '
            f"{_LONGEST_NAME} characters"
        )
    return ""


def _where(
    wish: str, mode: str, inside: TuningQuote | None, jobs: TuningQuote, obstacle: str
) -> Literal["inside", "jobs"]:
    if wish == "inside" and inside is None:
        raise RequestError(
            f"tune.where: inside the training job only mode head can be searched, and this training is in mode {mode}; "
            'ask for jobs, or add {"hyperparameters": {"mode": "head"}}'
        )
    if wish == "inside" or (wish == "auto" and inside and (obstacle or _is_cheaper(inside, jobs))):
        return "inside"
    if obstacle:
        raise RequestError(obstacle)
    return "jobs"


def _is_cheaper(one: TuningQuote, other: TuningQuote) -> bool:
    if one.dollars is not None and other.dollars is not None:
        return one.dollars <= other.dollars
    return (one.minutes or 0.0) <= (other.minutes or math.inf)


def _reason(wish: str, mode: str, trials: int, inside: TuningQuote | None, jobs: TuningQuote, obstacle: str) -> str:
    before = f"as {trials + _FINAL_TRAININGS} training jobs, each of which starts and computes the features anew"
    if inside is None:
        ways = f"mode {mode} is searched {before.replace(' and computes the features', '')}: {_words(jobs)}"
    else:
        ways = f"{trials} trials inside the training job: {_words(inside)}; {before}: {_words(jobs)}"
    if wish == "auto" and obstacle:
        return f"{ways}; jobs are impossible here ({obstacle})"
    return ways if wish == "auto" or inside is None else f"{ways}; the request says {wish}"


def _words(quote: TuningQuote) -> str:
    if quote.minutes is None:
        return "nobody has measured what they take"
    minutes = f"about {quote.minutes:,.1f} minutes"
    return minutes if quote.dollars is None else f"{minutes} and ${quote.dollars:,.3f}"


def can_name_jobs(endpoint_name: str) -> bool:
    """Whether ``job_name`` has room for an endpoint's name of this length."""
    return len(endpoint_name) <= _LONGEST_NAME


def job_name(endpoint_name: str, run: str) -> str:
    """Return a name for the tuning job, which leaves room for that of ``repeated_job_name``.

    It begins as all names of the stack do, because the roles may use no others. The endpoint's name must be one that
    ``can_name_jobs`` accepts.
    """
    longest, name = MAX_NAME - len(repeated_job_name("")), f"{endpoint_name}-{run}"
    if len(name) <= longest:
        return name
    digits = hashlib.sha256(run.encode()).hexdigest()
    return f"{endpoint_name}-{digits}"[:longest]
