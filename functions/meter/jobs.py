"""What jobs cost: trainings and evaluations on SageMaker, trainings on EC2, and builds of images."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import prices
from meter.sums import Charge
from shared.spending import month_start

if TYPE_CHECKING:
    from mypy_boto3_batch import BatchClient
    from mypy_boto3_codebuild import CodeBuildClient
    from mypy_boto3_sagemaker import SageMakerClient

_HOUR = 3600.0
# Lists of jobs may lag behind, so a job counts as ended only a minute later. Until then it counts as one that runs.
_LAG_SECONDS = 60.0
_RUNNING: tuple[Any, ...] = ("InProgress", "Stopping")
_BATCH_STATUSES: tuple[Any, ...] = ("RUNNING", "SUCCEEDED", "FAILED")


@dataclass
class Jobs:
    """The charges of jobs, divided into those that ended within a time and those that run or ended later.

    Args:
        since: jobs that ended before are counted already; epoch seconds, 0 for the beginning of the month.
        now: epoch seconds.
    """

    since: float
    now: float
    ended: list[Charge] = field(default_factory=list)
    running: list[Charge] = field(default_factory=list)
    unpriced: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Begin with the month, and never after the present, which a wrong clock may have passed."""
        begin = self.since or month_start(self.now)
        self.until = max(min(begin, self.now), self.now - _LAG_SECONDS)
        self.begin = min(begin, self.until)

    def add(self, item: str, quantity: float, start: float, end: float | None) -> None:
        """Add a job.

        Args:
            item: the price, by its id in the price book.
            quantity: how much of it.
            start: epoch seconds.
            end: the same; None for a job that runs.
        """
        price = prices.dollars(item, quantity)
        if price is None:
            self.unpriced.add(item)
        charge = Charge(price or 0.0, start, self.now if end is None else end)
        if end is None or end > self.until:
            self.running.append(charge)
        elif end > self.begin:
            self.ended.append(charge)


def on_sagemaker(jobs: Jobs, sagemaker: "SageMakerClient", endpoint: str) -> None:
    """Add the training and processing jobs whose names begin with the endpoint's."""
    training = sagemaker.get_paginator("list_training_jobs").paginate
    for job in _summaries(jobs, training, "TrainingJobSummaries", endpoint):
        if not _may_count(jobs, job.get("TrainingEndTime")):
            continue
        found: Mapping[str, Any] = sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])
        resources = found["ResourceConfig"]
        instances = resources.get("InstanceCount", 0)
        _add_job(jobs, f"training/{resources.get('InstanceType')}", instances, found, "Training")
    processing = sagemaker.get_paginator("list_processing_jobs").paginate
    for job in _summaries(jobs, processing, "ProcessingJobSummaries", endpoint):
        if not _may_count(jobs, job.get("ProcessingEndTime")):
            continue
        found = sagemaker.describe_processing_job(ProcessingJobName=job["ProcessingJobName"])
        cluster = found["ProcessingResources"]["ClusterConfig"]
        _add_job(jobs, f"processing/{cluster['InstanceType']}", cluster["InstanceCount"], found, "Processing")


def _add_job(jobs: Jobs, item: str, instances: int, found: Mapping[str, Any], kind: str) -> None:
    """Add a job of SageMaker. Of a training that ended, SageMaker tells the seconds that it charges, also on spot."""
    begin, end = found.get(f"{kind}StartTime"), found.get(f"{kind}EndTime")
    if begin is None:  # It never started.
        return
    start, stop = begin.timestamp(), None if end is None else end.timestamp()
    seconds = (jobs.now if stop is None else stop) - start
    if stop is not None:
        seconds = found.get("BillableTimeInSeconds", seconds)
    jobs.add(item, instances * max(0.0, seconds) / _HOUR, start, stop)


def _summaries(
    jobs: Jobs, paginate: Callable[..., Iterable[Mapping[str, Any]]], member: str, endpoint: str
) -> Iterator[Mapping[str, Any]]:
    """Return the jobs that run, and those that were changed after the beginning, each once."""
    names: dict[str, Any] = {"NameContains": f"{endpoint}-"}
    since = datetime.fromtimestamp(jobs.begin, UTC)
    pages = [*(names | {"StatusEquals": each} for each in _RUNNING), names | {"LastModifiedTimeAfter": since}]
    seen = set()
    for page in (page for request in pages for page in paginate(**request)):
        for job in page[member]:
            name = next(value for key, value in job.items() if key.endswith("JobName"))
            # Another stack's name may contain this one's.
            if name.startswith(f"{endpoint}-") and name not in seen:
                seen.add(name)
                yield job


def _may_count(jobs: Jobs, end: datetime | None) -> bool:
    return end is None or end.timestamp() > jobs.begin


def on_ec2(jobs: Jobs, batch: "BatchClient", queues: Mapping[str, bool], instance_type: str, endpoint: str) -> None:
    """Add the trainings on EC2.

    Args:
        jobs: receives them.
        batch: the client.
        queues: ARNs of the stack's queues, and whether they take spot capacity.
        instance_type: of their machines, for example ``c7i.xlarge``.
        endpoint: the endpoint's name.
    """
    for queue, is_spot in queues.items():
        share = prices.spot_share() if is_spot else 1.0
        for status in _BATCH_STATUSES:
            for page in batch.get_paginator("list_jobs").paginate(jobQueue=queue, jobStatus=status):
                for job in page["jobSummaryList"]:
                    start, end = job.get("startedAt"), job.get("stoppedAt")
                    if not start or not job["jobName"].startswith(f"{endpoint}-"):
                        continue
                    stop = None if status == "RUNNING" or not end else end / 1000
                    hours = max(0.0, (jobs.now if stop is None else stop) - start / 1000) / _HOUR
                    jobs.add(f"ec2/{instance_type}", hours * share, start / 1000, stop)


def of_builds(jobs: Jobs, codebuild: "CodeBuildClient", project: str) -> None:
    """Add the builds of images, the hundred newest; CodeBuild charges whole minutes."""
    ids = codebuild.list_builds_for_project(projectName=project, sortOrder="DESCENDING")["ids"][:100]
    for build in codebuild.batch_get_builds(ids=ids)["builds"] if ids else []:
        start, end = build.get("startTime"), build.get("endTime")
        if start is None:
            continue
        stop = end.timestamp() if end is not None and build.get("buildComplete", True) else None
        seconds = (jobs.now if stop is None else stop) - start.timestamp()
        jobs.add("codebuild/general1.medium", math.ceil(max(0.0, seconds) / 60), start.timestamp(), stop)
