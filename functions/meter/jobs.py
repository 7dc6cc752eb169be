"""What jobs cost: trainings and evaluations on SageMaker, trainings on EC2, and builds of images."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import prices
from meter.sums import Charge
from prices import billed
from prices.disks import has_own_disks
from shared.spending import month_start

if TYPE_CHECKING:
    from mypy_boto3_batch import BatchClient
    from mypy_boto3_codebuild import CodeBuildClient
    from mypy_boto3_sagemaker import SageMakerClient

_HOUR = 3600.0
# Lists of jobs may lag behind, so a job counts as ended only a minute later. Until then it counts as one that runs.
_LAG_SECONDS = 60.0
_RUNNING: tuple[Any, ...] = ("InProgress", "Stopping")
# A job that lost its machine waits for another one, and has paid for the first.
_BATCH_STATUSES: tuple[Any, ...] = ("RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
PAGE: Any = {"PageSize": 100}  # the most that one answer of SageMaker's lists has; without it, it has ten
_MOST_DESCRIBED = 100  # jobs of AWS Batch in one request


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

    def add(self, amounts: Mapping[str, float], start: float, end: float | None) -> None:
        """Add a job, or a part of one.

        Args:
            amounts: how much of each price, by its id in the price book.
            start: epoch seconds.
            end: the same; None for what runs.
        """
        dollars = {item: prices.dollars(item, quantity) for item, quantity in amounts.items()}
        self.unpriced |= {item for item, price in dollars.items() if price is None}
        charge = Charge(sum(price or 0.0 for price in dollars.values()), start, self.now if end is None else end)
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
        _add_job(jobs, found["ResourceConfig"], found, "Training")
    processing = sagemaker.get_paginator("list_processing_jobs").paginate
    for job in _summaries(jobs, processing, "ProcessingJobSummaries", endpoint):
        if not _may_count(jobs, job.get("ProcessingEndTime")):
            continue
        found = sagemaker.describe_processing_job(ProcessingJobName=job["ProcessingJobName"])
        _add_job(jobs, found["ProcessingResources"]["ClusterConfig"], found, "Processing")


def _add_job(jobs: Jobs, resources: Mapping[str, Any], found: Mapping[str, Any], kind: str) -> None:
    """Add a job of SageMaker, with the volumes of its instances."""
    begin, end = found.get(f"{kind}StartTime"), found.get(f"{kind}EndTime")
    if begin is None:  # It never started.
        return
    service, instance_type = kind.lower(), resources.get("InstanceType", "")
    seconds, count = billed.job_seconds(found, kind, _at(jobs.now)), resources.get("InstanceCount", 0)
    amounts = {f"{service}/{instance_type}": count * seconds / _HOUR}
    if not has_own_disks(instance_type):
        amounts[f"{service}/volume"] = billed.gb_months(count * resources["VolumeSizeInGB"], seconds)
    jobs.add(amounts, begin.timestamp(), None if end is None else end.timestamp())


def _summaries(
    jobs: Jobs, paginate: Callable[..., Iterable[Mapping[str, Any]]], member: str, endpoint: str
) -> Iterator[Mapping[str, Any]]:
    """Return the jobs that run, and those that were changed after the beginning, each once."""
    names: dict[str, Any] = {"NameContains": f"{endpoint}-"}
    changed = names | {"LastModifiedTimeAfter": _at(jobs.begin)}
    pages = [*(names | {"StatusEquals": each} for each in _RUNNING), changed]
    seen = set()
    for page in (page for request in pages for page in paginate(**request, PaginationConfig=PAGE)):
        for job in page[member]:
            name = next(value for key, value in job.items() if key.endswith("JobName"))
            # Another stack's name may contain this one's.
            if name.startswith(f"{endpoint}-") and name not in seen:
                seen.add(name)
                yield job


def _may_count(jobs: Jobs, end: datetime | None) -> bool:
    return end is None or end.timestamp() > jobs.begin


def on_ec2(jobs: Jobs, batch: "BatchClient", queues: Mapping[str, bool], instance_type: str, endpoint: str) -> None:
    """Add the trainings on EC2: each attempt of them, when it has ended.

    Args:
        jobs: receives them.
        batch: the client.
        queues: ARNs of the stack's queues, and whether they take spot capacity.
        instance_type: of their machines, for example ``c7i.xlarge``.
        endpoint: the endpoint's name.
    """
    for queue, is_spot in queues.items():
        share = prices.spot_share() if is_spot else 1.0
        for job in _described(jobs, batch, queue, endpoint):
            for start, end in billed.ec2_spans(job, _at(jobs.now)):
                hours = billed.ec2_seconds(start, end) / _HOUR
                jobs.add({f"ec2/{instance_type}": hours * share}, start, end)


def _described(jobs: Jobs, batch: "BatchClient", queue: str, endpoint: str) -> Iterator[Mapping[str, Any]]:
    """Return the jobs of a queue that run, wait, or ended after the beginning, with all their attempts."""
    lists = batch.get_paginator("list_jobs")
    ids = [
        job["jobId"]
        for status in _BATCH_STATUSES
        for page in lists.paginate(jobQueue=queue, jobStatus=status)
        for job in page["jobSummaryList"]
        if job["jobName"].startswith(f"{endpoint}-") and job.get("stoppedAt", math.inf) / 1000 > jobs.begin
    ]
    unique = list(dict.fromkeys(ids))  # A job may go on from one status to the next while they are listed.
    for first in range(0, len(unique), _MOST_DESCRIBED):
        yield from batch.describe_jobs(jobs=unique[first : first + _MOST_DESCRIBED])["jobs"]


def of_builds(jobs: Jobs, codebuild: "CodeBuildClient", project: str) -> None:
    """Add the builds of images, the hundred newest; CodeBuild charges whole minutes."""
    ids = codebuild.list_builds_for_project(projectName=project, sortOrder="DESCENDING")["ids"][:100]
    for build in codebuild.batch_get_builds(ids=ids)["builds"] if ids else []:
        start, end = build.get("startTime"), build.get("endTime")
        if start is None:
            continue
        if end is not None and not build.get("buildComplete", True):
            end = None
        minutes = billed.build_minutes(start, end or _at(jobs.now))
        jobs.add({"codebuild/general1.medium": minutes}, start.timestamp(), None if end is None else end.timestamp())


def _at(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
