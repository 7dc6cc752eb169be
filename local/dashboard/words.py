"""Numbers and times of a dashboard in words."""

from datetime import UTC, datetime

from local.dashboard.figures import ABSENT, ALARM, OK, UNKNOWN, AlarmState, Look, Series

STATES = {ALARM: "rings", ABSENT: "not there", UNKNOWN: "no data", OK: "OK"}
_CLOSE_SECONDS = 120  # from which on a window's times are told without seconds


def number(value: float) -> str:
    """Return a value with three digits, or more where they are whole."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def clock(moment: float, window: float) -> str:
    """Return a time of the day in UTC.

    Args:
        moment: in epoch seconds.
        window: seconds of the window; a short one needs seconds.
    """
    return datetime.fromtimestamp(moment, UTC).strftime("%H:%M" if window > 10 * _CLOSE_SECONDS else "%H:%M:%S")


def latest(series: Series) -> str:
    """Return the newest value of a line; a period that is not over yet has only a part of its sum."""
    newest = series.points[-1]
    return number(newest.value) + ("" if newest.is_whole else " so far")


def since(alarm: AlarmState, now: datetime) -> str:
    """Return how long an alarm has been in its state."""
    if alarm.since is None:
        return ""
    seconds = max(0.0, (now - alarm.since).total_seconds())
    if seconds < _CLOSE_SECONDS:
        return f"for {seconds:.0f} s"
    return f"for {seconds / 60:,.0f} min" if seconds < 7200 else f"for {seconds / 3600:,.0f} h"


def window(look: Look) -> str:
    """Return the window in words, with the speed of the clock where it is not that of AWS."""
    seconds = (look.end - look.start).total_seconds()
    times = f"{clock(look.start.timestamp(), seconds)} to {clock(look.end.timestamp(), seconds)} UTC"
    if look.scale == 1:
        return times
    return f"{times}; this cloud's clock runs {look.scale:g} times as fast, so its minute is {60 / look.scale:g} s"


def nothing(look: Look) -> str:
    """Return what is said of a line without points."""
    minutes = (look.end - look.start).total_seconds() * look.scale / 60
    return f"no data in these {minutes:g} minutes"
