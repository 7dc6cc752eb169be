"""How long a function's work takes with its share of a core."""

import pytest

from prices.cores import CORE_MEGABYTES, core_share, elapsed_ms

HALF = CORE_MEGABYTES / 2  # half a core: 10 ms of each period of 20


def test_a_core_has_1769_megabytes():
    assert core_share(HALF) == 0.5
    assert core_share(CORE_MEGABYTES) == core_share(3008) == 1.0


@pytest.mark.parametrize("busy", [0, 3, 10])
def test_work_within_the_share_of_a_period_runs_at_full_speed(busy):
    assert elapsed_ms(busy, HALF) == pytest.approx(busy)


def test_work_beyond_the_share_waits_for_the_next_period():
    """20 ms: with 10 to 20 ms left of the period, 15 on average, 10 are done in it, and 10 after it: 25 ms.

    With less left, what is left is done in it, 10 in the next, and the rest after that: always 30 ms.
    """
    assert elapsed_ms(20, HALF) == pytest.approx((25 + 30) / 2, rel=1e-3)


def test_a_whole_core_never_waits():
    assert elapsed_ms(70, CORE_MEGABYTES) == 70


@pytest.mark.parametrize("megabytes", [128, 512, 1024])
def test_long_work_takes_what_the_share_says(megabytes):
    """It may save what it waits for in its last period."""
    takes = 10_000 / core_share(megabytes)
    assert takes - 40 < elapsed_ms(10_000, megabytes) <= takes
