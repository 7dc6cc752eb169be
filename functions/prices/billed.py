"""How much of a job, a build and a volume AWS bills, in its own units: pure functions of what its APIs answer.

The receipt of a run and the meter of a month count by these rules alone.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

HOURS_A_MONTH = 730
EC2_TYPE_VARIABLE = "INSTANCE_TYPE"  # of the environment of jobs on EC2 (pipeline.asl.yaml)
_LEAST_EC2_SECONDS = 60.0  # of each start of a Linux machine


def function_item(architecture: str) -> str:
    """Return the id of the price of a function's GB-second, by ``x86_64`` or ``arm64``."""
    return f"lambda/gb-second{'-arm' if architecture == 'arm64' else ''}"


def warm_function_item(architecture: str) -> str:
    """Return the id of the price of keeping a function warm for a GB-second."""
    return f"lambda/provisioned-gb-second{'-arm' if architecture == 'arm64' else ''}"


def ready_time_item(architecture: str) -> str:
    """Return the id of the price of a GB-second in which a function that is kept warm answers."""
    return f"lambda/provisioned-duration-gb-second{'-arm' if architecture == 'arm64' else ''}"


def job_seconds(job: Mapping[str, Any], kind: str, now: datetime) -> float:
    """Return the seconds of one instance of a job of SageMaker that are billed.

    AWS bills a job from its start to its end, without a minimum (https://aws.amazon.com/sagemaker/pricing/), and less
    of a training on spot capacity: BillableTimeInSeconds, which it tells of each training that has ended.
    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html

    Args:
        job: an answer of DescribeTrainingJob or DescribeProcessingJob, or a summary of a job.
        kind: ``Training`` or ``Processing``.
        now: the end of a job that runs.
    """
    if (billable := job.get("BillableTimeInSeconds")) is not None:
        return float(billable)
    begin = job.get(f"{kind}StartTime")
    return duration(begin, job.get(f"{kind}EndTime") or now) if begin else 0.0


def build_item(build: Mapping[str, Any]) -> str:
    """Return the id of the price of a minute of a build of CodeBuild, by the machine that it had.

    Args:
        build: one build of an answer of BatchGetBuilds.
    """
    size = build["environment"]["computeType"].removeprefix("BUILD_").lower().replace("_", ".")
    return f"codebuild/{size}"


def build_minutes(begin: datetime, end: datetime) -> int:
    """Return the minutes of a build that CodeBuild bills: whole ones, and one at least."""
    return max(math.ceil(duration(begin, end) / 60), 1)


def ec2_spans(job: Mapping[str, Any], now: datetime) -> list[tuple[float, float]]:
    """Return start and end of each time that a job of AWS Batch has had a machine, in epoch seconds.

    A job that is tried again has each attempt, where its own members tell the last one alone.

    Args:
        job: one job of an answer of DescribeJobs.
        now: the end of an attempt that runs.
    """
    attempts = [each for each in job.get("attempts", []) if each.get("startedAt") and each.get("stoppedAt")]
    spans = [(each["startedAt"] / 1000, each["stoppedAt"] / 1000) for each in attempts]
    if job["status"] == "RUNNING" and job.get("startedAt"):
        spans.append((job["startedAt"] / 1000, now.timestamp()))
    return spans


def ec2_type(job: Mapping[str, Any]) -> str:
    """Return the type of the machines of a job of AWS Batch, such as ``c7i.xlarge``; empty if the job does not tell it.

    AWS tells it of no job. The pipeline writes it into the job's environment, so that the job's price stays the same
    when the stack gets other machines.

    Args:
        job: one job of an answer of DescribeJobs.
    """
    variables = job.get("container", {}).get("environment", [])
    return next((str(each["value"]) for each in variables if each.get("name") == EC2_TYPE_VARIABLE), "")


def ec2_seconds(start: float, end: float) -> float:
    """Return the seconds of a machine that EC2 bills, a minute at least. The machine lives a little longer."""
    return max(end - start, _LEAST_EC2_SECONDS)


def gb_months(gigabytes: float, seconds: float) -> float:
    """Return the GB-months of volumes that are there for so many seconds."""
    return gigabytes * seconds / (HOURS_A_MONTH * 3600)


def duration(begin: datetime, end: datetime) -> float:
    """Return the seconds from one moment to another; 0 if that is not later."""
    return max((end - begin).total_seconds(), 0.0)
