"""Dollars by the price book: by the hour, today, and this month by the stack's meter."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import prices
from prices.billed import duration, warm_function_item
from prices.per_million import volume
from shared import spending
from widget import runs
from widget.facts import Fleet, Function, Instances
from widget.rows import Row

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_ssm import SSMClient

_LATE_SECONDS = 900  # after which the meter has missed three of its ticks


def hourly(fleet: Fleet) -> float | None:
    """Return the dollars an hour of what serves, without requests; None if the book lacks a price."""
    match fleet:
        case Instances():
            count = max(fleet.in_service, fleet.wanted)  # An instance is paid from its start to its end.
            return _sum([prices.dollars(f"hosting/{fleet.instance_type}", count), volume(fleet.instance_type, count)])
        case Function():
            gigabyte_seconds = 3600 * fleet.wanted * fleet.size.megabytes / 1024
            return prices.dollars(warm_function_item(fleet.size.architecture), gigabyte_seconds)
    return 0.0


def now(fleet: Fleet) -> Row:
    """Return what goes on costing while this serves."""
    hour = hourly(fleet)
    if hour is None:
        return Row("Costs", "not known: the price book lacks a price of this region", "bad")
    if not hour:
        return Row("Costs", "nothing by the hour; requests, key, alarms and what is stored cost besides")
    return Row("Costs", f"${hour:.4g} an hour, ${24 * hour:,.2f} a day, while it serves as now; requests cost besides")


def today(fleet: Fleet, last: list[dict[str, Any]], s3: "S3Client", bucket: str, now: datetime) -> Row:
    """Return about what this day has cost: runs by their receipts, and what serves as if it had served so all day.

    Args:
        fleet: what serves.
        last: the newest runs, newest first.
        s3, bucket: for the receipts.
        now: the moment.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    ended = [each for each in last if each["startDate"] >= midnight and each["status"] != "RUNNING"]
    receipts = [runs.dollars(s3, bucket, each["name"]) for each in ended]
    of_runs = sum(each for each in receipts if each is not None)
    begun = max(midnight, fleet.since) if isinstance(fleet, Instances) else midnight
    hour, hours = hourly(fleet), duration(begun, now) / 3600
    served = 0.0 if hour is None else hour * hours
    is_least = hour is None or None in receipts or (len(last) == runs.NEWEST and last[-1]["startDate"] >= midnight)
    count = f"{len(ended)} run{'' if len(ended) == 1 else 's'}"
    return Row(
        "Today (UTC)",
        f"{'at least' if is_least else 'about'} ${of_runs + served:,.2f}: ${of_runs:,.2f} for {count}, ${served:,.2f} "
        f"for what serves, had it been as now for {hours:.1f} h; without requests",
    )


def month(ssm: "SSMClient", parameter: str, limit: float, now: datetime) -> Row:
    """Return what the meter has counted this month.

    Args:
        ssm, parameter: the meter's document.
        limit: the stack's MonthlyDollars; 0 for no meter.
        now: the moment.
    """
    what = "This month"
    if not limit:
        return Row(what, "not metered: MonthlyDollars is 0")
    spent = spending.read(ssm, parameter)
    if not spent.at:
        return Row(what, "the meter has not counted yet")
    counted = datetime.fromtimestamp(spent.at, UTC)
    words = f"{spent.bound} ${spent.dollars(spending.month_of(now.timestamp())):,.2f} of ${spending.shown(limit)}"
    words += f", counted at {counted:%H:%M} UTC" + (" on " + f"{counted:%d %b}" if counted.date() != now.date() else "")
    if spent.capped:
        return Row(what, f"{words}; scaling is held at the fewest instances, and no new run starts", "bad")
    is_late = now.timestamp() - spent.at > _LATE_SECONDS
    return Row(what, words + ("; the meter is late" if is_late else ""), "bad" if is_late else "plain")


def _sum(amounts: Iterable[float | None]) -> float | None:
    known = list(amounts)
    return None if None in known else sum(each for each in known if each is not None)
