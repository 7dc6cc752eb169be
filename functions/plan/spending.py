"""Hold a run to ``max_dollars``: what its other parts may cost comes first, and the rest is time for the training.

Every part is taken at the longest time that its state allows, on demand and at list prices, so a run costs less in
general. See "max_dollars buys time" in docs/decisions/pipeline.md.
"""

import json
import math
from typing import NamedTuple

import prices
from plan import tuning
from plan.run import content_hash
from prices.billed import HOURS_A_MONTH, function_item, warm_function_item
from prices.disks import has_own_disks
from prices.per_million import VOLUME_GB
from shared.contracts import Run, TrainingPlan
from shared.errors import RequestError, SpendingLimitError
from shared.spending import SpendingLimit, shown
from shared.tuning import MAX_JOB_SECONDS, TuningPlan

_HOUR = 3600.0
# SageMaker gives a job 120 seconds after SIGTERM, and uploads afterwards. The last minute is our own estimate.
_END_SECONDS = 180
_SEARCH_END_SECONDS = _END_SECONDS + 60  # The state machine looks once a minute whether the time of a search is over.
_LEAST_SECONDS = 60  # AWS Batch takes no shorter time, and a shorter training would end before its first checkpoint.
# The longest times that pipeline.asl.yaml allows: StoppingCondition of Evaluate; 30 minutes for the start of staging,
# Smoke, Measure, and 10 minutes until staging is gone.
_EVALUATION_SECONDS = 7200
_STAGING_SECONDS = 1800 + 310 + 310 + 600
JOB_VOLUME_GB = 50  # VolumeSizeInGB of each instance that trains or evaluates, in pipeline.asl.yaml
_EC2_IDLE_SECONDS = 600  # An estimate: AWS Batch starts a machine before its job and ends it some minutes after.
_LONGEST_SECONDS = 310  # the longest time of a function
_FUNCTIONS_GB = 1 + 6 * 0.5  # Plan's memory and that of six others; Measure's is a parameter of the stack.
_TRANSITIONS = 600  # of a run beside those that wait for the training
_TRANSITIONS_PER_SECOND = 3 / 20  # AwaitTraining, DescribeTraining and CheckTraining, every 20 seconds
_MEASURED_GB = 3.0  # An estimate: 100 photos a second of 100 KB, for the 310 s of Measure.
# Of the model's function, with the largest memory that Measure tries: two smoke tests and Measure ask it one photo
# after the other, for 310 s each.
_LARGEST_MB = 3008
_FUNCTION_SECONDS = 3 * 310
_FUNCTION_REQUESTS = 100_000  # 10 ms for each, in all of that time by one caller
# Of the money for a training with a search by jobs, the search has half; the trainings of the best trials again, and
# the training of the winner, have a quarter each.
_SEARCH_SHARE, _AGAIN_SHARE = 0.5, 0.25


class Functions(NamedTuple):
    """What the time of the stack's functions costs by.

    Attributes:
        measure_megabytes: memory of the function that measures staging, the stack's MeasureMemory.
        architecture: of all of them, ``x86_64`` or ``arm64``.
    """

    measure_megabytes: float
    architecture: str


def limit(run: Run, max_dollars: float | None, functions: Functions) -> Run:
    """Return the run with the longest times that its request's ``max_dollars`` can pay.

    Args:
        run: the run that Plan decided.
        max_dollars: US dollars; None changes nothing.
        functions: what the stack's functions have.

    Raises:
        RequestError: the price of something is not known, so no time follows from the money.
        SpendingLimitError: the money is too little for the other parts, or for a minute of training.
    """
    if max_dollars is None:
        return run
    parts = _parts(run, functions)
    left = max_dollars - sum(parts.values())
    needs_training = run.training is not None and run.training.reused is None
    least = sum(parts.values()) + (_least(run) if needs_training else 0)
    if max_dollars < least:
        listed = ", ".join(f"{name} ${dollars:.2f}" for name, dollars in parts.items())
        shortest = "the shortest search and training" if _searches(run) else "a minute of training"
        training = f" and {shortest} ${_least(run):.2f}" if needs_training else ""
        raise SpendingLimitError(
            f"max_dollars: ${shown(max_dollars)} is too little. At most this run may cost {listed}{training}; give "
            f"at least {math.ceil(100 * least) / 100:.2f}, or choose cheaper instance types"
        )
    limited = SpendingLimit(
        max_dollars=max_dollars,
        parts={name: round(dollars, 4) for name, dollars in parts.items()},
        training=round(left, 4) if needs_training else 0,
    )
    changes: dict[str, object] = {"spending": limited}
    if run.training and needs_training:
        share = 1.0
        if run.tuning and _searches(run):
            share = 1 - _SEARCH_SHARE - _AGAIN_SHARE
            changes["tuning"] = _search(run.tuning, left, _per_second(run.training))
        changes["training"] = _training(run.training, limited, left * share, _searches(run))
    return _with_own_key(run, run.model_copy(update=changes))


