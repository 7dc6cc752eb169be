"""The training jobs that a tuning job starts: what every one of them has, and what is searched."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloud.core.protocol import Request
from cloud.sagemaker.tuning.ranges import Range, parse

OBJECTIVE = "_tuning_objective_metric"  # the hyperparameter that SageMaker adds
MAX_JOBS = 750  # of a tuning job
_EPOCHS = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
_NOT_OF_A_TRAINING_JOB = (
    *("DefinitionName", "HyperParameterRanges", "HyperParameterTuningResourceConfig", "RetryStrategy"),
    *("StaticHyperParameters", "TuningObjective"),
)
_SPREAD = 10.0  # Autotune searches from a tenth of the hint to ten times the hint; AWS's own choice is not published


@dataclass(frozen=True)
class Definition:
    """One kind of training job of a tuning job.

    Attributes:
        name: its name; empty when the request has only one and does not name it.
        request: the HyperParameterTrainingJobDefinition.
        metric: the name of the objective metric.
        maximize: whether larger values of it are better.
        ranges: what is searched.
        static: the other hyperparameters.
    """

    name: str
    request: Mapping[str, Any]
    metric: str
    maximize: bool
    ranges: list[Range]
    static: Mapping[str, str]

    def training_job(self, name: str, values: Mapping[str, str]) -> Request:
        """Return the request of CreateTrainingJob.

        Args:
            name: the training job's name.
            values: the hyperparameters of the ranges.
        """
        members = {key: value for key, value in self.request.items() if key not in _NOT_OF_A_TRAINING_JOB}
        return {
            **members,
            "TrainingJobName": name,
            "HyperParameters": {**self.static, **values, OBJECTIVE: self.metric},
            "ResourceConfig": self.cluster,
        }

    @property
    def cluster(self) -> dict[str, Any]:
        """The ResourceConfig of its training jobs; of several InstanceConfigs, the first, which there is always."""
        if config := self.request.get("ResourceConfig"):
            return dict(config)
        config = dict(self.request["HyperParameterTuningResourceConfig"])
        preferred = config.pop("InstanceConfigs", [{}])[0]
        config.pop("AllocationStrategy", None)
        return {**config, **preferred}


def of(request: Request) -> list[Definition]:
    """Return the definitions of a request of CreateHyperParameterTuningJob, which ``rules`` has checked."""
    config = request["HyperParameterTuningJobConfig"]
    if several := request.get("TrainingJobDefinitions"):
        return [_definition(each, each["TuningObjective"], each["HyperParameterRanges"]) for each in several]
    only, objective = request["TrainingJobDefinition"], config["HyperParameterTuningJobObjective"]
    return [_definition(only, objective, config.get("ParameterRanges", {}))]


def max_resource(config: Mapping[str, Any], definition: Mapping[str, Any]) -> int | None:
    """Return Hyperband's MaxResource: as given, or from the static hyperparameters; None when it is in neither."""
    given = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {}).get("MaxResource")
    static = definition.get("StaticHyperParameters", {})
    texts = [static[name] for name in _EPOCHS if static.get(name, "").isdecimal()]
    return given or (int(texts[0]) if texts else None)


def _definition(
    request: Mapping[str, Any], objective: Mapping[str, str], parameter_ranges: Mapping[str, Any]
) -> Definition:
    static = dict(request.get("StaticHyperParameters", {}))
    ranges = dict(parameter_ranges)
    for each in ranges.get("AutoParameters", []):
        kind, chosen = _range_around(each["Name"], each["ValueHint"])
        if kind:
            ranges[kind] = [*ranges.get(kind, []), chosen]
        else:
            static[each["Name"]] = each["ValueHint"]
    return Definition(
        request.get("DefinitionName", ""),
        request,
        objective["MetricName"],
        objective["Type"] == "Maximize",
        parse(ranges),
        static,
    )


def _range_around(name: str, hint: str) -> tuple[str, dict[str, str]]:
    """Return the range that Autotune searches around a hint, and its kind; no kind when there is no range around it."""
    if re.fullmatch(r"[1-9]\d*", hint):
        low, high = max(1, round(int(hint) / _SPREAD)), round(int(hint) * _SPREAD)
        return "IntegerParameterRanges", {"Name": name, "MinValue": str(low), "MaxValue": str(high)}
    try:
        value = float(hint)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        return "", {}
    largest = min(value * _SPREAD, 1.0) if value < 1 else value * _SPREAD  # A fraction stays one.
    bounds = {"MinValue": repr(value / _SPREAD), "MaxValue": repr(largest)}
    return "ContinuousParameterRanges", {"Name": name, **bounds}
