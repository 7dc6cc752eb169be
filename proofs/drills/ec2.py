"""The drill about machines on EC2: whatever ends a training, nothing of it is left."""

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from cloud.core import processes
from local.data import prepare, sketches
from local.home import LocalError
from proofs.drills.drill_cloud import DrillCloud
from proofs.drills.runs import lock_holder
from proofs.promises import Report

_SECONDS = 60  # within which nothing may be left
_ACTIVE = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")


def ec2_leak(cloud: DrillCloud, report: Report) -> None:
    """Stop an execution, kill a rank, and kill the cloud, each during a training on EC2."""
    execution = _train(cloud)
    report.log("an execution is stopped while its job trains")
    cloud.client("stepfunctions").stop_execution(executionArn=execution)
    _promise_nothing(cloud, report, "StopExecution")
    # Teardown, which AWS starts for a stopped run, releases the lock.
    cloud.wait(lambda: not lock_holder(cloud), "the lock", 120)

    execution = _train(cloud)
    (rank, *others) = _ranks(cloud)
    report.log(f"rank process {rank} is killed; {len(others)} others train with it")
    os.kill(rank, signal.SIGKILL)
    _promise_nothing(cloud, report, "a killed rank")
    ended = cloud.await_end(execution)
    report.log(f"the execution ended as {ended['status']}: {ended.get('cause')}")
    report.promise("the execution fails and names the rank", "was killed by SIGKILL" in ended.get("cause", ""))

    _train(cloud)
    report.log("the laptop cloud itself is killed while a job trains")
    os.kill(cloud.laptop.pid, signal.SIGKILL)
    _promise_after("a killed cloud", report, lambda: not _processes(cloud), cloud)


def _train(cloud: DrillCloud) -> str:
    """Start a run whose training on EC2 lasts, wait until its ranks are in an epoch, and return the execution."""
    request = {
        "train_on": "ec2",
        "dataset": prepare(sketches()).key,
        "reuse": False,
        "hyperparameters": {"epochs": 10_000},
    }
    execution = cloud.start(cloud.deployed.pipeline_arn, request)
    cloud.wait(lambda: any("epoch=" in _log(cloud, job) for job in _jobs(cloud)), "the first epoch on EC2", 120)
    if len(_ranks(cloud)) < 2:
        raise LocalError("fewer than two ranks train on the machine of EC2")
    return execution


def _promise_nothing(cloud: DrillCloud, report: Report, event: str) -> None:
    _promise_after(event, report, lambda: not _processes(cloud) and not _jobs(cloud) and not _vcpus(cloud), cloud)


def _promise_after(event: str, report: Report, is_empty: Callable[[], bool], cloud: DrillCloud) -> None:
    try:
        seconds: float | None = round(cloud.wait(is_empty, f"nothing to be left after {event}", _SECONDS), 1)
    except LocalError:
        seconds = None
    report.figures[f"seconds until nothing was left after {event}"] = seconds
    report.promise(f"no process, no machine and an empty queue within {_SECONDS} s after {event}", seconds is not None)


def _jobs(cloud: DrillCloud) -> list[str]:
    """Return the ids of the jobs in all queues that have not ended."""
    batch = cloud.client("batch")
    queues = [queue["jobQueueArn"] for queue in batch.describe_job_queues()["jobQueues"]]
    listed = [batch.list_jobs(jobQueue=queue, jobStatus=status) for queue in queues for status in _ACTIVE]
    return [job["jobId"] for each in listed for job in each["jobSummaryList"]]


def _log(cloud: DrillCloud, job: str) -> str:
    files = (cloud.home / "cloud" / "batch-jobs" / job).glob("*.log")
    return "".join(file.read_text() for file in files)


def _vcpus(cloud: DrillCloud) -> int:
    """Return the vCPUs of all machines."""
    found: list[dict[str, Any]] = cloud.client("batch").describe_compute_environments()["computeEnvironments"]
    return sum(int(each["computeResources"]["desiredvCpus"]) for each in found)


def _processes(cloud: DrillCloud, words: str = "") -> list[int]:
    """Return the ids of all processes of Batch's jobs, also after the end of the cloud."""
    found = []
    for pid in processes.marked(f"cloud-{cloud.laptop.pid}-"):
        command = subprocess.run(
            ["ps", "eww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
        mark = command.partition(f"{processes.MARK}=")[2].split(" ")[0]
        if "/batch-jobs/" in mark and words in command:
            found.append(pid)
    return found


def _ranks(cloud: DrillCloud) -> list[int]:
    return _processes(cloud, "training.train")