def _with_own_key(run: Run, limited: Run) -> Run:
    """Return the limited run, with a key of its own if the money may end its search earlier, as ``tune.minutes`` does.

    Otherwise a run without that limit would take up what a shortened search found. A training that the money ends has
    no model to take up, so it keeps its key.
    """
    before, after = run.tuning, limited.tuning
    if not (before and after and run.training and limited.training) or before == after:
        return limited
    key = content_hash(run.training.key, after.minutes, after.job_seconds)
    old, new = run.training.output_uri, f"{run.training.output_uri.removesuffix(run.training.key)}{key}"
    training = limited.training.model_copy(update={"key": key, "output_uri": new})
    inputs = json.loads(json.dumps(limited.evaluation.inputs).replace(f"{old}/", f"{new}/"))
    evaluation = limited.evaluation.model_copy(update={"inputs": inputs})
    return limited.model_copy(update={"training": training, "evaluation": evaluation})


def _searches(run: Run) -> bool:
    """Whether training jobs of their own search hyperparameters before the training."""
    return run.tuning is not None and run.tuning.where == "jobs"


def _parts(run: Run, functions: Functions) -> dict[str, float]:
    """Return the most that each part beside the training may cost, in US dollars."""
    endpoint = run.endpoint
    parts: dict[str, float] = {}
    if run.images.training_build or run.images.serving_build:
        _known("codebuild/general1.medium", "region")  # The quote has no price to tell where the book has none.
        parts["images"] = run.quote.build or 0.0
    if run.promotion is None:
        processing = _hour("processing", endpoint.instance_type, JOB_VOLUME_GB, "serving_instance_type")
        parts["evaluation"] = processing * _EVALUATION_SECONDS / _HOUR
    if run.training and run.training.ec2 and run.training.reused is None:
        parts["start and end of the machine"] = _per_hour(run.training) * _EC2_IDLE_SECONDS / _HOUR
    return {
        **parts,
        **_answering(run),
        "functions and steps": prices.known(
            function_item(functions.architecture),
            _LONGEST_SECONDS * (_FUNCTIONS_GB + functions.measure_megabytes / 1024),
            prices.HOME_REGION,
        )
        + prices.known("states/transition", _TRANSITIONS, prices.HOME_REGION)
        + prices.known("invoke/in", _MEASURED_GB, prices.HOME_REGION),
    }


def _answering(run: Run) -> dict[str, float]:
    """Return the most that what answers may cost until the run has ended, by part."""
    endpoint, function, parts = run.endpoint, run.function, dict[str, float]()
    update_seconds = min(28_800, 3600 + 3 * endpoint.bake_seconds)  # as in the state Plan
    if run.hosting != "function":
        hosting = _hour("hosting", endpoint.instance_type, VOLUME_GB, "serving_instance_type")
        parts["staging"] = hosting * _STAGING_SECONDS / _HOUR
        parts["update"] = hosting * endpoint.max_instances * update_seconds / _HOUR
    if run.hosting != "instances":
        gigabytes = max(function.memory_mb, _LARGEST_MB) / 1024
        warm = function.provisioned_max * update_seconds * gigabytes
        parts["function"] = (
            prices.known(function_item(function.architecture), _FUNCTION_SECONDS * gigabytes, prices.HOME_REGION)
            + prices.known("lambda/request", _FUNCTION_REQUESTS, prices.HOME_REGION)
            + (prices.known(warm_function_item(function.architecture), warm, prices.HOME_REGION) if warm else 0)
        )
    return parts


