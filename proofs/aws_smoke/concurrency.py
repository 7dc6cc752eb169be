"""Compares CloudWatch's count of the requests that staging had at once with what Measure counted.

Production scales by CloudWatch's metric, towards a number that Measure counted in the client. The metric includes what
waits in SageMaker's own queue and is sampled every ten seconds, so nobody knows beforehand how far the two are apart.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from proofs.aws_smoke.account import Account, NotCheckedError

_PERIOD = 10  # seconds; CloudWatch keeps data of this period for three hours
_KEPT = timedelta(hours=3)
_WAIT_SECONDS = 180  # CloudWatch shows data late.


def compare_counts(account: Account, output: dict[str, Any]) -> str:
    """Return both counts.

    Args:
        account: the account.
        output: of the run.

    Raises:
        NotCheckedError: CloudWatch has no data of staging.
    """
    staging, variant = output["run"]["endpoint"]["staging_name"], output["run"]["endpoint"]["variant"]
    measurement = output["endpoint"]["scaling"]["measurement"]
    deadline = time.monotonic() + (0 if account.url else _WAIT_SECONDS)
    while not (maxima := _maxima(account, staging, variant)):
        if time.monotonic() > deadline:
            raise NotCheckedError(f"CloudWatch has no ConcurrentRequestsPerModel of {staging}")
        time.sleep(account.poll_seconds)
    return (
        f"Measure, at the end, {measurement['concurrency']} at {measurement['rate_per_second']:.1f} requests/s; "
        f"CloudWatch, the maximum of each {_PERIOD} s in turn, {', '.join(f'{value:g}' for value in maxima)}"
    )


def _maxima(account: Account, endpoint: str, variant: str) -> list[float]:
    now = datetime.now(UTC)
    statistics = account.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="ConcurrentRequestsPerModel",
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}],
        StartTime=now - _KEPT,
        EndTime=now,
        Period=_PERIOD,
        Statistics=["Maximum"],
    )
    points = sorted(statistics["Datapoints"], key=lambda point: point["Timestamp"])
    return [point["Maximum"] for point in points if point["Maximum"] > 0]
