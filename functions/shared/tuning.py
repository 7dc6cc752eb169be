"""The documents of a search for hyperparameters; ``shared.contracts`` has the others."""

from typing import Annotated, Any, Literal

from pydantic import Field

from shared.base import Document

Strategy = Literal["bayesian", "random", "hyperband", "grid"]
Objective = Literal["valid_top1", "valid_loss"]
Value = int | float | str


MAX_JOB_SECONDS = 14_400  # the longest time of a training job
MAX_NAME = 32  # characters of a tuning job's name on SageMaker


def repeated_job_name(search: str) -> str:
    """Return the name of the tuning job that trains the best trials again; the state machine knows this rule, too."""
    return f"{search}-r"


class Tune(Document):
    """The request's ``tune``: search hyperparameters before the training.

    Attributes:
        trials: number of different sets of hyperparameters to try.
        ranges: what to search, by hyperparameter: ``{"min": …, "max": …, "scale": "linear" or "log"}`` or a list
            of values. Without it, the defaults of the training's mode.
        strategy: how the next trial is chosen; auto is bayesian, or grid if every range is a list and the
            combinations are no more than the trials.
        max_parallel: number of trials that are chosen together, and number of tuning's training jobs at once.
        minutes: longest time that the search may take; the trials of this time decide. The time in which training
            jobs train the best again is not part of it.
        where: ``inside`` the one training job, where trials share the cached features, or as training ``jobs`` of
            their own; auto takes the cheaper.
        objective: the figure of the validation photos that decides.
        seed: seed of the choice of trials.
    """

    trials: Annotated[int, Field(ge=2, le=750)] = 64
    ranges: dict[str, Any] = Field(default_factory=dict)
    strategy: Literal["auto"] | Strategy = "auto"
    max_parallel: Annotated[int, Field(ge=1, le=100)] | None = None
    minutes: Annotated[float, Field(gt=0, le=1440)] | None = None
    where: Literal["auto", "inside", "jobs"] = "auto"
    objective: Objective = "valid_top1"
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class TuningQuote(Document):
    """The estimated extra cost of one way to search; the training of the winner is not part of it.

    Attributes:
        minutes: from the first trial to the last.
        dollars: at list prices on demand; None if the price or the time is unknown.
    """

    minutes: float | None
    dollars: float | None


class TuningPlan(Document):
    """How the run searches hyperparameters. Values are those that the request left to Plan, too.

    Attributes:
        where: with ``inside`` the training job's hyperparameter ``tune`` contains the search as JSON text, and there
            is no other difference to a run without a search.
        reason: why it is searched there, with the quotes of both ways.
        mode: ``head`` or ``full``, what the training will choose on these instances and photos.
        max_parallel: as in the request.
        minutes: as in the request; None for no limit.
        goal: whether the objective is to become larger or smaller, in SageMaker's words.
        ranges: in the request's form. Every range of numbers has all of ``min``, ``max`` and ``scale``.
        parameter_ranges: the same in SageMaker's form, for CreateHyperParameterTuningJob.
        job_name: name of the tuning job, at most 30 characters; empty if the search runs inside the training.
        checkpoint_uri: tuning jobs keep their checkpoints below it, each in a folder of its name. It lies beside
            ``TrainingPlan.checkpoint_uri``, because each training job downloads all that lies below its own.
        document_uri: where the run keeps ``tuned.json``.
        inside, jobs: estimates of the two ways; None where the way is impossible.
        job_seconds: the longest time of each training job of a search by jobs.
    """

    where: Literal["inside", "jobs"]
    reason: str
    mode: Literal["head", "full"]
    trials: int
    strategy: Strategy
    max_parallel: int
    minutes: float | None
    seed: int
    objective: Objective
    goal: Literal["Maximize", "Minimize"]
    ranges: dict[str, dict[str, int | float | str] | list[int | float | str]]
    parameter_ranges: dict[str, list[dict[str, str | list[str]]]]
    job_name: str
    checkpoint_uri: str
    document_uri: str
    inside: TuningQuote | None
    jobs: TuningQuote
    job_seconds: int = MAX_JOB_SECONDS


class TunedTrial(Document):
    """One set of hyperparameters that a search tried, in the form that the training writes, too.

    Attributes:
        trial: its number, from 1.
        job: name of its training job.
        hyperparameters: those that were searched.
        valid_top1, valid_loss: the last figure on the validation photos; empty if there is none.
        epochs, compared_after: of a search inside the training only.
        seconds: from the start of its training to the end; None if it never trained.
        finished: whether it trained to its end.
        ended: how it ended, in words.
    """

    trial: int
    job: str
    hyperparameters: dict[str, Value]
    valid_top1: list[float]
    valid_loss: list[float]
    epochs: None = None
    compared_after: list[int] = Field(default_factory=list)
    seconds: float | None
    finished: bool
    ended: str


class Finalist(Document):
    """One of the best trials, or the training without a search, trained again with other seeds.

    Attributes:
        trial: number of the trial; 0 for the training without a search.
        hyperparameters: those that were searched.
        seeds: the seeds of its trainings.
        valid_top1, valid_loss: figures on the validation photos after each of them.
    """

    trial: int
    hyperparameters: dict[str, Value]
    seeds: list[int]
    valid_top1: list[float]
    valid_loss: list[float]


class Gain(Document):
    """What the winner gains on the validation photos over the training without a search; None if that failed.

    Attributes:
        top1: difference of the mean accuracies.
        interval: of 95 % confidence.
        photos: number of the validation photos.
        gained: whether the interval is above zero; false if there is none.
        sentence: the same in words.
    """

    top1: float | None
    interval: list[float] | None
    photos: int
    gained: bool
    sentence: str


class SearchJob(Document):
    """What the state machine writes into a request of CreateHyperParameterTuningJob.

    Attributes:
        job_name: at most 32 characters.
        strategy: in SageMaker's words.
        trials: number of training jobs.
        parameter_ranges: in SageMaker's form.
        static: the hyperparameters that are the same in all training jobs.
        early_stopping: Auto or Off.
    """

    job_name: str
    strategy: str
    trials: int
    parameter_ranges: dict[str, list[dict[str, str | list[str]]]]
    static: dict[str, str]
    early_stopping: Literal["Auto", "Off"]


class Ranking(Document):
    """What follows from the training jobs of a search.

    Attributes:
        again: the search that trains the best trials again; None after it.
        hyperparameters: those of the winner; None before that search.
    """

    again: SearchJob | None
    hyperparameters: dict[str, str] | None


class Tuned(Document):
    """``tuned.json`` of a search by training jobs, in the form that a search inside the training writes.

    Attributes:
        search: the request's search, with all ranges.
        finalists: the winner first.
        winner: number of its trial.
        train_again: all ``hyperparameters`` of the training of the winner, as a training job gets them.
        seconds: of all training jobs together.
        cpu_seconds: nobody measures those of a training job.
    """

    where: Literal["jobs"] = "jobs"
    search: dict[str, Any]
    trials: list[TunedTrial]
    finalists: list[Finalist]
    winner: int
    gain: Gain
    train_again: dict[str, dict[str, str]]
    seconds: float
    cpu_seconds: None = None