def _per_hour(training: TrainingPlan) -> float:
    """Return what the machines that train cost in an hour. Spot capacity costs as much as on demand at most."""
    if training.ec2:
        return _known(f"ec2/{training.instance_type}", "training_instance_type")
    each = _hour("training", training.instance_type, JOB_VOLUME_GB, "training_instance_type")
    return each * training.instance_count


def _hour(service: str, instance_type: str, volume_gb: int, field: str) -> float:
    """Return what an hour of an instance of SageMaker costs, with its volume."""
    instance = _known(f"{service}/{instance_type}", field)
    if has_own_disks(instance_type):
        return instance
    return instance + _known(f"{service}/volume", field) * volume_gb / HOURS_A_MONTH


def _per_second(training: TrainingPlan) -> float:
    steps = prices.known("states/transition", _TRANSITIONS_PER_SECOND, prices.HOME_REGION)
    return _per_hour(training) / _HOUR + steps


def _least(run: Run) -> float:
    """Return what the shortest training costs, with the search before it."""
    assert run.training
    per_second, tuned = _per_second(run.training), run.tuning
    one = per_second * (_LEAST_SECONDS + _END_SECONDS)
    if not tuned or not _searches(run):
        return one
    # A search without a training job that ends has no result, and all its money is lost.
    at_once, job = min(tuned.trials, tuned.max_parallel), max(_LEAST_SECONDS, tuning.job_seconds(tuned))
    search = at_once * per_second * (job + _SEARCH_END_SECONDS)
    again = tuning.FINAL_TRAININGS * per_second * (job + _END_SECONDS)
    return max(one / (1 - _SEARCH_SHARE - _AGAIN_SHARE), search / _SEARCH_SHARE, again / _AGAIN_SHARE)


def _training(training: TrainingPlan, limited: SpendingLimit, dollars: float, after_search: bool) -> TrainingPlan:
    """Return the training with the longest time that the money pays, and the sentence for its end."""
    # Dollars that are just enough may become a second less by rounding.
    seconds = max(_LEAST_SECONDS, int(dollars / _per_second(training)) - _END_SECONDS)
    if seconds >= MAX_JOB_SECONDS:
        # Each attempt has an end of its own to pay.
        attempts = min(training.max_attempts, (seconds + _END_SECONDS) // (MAX_JOB_SECONDS + _END_SECONDS))
        return training.model_copy(update={"max_attempts": attempts})
    before = limited.parts.get("images", 0)
    how = "the search begins anew" if after_search else "the training goes on from its last checkpoint"
    spent = (
        f"max_dollars: the training has used up what ${shown(limited.max_dollars)} leaves for it, and was ended after "
        f"{seconds:,} seconds. At most ${before + limited.training:.2f} is spent; the rest was kept for evaluation, "
        f"staging and update. Start the run again with a larger max_dollars: {how}"
    )
    return training.model_copy(update={"max_seconds": seconds, "max_attempts": 1, "spent": spent})


def _search(tuned: TuningPlan, dollars: float, per_second: float) -> TuningPlan:
    """Return a search by jobs whose time the money pays; the minutes end the search, and each job has its own end."""
    at_once = min(tuned.trials, tuned.max_parallel)
    seconds = max(_LEAST_SECONDS, int(dollars * _SEARCH_SHARE / per_second / at_once) - _SEARCH_END_SECONDS)
    again = int(dollars * _AGAIN_SHARE / per_second / tuning.FINAL_TRAININGS) - _END_SECONDS
    again = max(_LEAST_SECONDS, again)
    longest = tuned.minutes or tuning.MAX_MINUTES_OF_JOBS
    minutes = tuned.minutes if seconds >= 60 * longest else seconds / 60
    return tuned.model_copy(update={"minutes": minutes, "job_seconds": min(MAX_JOB_SECONDS, again)})


def _known(item: str, field: str) -> float:
    """Return the price of an hour.

    Raises:
        RequestError: the price book does not have it.
    """
    price = prices.dollars(item)
    if price is None:
        raise RequestError(
            f"max_dollars: the price of {item.partition('/')[2]} is not known here, so no time follows from the money; "
            f"leave max_dollars out, or choose another {field}"
        )
    return price
