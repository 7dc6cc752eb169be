"""Meter the parts of a run that its history and its services tell of, in the units that AWS bills.

Services are asked only for what this run has started. All other functions are pure.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from botocore.exceptions import ClientError

from prices import billed
from prices.billed import duration
from prices.disks import has_own_disks
from prices.per_million import VOLUME_GB
from receipt.history import History, Task

_GIGABYTE = 1e9  # bytes
_FUNCTION = "lambda:invoke"
_BUILD = "codebuild:startBuild.sync"
_EC2 = "batch:submitJob.sync"
_PROCESSING = "sagemaker:createProcessingJob.sync"
_TRAINING = "aws-sdk:sagemaker:createTrainingJob"
_TUNING = "aws-sdk:sagemaker:createHyperParameterTuningJob"
_CREATE, _UPDATE, _DELETE, _DESCRIBE = (
    f"aws-sdk:sagemaker:{verb}Endpoint" for verb in ("create", "update", "delete", "describe")
)
_GOING = {"InProgress", "Stopping"}  # statuses of jobs of SageMaker that have not ended
# Errors after which a job may exist all the same, because its answer was lost; and those of a job that does not.
_UNCERTAIN = {"States.Timeout", "SageMaker.SageMakerException", "SageMaker.AmazonSageMakerException"}
_SENDERS = ("-smoke", "-measure")  # how the names of the functions end that send photos to endpoints
_IN_USE = "SageMaker.ResourceInUseException"
_MISSING = {"ValidationException", "ResourceNotFound", "ResourceNotFoundException"}
How = Literal["measured", "derived", "estimated"]
_MEASURED: How = "measured"
_DERIVED: How = "derived"


class Metered(NamedTuple):
    """One part of a run; the members are those of ``ReceiptLine``, and one more.

    Attributes:
        is_spot: whether it is spot capacity of EC2, of which the book has the price on demand.
        is_open: whether it goes on, so that it will have cost more.
    """

    state: str
    what: str
    item: str
    quantity: float
    unit: str
    quote: str = ""
    how: How = "measured"
    is_spot: bool = False
    is_open: bool = False


@dataclass(frozen=True)
class Functions:
    """What the bill of a function depends on besides its time.

    Attributes:
        memory_mb: by the last word of a function's name, where it is not ``default_mb``.
        default_mb: megabytes of the others.
        architecture: ``x86_64`` or ``arm64``.
    """

    memory_mb: Mapping[str, int]
    default_mb: int
    architecture: str

    def gigabytes(self, name: str) -> float:
        """Return the memory of a function by its name or ARN, in gigabytes as Lambda counts them."""
        return self.memory_mb.get(name.rpartition("-")[2], self.default_mb) / 1024

    @property
    def item(self) -> str:
        """The id of the price of a GB-second."""
        return billed.function_item(self.architecture)


def transitions(history: History, to_come: int) -> Iterator[Metered]:
    """Meter Step Functions.

    Args:
        history: the execution so far.
        to_come: number of states that the execution enters after this one.
    """
    count = history.transitions + to_come
    yield Metered("all states", "state transitions", "states/transition", count, "transition")


def functions(history: History, known: Functions, now: datetime) -> Iterator[Metered]:
    """Meter the functions that the run called: from the call to the answer, which contains what Lambda bills.

    Lambda bills the time of the function, initialization included, rounded up to a millisecond.
    https://aws.amazon.com/lambda/pricing/
    """
    seconds: dict[tuple[str, str], float] = {}
    calls = 0
    for task in history.of(_FUNCTION):
        key = (task.state, str(task.parameters.get("FunctionName", "")))
        seconds[key] = seconds.get(key, 0.0) + math.ceil(duration(task.begun, task.end(now)) * 1000) / 1000
        calls += 1
    for (state, name), spent in seconds.items():
        memory = known.gigabytes(name)
        what = f"the function {name.rpartition('-')[2]}, {spent * 1000:,.0f} ms with {memory * 1024:,.0f} MB"
        yield Metered(state, what, known.item, spent * memory, "GB-second", how="derived")
    if calls:
        yield Metered("all states", "calls of functions", "lambda/request", calls, "request")


def builds(history: History, codebuild: Any, quote: Mapping[str, Any], now: datetime) -> Iterator[Metered]:
    """Meter the builds. CodeBuild rounds each up to a minute. The first tells what Plan had quoted for all of them."""
    by_id = {task.submitted["Build"]["Id"]: task.state for task in history.of(_BUILD) if task.submitted.get("Build")}
    if not by_id:
        return
    quoted = (
        f"{quote['build_minutes']:g} minutes and ${quote['build']:.2f} for all builds" if quote.get("build") else ""
    )
    for build in codebuild.batch_get_builds(ids=list(by_id))["builds"]:
        if not (begin := build.get("startTime")):
            continue
        end = build.get("endTime") or now
        item = billed.build_item(build)
        what = f"build on {item.partition('/')[2]}, {duration(begin, end):,.0f} s"
        line = Metered(by_id[build["id"]], what, item, billed.build_minutes(begin, end), "minute", quoted)
        yield line._replace(is_open=build["buildStatus"] == "IN_PROGRESS")
        quoted = ""


def trainings(history: History, sagemaker: Any, run: Mapping[str, Any], now: datetime) -> Iterator[Metered]:
    """Meter the training jobs that the run started itself. A job that was reused has cost nothing this time."""
    per_hour = run["quote"].get("training_per_hour")
    for name, state in _names(history.of(_TRAINING), "TrainingJobName").items():
        job = _found(sagemaker.describe_training_job, TrainingJobName=name)
        if job is None:
            continue
        seconds, how = billed.job_seconds(job, "Training", now), _how(job)
        resources = job["ResourceConfig"]
        kind, count = resources["InstanceType"], resources["InstanceCount"]
        saved = job.get("TrainingTimeInSeconds", 0) - seconds if job.get("EnableManagedSpotTraining") else 0
        spot = f", {saved:,.0f} s less than it took because of spot" if saved > 0 else ""
        quoted = f"${per_hour:.4g} an hour" if per_hour else ""
        line = _instances(state, "training", f"training/{kind}", kind, count, seconds, quoted, how, spot)
        yield line._replace(is_open=job["TrainingJobStatus"] in _GOING)
        yield from _volumes(state, "training", kind, _gigabytes(resources), seconds, how)


def searches(
    history: History, sagemaker: Any, run: Mapping[str, Any], now: datetime, has_time: Callable[[], bool]
) -> Iterator[Metered]:
    """Meter the training jobs of tuning jobs.

    SageMaker bills them from their start to their end, which the list has; only spot jobs are asked one by one.

    Args:
        history: the execution.
        sagemaker: the client.
        run: the ``Run`` document.
        now: the time.
        has_time: whether there is time left to ask for one more job.
    """
    training = run["training"]
    quote = (run.get("tuning") or {}).get("jobs") or {}
    quoted = (
        f"${quote['dollars']:.2f} and {quote['minutes']:.0f} minutes for the whole search"
        if quote.get("dollars")
        else ""
    )
    tasks = history.of(_TUNING)
    for name, state in _names(tasks, "HyperParameterTuningJobName").items():
        jobs = _found(_trials, sagemaker=sagemaker, name=name)
        if jobs is None:
            continue
        seconds, how = 0.0, _MEASURED
        is_open = any(job["TrainingJobStatus"] in _GOING for job in jobs)
        for job in jobs:
            if training["spot"] and has_time():
                job = sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])
            seconds += billed.job_seconds(job, "Training", now)
            if _how(job) == _DERIVED and (training["spot"] or not job.get("TrainingEndTime")):
                how = _DERIVED
        kind, count = training["instance_type"], training["instance_count"]
        what = f"{len(jobs)} trainings of the search"
        line = _instances(state, what, f"training/{kind}", kind, count, seconds, quoted, how)
        yield line._replace(is_open=is_open)
        asked = next(task.parameters for task in tasks if task.parameters["HyperParameterTuningJobName"] == name)
        resources = asked["TrainingJobDefinition"]["ResourceConfig"]
        yield from _volumes(state, "training", kind, _gigabytes(resources), seconds, how)


def evaluations(history: History, sagemaker: Any, now: datetime) -> Iterator[Metered]:
    """Meter the processing jobs, those of repeated attempts, too."""
    for task in history.of(_PROCESSING):
        if task.ended and not task.submitted and task.error not in _UNCERTAIN:
            continue  # SageMaker has not taken the job.
        name = task.parameters["ProcessingJobName"]
        job = _found(sagemaker.describe_processing_job, ProcessingJobName=name)
        if not job:
            continue
        is_open = job["ProcessingJobStatus"] in _GOING
        if job.get("ProcessingStartTime") or is_open:
            cluster = job["ProcessingResources"]["ClusterConfig"]
            kind, count = cluster["InstanceType"], cluster["InstanceCount"]
            seconds = billed.job_seconds(job, "Processing", now)
            line = _instances(task.state, "evaluation", f"processing/{kind}", kind, count, seconds)
            yield line._replace(is_open=is_open)
            yield from _volumes(task.state, "processing", kind, _gigabytes(cluster), seconds, _MEASURED)


def on_ec2(history: History, batch: Any, run: Mapping[str, Any], now: datetime) -> Iterator[Metered]:
    """Meter jobs of AWS Batch. The machine lives a little longer than its job, and nobody tells for how long."""
    jobs = {task.submitted["JobId"]: task.state for task in history.of(_EC2) if task.submitted.get("JobId")}
    for job in batch.describe_jobs(jobs=list(jobs))["jobs"] if jobs else ():
        seconds = sum(billed.ec2_seconds(begin, end) for begin, end in billed.ec2_spans(job, now))
        training = run["training"]
        kind, is_spot = billed.ec2_type(job) or training["ec2"]["instance_type"], training["spot"]
        price = run["quote"].get("training_per_hour")
        quoted = f"${price:.4g} an hour" if price else ""
        words = "training on spot capacity of EC2" if is_spot else "training on EC2"
        state = jobs[job["jobId"]]
        line = _instances(state, words, f"ec2/{kind}", kind, 1, seconds, quoted, "estimated")
        yield line._replace(is_spot=is_spot, is_open=job["status"] not in ("SUCCEEDED", "FAILED"))


def endpoints(
    history: History, run: Mapping[str, Any], now: datetime, gone: datetime | None = None
) -> Iterator[Metered]:
    """Meter the instances of endpoints during the run, from the request for them to the one that deletes them.

    Args:
        history: the execution.
        run: the ``Run`` document.
        now: the time.
        gone: when a run that has ended early was taken back, so that none of its instances is left; None if not.
    """
    endpoint, until = run["endpoint"], gone or now
    per_hour = run["quote"].get("endpoint_per_hour")
    for task in _fleets(history):
        kind, quoted = endpoint["instance_type"], ""
        if task.resource == _UPDATE:
            end, count = _in_service(history, task), _capacity_before(history)
            words = "the second fleet while the endpoint changes"
            if task.state == "RestoreProduction":
                kind = _type_before(history) or kind
                words = "the second fleet while the endpoint goes back to the champion"
        else:
            end = _deleted(history, task)
            is_staging = task.parameters["EndpointName"] == endpoint["staging_name"]
            if not is_staging and _was_promoted(history):  # It serves on, and after the run it is no part of it.
                end = end or history.over
            count = 1 if is_staging else endpoint["min_instances"]
            words = "the staging endpoint" if is_staging else "the new endpoint until the end of the run"
            quoted = f"${per_hour:.4g} an hour" if per_hour and not is_staging else ""
        seconds = duration(task.ended or task.begun, end or until)
        yield from _fleet(task.state, words, kind, count, seconds, quoted)
    if gone:
        yield from _taken_back(history, run, gone)


def _taken_back(history: History, run: Mapping[str, Any], gone: datetime) -> Iterator[Metered]:
    """Meter the update with which the function ``restore`` takes back one that was complete when the run ended."""
    updates = [task for task in _fleets(history) if task.resource == _UPDATE]
    if not updates or history.over is None or _was_promoted(history):
        return
    if updates[-1].state == "RestoreProduction" or not _in_service(history, updates[-1]):
        return  # That update is metered until the end of the taking back.
    kind = _type_before(history) or run["endpoint"]["instance_type"]
    words = "the second fleet while the endpoint goes back to the champion"
    lines = _fleet("TakeBack", words, kind, _capacity_before(history), duration(history.over, gone))
    yield from (line._replace(how="estimated") for line in lines)


def _fleet(state: str, words: str, kind: str, count: int, seconds: float, quoted: str = "") -> Iterator[Metered]:
    """Meter instances of an endpoint and their volumes."""
    yield _instances(state, words, f"hosting/{kind}", kind, count, seconds, quoted, "derived")
    yield from _volumes(state, "hosting", kind, VOLUME_GB * count, seconds, "estimated")


def has_left_staging(history: History, run: Mapping[str, Any]) -> bool:
    """Whether the run has created its staging endpoint and could not delete it."""
    created = [task for task in _fleets(history) if task.parameters["EndpointName"] == run["endpoint"]["staging_name"]]
    return any(_deleted(history, task) is None for task in created)


def unmetered(history: History) -> list[str]:
    """Return a sentence for each state that sent photos and has not told what the price needs.

    It failed or was stopped, or it is of a release that did not count all of it.
    """
    tasks = [task for task in history.of(_FUNCTION) if task.error and task.error != "Lambda.TooManyRequestsException"]
    ends = dict.fromkeys((task.state, "it failed") for task in tasks if _sends(task))
    if history.over:
        stopped = [task for task in history.of(_FUNCTION) if not task.ended]
        ends |= dict.fromkeys((task.state, "the run ended") for task in stopped if _sends(task))
    return [
        *(f"Not metered: the photos that {state} sent before {end}" for state, end in ends),
        *(
            f"Not priced: {words} of the photos of {task.state}, because its answer has no {name}"
            for task, payload in sent(history)
            for name, words in _told(task).items()
            if name not in payload
        ),
    ]


def sent(history: History) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Yield the tasks that have sent photos, with their answers."""
    for task in history.of(_FUNCTION):
        payload = task.output.get("Payload")
        if task.succeeded and isinstance(payload, dict) and payload.get("num_requests"):
            yield task, payload


