import numpy as np
import pytest

from serving.artifact import Label
from serving.metrics import (
    Judged,
    accuracy,
    calibration_error,
    confusions,
    dog_threshold,
    fit_temperature,
    golden_indices,
)
from serving.model import Prediction, softmax


def judged(truth: str, *ranking: tuple[str, float]) -> Judged:
    labels = tuple((Label(name, name), probability) for name, probability in ranking)
    return Judged(f"test/{truth}/1.jpg", truth, Prediction("v", labels, 1.0, True, 1.0, 1.0))


FOUR = [
    judged("1.A", ("1.A", 0.9), ("2.B", 0.1)),
    judged("1.A", ("2.B", 0.9), ("1.A", 0.1)),
    judged("2.B", ("3.C", 0.6), ("1.A", 0.4)),
    judged("3.C", ("3.C", 0.6), ("1.A", 0.4)),
]


def test_accuracy_counts_first_answers_and_rankings() -> None:
    figures = accuracy(FOUR)
    assert (figures["top1"], figures["top5"], figures["num_photos"]) == (0.5, 0.75, 4)
    assert figures["per_breed"] == [
        {"breed": "A", "class": "1.A", "recall": 0.5, "num_photos": 2},
        {"breed": "B", "class": "2.B", "recall": 0.0, "num_photos": 1},
        {"breed": "C", "class": "3.C", "recall": 1.0, "num_photos": 1},
    ]


def test_calibration_error_is_the_gap_weighted_by_photos() -> None:
    # Two answers at 0.9 of which one is right, two at 0.6 of which one is right: (0.8 + 0.2) / 4.
    assert calibration_error(FOUR) == pytest.approx(0.25)


def test_confusions_name_the_most_frequent_first() -> None:
    mistakes = [FOUR[2], FOUR[1], FOUR[1]]
    assert confusions(mistakes, 5) == [
        {"breed": "A", "taken_for": "B", "count": 2},
        {"breed": "B", "taken_for": "C", "count": 1},
    ]
    assert len(confusions(mistakes, 1)) == 1


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_temperature_undoes_a_known_factor(factor: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 5))
    truths = np.array([rng.choice(5, p=p) for p in softmax(logits)])
    assert fit_temperature(logits * factor, truths) == pytest.approx(factor, rel=0.05)


def test_temperature_of_a_faultless_split_stays_finite() -> None:
    # Platt's target for 10 photos is 11/12; with two classes a gap of 6 / T must be log(11).
    logits = np.tile([6.0, 0.0], (10, 1))
    assert fit_temperature(logits, np.zeros(10, dtype=int)) == pytest.approx(6 / np.log(11), rel=0.01)


def test_dog_threshold_is_low_for_drawn_dogs_and_never_above_half() -> None:
    assert dog_threshold(np.full(100, 0.99)) == 0.5
    assert dog_threshold(np.linspace(0.1, 0.9, 101)) == pytest.approx(0.108)


def test_golden_photos_are_right_clear_and_of_varied_classes() -> None:
    logits = np.array([[5, 0, 0], [9, 0, 0], [0, 5, 0], [5, 0, 0], [0, 0, 0.1], [0, 0, 0.1]], dtype=float)
    truths = np.array([0, 0, 1, 1, 2, 2])  # the fourth is wrong, the last two are not clear
    assert golden_indices(logits, truths, 1.0, count=8) == [1, 2]
    assert len(golden_indices(logits, truths, 1.0, count=1)) == 1
