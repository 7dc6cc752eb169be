import numpy as np
import pytest

from serving.evaluation_metrics import (
    JudgedPhoto,
    accuracy,
    calibration_error,
    chance_calibration_error,
    compare_paired,
    dog_threshold,
    fit_temperature,
    golden_indices,
    mcnemar,
    most_confused_pairs,
    reliability_bins,
    wilson,
)
from serving.model import Prediction, softmax
from serving.served_artifact import Label


def judged(truth: str, *ranking: tuple[str, float], photo: str = "1.jpg") -> JudgedPhoto:
    labels = tuple((Label(name, name), probability) for name, probability in ranking)
    return JudgedPhoto(
        f"test/{truth}/{photo}", truth, Prediction("v", labels, 1.0, True, 256, False, 1.0, 1.0), ranking[0][1]
    )


FOUR_ANSWERS = [
    judged("1.A", ("1.A", 0.9), ("2.B", 0.1)),
    judged("1.A", ("2.B", 0.9), ("1.A", 0.1)),
    judged("2.B", ("3.C", 0.6), ("1.A", 0.4)),
    judged("3.C", ("3.C", 0.6), ("1.A", 0.4)),
]


def test_accuracy_counts_first_answers_and_rankings() -> None:
    figures = accuracy(FOUR_ANSWERS)
    assert (figures["top1"], figures["top5"], figures["num_photos"]) == (0.5, 0.75, 4)
    assert figures["per_breed"] == [
        {"breed": "A", "class": "1.A", "recall": 0.5, "num_photos": 2},
        {"breed": "B", "class": "2.B", "recall": 0.0, "num_photos": 1},
        {"breed": "C", "class": "3.C", "recall": 1.0, "num_photos": 1},
    ]


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)]
)
def test_wilson_interval_stays_inside_and_is_the_published_one(hits: int, total: int, low: float, high: float) -> None:
    assert wilson(hits, total) == pytest.approx((low, high), abs=1e-4)


def test_mcnemar_is_the_probability_of_coin_tosses() -> None:
    assert mcnemar(6, 1) == mcnemar(1, 6) == 2 * (1 + 7) / 128
    assert mcnemar(10, 0) == 2 / 1024
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1.0
    assert 0 < mcnemar(1000, 1200) < 1e-4  # The sums exceed the range of a float.


def test_paired_difference_counts_photos_that_only_one_model_knows() -> None:
    # Of ten photos the challenger alone knows three and the champion alone one. Only one model could read an eleventh.
    def answers(*right: bool) -> list[JudgedPhoto]:
        return [judged("1.A", ("1.A" if r else "2.B", 0.9), photo=f"{i}.jpg") for i, r in enumerate(right)]

    challenger = answers(True, True, True, False, True, True, True, True, False, False, True)
    champion = answers(False, False, False, True, True, True, True, True, False, False)
    comparison = compare_paired(challenger, champion)
    assert (comparison["num_photos"], comparison["only_challenger"], comparison["only_champion"]) == (10, 3, 1)
    assert comparison["difference"] == pytest.approx(0.2)
    # (3 - 1) / 12 -+ 1.96 * sqrt(5 / 12 - (2 / 12)^2) / sqrt(12)
    assert comparison["interval"] == pytest.approx((-0.1862, 0.5195), abs=1e-4)
    assert comparison["p_value"] == 2 * (1 + 4) / 16


def test_pairs_are_counted_by_breed() -> None:
    """Only one model could read the second photo of breed B."""
    known = [judged("1.A", ("1.A", 1)), judged("2.B", ("3.C", 1)), judged("2.B", ("2.B", 1), photo="2.jpg")]
    unknown = [judged("1.A", ("2.B", 1)), judged("2.B", ("2.B", 1))]
    assert compare_paired(known, unknown)["per_breed"] == [
        {"breed": "A", "class": "1.A", "num_photos": 1, "only_challenger": 1, "only_champion": 0},
        {"breed": "B", "class": "2.B", "num_photos": 1, "only_challenger": 0, "only_champion": 1},
    ]


def test_reliability_bins_have_the_width_of_a_fifteenth() -> None:
    bins = reliability_bins([0.05, 0.61, 0.65, 1.0], [False, True, False, True])
    assert [(b["num_photos"], b["accuracy"]) for b in bins] == [(1, 0.0), (2, 0.5), (1, 1.0)]
    assert [b["confidence"] for b in bins] == pytest.approx([0.05, 0.63, 1.0])
    assert [(round(15 * b["low"]), round(15 * b["high"])) for b in bins] == [(0, 1), (9, 10), (14, 15)]


def test_calibration_error_is_the_gap_weighted_by_photos() -> None:
    # Two answers at 0.9, one of them correct, and two at 0.6, one of them correct: (0.8 + 0.2) / 4.
    assert calibration_error(reliability_bins([0.9, 0.9, 0.6, 0.6], [True, False, False, True])) == pytest.approx(0.25)


def test_exact_probabilities_have_a_calibration_error_by_chance() -> None:
    # Ten answers at 0.5 and ten at 0.9: their counts differ by sqrt(2 / pi) of 1.5811 and 0.9487 photos, of 20 photos.
    bins = reliability_bins([0.5] * 10 + [0.9] * 10, [True] * 20)
    assert chance_calibration_error(bins) == pytest.approx(0.7979 * (1.5811 + 0.9487) / 20, rel=1e-4)
    # Exact probabilities on 2,000 datasets of 20 photos. So few photos are not quite normally distributed.
    correct = np.random.default_rng(0).random((2_000, 20)) < np.repeat([0.5, 0.9], 10)
    errors = [calibration_error(reliability_bins([0.5] * 10 + [0.9] * 10, dataset)) for dataset in correct.tolist()]
    assert np.mean(errors) == pytest.approx(chance_calibration_error(bins), rel=0.1)


def test_most_confused_pairs_come_first_with_their_surest_photo() -> None:
    mistakes = [
        judged("2.B", ("3.C", 0.6)),
        judged("1.A", ("2.B", 0.5), photo="less.jpg"),
        judged("1.A", ("2.B", 0.9), photo="more.jpg"),
        judged("1.A", ("1.A", 0.9)),
    ]
    assert most_confused_pairs(mistakes, 5) == [
        {"breed": "A", "taken_for": "B", "count": 2, "photo": "test/1.A/more.jpg"},
        {"breed": "B", "taken_for": "C", "count": 1, "photo": "test/2.B/1.jpg"},
    ]
    assert len(most_confused_pairs(mistakes, 1)) == 1


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


def test_golden_photos_are_correct_clear_and_of_varied_classes() -> None:
    logits = np.array([[5, 0, 0], [9, 0, 0], [0, 5, 0], [5, 0, 0], [0, 0, 0.1], [0, 0, 0.1]], dtype=float)
    truths = np.array([0, 0, 1, 1, 2, 2])  # The fourth is wrong, and the last two have no clear margin.
    assert golden_indices([softmax(logits)], truths, count=8) == [1, 2]
    assert len(golden_indices([softmax(logits)], truths, count=1)) == 1


def test_golden_photos_are_correct_and_clear_in_every_precision() -> None:
    truths = np.array([0, 1, 2])
    exact = np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.1, 0.9]])
    rounded = np.array([[0.9, 0.1, 0.0], [0.45, 0.55, 0.0], [0.0, 0.6, 0.4]])
    assert golden_indices([exact, exact], truths, count=8) == [0, 1, 2]
    assert golden_indices([exact, rounded], truths, count=8) == [0]