def _told(task: Task) -> dict[str, str]:
    """Return the members of the answer of a task that sent photos which have a price, in words."""
    told = {"bytes_in": "the bytes", "bytes_out": "the answers"}
    return told | ({"latency_ms": "the API's function"} if is_through_api(task) else {})


def is_through_api(task: Task) -> bool:
    """Whether a task asked the API, as callers do."""
    asked = task.parameters.get("Payload")
    return isinstance(asked, dict) and bool(asked.get("through_api"))


def _sends(task: Task) -> bool:
    return str(task.parameters.get("FunctionName", "")).endswith(_SENDERS)


def requests(
    history: History, known: Functions, is_of_function: Callable[[Task, Mapping[str, Any]], bool] = lambda *_: False
) -> Iterator[Metered]:
    """Meter the photos that Smoke and Measure sent, with their answers.

    Args:
        history: the execution.
        known: what functions cost.
        is_of_function: whether the photos of a task with its answer went to the model's function, which has no price
            for their bytes.
    """
    for task, payload in sent(history):
        count = payload["num_requests"]
        for way, words in (("in", "photos sent to"), ("out", "answers of")):
            if (size := payload.get(f"bytes_{way}")) is None or is_of_function(task, payload):
                continue
            what = f"{count:,} {words} the model, {size / 1e6:,.2f} MB"
            yield Metered(task.state, what, f"invoke/{way}", size / _GIGABYTE, "GB")
        if is_through_api(task):
            yield Metered(task.state, "requests of the API", "api-gateway/rest-request", count, "request")
            yield Metered(task.state, "requests of its function", "lambda/request", count, "request")
        if is_through_api(task) and (latency_ms := payload.get("latency_ms")) is not None:
            spent = count * latency_ms / 1000 * known.gigabytes("-classify")
            what = f"the API's function, {latency_ms:.0f} ms a request"
            yield Metered(task.state, what, known.item, spent, "GB-second", how="estimated")


