"""What jobs cost: trainings and evaluations on SageMaker, trainings on EC2, and builds of images."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

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

    Attributes:
        since: jobs that ended before are counted already; epoch seconds, 0 for the beginning of the month.
        now: epoch seconds.
        ended, running: the charges.
        unpriced: items whose price is not known.
        uncounted: number of jobs that have ended and are left to the next tick.
        begin, until: the time whose jobs count as ended, epoch seconds.
    """

    since: float
    now: float
    ended: list[Charge] = field(default_factory=list)
    running: list[Charge] = field(default_factory=list)
    unpriced: set[str] = field(default_factory=set)
    uncounted: int = 0

    def __post_init__(self) -> None:
        """Begin with the month, and never after the present, which a wrong clock may have passed."""
        begin = self.since or month_start(self.now)
        self.until = max(min(begin, self.now), self.now - _LAG_SECONDS)
        self.begin = min(begin, self.until)

    def leave(self, number: int, before: float) -> None:
        """Leave jobs to the next tick, which begins where the jobs that count as ended end now.

        Args:
            number: how many.
            before: when the first of them has ended; epoch seconds.
        """
        # Of the jobs that ended in one second, all count as ended or none does: SageMaker's lists begin at whole ones.
        self.uncounted, self.until = number, max(self.begin, min(self.until, math.ceil(before) - 1))

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


class _Kind(NamedTuple):
    """A kind of job of SageMaker: how its members are named, where its machines are told, and who tells of it."""

    name: str
    resources: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    paginate: Callable[..., Iterable[Mapping[str, Any]]]
    describe: Callable[..., Mapping[str, Any]]


def on_sagemaker(jobs: Jobs, sagemaker: "SageMakerClient", endpoint: str, has_time: Callable[[], bool]) -> None:
    """Add the training and processing jobs whose names begin with the endpoint's.

    Each is asked for by itself, which takes a second for ten. Those that have ended come in the order of their ends, so
    that the next tick goes on where the time of this one is over. Call it before the functions that add other jobs,
    because it then moves the end of the time whose jobs count as ended.

    Args:
        jobs: receives them.
        sagemaker: the client.
        endpoint: the endpoint's name.
        has_time: whether there is time to ask for one more job that has ended.
    """
    kinds = (
        _Kind(
            "Training",
            lambda found: found["ResourceConfig"],
            sagemaker.get_paginator("list_training_jobs").paginate,
            lambda name: sagemaker.describe_training_job(TrainingJobName=name),
        ),
        _Kind(
            "Processing",
            lambda found: found["ProcessingResources"]["ClusterConfig"],
            sagemaker.get_paginator("list_processing_jobs").paginate,
            lambda name: sagemaker.describe_processing_job(ProcessingJobName=name),
        ),
    )
    waiting = [(job, kind) for kind in kinds for job in _summaries(jobs, kind, endpoint)]
    waiting.sort(key=lambda each: _end(*each) or 0.0)  # Jobs that run come first: there are only a few.
    described = []
    for number, (job, kind) in enumerate(waiting):
        end = _end(job, kind)
        if end is not None and not has_time():
            jobs.leave(len(waiting) - number, before=end)
            break
        described.append((kind, kind.describe(job[f"{kind.name}JobName"])))
    for kind, found in described:
        _add_job(jobs, kind.resources(found), found, kind.name)


def _end(job: Mapping[str, Any], kind: _Kind) -> float | None:
    """Return when a job has ended, in epoch seconds; None if it runs."""
    end = job.get(f"{kind.name}EndTime")
    return None if end is None else float(end.timestamp())


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


def _summaries(jobs: Jobs, kind: _Kind, endpoint: str) -> Iterator[Mapping[str, Any]]:
    """Return the jobs that run, and those that ended after the beginning, each once."""
    names: dict[str, Any] = {"NameContains": f"{endpoint}-"}
    changed = names | {"LastModifiedTimeAfter": _at(jobs.begin)}
    pages = [*(names | {"StatusEquals": each} for each in _RUNNING), changed]
    seen = set()
    for page in (page for request in pages for page in kind.paginate(**request, PaginationConfig=PAGE)):
        for job in page[f"{kind.name}JobSummaries"]:
            name, end = job[f"{kind.name}JobName"], _end(job, kind)
            # Another stack's name may contain this one's.
            if name.startswith(f"{endpoint}-") and name not in seen and (end is None or end > jobs.begin):
                seen.add(name)
                yield job


def on_ec2(jobs: Jobs, batch: "BatchClient", queues: Mapping[str, bool], instance_type: str, endpoint: str) -> None:
    """Add the trainings on EC2: each attempt of them, when it has ended.

    Args:
        jobs: receives them.
        batch: the client.
        queues: ARNs of the stack's queues, and whether they take spot capacity.
        instance_type: of the machines of a job that does not tell it, for example ``c7i.xlarge``.
        endpoint: the endpoint's name.
    """
    for queue, is_spot in queues.items():
        share = prices.spot_share() if is_spot else 1.0
        for job in _described(jobs, batch, queue, endpoint):
            item = f"ec2/{billed.ec2_type(job) or instance_type}"
            for start, end in billed.ec2_spans(job, _at(jobs.now)):
                jobs.add({item: billed.ec2_seconds(start, end) / _HOUR * share}, start, end)


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
    """Add the builds of images; CodeBuild charges whole minutes."""
    pages = codebuild.get_paginator("list_builds_for_project").paginate(projectName=project, sortOrder="DESCENDING")
    for page in pages:
        builds = codebuild.batch_get_builds(ids=page["ids"])["builds"] if page["ids"] else []
        for build in builds:
            if not (start := build.get("startTime")):
                continue
            end = build.get("endTime") if build.get("buildComplete", True) else None
            minutes = billed.build_minutes(start, end or _at(jobs.now))
            jobs.add({billed.build_item(build): minutes}, start.timestamp(), None if end is None else end.timestamp())
        if builds and all((end := each.get("endTime")) and end.timestamp() <= jobs.begin for each in builds):
            return  # The newest come first, so all that follow are counted, too.


def _at(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
