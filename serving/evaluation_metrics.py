"""Metrics of a model's answers on labelled photos: pure functions of arrays and answers."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset import breed_name
from serving.model import Prediction

_TEMPERATURE_RANGE = (0.05, 20.0)
_Z = 1.959964  # 95 % of a normal distribution are within so many standard deviations.
_MIN_GOLDEN_MARGIN = 0.2
_NUM_BINS = 15  # bins of the expected calibration error, as in Guo et al. 2017 (arXiv:1706.04599)


@dataclass(frozen=True)
class JudgedPhoto:
    """One test photo and the model's answer.

    Attributes:
        photo: The photo's path in the dataset.
        truth: The photo's class, which is the name of its folder.
        prediction: The model's answer.
        uncalibrated_probability: Probability of the first answer at temperature 1.
    """

    photo: str
    truth: str
    prediction: Prediction
    uncalibrated_probability: float

    @property
    def answer(self) -> str:
        """The class that the model ranks first."""
        return self.prediction.ranking[0][0].id

    @property
    def is_correct(self) -> bool:
        """Whether the first class is the true one."""
        return self.answer == self.truth


def accuracy(judged: Sequence[JudgedPhoto]) -> dict[str, Any]:
    """Return top-1 and top-5 with their 95 % intervals, and the recall of each breed, all in [0, 1]."""
    totals = Counter(j.truth for j in judged)
    hits = Counter(j.truth for j in judged if j.is_correct)
    in_ranking = sum(any(label.id == j.truth for label, _ in j.prediction.ranking) for j in judged)
    return {
        "top1": hits.total() / len(judged),
        "top1_interval": wilson(hits.total(), len(judged)),
        "top5": in_ranking / len(judged),
        "top5_interval": wilson(in_ranking, len(judged)),
        "num_photos": len(judged),
        "per_breed": [
            {"breed": breed_name(c), "class": c, "recall": hits[c] / totals[c], "num_photos": totals[c]}
            for c in sorted(totals)
        ],
    }


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share, which stays within [0, 1] (Wilson 1927)."""
    share, spread = hits / total, _Z**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def compare_paired(challenger: Sequence[JudgedPhoto], champion: Sequence[JudgedPhoto]) -> dict[str, Any]:
    """Compare two models on the same photos, by the photos that only one of them classifies correctly.

    Args:
        challenger: The challenger's answers.
        champion: The champion's answers. Photos that only one model answered are ignored.

    Returns:
        ``difference``: the challenger's top-1 minus the champion's.
        ``interval``: its 95 % interval (Agresti and Min 2005: half a photo is added to each cell of the table).
        ``only_challenger``, ``only_champion``: the number of photos that this model alone classifies correctly.
        ``p_value``: the probability that chance splits these photos so unevenly (McNemar's test, exact, two-sided).
        ``per_breed``: the same counts for each breed.
    """
    champion_correct = {j.photo: j.is_correct for j in champion}
    pairs: dict[str, list[tuple[bool, bool]]] = {}
    for j in challenger:
        if j.photo in champion_correct:
            pairs.setdefault(j.truth, []).append((j.is_correct, champion_correct[j.photo]))
    counts = _count_pairs([pair for breed_pairs in pairs.values() for pair in breed_pairs])
    num_photos, gained, lost = counts.values()
    total = num_photos + 2
    middle = (gained - lost) / total
    half = _Z * math.sqrt((gained + lost + 1) / total - middle**2) / math.sqrt(total)
    return {
        **counts,
        "difference": (gained - lost) / num_photos,
        "interval": (max(-1.0, middle - half), min(1.0, middle + half)),
        "p_value": mcnemar(gained, lost),
        "per_breed": [{"breed": breed_name(c), "class": c, **_count_pairs(pairs[c])} for c in sorted(pairs)],
    }


def _count_pairs(pairs: Sequence[tuple[bool, bool]]) -> dict[str, int]:
    """Count photos by whether the challenger, and whether the champion, classified them correctly."""
    return {
        "num_photos": len(pairs),
        "only_challenger": pairs.count((True, False)),
        "only_champion": pairs.count((False, True)),
    }


def mcnemar(gained: int, lost: int) -> float:
    """Return the probability that ``gained + lost`` tosses of a fair coin are split at least as unevenly."""
    tosses = gained + lost
    tail = sum(math.comb(tosses, k) for k in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / (1 << tosses))


def reliability_bins(confidences: Sequence[float], correct: Sequence[bool]) -> list[dict[str, Any]]:
    """Group answers by their probability, and return the share of correct answers of each group.

    Args:
        confidences: Each answer's probability in [0, 1].
        correct: Whether each answer was correct.

    Returns:
        Bins of equal width, without the empty ones.
    """
    members: list[list[tuple[float, bool]]] = [[] for _ in range(_NUM_BINS)]
    for pair in zip(confidences, correct, strict=True):
        members[min(int(pair[0] * _NUM_BINS), _NUM_BINS - 1)].append(pair)
    return [
        {
            "low": b / _NUM_BINS,
            "high": (b + 1) / _NUM_BINS,
            "num_photos": len(inside),
            "confidence": sum(probability for probability, _ in inside) / len(inside),
            "accuracy": sum(is_correct for _, is_correct in inside) / len(inside),
        }
        for b, inside in enumerate(members)
        if inside
    ]


