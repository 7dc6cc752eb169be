"""What the model's function costs: its requests and its time from CloudWatch, and what is kept ready of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from meter.limits import day_of
from meter.metrics import daily_points
from meter.sums import KeptWarm
from prices import billed
from shared import model_function
from shared.model_function import ALIAS
from shared.spending import month_start

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_lambda import LambdaClient

_NAMESPACE = "AWS/Lambda"
_USUAL_MEGABYTES = 1769  # of one that was deleted before the meter has seen it


def sizes(before: Mapping[str, int], megabytes: int, now: float) -> dict[str, int]:
    """Return the memory of the function by the day since when it has had it, of this month and the day before.

    Args:
        before: the same at the last tick.
        megabytes: its memory now; 0 if there is no function.
        now: epoch seconds.
    """
    day, begin = day_of(now), day_of(month_start(now))
    kept = {first: size for first, size in before.items() if first >= begin}
    if older := [first for first in sorted(before) if first < begin]:
        kept.setdefault(begin, before[older[-1]])
    if megabytes and megabytes != _size_on(day, kept):
        # On a day with two sizes the larger one counts: nobody tells which answered how long.
        kept[day] = max(megabytes, kept.get(day, 0))
    return dict(sorted(kept.items()))


def _size_on(day: str, known: Mapping[str, int]) -> int:
    """Return the memory on a day; what it had first if that came later."""
    begun = [first for first in sorted(known) if first <= day]
    return known[begun[-1]] if begun else known[min(known)] if known else 0


def amounts(
    cloudwatch: "CloudWatchClient", name: str, architecture: str, known: Mapping[str, int], now: float
) -> dict[str, float]:
    """Return how much of each price of the book the function has used since the month began.

    The metric Duration leaves out the initialization, so cold starts are not among it. Lambda does not tell how long
    environments that are kept ready have answered, which costs less; their share of the requests is taken for it.
    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html

    Args:
        cloudwatch: the client.
        name: the function's name.
        architecture: ``x86_64`` or ``arm64``.
        known: see ``sizes``.
        now: epoch seconds.
    """
    calls = gb_seconds = ready = 0.0
    of_function = {"FunctionName": name}
    for point in daily_points(cloudwatch, _NAMESPACE, "Duration", now, of_function):
        size = _size_on(day_of(point["Timestamp"].timestamp()), known) or _USUAL_MEGABYTES
        calls += point["SampleCount"]
        gb_seconds += point["Sum"] / 1000 * size / 1024
    if calls:
        of_alias = of_function | {"Resource": f"{name}:{ALIAS}"}
        points = daily_points(cloudwatch, _NAMESPACE, "ProvisionedConcurrencyInvocations", now, of_alias)
        ready = min(1.0, sum(each["Sum"] for each in points) / calls)
    return {
        "lambda/request": calls,
        billed.function_item(architecture): gb_seconds * (1 - ready),
        billed.ready_time_item(architecture): gb_seconds * ready,
    }


def kept_ready(lambdas: "LambdaClient", name: str, of: model_function.Found, was_ready: bool) -> dict[str, KeptWarm]:
    """Return what of the function is kept ready now.

    Args:
        lambdas: the client.
        name: the function's name.
        of: the function.
        was_ready: whether some of it was when the meter last looked.
    """
    item = billed.warm_function_item(of.architecture)
    none = {name: KeptWarm(0.0, item, 0.0)} if was_ready else {}
    if not of.megabytes:
        return none
    told = model_function.kept_ready(lambdas, name)
    if not told:
        return none
    gigabytes = told["AllocatedProvisionedConcurrentExecutions"] * of.megabytes / 1024
    return {name: KeptWarm(gigabytes, item, datetime.fromisoformat(told["LastModified"]).timestamp())}
