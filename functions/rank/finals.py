"""Choose the trials that are trained again, and decide between them by the means over seeds.

The best of many trials is best by luck, too. So the best three and the training without a search are trained again with
seeds that the search did not see, and only these trainings decide.
See "The best trials are trained again by a second tuning job" in docs/decisions/training.md.
"""

import json
import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from rank.jobs import Result
from shared.errors import TuningError
from shared.tuning import Finalist, Gain, SearchJob, Tuned, TunedTrial, TuningPlan, Value, repeated_job_name

_CANDIDATE = "candidate"  # the hyperparameter that training/launch.py replaces by those in its JSON text
_SET = "of"  # the key in that text that names the hyperparameter with the rest, which would not fit into a category
_NUM_BEST, _NUM_SEEDS = 3, 2
_SEEDS = 2**31  # number of seeds that the training takes
_MAX_TEXT = 256  # characters of a category
_Z = 1.96  # standard errors on each side of a 95 % confidence interval


def again(plan: TuningPlan, trials: Sequence[Result], fixed: Mapping[str, str]) -> SearchJob:
    """Return the search that trains the best trials and the training without a search again.

    Args:
        plan: the search.
        trials: its trials.
        fixed: the hyperparameters that are not searched.

    Raises:
        TuningError: no trial reported the objective.
    """
    sets = _sets(plan, trials)
    if not any(sets):
        limit = "" if plan.minutes is None else f" within {round(plan.minutes, 1):g} minutes"
        raise TuningError(
            f"tune: none of {len(trials)} trials reported {plan.objective}{limit}; allow more by tune.minutes or "
            f"max_dollars, or look into the logs of the training jobs {plan.job_name}-…"
        )
    first = int(fixed.get("seed", "0").strip('" ')) + 1
    static = {name: value for name, value in fixed.items() if name != "seed"}
    texts = []
    for index, each in enumerate(sets):
        for number in range(_NUM_SEEDS):
            seed = str((first + number) % _SEEDS)
            text, name = _text({**each, "seed": seed}), f"{_CANDIDATE}_{index}"
            if len(text) > _MAX_TEXT:
                static[name], text = _text(each), _text({_SET: name, "seed": seed})
            texts.append(text)
    return SearchJob(
        job_name=repeated_job_name(plan.job_name),
        strategy="Grid",
        trials=len(texts),
        parameter_ranges={"CategoricalParameterRanges": [{"Name": _CANDIDATE, "Values": texts}]},
        static=static,
        early_stopping="Off",
    )


def _sets(plan: TuningPlan, trials: Sequence[Result]) -> list[dict[str, str]]:
    """Return the hyperparameters of the best trials, and ``{}`` for a training without a search."""
    best = list(_distinct(plan, trials).values())[:_NUM_BEST]
    sets = [dict(trials[number - 1].hyperparameters) for number in best]
    # With several backbones, none of them is that of a training without a search.
    return sets if "backbone" in plan.ranges else [*sets, {}]


def decide(
    plan: TuningPlan, trials: Sequence[Result], repeated: Sequence[Result], fixed: Mapping[str, str], num_photos: int
) -> Tuned:
    """Return the whole search with its winner: the finalist with the best mean over its seeds.

    A training that was ended early, or a mean of fewer seeds, cannot be compared with the others. So only finalists
    count that trained to their end with every seed.

    Args:
        plan: the search.
        trials: its trials.
        repeated: the trainings with other seeds.
        fixed: the hyperparameters that are not searched.
        num_photos: number of the validation photos.

    Raises:
        TuningError: none of the finalists trained to its end with every seed and reported the objective.
    """
    trainings: dict[str, list[tuple[int, Result]]] = {}
    sets = _sets(plan, trials)
    for each in repeated:
        hyperparameters = json.loads(each.hyperparameters[_CANDIDATE])
        seed = int(hyperparameters.pop("seed"))
        if _SET in hyperparameters:
            hyperparameters = sets[int(hyperparameters[_SET].rpartition("_")[2])]
        if each.finished and each.top1 is not None:
            trainings.setdefault(json.dumps(hyperparameters, sort_keys=True), []).append((seed, each))
    trainings = {text: each for text, each in trainings.items() if len(each) == _NUM_SEEDS}
    if not trainings:
        ends = "; ".join(sorted({each.ended for each in repeated}))
        raise TuningError(
            f"tune: none of the best trials trained again to the end with {_NUM_SEEDS} seeds ({ends}); look into the "
            f"logs of the training jobs {repeated_job_name(plan.job_name)}-…, or raise tune.max_parallel or max_dollars"
        )
    numbers = _distinct(plan, trials)
    ranked = sorted(trainings, key=lambda text: _rank(plan, [result for _, result in trainings[text]]))
    finalists = [
        Finalist(
            trial=numbers.get(text, 0),
            hyperparameters=_values(plan, json.loads(text)),
            seeds=[seed for seed, _ in trainings[text]],
            valid_top1=[result.top1 for _, result in trainings[text] if result.top1 is not None],
            valid_loss=[result.loss for _, result in trainings[text] if result.loss is not None],
        )
        for text in ranked
    ]
    fields = {"trials", "strategy", "max_parallel", "minutes", "seed", "objective", "ranges"}
    return Tuned(
        search=plan.model_dump(include=fields, exclude_none=True),
        trials=[_trial(plan, number, each) for number, each in enumerate(trials, 1)],
        finalists=finalists,
        winner=finalists[0].trial,
        gain=gain(finalists, num_photos),
        train_again={"hyperparameters": {**fixed, **json.loads(ranked[0])}},
        seconds=round(sum(each.seconds or 0.0 for each in [*trials, *repeated]), 1),
    )


