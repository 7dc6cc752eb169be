import pytest

from benchmarks.accuracy import paired_gain


def answers(both, gained, lost, neither):
    """Return which photos each head classifies correctly, from the number of photos of each kind."""
    untrained = [True] * both + [False] * gained + [True] * lost + [False] * neither
    trained = [True] * both + [True] * gained + [False] * lost + [False] * neither
    return untrained, trained


def test_paired_gain_counts_photos_that_only_one_head_knows():
    gain = paired_gain(*answers(both=80, gained=9, lost=1, neither=10), seed=0)
    assert gain.points == 8.0
    assert (gain.gained, gain.lost) == (9, 1)
    assert gain.p_value == pytest.approx(
        22 / 1024, rel=1e-3
    )  # ten coin tosses with at most one tail, or at most one head


def test_paired_gain_interval_is_that_of_the_difference_and_not_of_two_shares():
    # Per photo the difference is 1 (60 of 2000), -1 (20) or 0: mean 0.02, variance 0.04 - 0.02**2 = 0.0396.
    gain = paired_gain(*answers(both=1400, gained=60, lost=20, neither=520), seed=0)
    half = 1.96 * (0.0396 / 2000) ** 0.5 * 100  # 0.87 points
    assert gain.points == 2.0
    assert gain.interval == pytest.approx((2 - half, 2 + half), abs=0.06)


def test_paired_gain_changes_its_sign_when_the_heads_are_swapped():
    untrained, trained = answers(both=50, gained=3, lost=8, neither=4)
    forth, back = paired_gain(untrained, trained, seed=0), paired_gain(trained, untrained, seed=0)
    assert back.points == -forth.points
    assert back.interval == pytest.approx(
        [-bound for bound in forth.interval[::-1]], abs=1.6
    )  # One photo is 1.54 points.
    assert back.p_value == forth.p_value


def test_paired_gain_of_equal_answers_is_exactly_zero():
    gain = paired_gain(*answers(both=7, gained=0, lost=0, neither=3), seed=0)
    assert (gain.points, gain.interval, gain.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_paired_gain_refuses_answers_to_different_photos():
    with pytest.raises(ValueError, match="shorter"):
        paired_gain([True, False], [True], seed=0)
