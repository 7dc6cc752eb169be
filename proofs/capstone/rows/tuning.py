"""A tuning job of SageMaker over two hyperparameters."""

import time
from contextlib import suppress
from typing import Any

from botocore.exceptions import ClientError

from local.home import LocalError
from proofs.capstone import by_hand
from proofs.capstone.evidence import Check, Evidence
from proofs.capstone.kennel import Kennel

_TRIALS, _AT_ONCE, _SECONDS = 4, 2, 600
_RANGES = {"learning_rate": (3e-4, 3e-2), "epochs": (2, 10)}
_METRIC = "valid:top1"


def collect(kennel: Kennel) -> Evidence:
    """Let a tuning job try sets of hyperparameters, and list its training jobs."""
    sagemaker, name = kennel.client("sagemaker"), f"{by_hand.NAME}-{time.strftime('%m%d-%H%M%S')}"
    with by_hand.role(kennel) as role:
        try:
            sagemaker.create_hyper_parameter_tuning_job(**_request(kennel, role, name))
            found: dict[str, Any] = {}

            def has_ended() -> bool:
                found.update(sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name))
                return found["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping")

            kennel.wait(has_ended, f"{_TRIALS} training jobs, {_AT_ONCE} at a time", _SECONDS)
        finally:
            with suppress(ClientError):  # It has ended.
                sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    if found["HyperParameterTuningJobStatus"] != "Completed":
        raise LocalError(f"{name}: {found.get('FailureReason', found['HyperParameterTuningJobStatus'])}")
    trials = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, MaxResults=100
    )["TrainingJobSummaries"]
    return {
        "name": name,
        "status": found["HyperParameterTuningJobStatus"],
        "objective": found["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"],
        "ranges": {parameter: list(bounds) for parameter, bounds in _RANGES.items()},
        "best": found["BestTrainingJob"]["TrainingJobName"],
        "trials": [_trial(each) for each in trials],
    }


def _request(kennel: Kennel, role: str, name: str) -> dict[str, Any]:
    static = {key: value for key, value in by_hand.hyperparameters(kennel).items() if key not in _RANGES}
    rate, epochs = ([str(bound) for bound in _RANGES[each]] for each in ("learning_rate", "epochs"))
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": _METRIC},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": _TRIALS, "MaxParallelTrainingJobs": _AT_ONCE},
            "ParameterRanges": {
                "ContinuousParameterRanges": [
                    {"Name": "learning_rate", "MinValue": rate[0], "MaxValue": rate[1], "ScalingType": "Logarithmic"}
                ],
                "IntegerParameterRanges": [{"Name": "epochs", "MinValue": epochs[0], "MaxValue": epochs[1]}],
            },
        },
        "TrainingJobDefinition": {"StaticHyperParameters": static, **by_hand.definition(kennel, role, 1)},
    }


def _trial(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": summary["TrainingJobName"],
        "status": summary["TrainingJobStatus"],
        "tuned": {name: float(value) for name, value in summary["TunedHyperParameters"].items()},
        "objective": summary.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value"),
    }


def judge(evidence: Evidence) -> list[Check]:
    """Hold the trials against the ranges, and the best against all."""
    trials, ranges = evidence["trials"], evidence["ranges"]
    best = max(trials, key=lambda trial: trial["objective"])
    chosen = next(trial for trial in trials if trial["name"] == evidence["best"])
    return [
        Check(f"the tuning job is {evidence['status']}", evidence["status"] == "Completed"),
        Check(f"it searched at least two hyperparameters: {', '.join(ranges)}", len(ranges) >= 2),
        Check(
            f"{len(trials)} training jobs completed, each with a figure",
            len(trials) >= 2 and all(each["status"] == "Completed" and 0 < each["objective"] <= 1 for each in trials),
        ),
        Check(
            "each tried a value within each range",
            all(ranges[name][0] <= each["tuned"][name] <= ranges[name][1] for each in trials for name in ranges),
        ),
        Check(
            "no two tried the same",
            len({tuple(sorted(each["tuned"].items())) for each in trials}) == len(trials),
        ),
        Check(
            f"the job that SageMaker calls best has the highest figure, {best['objective']:.1%}",
            chosen["objective"] == best["objective"],
        ),
    ]


def tell(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the figures for people."""
    rows = []
    for trial in evidence["trials"]:
        tuned = ", ".join(f"{name} {value:.4g}" for name, value in sorted(trial["tuned"].items()))
        mark = " ← best" if trial["name"] == evidence["best"] else ""
        rows.append((trial["name"], f"valid top-1 {trial['objective']:.1%} with {tuned}{mark}"))
    return rows
