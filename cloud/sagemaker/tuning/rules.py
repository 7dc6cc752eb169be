"""What AWS refuses of CreateHyperParameterTuningJob beyond botocore's service model: functions of the request.

The rules are those of AWS's pages on automatic model tuning (limits, strategies, warm start, ranges); the messages are
AWS's where they were seen.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloud.core.protocol import ApiError, Request, invalid
from cloud.sagemaker.tuning import definitions, ranges

_MAX_HYPERPARAMETERS = 30
_MAX_PARALLEL = 10
_MAX_EPOCHS = 20_000
_MAX_CHANGES = 10  # of static hyperparameters between a parent and a warm start


def tuning_job(request: Request) -> None:
    """Check a request of CreateHyperParameterTuningJob without its parents.

    Raises:
        ApiError: it is refused.
    """
    config = request["HyperParameterTuningJobConfig"]
    several = request.get("TrainingJobDefinitions")
    if bool(several) == ("TrainingJobDefinition" in request):
        raise invalid("Provide either TrainingJobDefinition or TrainingJobDefinitions, and not both.")
    if several:
        _check_several(request, several)
    else:
        _check_only(config, request["TrainingJobDefinition"])
    autotuned = "Autotune" in request
    for definition, searched in _searches(request):
        _check_ranges(searched, definition.get("StaticHyperParameters", {}), autotuned)
        _check_cluster(definition)
    for each in definitions.of(request):
        names = {metric["Name"] for metric in each.request["AlgorithmSpecification"].get("MetricDefinitions", [])}
        if each.metric not in names:
            raise invalid(
                "A metric is required for this hyperparameter tuning job objective. Provide a metric in the metric "
                "definitions."
            )
    _check_strategy(config, request)
    _check_counts(config, request)


def max_jobs(request: Request) -> int:
    """Return the largest number of training jobs that a tuning job starts."""
    config = request["HyperParameterTuningJobConfig"]
    if given := config["ResourceLimits"].get("MaxNumberOfTrainingJobs"):
        return int(given)
    if config["Strategy"] == "Grid":
        return int(sum(ranges.combinations(each.ranges) for each in definitions.of(request)))
    return definitions.MAX_JOBS


def warm_start(request: Request, parents: Sequence[tuple[Request, int]]) -> None:
    """Check a warm start against its parents.

    Args:
        request: the new tuning job's request.
        parents: each parent's request, and the number of training jobs that it started.

    Raises:
        ApiError: it is refused.
    """
    new = definitions.of(request)[0]
    kinds, searched = _kinds(new), {each.name for each in new.ranges}
    for parent, _ in parents:
        old, name = definitions.of(parent)[0], parent["HyperParameterTuningJobName"]
        if (old.metric, old.maximize) != (new.metric, new.maximize):
            raise invalid(f"The objective metric must be that of parent tuning job {name}, {old.metric}.")
        count, before = len(new.ranges) + len(new.static), len(old.ranges) + len(old.static)
        if count != before:
            raise invalid(
                f"The total number of static and tunable hyperparameters must be that of parent tuning job {name}, "
                f"{before}, not {count}."
            )
        for hyperparameter, kind in _kinds(old).items():
            if kinds.get(hyperparameter, kind) != kind:
                raise invalid(f"Hyperparameter {hyperparameter} must be {kind}, as in parent tuning job {name}.")
        changes = sum(_changes(each) for each in old.ranges if each.name not in searched)
        changes += sum(2 for key, value in old.static.items() if new.static.get(key, value) != value)
        if changes > _MAX_CHANGES:
            raise invalid(
                f"The hyperparameters that became static, and the static ones with another value than in parent tuning "
                f"job {name}, count {changes} changes; {_MAX_CHANGES} are allowed."
            )
    total = max_jobs(request) if _has_max(request) else 1
    if total + sum(count for _, count in parents) > definitions.MAX_JOBS:
        raise ApiError(
            "ResourceLimitExceeded",
            f"A tuning job and its parents may start {definitions.MAX_JOBS} training jobs altogether.",
        )


def _searches(request: Request) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return each training job definition with its ParameterRanges."""
    if several := request.get("TrainingJobDefinitions"):
        return [(each, each["HyperParameterRanges"]) for each in several]
    return [(request["TrainingJobDefinition"], request["HyperParameterTuningJobConfig"].get("ParameterRanges", {}))]


