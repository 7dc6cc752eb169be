"""Take the instances of a spot training job away, and print what becomes of the job."""

import time
from typing import Any

from botocore.exceptions import ClientError

from cloud.core import spot
from local.console import say
from local.home import HOME, LocalError
from local.laptop import Laptop

_POLL_SECONDS = 0.2
_TIMEOUT_SECONDS = 120.0  # A job that is downloading is interrupted only when it begins to train.


def interrupt(cloud: Laptop, name: str | None, host: str | None) -> None:
    """Interrupt a job, and follow it until it trains again or is over.

    Args:
        cloud: the laptop cloud that runs it.
        name: the job's name; None for the one that is running.
        host: the instance that is lost first, such as algo-2; None for the last one.

    Raises:
        LocalError: there is no such job or host, or the job cannot be interrupted.
    """
    if name is None and (job_id := _running_on_ec2(cloud)):
        spot.interrupt(HOME / "cloud", job_id, "", spot.BATCH_JOBS)
        say(f"job {job_id}: its machine on EC2 is taken away; the job starts again from its checkpoints")
        return
    sagemaker = cloud.client("sagemaker")
    job = _describe(sagemaker, name or _running_job(sagemaker))
    name, lost = job["TrainingJobName"], _lost_host(job, host)
    num_before = len(job["SecondaryStatusTransitions"])
    request = spot.interrupt(HOME / "cloud", name, lost)
    say(f"{name}: {lost} is taken away, and with it the job's other instances")
    statuses, deadline = list[str](), time.monotonic() + _TIMEOUT_SECONDS
    while statuses[-1:] != ["Training"] or "Interrupted" not in statuses:
        if job["TrainingJobStatus"] != "InProgress" or time.monotonic() > deadline:
            request.unlink(missing_ok=True)
            if "Interrupted" in statuses:
                return
            raise LocalError(f"training job {name} was not interrupted: it is {job['SecondaryStatus']}")
        time.sleep(_POLL_SECONDS)
        job = _describe(sagemaker, name)
        for step in job["SecondaryStatusTransitions"][num_before + len(statuses) :]:
            statuses.append(step["Status"])
            say(f"  {step['Status']:<12}  {step['StatusMessage']}")


def _running_on_ec2(cloud: Laptop) -> str:
    """Return the id of the job that runs on a spot machine of EC2; empty if there is none."""
    batch = cloud.client("batch")
    environments = batch.describe_compute_environments()["computeEnvironments"]
    on_spot = {each["computeEnvironmentArn"] for each in environments if each["computeResources"]["type"] == "SPOT"}
    for queue in batch.describe_job_queues()["jobQueues"]:
        if on_spot & {each["computeEnvironment"] for each in queue["computeEnvironmentOrder"]}:
            for job in batch.list_jobs(jobQueue=queue["jobQueueArn"], jobStatus="RUNNING")["jobSummaryList"]:
                return str(job["jobId"])
    return ""


def _describe(sagemaker: Any, name: str) -> dict[str, Any]:
    try:
        job: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=name)
    except ClientError as error:
        raise LocalError(f"there is no training job {name} ({error.response['Error']['Message']})") from error
    return job


def _running_job(sagemaker: Any) -> str:
    """Return the name of the one spot training job that is running."""
    listed = sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]
    jobs = [_describe(sagemaker, each["TrainingJobName"]) for each in listed]
    names = [str(job["TrainingJobName"]) for job in jobs if job["EnableManagedSpotTraining"]]
    if len(names) > 1:
        raise LocalError(f"{len(names)} spot training jobs are running; name one: {', '.join(names)}")
    if not names:
        others = f" ({', '.join(job['TrainingJobName'] for job in jobs)} is not a spot job)" if jobs else ""
        raise LocalError(
            f"no spot training job is running{others}; make run EVENT=events/pipeline-spot.json starts one"
        )
    return names[0]


def _lost_host(job: dict[str, Any], host: str | None) -> str:
    """Return the host to take away; raises LocalError if that is not possible."""
    name, hosts = job["TrainingJobName"], [f"algo-{n + 1}" for n in range(job["ResourceConfig"]["InstanceCount"])]
    if job["TrainingJobStatus"] != "InProgress":
        raise LocalError(f"training job {name} has ended: it is {job['TrainingJobStatus']}")
    if not job["EnableManagedSpotTraining"]:
        raise LocalError(f"training job {name} is not a spot job, so its instances cannot be taken away")
    if host and host not in hosts:
        raise LocalError(f"training job {name} has no host {host}; it has {', '.join(hosts)}")
    return host or hosts[-1]
