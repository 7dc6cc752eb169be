"""The documents of a search for hyperparameters; ``shared.contracts`` has the others."""

from typing import Annotated, Any, Literal

from pydantic import Field

from shared.base import Document

Strategy = Literal["bayesian", "random", "hyperband", "grid"]
Objective = Literal["valid_top1", "valid_loss"]


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
