"""Decide the search for hyperparameters: its ranges, its strategy, where it runs, and what both ways would cost.

See "A search runs inside the training job" in docs/decisions/training.md for the figures.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from plan import ec2, hyperparameters, ranges
from plan.quote import sagemaker_per_hour
from plan.tunable import Range
from shared.contracts import Dataset, Request
from shared.errors import RequestError
from shared.tuning import MAX_NAME, Strategy, Tune, TuningPlan, TuningQuote, repeated_job_name
from training.hyperparameters import Hyperparameters

_DEFAULT_PARALLEL = 8
_MIN_PHOTOS_PER_CLASS = 20  # the limit for mode full in training/train.py
_JOB_START_SECONDS = 120.0  # of a SageMaker job, from its request until its program runs
_FEATURES_PER_SECOND = 92.0  # photos, for each vCPU
_FULL_PHOTOS_PER_SECOND = 18.0  # photos of one epoch in mode full, for each vCPU
# Seconds of one core for a photo of one epoch of mode head: a part for itself, and one for each class.
_HEAD_SECONDS = (4e-6, 1.3e-7)
_SHARE_OF_EPOCHS = 0.25  # the part of its epochs that a trial trains in the mean, because weak ones end early
FINAL_TRAININGS = 8  # The best three and the defaults are trained again, each with two other seeds.
_LONGEST_TEXT = 2500  # characters of a hyperparameter on SageMaker
_MAX_PARALLEL_JOBS = 10  # training jobs of a tuning job at once, the limit of an AWS account that asked for no more
MAX_MINUTES_OF_JOBS = 480  # The state machine ends the first tuning job after that time.
_MINUTES_OF_A_JOB = 240  # MaxRuntimeInSeconds of a training job, and AttemptDurationSeconds of one on EC2
_MODE_HEAD = '{"hyperparameters": {"mode": "head"}}'
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
    settings = hyperparameters.typed(request.hyperparameters)
    mode = _mode(settings, machines, dataset)
    parsed = ranges.parse(tune.ranges, request.hyperparameters, mode)
    if "backbone" in parsed and request.weights:
        raise RequestError("tune.ranges.backbone: weights names the file of one backbone; leave out one of them")
    strategy, trials = _strategy(tune.strategy, tune.trials, parsed)
    max_parallel = min(trials, tune.max_parallel or _DEFAULT_PARALLEL)
    searched: dict[str, Any] = {
        "trials": trials,
        "strategy": strategy,
        "max_parallel": max_parallel,
        "minutes": tune.minutes,
        "seed": tune.seed,
        "objective": tune.objective,
        "ranges": parsed,
    }
    estimates = _estimates(mode, trials, max_parallel, _epochs(mode, parsed, settings), machines, dataset)
    to_inside = _obstacle_to_inside(tune, mode, len(_text(searched)), estimates)
    to_jobs = _obstacle_to_jobs(tune, request.train_on, strategy, max_parallel, endpoint_name, estimates)
    where = _where(tune, mode, estimates, to_inside, to_jobs)
    return TuningPlan(
        where=where,
        reason=_reason(tune.where, mode, trials, estimates, to_inside, to_jobs),
        mode=mode,
        goal="Minimize" if tune.objective == "valid_loss" else "Maximize",
        parameter_ranges=ranges.for_sagemaker(parsed),
        job_name=job_name(endpoint_name, run) if where == "jobs" else "",
        checkpoint_uri=checkpoint_uri,
        document_uri=document_uri,
        inside=estimates.inside,
        jobs=estimates.jobs,
        **searched,
    )


def job_seconds(tuning: TuningPlan) -> float:
    """Return the estimated seconds of one training job of a search by jobs; 0 if nobody knows."""
    waves = math.ceil((tuning.trials + FINAL_TRAININGS) / tuning.max_parallel)
    return 60 * (tuning.jobs.minutes or 0.0) / waves


def hyperparameter(tuning: TuningPlan) -> str:
    """Return the search as text, the value of the training's hyperparameter ``tune``."""
    fields = {"trials", "strategy", "max_parallel", "minutes", "seed", "objective", "ranges"}
    return _text(tuning.model_dump(include=fields))


def _text(searched: Mapping[str, Any]) -> str:
    fields = {name: value for name, value in searched.items() if value is not None}
    return json.dumps(fields, separators=(",", ":"), sort_keys=True)


def _mode(settings: Hyperparameters, machines: Machines, dataset: Dataset) -> Literal["head", "full"]:
    """Return the mode that the training will choose, see ``choose_mode`` in training/train.py."""
    if settings.mode != "auto":
        return "full" if settings.mode == "full" else "head"
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


