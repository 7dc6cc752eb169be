"""The last runs of the pipeline: how they ended, and what their receipts say."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from prices.billed import duration
from shared.names import run_id
from widget.rows import Mood, Row

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_stepfunctions import SFNClient

NEWEST = 20  # runs that are looked at; a day with more is told as a lower bound
_WORDS = 300  # of a verdict or a cause; the execution has the rest


def latest(states: "SFNClient", pipeline: str) -> list[dict[str, Any]]:
    """Return the newest executions, newest first."""
    found = states.list_executions(stateMachineArn=pipeline, maxResults=NEWEST)["executions"]
    return [dict(each) for each in found]


def dollars(s3: "S3Client", bucket: str, name: str) -> float | None:
    """Return what a run cost; None if there is no receipt.

    Args:
        s3, bucket: where the receipt is.
        name: of the execution.
    """
    try:
        body = s3.get_object(Bucket=bucket, Key=f"runs/{run_id(name)}/receipt.json")["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return None
    return float(json.loads(body)["dollars"])


def row(states: "SFNClient", last: list[dict[str, Any]], s3: "S3Client", bucket: str, now: datetime) -> Row:
    """Return how the last run goes or ended."""
    if not last:
        return Row("Last run", "none yet")
    run, status = last[0], last[0]["status"]
    begun = f"{run['startDate'].astimezone(UTC):%d %b %H:%M} UTC"
    if status == "RUNNING":
        return Row("Last run", f"{run_id(run['name'])}: at work since {begun}, {_took(run['startDate'], now)}")
    told = states.describe_execution(executionArn=run["executionArn"])
    words, mood = _end(status, dict(told))
    paid = dollars(s3, bucket, run["name"])
    price = "no receipt" if paid is None else f"${paid:,.4f}"
    lasted = _took(run["startDate"], run["stopDate"])
    return Row("Last run", f"{run_id(run['name'])} of {begun}, {lasted}, {price}: {words}", mood)


def _end(status: str, told: dict[str, Any]) -> tuple[str, Mood]:
    """Return how a run ended in words, and whether that is good news. A refusal is neither: the champion stays."""
    if status == "SUCCEEDED":
        output = json.loads(told["output"])
        mood: Mood = "good" if output["status"] == "promoted" else "plain"
        # A rebuild that found nothing new has a cause and no verdict.
        reason = output["verdict"]["reason"] if "verdict" in output else output["cause"]
        return _short(f"{output['status'].upper()}, {reason}"), mood
    cause = ", ".join(told[name] for name in ("error", "cause") if told.get(name))
    return _short(f"{status}, {cause}" if cause else status), "bad"


def _short(words: str) -> str:
    return words if len(words) <= _WORDS else f"{words[: _WORDS - 1]}…"


def _took(begin: datetime, end: datetime) -> str:
    seconds = duration(begin, end)
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