def uploads(objects: int) -> Iterator[Metered]:
    """Meter the objects that the run has left in the bucket; a large one is uploaded in several requests."""
    if objects:
        yield Metered("all states", "objects written to S3", "s3/put", objects, "request", how="estimated")


def _instances(
    state: str,
    words: str,
    item: str,
    kind: str,
    count: int,
    seconds: float,
    quoted: str = "",
    how: How = "measured",
    more: str = "",
) -> Metered:
    what = f"{words}, {seconds:,.0f} s on {count} {kind}{more}"
    return Metered(state, what, item, seconds * count / 3600, "instance-hour", quoted, how)


def _volumes(state: str, service: str, kind: str, gigabytes: int, seconds: float, how: How) -> Iterator[Metered]:
    """Meter the volumes of instances of a type, unless these have disks of their own.

    Args:
        state: the state that needed them.
        service: ``training``, ``processing`` or ``hosting``.
        kind: the instance type.
        gigabytes: of all volumes together.
        seconds: for how long.
        how: how that is known.
    """
    if seconds and not has_own_disks(kind):
        months = billed.gb_months(gigabytes, seconds)
        yield Metered(state, f"volumes, {gigabytes} GB", f"{service}/volume", months, "GB-month", "", how)


def _gigabytes(resources: Mapping[str, Any]) -> int:
    """Return the size of the volumes of a job together, by its ResourceConfig or ClusterConfig."""
    size: int = resources["VolumeSizeInGB"] * resources["InstanceCount"]
    return size


