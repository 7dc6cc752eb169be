"""When requests are sent."""

import statistics
from itertools import islice, pairwise

import pytest

from traffic.arrivals import Poisson, Stage, constant_moments, poisson_moments, starts

STAGES = [Stage(60, 2), Stage(120, 20), Stage(30, 0), Stage(60, 2)]


def test_each_stage_starts_where_the_one_before_ends() -> None:
    assert starts(STAGES) == [0, 60, 180, 210]


def test_constant_moments_are_at_equal_distances_and_as_many_as_rate_times_seconds() -> None:
    assert constant_moments([Stage(2, 2), Stage(1, 0), Stage(1, 4)]) == [0, 0.5, 1, 1.5, 3, 3.25, 3.5, 3.75]
    assert len(constant_moments(STAGES)) == 60 * 2 + 120 * 20 + 60 * 2


@pytest.mark.parametrize(("seconds", "rate", "number"), [(0.1, 30, 3), (0.3, 10, 3), (10, 0.15, 2), (3, 1 / 3, 1)])
def test_rounding_adds_no_moment(seconds: float, rate: float, number: int) -> None:
    """In floating point 0.1 * 30 is 3.0000000000000004, and a request every 6.67 s is due at 0 and 6.67 of 10."""
    assert len(constant_moments([Stage(seconds, rate)])) == number


def test_poisson_moments_follow_the_stages() -> None:
    """The number in 120 s at 20/s has a standard deviation of 49; five of them are 245."""
    moments = poisson_moments(STAGES, seed=1)
    assert moments == sorted(moments) == poisson_moments(STAGES, seed=1) != poisson_moments(STAGES, seed=2)
    assert not any(180 <= moment < 210 or moment >= 270 for moment in moments)
    assert abs(sum(60 <= moment < 180 for moment in moments) - 2400) < 245
    assert abs(sum(moment < 60 for moment in moments) - 120) < 55


def test_poisson_distances_spread_as_much_as_their_mean() -> None:
    """Of an exponential distribution mean and standard deviation are equal: 1 / rate."""
    distances = [later - earlier for earlier, later in pairwise(islice(Poisson(50.0), 20_000))]
    assert statistics.mean(distances) == pytest.approx(1 / 50, rel=0.04)
    assert statistics.stdev(distances) == pytest.approx(1 / 50, rel=0.04)


def test_a_new_rate_takes_effect_at_once() -> None:
    arrivals = Poisson(1.0, seed=3)
    moments = iter(arrivals)
    before = next(moments)
    arrivals.rate = 1e9
    assert next(moments) - before < 1e-6