def _epochs(mode: str, parsed: Mapping[str, Range], settings: Hyperparameters) -> float:
    """Return the epochs of a training in the mean of all trials."""
    name = "epochs" if mode == "head" else "full_epochs"
    searched = parsed.get(name)
    if isinstance(searched, dict):
        return (float(searched["min"]) + float(searched["max"])) / 2
    if searched:
        return sum(map(float, searched)) / len(searched)
    return float(getattr(settings, name))


@dataclass(frozen=True)
class _Estimates:
    """What the two ways to search would take; None for what is impossible or what nobody knows.

    Attributes:
        inside: quote of a search inside the training job.
        jobs: quote of a search by training jobs.
        trial: seconds of one trial inside.
        trials: seconds of all trials inside.
        around: seconds that a training job needs beside these trials.
        job: seconds of one training job of a search.
    """

    inside: TuningQuote | None
    jobs: TuningQuote
    trial: float | None = None
    trials: float | None = None
    around: float | None = None
    job: float | None = None


def _estimates(
    mode: str, trials: int, max_parallel: int, epochs: float, machines: Machines, dataset: Dataset
) -> _Estimates:
    photos, cores = dataset.counts.get("train", 0), ec2.num_vcpus(machines.instance_type)
    unknown = TuningQuote(minutes=None, dollars=None)
    if cores is None or (mode == "full" and machines.has_gpus):
        return _Estimates(inside=None if mode == "full" else unknown, jobs=unknown)
    features = sum(dataset.counts.get(split, 0) for split in ("train", "valid")) / (_FEATURES_PER_SECOND * cores)
    features /= machines.count
    photo, of_class = _HEAD_SECONDS
    core_seconds = epochs * photos * (photo + of_class * dataset.num_classes)
    price, num_jobs = sagemaker_per_hour("training", machines.instance_type, machines.count), trials + FINAL_TRAININGS
    if mode == "full":
        core_seconds = epochs * photos / (_FULL_PHOTOS_PER_SECOND * cores * machines.count)
    job = _JOB_START_SECONDS + features + core_seconds
    jobs = _quote(math.ceil(num_jobs / max_parallel) * job, num_jobs * job, price)
    if mode == "full":
        return _Estimates(inside=None, jobs=jobs, job=job)
    each = core_seconds / (cores * machines.count)
    searching, finals = trials * _SHARE_OF_EPOCHS * each, FINAL_TRAININGS * each
    return _Estimates(
        inside=_quote(searching + finals, searching + finals, price),
        jobs=jobs,
        trial=core_seconds,
        trials=searching,
        around=features + finals + core_seconds,
        job=job,
    )


def _quote(seconds: float, billed_seconds: float, price: float | None) -> TuningQuote:
    dollars = None if price is None else round(price * billed_seconds / 3600, 4)
    return TuningQuote(minutes=round(seconds / 60, 1), dollars=dollars)


def _obstacle_to_inside(tune: Tune, mode: str, num_characters: int, estimates: _Estimates) -> str:
    """Return a sentence that says why the training job cannot search, and what to change; empty if it can."""
    if mode == "full":
        return (
            "tune.where: inside the training job only mode head can be searched, and this training is in mode full; "
            f"add {_MODE_HEAD}"
        )
    if num_characters > _LONGEST_TEXT:
        return (
            f"tune.ranges: as text the search has {num_characters} characters; SageMaker allows {_LONGEST_TEXT} inside "
            "the training job; name fewer values"
        )
    if tune.minutes is not None and estimates.trial is not None and 60 * tune.minutes < estimates.trial:
        return _too_short("one trial", estimates.trial, tune.minutes)
    longest = _longest_inside(estimates)
    if tune.minutes is None and estimates.trials is not None and estimates.trials > 60 * longest:
        return (
            f"tune.trials: inside the training job they would take about {estimates.trials / 60:,.0f} minutes, and the "
            f"job, which ends after {_MINUTES_OF_A_JOB}, has {longest} for them; lower trials or the epochs, or say "
            "with minutes when the search ends"
        )
    return ""


def _longest_inside(estimates: _Estimates) -> int:
    """Return the whole minutes that a training job has for its trials."""
    return max(0, math.floor(_MINUTES_OF_A_JOB - (estimates.around or 0.0) / 60))


def _too_short(what: str, seconds: float, minutes: float) -> str:
    needed = math.ceil(seconds / 6) / 10
    return (
        f"tune.minutes: {what} takes about {needed:g} minutes, and minutes is {minutes:g}, so none would come to its "
        "end; raise it"
    )