def _found(ask: Callable[..., Any], **request: Any) -> Any:
    """Return what SageMaker tells about a job; None if there is no such job."""
    try:
        return ask(**request)
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            return None
        raise


def _trials(sagemaker: Any, name: str) -> list[Mapping[str, Any]]:
    pages = sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName=name
    )
    return [job for page in pages for job in page["TrainingJobSummaries"]]


def _how(training: Mapping[str, Any]) -> How:
    """Return how the billed seconds of a training job are known."""
    return _MEASURED if training.get("BillableTimeInSeconds") is not None else _DERIVED


def _names(tasks: Iterable[Task], parameter: str) -> dict[str, str]:
    """Return the names of the jobs that tasks have started, each with its state.

    A request whose first answer was lost finds its job in use. Where the last answer was lost, too, nobody knows; so it
    is with a request that had no answer yet when the run was stopped.
    """
    started = (
        task for task in tasks if task.succeeded or not task.ended or task.error in _UNCERTAIN or task.error == _IN_USE
    )
    return {task.parameters[parameter]: task.state for task in started}


def _fleets(history: History) -> list[Task]:
    """Return the tasks that have started instances: by creating an endpoint, or by updating it.

    A creation whose answer was lost has happened if that endpoint could be deleted. A request that had no answer yet
    when the run ended counts as one that was taken.
    """
    tasks = [task for task in history.of(_CREATE, _UPDATE) if task.ended or history.over]
    known = {task.parameters["EndpointName"] for task in tasks if task.resource == _CREATE and task.succeeded}
    found = []
    for task in tasks:
        is_lost = task.resource == _CREATE and task.error in _UNCERTAIN and task.parameters["EndpointName"] not in known
        if task.succeeded or not task.ended or (is_lost and _deleted(history, task)):
            known.add(task.parameters["EndpointName"])
            found.append(task)
    return found