def calibration_error(bins: Sequence[dict[str, Any]]) -> float:
    """Return the expected calibration error: the mean gap of a bin, weighted by its photos, in [0, 1].

    Args:
        bins: The result of ``reliability_bins``. A bin's gap is the distance of its confidence from its accuracy.
    """
    total = sum(b["num_photos"] for b in bins)
    return float(sum(b["num_photos"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / total)


def chance_calibration_error(bins: Sequence[dict[str, Any]]) -> float:
    """Estimate the mean ``calibration_error`` that exact probabilities would have by chance alone, in [0, 1].

    A bin's number of correct answers differs from its expectation by sqrt(2 / pi) standard deviations on average.
    """
    distances = (math.sqrt(b["num_photos"] * b["confidence"] * (1 - b["confidence"])) for b in bins)
    return float(math.sqrt(2 / math.pi) * sum(distances) / sum(b["num_photos"] for b in bins))


def most_confused_pairs(judged: Sequence[JudgedPhoto], limit: int) -> list[dict[str, Any]]:
    """Return the most frequent mistakes, most frequent first, each with the photo that had the highest probability."""
    pairs: dict[tuple[str, str], list[JudgedPhoto]] = {}
    for j in judged:
        if not j.is_correct:
            pairs.setdefault((j.truth, j.answer), []).append(j)
    ordered = sorted(pairs.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        {
            "breed": breed_name(truth),
            "taken_for": breed_name(answer),
            "count": len(mistakes),
            "photo": max(mistakes, key=lambda j: j.prediction.ranking[0][1]).photo,
        }
        for (truth, answer), mistakes in ordered[:limit]
    ]


def fit_temperature(logits: np.ndarray, truths: np.ndarray) -> float:
    """Fit the temperature that makes the labels of a split most likely.

    The targets are smoothed as in Platt 1999: the true class gets (N + 1) / (N + 2). Otherwise a split without a
    mistake would pull the temperature to zero.

    Args:
        logits: float ``[N, C]``.
        truths: int ``[N]``, the index of the true class.
    """
    num_photos, num_classes = logits.shape
    wrong = 1 / (num_photos + 2) / max(1, num_classes - 1)
    targets = np.full(logits.shape, wrong)
    targets[np.arange(num_photos), truths] = (num_photos + 1) / (num_photos + 2)

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / math.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(axis=1)) - (targets * scaled).sum(axis=1)).mean())

    return math.exp(_minimum(loss, math.log(_TEMPERATURE_RANGE[0]), math.log(_TEMPERATURE_RANGE[1])))


def _minimum(function: Any, low: float, high: float) -> float:
    """Find a minimum by golden-section search. The loss has only one minimum over the temperature."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > 1e-3:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2


def dog_threshold(dog_probabilities: np.ndarray) -> float:
    """Return the P(dog) that 99 of 100 dogs of the dataset reach, at most 0.5.

    Drawn dogs do not look much like ImageNet's dogs, so 0.5 would reject them.

    Args:
        dog_probabilities: P(dog) of photos of dogs, ``[N]``.
    """
    return min(0.5, float(np.quantile(dog_probabilities, 0.01)))


def golden_indices(probabilities: Sequence[np.ndarray], truths: np.ndarray, count: int) -> list[int]:
    """Choose the golden photos: those that every precision answers correctly and by a clear margin.

    The classes are spread evenly. Of each chosen class the photo with the median margin is taken: it is not the
    easiest one, and the rounding of another CPU cannot change its answer.

    Args:
        probabilities: Calibrated probabilities ``[N, C]`` in each precision.
        truths: int ``[N]``, the index of the true class.
        count: The number of photos to choose at most.
    """
    margin = np.min([_margins(p, truths) for p in probabilities], axis=0)
    chosen = []
    for truth in sorted(set(truths.tolist())):
        clear = [i for i in np.flatnonzero(truths == truth) if margin[i] >= _MIN_GOLDEN_MARGIN]
        if clear:
            chosen.append(int(sorted(clear, key=lambda i: margin[i])[len(clear) // 2]))
    step = max(1.0, len(chosen) / count)
    return [chosen[int(i * step)] for i in range(min(count, len(chosen)))]


def _margins(probabilities: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Return by how much the first answer's probability exceeds the second's, ``[N]``; -1 where it is wrong."""
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    return np.where(probabilities.argmax(axis=1) == truths, first - second, -1.0)
