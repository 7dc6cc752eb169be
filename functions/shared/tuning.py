"""The documents of a search for hyperparameters; ``shared.contracts`` has the others."""

from typing import Annotated, Any, Literal

from pydantic import Field

from shared.base import Document

Strategy = Literal["bayesian", "random", "hyperband", "grid"]
Objective = Literal["valid_top1", "valid_loss"]


_MAX_NAME = 32  # characters of a tuning job's name


def repeated_job_name(search: str) -> str:
    """Return the name of the tuning job that trains the best trials again; the state machine knows this rule, too."""
    return f"{search[: _MAX_NAME - 2]}-r"


class Tune(Document):
    """The request's ``tune``: search hyperparameters before the training.

    Attributes:
        trials: number of different sets of hyperparameters to try.
        ranges: what to search, by hyperparameter: ``{"min": …, "max": …, "scale": "linear" or "log"}`` or a list
            of values. Without it, the defaults of the training's mode.
        strategy: how the next trial is chosen; auto is bayesian, or grid if every range is a list and the
            combinations are no more than the trials.
        max_parallel: number of trials that are chosen together, and number of tuning's training jobs at once.
        minutes: longest time that the search may take; the trials of this time decide.
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
        job_name: name of the tuning job, at most 32 characters.
        document_uri: where the run keeps ``tuned.json``.
        inside, jobs: estimates of the two ways; None where the way is impossible.
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
    document_uri: str
    inside: TuningQuote | None
    jobs: TuningQuote


class TunedTrial(Document):
    """One set of hyperparameters that a search tried.

    Attributes:
        job: name of its training job.
        hyperparameters: those that were searched.
        objective: the last value of the objective; None if there is none.
        seconds: from the start of its training to the end; None if it never trained.
        ended: how it ended, in words.
    """

    job: str
    hyperparameters: dict[str, str]
    objective: float | None
    seconds: float | None
    ended: str


class Candidate(Document):
    """One of the best trials, or the training without a search, trained again with other seeds.

    Attributes:
        hyperparameters: those that were searched; none for the training without a search.
        objectives: the objective of each seed that was trained.
        mean: their mean, which decides.
    """

    hyperparameters: dict[str, str]
    objectives: list[float]
    mean: float


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
    """``tuned.json`` of a search by training jobs: enough to train its winner again elsewhere.

    Attributes:
        candidates: the best trials first, by the mean of their repeated trainings.
        hyperparameters: the winner's; together with ``fixed`` they are all that its training gets.
        fixed: the hyperparameters that were not searched.
    """

    where: Literal["jobs"] = "jobs"
    strategy: Strategy
    seed: int
    objective: Objective
    goal: Literal["Maximize", "Minimize"]
    trials: list[TunedTrial]
    candidates: list[Candidate]
    hyperparameters: dict[str, str]
    fixed: dict[str, str]