def _deleted(history: History, created: Task) -> datetime | None:
    """Return when an endpoint was deleted after its creation; None if it was not."""
    later = [task for task in history.of(_DELETE) if task.succeeded and task.begun > created.begun]
    name = created.parameters["EndpointName"]
    return next((task.ended for task in later if task.parameters["EndpointName"] == name), None)


def _was_promoted(history: History) -> bool:
    """Whether the run has moved the champion pointer, so that what it deployed stays."""
    return any(task.state == "Promote" and task.succeeded for task in history.tasks)


def _in_service(history: History, update: Task) -> datetime | None:
    """Return when an endpoint served again after an update; None if it has not yet."""
    name = update.parameters["EndpointName"]
    looks = [task for task in history.of(_DESCRIBE) if task.begun > update.begun and task.succeeded]
    return next(
        (
            look.ended
            for look in looks
            if look.parameters["EndpointName"] == name and look.output.get("EndpointStatus") == "InService"
        ),
        None,
    )


def _capacity_before(history: History) -> int:
    """Return the number of instances that production had before the run changed it."""
    looks = [task for task in history.of(_DESCRIBE) if task.state == "RememberProduction" and task.succeeded]
    variants = looks[-1].output.get("ProductionVariants", []) if looks else []
    return sum(each.get("DesiredInstanceCount", 0) for each in variants)


def _type_before(history: History) -> str:
    """Return the instance type that production had before the run changed it; empty if the run has not asked."""
    looks = [task for task in history.tasks if task.state == "RememberInstanceType" and task.succeeded]
    return str(looks[-1].output["ProductionVariants"][0]["InstanceType"]) if looks else ""
