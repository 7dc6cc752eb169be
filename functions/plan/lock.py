"""The run lock of the endpoint: an SSM parameter with the ARN of the execution that holds it."""

from contextlib import suppress
from typing import TYPE_CHECKING

from shared.errors import RunInProgressError

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient


def take(ssm: "SSMClient", states: "SFNClient", name: str, execution_arn: str) -> str:
    """Take the lock, also from an execution that no longer runs.

    Returns:
        The ARN of that execution, whose training may still run; empty if nobody held the lock.

    Raises:
        RunInProgressError: another execution holds the lock and is still running.
    """
    if _put(ssm, name, execution_arn):
        return ""
    holder = _holder(ssm, name)
    if holder == execution_arn:  # Step Functions retried Plan of this run, because the first answer was lost.
        return ""
    if holder and _is_running(states, holder):
        raise RunInProgressError(f"a run is already in progress for this endpoint: {holder}; wait for it or stop it")
    release(ssm, name, holder)
    if not _put(ssm, name, execution_arn):
        raise RunInProgressError(f"another run took the lock {name} at the same time; try again")
    return holder


def release(ssm: "SSMClient", name: str, holder: str) -> None:
    """Delete the lock if ``holder`` still holds it."""
    if _holder(ssm, name) == holder:
        with suppress(ssm.exceptions.ParameterNotFound):
            ssm.delete_parameter(Name=name)


def _put(ssm: "SSMClient", name: str, execution_arn: str) -> bool:
    try:
        ssm.put_parameter(Name=name, Value=execution_arn, Type="String", Overwrite=False)
    except ssm.exceptions.ParameterAlreadyExists:
        return False
    return True


def _holder(ssm: "SSMClient", name: str) -> str:
    try:
        return ssm.get_parameter(Name=name)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        return ""


def _is_running(states: "SFNClient", execution_arn: str) -> bool:
    try:
        return states.describe_execution(executionArn=execution_arn)["status"] == "RUNNING"
    except (states.exceptions.ExecutionDoesNotExist, states.exceptions.InvalidArn):
        return False
