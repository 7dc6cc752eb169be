"""Choose the trials that are trained again, and decide between them by the mean over seeds.

The best of many trials is best by luck, too. So the best three and the training without a search are trained again with
seeds that the search did not see, and only these trainings decide.
See "The best trials are trained again by a second tuning job" in docs/decisions/training.md.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from shared.errors import TuningError
from shared.tuning import Candidate, SearchJob, Tuned, TunedTrial, TuningPlan, repeated_job_name

_CANDIDATE = "candidate"  # the hyperparameter that training/launch.py replaces by those in its JSON text
_BEST = 3
_SEEDS = 2
_MAX_TEXT = 256  # characters of a category


def again(plan: TuningPlan, trials: Sequence[TunedTrial], fixed: Mapping[str, str]) -> SearchJob:
    """Return the search that trains the best trials and the training without a search again.

    Args:
        plan: the search.
        trials: its trials.
        fixed: the hyperparameters that are not searched.

    Raises:
        TuningError: no trial reported the objective, or one cannot be written into a request.
    """
    seed = int(fixed.get("seed", "0"))
    sets = [each.hyperparameters for each in _best(plan, trials)]
    texts = [_text({**each, "seed": str(seed + 1 + number)}) for each in [*sets, {}] for number in range(_SEEDS)]
    return SearchJob(
        job_name=repeated_job_name(plan.job_name),
        strategy="Grid",
        trials=len(texts),
        parameter_ranges={"CategoricalParameterRanges": [{"Name": _CANDIDATE, "Values": texts}]},
        static={name: value for name, value in fixed.items() if name != "seed"},
        early_stopping="Off",
    )


def decide(
    plan: TuningPlan, trials: Sequence[TunedTrial], repeated: Iterable[TunedTrial], fixed: Mapping[str, str]
) -> Tuned:
    """Return the whole search with its winner: the candidate with the best mean over its seeds.

    Args:
        plan: the search.
        trials: its trials.
        repeated: the trainings with other seeds.
        fixed: the hyperparameters that are not searched.

    Raises:
        TuningError: none of the repeated trainings reported the objective.
    """
    objectives: dict[str, list[float]] = defaultdict(list)
    for each in repeated:
        hyperparameters = json.loads(each.hyperparameters[_CANDIDATE])
        del hyperparameters["seed"]
        if each.objective is not None:
            objectives[json.dumps(hyperparameters, sort_keys=True)].append(each.objective)
    if not objectives:
        raise TuningError("tune: none of the best trials could be trained again; the log of a training job says why")
    candidates = [
        Candidate(hyperparameters=json.loads(text), objectives=values, mean=fmean(values))
        for text, values in objectives.items()
    ]
    candidates.sort(key=lambda each: each.mean, reverse=plan.goal == "Maximize")
    return Tuned(
        strategy=plan.strategy,
        seed=plan.seed,
        objective=plan.objective,
        goal=plan.goal,
        trials=list(trials),
        candidates=candidates,
        hyperparameters=candidates[0].hyperparameters,
        fixed=dict(fixed),
    )


def _best(plan: TuningPlan, trials: Sequence[TunedTrial]) -> list[TunedTrial]:
    """Return the best trials.

    Raises:
        TuningError: no trial reported the objective.
    """
    ranked = [(each.objective, each) for each in trials if each.objective is not None]
    if not ranked:
        limit = "" if plan.minutes is None else f" within the {plan.minutes:g} minutes of tune.minutes"
        raise TuningError(
            f"tune: none of {len(trials)} trials reported {plan.objective}{limit}; allow more minutes, or look "
            f"into the logs of the training jobs {plan.job_name}-…"
        )
    ranked.sort(key=lambda pair: pair[0], reverse=plan.goal == "Maximize")
    return [trial for _, trial in ranked[:_BEST]]


def _text(hyperparameters: Mapping[str, str]) -> str:
    text = json.dumps(hyperparameters, separators=(",", ":"), sort_keys=True)
    if len(text) > _MAX_TEXT:
        raise TuningError(
            f"tune.ranges: the values of one trial have {len(text)} characters as text; SageMaker takes {_MAX_TEXT} "
            "to train it again; search fewer hyperparameters"
        )
    return text
