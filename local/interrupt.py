"""Taking a spot training job's instances away, and telling what becomes of the job."""

import time
from typing import Any

from botocore.exceptions import ClientError

from cloud.sagemaker.jobs import spot
from local.home import HOME, LocalError
from local.laptop import Laptop

_POLL_SECONDS = 0.2
_PATIENCE = 120.0  # seconds: a job that is downloading hears of it only when it trains


def interrupt(cloud: Laptop, name: str | None, host: str | None) -> None:
    """Interrupt a job, and follow it until it trains again or is over.

    Args:
        cloud: where it runs.
        name: the job's; None for the one that is running.
        host: the instance that is lost first; None for the last one.

    Raises:
        LocalError: there is no such job or host, or the job cannot be interrupted.
    """
    sagemaker = cloud.client("sagemaker")
    job = _described(sagemaker, name or _running(sagemaker))
    name, lost = job["TrainingJobName"], _lost(job, host)
    told = len(job["SecondaryStatusTransitions"])
    request = spot.request(HOME / "cloud", name, lost)
    print(f"{name}: {lost} is taken away, and the job's other instances with it", flush=True)
    seen, deadline = list[str](), time.monotonic() + _PATIENCE
    while seen[-1:] != ["Training"] or "Interrupted" not in seen:
        if job["TrainingJobStatus"] != "InProgress" or time.monotonic() > deadline:
            request.unlink(missing_ok=True)
            if "Interrupted" in seen:
                return
            raise LocalError(f"training job {name} was not interrupted: it is {job['SecondaryStatus']}")
        time.sleep(_POLL_SECONDS)
        job = _described(sagemaker, name)
        for step in job["SecondaryStatusTransitions"][told + len(seen) :]:
            seen.append(step["Status"])
            print(f"  {step['Status']:<12}  {step['StatusMessage']}", flush=True)


def _described(sagemaker: Any, name: str) -> dict[str, Any]:
    try:
        job: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=name)
    except ClientError as error:
        raise LocalError(f"there is no training job {name} ({error.response['Error']['Message']})") from error
    return job


def _running(sagemaker: Any) -> str:
    """The name of the one spot training job that is running."""
    listed = sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]
    jobs = [_described(sagemaker, each["TrainingJobName"]) for each in listed]
    names = [str(job["TrainingJobName"]) for job in jobs if job["EnableManagedSpotTraining"]]
    if len(names) > 1:
        raise LocalError(f"{len(names)} spot training jobs are running; say which: {', '.join(names)}")
    if not names:
        others = f" ({', '.join(job['TrainingJobName'] for job in jobs)} is none)" if jobs else ""
        raise LocalError(
            f"no spot training job is running{others}; make run EVENT=events/pipeline-spot.json starts one"
        )
    return names[0]


def _lost(job: dict[str, Any], host: str | None) -> str:
    """The host to be lost, if it can be."""
    name, hosts = job["TrainingJobName"], [f"algo-{n + 1}" for n in range(job["ResourceConfig"]["InstanceCount"])]
    if job["TrainingJobStatus"] != "InProgress":
        raise LocalError(f"training job {name} is over: it is {job['TrainingJobStatus']}")
    if not job["EnableManagedSpotTraining"]:
        raise LocalError(f"training job {name} is no spot job, so nobody takes its instances away")
    if host and host not in hosts:
        raise LocalError(f"training job {name} has no host {host}; it has {', '.join(hosts)}")
    return host or hosts[-1]
