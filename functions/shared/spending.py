"""The documents of what may be spent: of a run, and of the stack, whose meter writes one that Plan reads."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from shared.base import Document

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

NOTHING = "none"  # what the template writes into the parameter


class SpendingLimit(Document):
    """How ``max_dollars`` of a request is divided, in US dollars.

    Attributes:
        parts: the most that each part of the run beside the training may cost.
        training: what is left for the training and the search before it; 0 for a run without training.
    """

    max_dollars: float
    parts: dict[str, float]
    training: float


class Fleet(Document):
    """Instances of an endpoint."""

    instance_type: str
    count: int


class Spending(Document):
    """What the meter knows. Moments are in epoch seconds, money in US dollars, months like ``2026-12`` in UTC.

    Attributes:
        at: when it last counted; 0 if never.
        months: dollars by part of this month and the last one.
        fleets: the instances that ran when it last counted, by endpoint.
        ended_until: jobs that ended until then are in the sums; 0 if none is.
        uncounted: number of jobs that ended later and were left to the next tick, so that the sums are lower bounds.
        warm: gigabytes of functions that were kept warm when it last counted, by function.
        function_megabytes: memory of the model's function when it last counted; 0 if there was none.
        function_sizes: the same by the day since when it has had it, for what it has answered this month.
        unpriced: items whose price is not known, so that the sums are lower bounds.
        capped: whether scaling is held at the smallest number of instances. The state machine looks for this text.
        max_instances: the largest number of instances before that; None if it was not larger.
        lifted: when that cap was lifted, as long as a run may put the capped range back; otherwise 0.
        warned: month and limit of the last mail about 80 %.
        told: day of the last mail about 100 %.
        gaps_told: month of the last mail about prices that are not known.
    """

    at: float = 0
    months: dict[str, dict[str, float]] = Field(default_factory=dict)
    fleets: dict[str, Fleet] = Field(default_factory=dict)
    ended_until: float = 0
    uncounted: int = 0
    warm: dict[str, float] = Field(default_factory=dict)
    function_megabytes: int = 0
    function_sizes: dict[str, int] = Field(default_factory=dict)
    unpriced: list[str] = Field(default_factory=list)
    capped: bool = False
    max_instances: int | None = None
    lifted: float = 0
    warned: str = ""
    told: str = ""
    gaps_told: str = ""

    def dollars(self, month: str) -> float:
        """Return what was spent in a month."""
        return sum(self.months.get(month, {}).values())

    @property
    def bound(self) -> str:
        """``at least`` if something is missing in the sums, otherwise ``about``."""
        return "at least" if self.unpriced or self.uncounted else "about"


def shown(dollars: float) -> str:
    """Return an amount that somebody has set as people write it, such as ``1234567`` or ``0.0001``."""
    return f"{dollars:.15g}"


def month_of(moment: float) -> str:
    """Return the month of a moment in UTC, such as ``2026-12``."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m")


def month_start(moment: float) -> float:
    """Return the first moment of the month of a moment."""
    return datetime.fromtimestamp(moment, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def next_month_start(moment: float) -> float:
    """Return the first moment of the month after that of a moment."""
    # The 32nd day after the first one lies in the next month, however long a month is.
    return month_start(month_start(moment) + timedelta(days=32).total_seconds())


def read(ssm: "SSMClient", name: str) -> Spending:
    """Return the document; an empty one if the parameter is missing, new or garbled.

    A garbled one must not end all metering: most of the sums come from the account itself, so they are found again.
    """
    try:
        value = ssm.get_parameter(Name=name)["Parameter"]["Value"]
        return Spending() if value == NOTHING else Spending.model_validate_json(value)
    except (ssm.exceptions.ParameterNotFound, ValidationError):
        return Spending()


def refusal(spending: Spending, monthly_dollars: float, now: float) -> str:
    """Say why no new run may start; empty if one may.

    Args:
        spending: the meter's document.
        monthly_dollars: the stack's MonthlyDollars, which may have changed since the meter last counted.
        now: epoch seconds.
    """
    if not monthly_dollars:
        return ""
    month = month_of(now)
    spent = spending.dollars(month)
    if spent >= monthly_dollars:
        turns = datetime.fromtimestamp(next_month_start(now), UTC).strftime("%Y-%m-%d")
        return (
            f"the stack has spent {spending.bound} ${spent:.2f} in {month}, and its MonthlyDollars is "
            f"${shown(monthly_dollars)}, so no new run starts; deploy the stack with a larger MonthlyDollars, or wait "
            f"until the month turns on {turns} (UTC). What serves may get an earlier version back, an endpoint with no "
            'larger min_instances than serve now, a function without provisioned_concurrency: {"promote": N}'
        )
    if spending.capped:
        return (
            "the stack may spend again, but the meter has not lifted the cap of the endpoint's scaling yet; start "
            "again in five minutes"
        )
    return ""


def may_go_back(spending: Spending, endpoint: str, min_instances: int) -> bool:
    """Whether a run may bring back an earlier version although the month's money is spent.

    A bad model must not stay in production because of money, and its instances are paid for anyway. Where nothing
    serves, or fewer instances than the run would start, it would begin to spend.

    Args:
        spending: the meter's document.
        endpoint: the endpoint's name.
        min_instances: the smallest number of instances that the run gives the endpoint.
    """
    fleet = spending.fleets.get(endpoint)
    return fleet is not None and min_instances <= fleet.count