def gain(finalists: Sequence[Finalist], num_photos: int) -> Gain:
    """Return what the winner gains over the training without a search.

    A training job does not tell which photos it names, so the interval is that of two independent shares. It is wider
    than one that pairs the photos.
    """
    winner = finalists[0]
    plain = next((each for each in finalists if each.trial == 0), None)
    if plain is None:
        sentence = "there is no training without a search to compare with, so there is no gain to state"
        return Gain(top1=None, interval=None, photos=num_photos, gained=False, sentence=sentence)
    shares = [fmean(each.valid_top1) for each in (winner, plain)]
    difference = shares[0] - shares[1]
    margin = _Z * math.sqrt(sum(share * (1 - share) for share in shares) / max(1, num_photos))
    interval = [difference - margin, difference + margin]
    figures = (
        f"{100 * difference:+.2f} points on {num_photos:,} validation photos "
        f"({100 * interval[0]:+.2f} to {100 * interval[1]:+.2f} with 95% confidence, as if each training had photos of "
        "its own)"
    )
    if winner is plain:
        sentence = "nothing gained: no other hyperparameters are better than those of a training without a search"
    else:
        sentence = f"the winner gains {figures}" if interval[0] > 0 else f"nothing gained: {figures}"
    return Gain(top1=difference, interval=interval, photos=num_photos, gained=interval[0] > 0, sentence=sentence)


def _distinct(plan: TuningPlan, trials: Sequence[Result]) -> dict[str, int]:
    """Return the number of the best trial with each set of hyperparameters, as JSON text; the best of all first."""
    reported = [(number, each) for number, each in enumerate(trials, 1) if each.top1 is not None]
    numbers: dict[str, int] = {}
    for number, each in sorted(reported, key=lambda item: _rank(plan, [item[1]])):
        numbers.setdefault(json.dumps(each.hyperparameters, sort_keys=True), number)
    return numbers


def _rank(plan: TuningPlan, results: Sequence[Result]) -> tuple[float, float]:
    """Return a sort key: the best mean comes first, and of equally accurate ones the surer."""
    top1 = fmean(each.top1 for each in results if each.top1 is not None)
    losses = [each.loss for each in results if each.loss is not None]
    loss = fmean(losses) if losses else math.inf
    return (loss, -top1) if plan.objective == "valid_loss" else (-top1, loss)


def _trial(plan: TuningPlan, number: int, result: Result) -> TunedTrial:
    return TunedTrial(
        trial=number,
        job=result.job,
        hyperparameters=_values(plan, result.hyperparameters),
        valid_top1=[] if result.top1 is None else [result.top1],
        valid_loss=[] if result.loss is None else [result.loss],
        seconds=result.seconds,
        finished=result.finished,
        ended=result.ended,
    )


def _values(plan: TuningPlan, texts: Mapping[str, str]) -> dict[str, Value]:
    """Return hyperparameters as the plan's ranges have them; SageMaker knows texts only."""
    values: dict[str, Value] = {}
    for name, text in texts.items():
        searched = plan.ranges[name]
        if isinstance(searched, list):
            values[name] = next((each for each in searched if str(each) == text), text)
        else:
            is_whole = isinstance(searched["min"], int) and isinstance(searched["max"], int) and text.isdecimal()
            values[name] = int(text) if is_whole else float(text)
    return values


def _text(hyperparameters: Mapping[str, str]) -> str:
    return json.dumps(hyperparameters, separators=(",", ":"), sort_keys=True)