def _check_only(config: Mapping[str, Any], definition: Mapping[str, Any]) -> None:
    if "HyperParameterTuningJobObjective" not in config:
        raise invalid("HyperParameterTuningJobConfig.HyperParameterTuningJobObjective is missing.")
    for member in ("TuningObjective", "HyperParameterRanges"):
        if member in definition:
            raise invalid(
                f"TrainingJobDefinition.{member} is for TrainingJobDefinitions; of one definition it belongs to "
                "HyperParameterTuningJobConfig."
            )


def _check_several(request: Request, several: Sequence[Mapping[str, Any]]) -> None:
    config = request["HyperParameterTuningJobConfig"]
    for member in ("HyperParameterTuningJobObjective", "ParameterRanges"):
        if member in config:
            raise invalid(f"HyperParameterTuningJobConfig.{member}: with TrainingJobDefinitions each has its own.")
    for each in several:
        for member in ("DefinitionName", "TuningObjective", "HyperParameterRanges"):
            if member not in each:
                raise invalid(f"TrainingJobDefinitions: each definition needs a {member}.")
    _refuse_repeated((each["DefinitionName"] for each in several), "TrainingJobDefinitions has definition")
    if len({each["TuningObjective"]["Type"] for each in several}) > 1:
        raise invalid("TrainingJobDefinitions: all objectives must be of one Type, or none is the best.")
    if "WarmStartConfig" in request:
        raise invalid("WarmStartConfig is available only when tuning a single algorithm.")
    if config.get("TrainingJobEarlyStoppingType") == "Auto":
        raise invalid("TrainingJobEarlyStoppingType Auto is available only when tuning a single algorithm.")


def _check_strategy(config: Mapping[str, Any], request: Request) -> None:
    strategy = config["Strategy"]
    if strategy == "Hyperband":
        if config.get("TrainingJobEarlyStoppingType") == "Auto":
            raise invalid("TrainingJobEarlyStoppingType must be Off when Strategy is Hyperband.")
        for definition, _ in _searches(request):
            _check_resources(config, definition)
    elif "StrategyConfig" in config:
        raise invalid(f"StrategyConfig is supported only when Strategy is Hyperband, not {strategy}.")
    if strategy == "Grid":
        for _, searched in _searches(request):
            if any(searched.get(f"{kind}ParameterRanges") for kind in ("Integer", "Continuous")):
                raise invalid("Only CategoricalParameterRanges are supported when Strategy is Grid.")


def _check_resources(config: Mapping[str, Any], definition: Mapping[str, Any]) -> None:
    most = definitions.max_resource(config, definition)
    if most is None:
        raise invalid(
            "MaxResource parameter is not provided and could not be inferred from provided static hyperparameters of "
            "TrainingJobDefinition."
        )
    least = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {}).get("MinResource", 1)
    if not least <= most <= _MAX_EPOCHS:
        raise invalid(f"HyperbandStrategyConfig: MaxResource {most} must be from MinResource {least} to {_MAX_EPOCHS}.")


def _check_counts(config: Mapping[str, Any], request: Request) -> None:
    limits, strategy = config["ResourceLimits"], config["Strategy"]
    parallel = limits["MaxParallelTrainingJobs"]
    if parallel > _MAX_PARALLEL:
        raise _limit("training jobs at the same time", _MAX_PARALLEL, parallel)
    possible = sum(ranges.combinations(each.ranges) for each in definitions.of(request))
    jobs = max_jobs(request)
    if jobs > definitions.MAX_JOBS:
        raise _limit("training jobs", definitions.MAX_JOBS, jobs)
    if strategy == "Grid" and jobs != possible:
        raise invalid(
            f"MaxNumberOfTrainingJobs {jobs} must be the number of distinct combinations of categories, {possible:g}, "
            "when Strategy is Grid; or leave it out."
        )
    if _has_max(request) and possible < jobs:
        raise invalid(
            "You don't have enough combinations of hyperparameter ranges. The total number of hyperparameter "
            f"combinations for the provided ranges [{possible}] must be equal or greater than the value of "
            f"MaxNumberOfJobs, [{jobs}]. Provide additional ranges."
        )
    if parallel > jobs:
        raise invalid(f"MaxParallelTrainingJobs {parallel} must not exceed MaxNumberOfTrainingJobs {jobs}.")


