"""Read the training jobs of a tuning job."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shared.tuning import TunedTrial

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


def trials(sagemaker: "SageMakerClient", job: str) -> list[TunedTrial]:
    """Return the training jobs of a tuning job by their names, which have their numbers."""
    pages = sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=job, SortBy="Name", SortOrder="Ascending"
    )
    return [_trial(each) for page in pages for each in page["TrainingJobSummaries"]]


def _trial(summary: Mapping[str, Any]) -> TunedTrial:
    begin, end = summary.get("TrainingStartTime"), summary.get("TrainingEndTime")
    metric = summary.get("FinalHyperParameterTuningJobObjectiveMetric")
    words = {"Completed": "completed", "Stopped": "stopped early"}
    status = summary["TrainingJobStatus"]
    return TunedTrial(
        job=summary["TrainingJobName"],
        hyperparameters=dict(summary["TunedHyperParameters"]),
        objective=metric["Value"] if metric else None,
        seconds=round((end - begin).total_seconds(), 1) if begin and end else None,
        ended=words.get(status, summary.get("FailureReason", status)),
    )
