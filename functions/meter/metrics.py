"""What CloudWatch counted since the month began."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shared.spending import month_start

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

_DAY, _MINUTE = 86_400, 60


def daily_points(
    cloudwatch: "CloudWatchClient", namespace: str, metric: str, now: float, dimensions: Mapping[str, str]
) -> list[Any]:
    """Return sum and number of a metric's values, for each day since the month began."""
    answer = cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=datetime.fromtimestamp(month_start(now), UTC),
        # CloudWatch refuses a time without length, and rounds it to minutes at least.
        EndTime=datetime.fromtimestamp(max(now, month_start(now) + _MINUTE), UTC),
        Period=_DAY,
        Statistics=["Sum", "SampleCount"],
    )
    return list(answer["Datapoints"])
