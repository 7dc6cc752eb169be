import pytest

from benchmarks import figures


def test_percentile_is_the_smallest_value_that_enough_do_not_exceed():
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert figures.percentile(values, 0.5) == 3.0
    assert figures.percentile(values, 0.6) == 3.0
    assert figures.percentile(values, 0.61) == 4.0
    assert figures.percentile(values, 0.99) == 5.0


def test_spread_of_rounds_is_median_minimum_and_maximum():
    assert figures.spread([3.0, 1.0, 10.0]) == {"median": 3.0, "min": 1.0, "max": 10.0}


def test_spreads_are_one_per_figure():
    assert figures.spreads([{"a": 3.0, "b": 1.0}, {"a": 1.0, "b": 1.0}]) == {
        "a": {"median": 2.0, "min": 1.0, "max": 3.0},
        "b": {"median": 1.0, "min": 1.0, "max": 1.0},
    }


def test_rotated_starts_each_round_with_another_system():
    assert [figures.rotated(["a", "b", "c"], by) for by in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_rounded_keeps_four_digits_of_any_size():
    assert figures.rounded(123456.0) == 123500.0
    assert figures.rounded(0.000123456) == 0.0001235


@pytest.mark.parametrize(("measured", "met"), [(3.99, False), (4.0, True)])
def test_goal_at_least_is_met_at_its_bound(measured, met):
    assert figures.goal(measured, at_least=4) == {"at_least": 4, "measured": measured, "met": met}


@pytest.mark.parametrize(("measured", "met"), [(0.0, True), (1.0, False)])
def test_goal_at_most_zero_is_met_by_zero_only(measured, met):
    assert figures.goal(measured, at_most=0) == {"at_most": 0, "measured": measured, "met": met}


def test_max_rate_is_the_highest_within_the_limit():
    rates = []

    def p99_at(rate: float) -> float:
        """Return the p99 of a queue that serves 100 requests/s in 10 ms each: 50 ms at 80/s, infinite from 100/s on."""
        rates.append(rate)
        return 10 / (1 - rate / 100) if rate < 100 else float("inf")

    assert figures.max_rate_within(100, p99_at, limit=51) == 80
    assert rates == [110, 105, 100, 95, 90, 85, 80]


def test_max_rate_is_zero_if_no_rate_is_within_the_limit():
    assert figures.max_rate_within(100, lambda _: 9.0, limit=8.0) == 0.0
