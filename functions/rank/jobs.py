"""Read the training jobs of a tuning job."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


class Result(NamedTuple):
    """What one training job of a tuning job came to.

    Attributes:
        job: its name.
        hyperparameters: those that the tuning job chose.
        top1, loss: the last figures on the validation photos; None if there are none.
        seconds: from the start of its training to the end; None if it never trained.
        finished: whether it trained to its end.
        ended: how it ended, in words.
    """

    job: str
    hyperparameters: dict[str, str]
    top1: float | None
    loss: float | None
    seconds: float | None
    finished: bool
    ended: str


def results(sagemaker: "SageMakerClient", job: str) -> list[Result]:
    """Return the results of a tuning job in the order of its training jobs' names, which have their numbers."""
    pages = sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=job, SortBy="Name", SortOrder="Ascending"
    )
    summaries = [each for page in pages for each in page["TrainingJobSummaries"]]
    return [_result(each, _figures(sagemaker, each)) for each in summaries]


def _figures(sagemaker: "SageMakerClient", summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the last figure of each metric; the list of a tuning job has the objective alone."""
    if summary["TrainingJobStatus"] not in ("Completed", "Stopped"):
        return {}
    job = sagemaker.describe_training_job(TrainingJobName=summary["TrainingJobName"])
    return {each["MetricName"]: each["Value"] for each in job.get("FinalMetricDataList", [])}


def _result(summary: Mapping[str, Any], figures: Mapping[str, float]) -> Result:
    begin, end = summary.get("TrainingStartTime"), summary.get("TrainingEndTime")
    status = summary["TrainingJobStatus"]
    words = {"Completed": "trained to the end", "Stopped": "stopped early"}
    return Result(
        job=summary["TrainingJobName"],
        hyperparameters=dict(summary["TunedHyperParameters"]),
        top1=figures.get("valid:top1"),
        loss=figures.get("valid:loss"),
        seconds=round((end - begin).total_seconds(), 1) if begin and end else None,
        finished=status == "Completed",
        ended=words.get(status, summary.get("FailureReason", status)),
    )