def _obstacle_to_jobs(
    tune: Tune, train_on: str, strategy: Strategy, max_parallel: int, endpoint_name: str, estimates: _Estimates
) -> str:
    """Return a sentence that says why training jobs cannot search, and what to change; empty if they can."""
    inside = f"inside with {_MODE_HEAD}" if estimates.inside is None else "inside"
    if train_on == "ec2":
        return (
            f"tune.where: jobs of a search run on SageMaker, and train_on is ec2; ask for {inside}, or leave out "
            "train_on"
        )
    if strategy == "hyperband":
        return (
            "tune.strategy: as jobs of their own, trials are not searched by hyperband, because SageMaker would read "
            "the length of a training from the hyperparameter epochs, which is itself searched in mode head and not "
            f"that of mode full; ask for bayesian or random, or for {inside}"
        )
    if max_parallel > _MAX_PARALLEL_JOBS:
        return (
            f"tune.max_parallel: SageMaker runs {_MAX_PARALLEL_JOBS} training jobs of a search at once and not "
            f"{max_parallel}; lower it"
        )
    if tune.minutes is not None and tune.minutes > MAX_MINUTES_OF_JOBS:
        return (
            f"tune.minutes: a search by jobs has {MAX_MINUTES_OF_JOBS} minutes at most and not {tune.minutes:g}; "
            "lower it; the time in which the best are trained again is not counted"
        )
    if tune.minutes is not None and estimates.job is not None and 60 * tune.minutes < estimates.job:
        return _too_short("one training job of the search", estimates.job, tune.minutes)
    if estimates.job is not None and estimates.job > 60 * _MINUTES_OF_A_JOB:
        return (
            f"tune.where: one training job of the search would take about {estimates.job / 60:,.0f} minutes, and ends "
            f"after {_MINUTES_OF_A_JOB}; lower the epochs, or choose larger or more instances"
        )
    if not can_name_jobs(endpoint_name):
        return (
            f"tune.where: the names of a search's jobs begin with the endpoint's, and '{endpoint_name}' has "
            f"{len(endpoint_name)} characters; that is too long for SageMaker's {MAX_NAME} characters; ask for "
            f"{inside}, or deploy the stack with an EndpointName of at most {_LONGEST_NAME} characters"
        )
    return ""


def _where(tune: Tune, mode: str, estimates: _Estimates, to_inside: str, to_jobs: str) -> Literal["inside", "jobs"]:
    """Return the way that the request names, or the cheaper of those that are possible.

    Raises:
        RequestError: it is impossible; the message advises the other way only if that is possible.
    """
    if tune.where == "jobs":
        if to_jobs:
            raise RequestError(to_jobs)
        return "jobs"
    if to_inside:
        if tune.where == "inside":
            raise RequestError(to_inside if to_jobs else f"{to_inside}, or ask for jobs")
        if to_jobs:
            raise RequestError(to_jobs if mode == "full" else to_inside)
        return "jobs"
    assert estimates.inside
    if tune.where == "auto" and not to_jobs and not _is_cheaper(estimates.inside, estimates.jobs):
        return "jobs"
    longest = _longest_inside(estimates)
    if tune.minutes is not None and tune.minutes > longest:
        raise RequestError(
            f"tune.minutes: inside the training job, which ends after {_MINUTES_OF_A_JOB} minutes, a search of this "
            f"data has {longest} at most and not {tune.minutes:g}; lower it" + ("" if to_jobs else ", or ask for jobs")
        )
    return "inside"


def _is_cheaper(one: TuningQuote, other: TuningQuote) -> bool:
    if one.dollars is not None and other.dollars is not None:
        return one.dollars <= other.dollars
    return (one.minutes or 0.0) <= (other.minutes or math.inf)


def _reason(wish: str, mode: str, trials: int, estimates: _Estimates, to_inside: str, to_jobs: str) -> str:
    before = f"as {trials + FINAL_TRAININGS} training jobs, each of which starts and computes the features anew"
    if estimates.inside is None:
        alone = before.replace(" and computes the features", "")
        return f"mode {mode} is searched {alone}: {_words(estimates.jobs)}"
    ways = f"{trials} trials inside the training job: {_words(estimates.inside)}; {before}: {_words(estimates.jobs)}"
    if wish != "auto":
        return f"{ways}; the request says {wish}"
    if to_jobs:
        return f"{ways}; jobs are impossible here ({to_jobs})"
    return f"{ways}; inside is impossible here ({to_inside})" if to_inside else ways


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