def _check_ranges(searched: Mapping[str, Any], static: Mapping[str, str], autotuned: bool) -> None:
    """Check ParameterRanges.

    Raises:
        ApiError: they are refused.
    """
    if searched.get("AutoParameters") and not autotuned:
        raise invalid("ParameterRanges.AutoParameters needs Autotune with Mode Enabled.")
    kinds = ("CategoricalParameterRanges", "IntegerParameterRanges", "ContinuousParameterRanges", "AutoParameters")
    names = [each["Name"] for kind in kinds for each in searched.get(kind, [])]
    if not names:
        raise invalid("ParameterRanges: at least one hyperparameter must have a range.")
    if len(names) > _MAX_HYPERPARAMETERS:
        raise _limit("hyperparameters that are searched", _MAX_HYPERPARAMETERS, len(names))
    _refuse_repeated(names, "ParameterRanges has hyperparameter")
    if both := sorted({*names} & {*static}):
        raise invalid(f"Hyperparameter {both[0]} is both in ParameterRanges and in StaticHyperParameters.")
    if definitions.OBJECTIVE in {*names, *static}:
        raise invalid(f"The hyperparameter {definitions.OBJECTIVE} is SageMaker's own.")
    for each in searched.get("CategoricalParameterRanges", []):
        _refuse_repeated(each["Values"], f"The range of {each['Name']} has value")
    for kind in ("Integer", "Continuous"):
        for each in searched.get(f"{kind}ParameterRanges", []):
            _check_interval(each, kind)


def _check_interval(each: Mapping[str, str], kind: str) -> None:
    low, high = (_number(each, member, kind) for member in ("MinValue", "MaxValue"))
    scaling, where = each.get("ScalingType", "Auto"), f"{kind} hyperparameter {each['Name']}"
    if low >= high:
        raise invalid(f"{where}: MinValue {each['MinValue']} must be less than MaxValue {each['MaxValue']}.")
    if scaling == "Logarithmic" and low <= 0:
        raise invalid(f"{where}: logarithmic scaling works only for ranges that have only values greater than 0.")
    if scaling == "ReverseLogarithmic" and kind == "Integer":
        raise invalid(f"{where}: reverse logarithmic scaling is supported only for continuous hyperparameter ranges.")
    if scaling == "ReverseLogarithmic" and not (low >= 0 and high < 1):
        raise invalid(f"{where}: reverse logarithmic scaling works only for ranges entirely within 0<=x<1.0.")


def _number(each: Mapping[str, str], member: str, kind: str) -> float:
    text = each[member]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (kind == "Integer" and not value.is_integer()):
        number = "a whole number" if kind == "Integer" else "a number"
        raise invalid(f"{kind} hyperparameter {each['Name']}: {member} {text!r} is not {number}.")
    return value


def _check_cluster(definition: Mapping[str, Any]) -> None:
    flexible = definition.get("HyperParameterTuningResourceConfig")
    if (flexible is not None) == ("ResourceConfig" in definition):
        raise invalid("Provide either ResourceConfig or HyperParameterTuningResourceConfig, and not both.")
    if flexible is None:
        return
    single = [member for member in ("InstanceType", "InstanceCount", "VolumeSizeInGB") if member in flexible]
    if "InstanceConfigs" in flexible and single:
        raise invalid(f"HyperParameterTuningResourceConfig: with InstanceConfigs, {single[0]} must be left out.")
    if "InstanceConfigs" not in flexible and not {"InstanceType", "InstanceCount"} <= flexible.keys():
        raise invalid("HyperParameterTuningResourceConfig needs InstanceConfigs, or InstanceType and InstanceCount.")


def _kinds(definition: definitions.Definition) -> dict[str, str]:
    """Return whether each searched hyperparameter is categorical, integer or continuous."""
    names = {True: "integer", False: "continuous"}
    return {
        each.name: names[each.is_integer] if isinstance(each, ranges.Interval) else "categorical"
        for each in definition.ranges
    }


def _changes(each: ranges.Range) -> int:
    return len(each.values) if isinstance(each, ranges.Categories) else 1


def _has_max(request: Request) -> bool:
    return "MaxNumberOfTrainingJobs" in request["HyperParameterTuningJobConfig"]["ResourceLimits"]


def _limit(what: str, limit: int, asked: int) -> ApiError:
    return ApiError(
        "ResourceLimitExceeded",
        f"The account-level service limit 'Number of {what} per hyperparameter tuning job' is {limit}, with current "
        f"utilization of 0 and a request delta of {asked}.",
    )


def _refuse_repeated(names: Iterable[str], where: str) -> None:
    """Refuse names of which one occurs twice.

    Raises:
        ApiError: one does.
    """
    if repeated := next((name for name, count in Counter(names).items() if count > 1), None):
        raise invalid(f"{where} {repeated} twice.")
