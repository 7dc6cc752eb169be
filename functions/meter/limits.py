"""Decide what follows from what is spent. The functions are pure."""

from dataclasses import dataclass
from datetime import UTC, datetime

from shared.spending import Spending, month_of, next_month_start, shown

WARN_SHARE = 0.8  # of the limit, from which on a mail warns
TEARDOWN = "teardown"
LONGEST_RUN_SECONDS = 86_400.0  # TimeoutSeconds of pipeline.asl.yaml
_MOST_PARTS = 4  # that a mail names


@dataclass(frozen=True)
class Decision:
    """What the meter does at one tick.

    Attributes:
        is_over: whether the limit is reached, so that scaling is capped.
        warn, tell: whether a mail is due, about 80 and about 100 %.
        tell_gaps: whether a mail is due about prices that are not known.
        teardown: whether teardown starts.
    """

    is_over: bool
    warn: bool
    tell: bool
    tell_gaps: bool
    teardown: bool


def decide(spending: Spending, limit: float, on_overspend: str, now: float) -> Decision:
    """Decide what follows.

    Args:
        spending: what is spent.
        limit: the stack's MonthlyDollars; 0, also written as 0.0, for no limit.
        on_overspend: the stack's OnOverspend. Only ``teardown`` may end what serves: whoever may send photos may spend
            money, and must not be able to take the service down by that.
        now: epoch seconds.
    """
    spent, day = spending.dollars(month_of(now)), day_of(now)
    is_over = 0 < limit <= spent
    return Decision(
        is_over=is_over,
        warn=WARN_SHARE * limit <= spent < limit and spending.warned != warning_of(limit, now),
        tell=is_over and spending.told != day,
        tell_gaps=bool(spending.unpriced) and spending.gaps_told != month_of(now),
        teardown=is_over and on_overspend == TEARDOWN and bool(spending.fleets or spending.function_megabytes),
    )


def day_of(moment: float) -> str:
    """Return the day of a moment in UTC, such as ``2026-12-01``."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")


def warning_of(limit: float, moment: float) -> str:
    """Return what tells one warning from the next: there is one for each month and limit."""
    return f"{month_of(moment)} {shown(limit)}"


def spent_words(spending: Spending, limit: float, now: float) -> str:
    """Return a sentence about what is spent, and for what most of it."""
    month = month_of(now)
    parts = sorted(spending.months.get(month, {}).items(), key=lambda each: -each[1])
    most = ", ".join(f"{name} ${dollars:.2f}" for name, dollars in parts[:_MOST_PARTS] if dollars >= 0.005)
    spent = f"The stack has spent {spending.bound} ${spending.dollars(month):.2f} of ${shown(limit)} in {month}"
    left = f" {spending.uncounted} jobs that have ended are not counted yet; the next ticks go on."
    return spent + (f": {most}." if most else ".") + (left if spending.uncounted else "")


_KEPT = "what serves keeps its smallest number of instances, or of functions that are kept warm"


def warning(spending: Spending, limit: float, now: float) -> str:
    """Return the mail about 80 %."""
    return (
        f"{spent_words(spending, limit, now)} At ${shown(limit)} no new run starts, and {_KEPT}. Deploy the stack with "
        "a larger MonthlyDollars if that is too little."
    )


def message(spending: Spending, limit: float, now: float) -> str:
    """Return the mail about 100 %."""
    turns = day_of(next_month_start(now))
    return (
        f"{spent_words(spending, limit, now)} No new run starts, and {_KEPT}, until the month turns on {turns} (UTC) "
        "or the stack is deployed with a larger MonthlyDollars. "
        'What serves goes on serving, and costs; a run with {"promote": N} may still bring back an earlier version. '
        "Teardown with {} ends what serves."
    )


def gaps(spending: Spending) -> str:
    """Return the mail about prices that are not known."""
    return (
        f"The price book does not have {', '.join(spending.unpriced)} for this region, so what the meter counts is a "
        "lower bound, and more may be spent than MonthlyDollars."
    )
