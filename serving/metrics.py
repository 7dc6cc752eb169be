"""Figures of a model's answers on labelled photos: plain functions over arrays and answers."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset import breed_name
from serving.model import Prediction, softmax

_TEMPERATURES = (0.05, 20.0)
_BINS = 15  # of the expected calibration error, as Guo et al. 2017 (arXiv:1706.04599)


@dataclass(frozen=True)
class Judged:
    """One test photo and what the model answered.

    photo: its path in the dataset.
    truth: the class folder that it lies in.
    """

    photo: str
    truth: str
    prediction: Prediction

    @property
    def answer(self) -> str:
        """The class that came first."""
        return self.prediction.ranking[0][0].id

    @property
    def right(self) -> bool:
        """Whether that is the truth."""
        return self.answer == self.truth


def accuracy(judged: Sequence[Judged]) -> dict[str, Any]:
    """Top-1, top-5, calibration error and the recall of each breed, all in [0, 1]."""
    totals = Counter(j.truth for j in judged)
    hits = Counter(j.truth for j in judged if j.right)
    in_ranking = sum(any(label.id == j.truth for label, _ in j.prediction.ranking) for j in judged)
    return {
        "top1": hits.total() / len(judged),
        "top5": in_ranking / len(judged),
        "num_photos": len(judged),
        "expected_calibration_error": calibration_error(judged),
        "per_breed": [
            {"breed": breed_name(c), "class": c, "recall": hits[c] / totals[c], "num_photos": totals[c]}
            for c in sorted(totals)
        ],
    }


def calibration_error(judged: Sequence[Judged]) -> float:
    """Mean distance between how sure the answers were and how often they were right, in [0, 1]."""
    sure = np.array([j.prediction.ranking[0][1] for j in judged])
    right = np.array([j.right for j in judged], dtype=float)
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    return float(sum(abs((sure - right)[bins == b].sum()) for b in range(_BINS)) / len(judged))


def confusions(judged: Sequence[Judged], limit: int) -> list[dict[str, Any]]:
    """The pairs that are mistaken most often, most frequent first."""
    pairs = Counter((j.truth, j.answer) for j in judged if not j.right)
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"breed": breed_name(truth), "taken_for": breed_name(answer), "count": count}
        for (truth, answer), count in ordered[:limit]
    ]


def fit_temperature(logits: np.ndarray, truths: np.ndarray) -> float:
    """The temperature under which the probabilities of a labelled split are most likely.

    Targets are smoothed as Platt did (1999), each right class to (N + 1) / (N + 2): without that, a
    split answered without a mistake would pull the temperature to zero.

    Args:
        logits: float ``[N, C]``.
        truths: int ``[N]``, the right class's index.
    """
    num_photos, num_classes = logits.shape
    wrong = 1 / (num_photos + 2) / max(1, num_classes - 1)
    targets = np.full(logits.shape, wrong)
    targets[np.arange(num_photos), truths] = (num_photos + 1) / (num_photos + 2)

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / math.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(axis=1)) - (targets * scaled).sum(axis=1)).mean())

    return math.exp(_minimum(loss, math.log(_TEMPERATURES[0]), math.log(_TEMPERATURES[1])))


def _minimum(function: Any, low: float, high: float) -> float:
    """Golden-section search; the loss has one minimum over the temperature."""
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
    """P(dog) that all but one in a hundred photos of the dataset's own dogs reach; at most 0.5.

    Drawn dogs look little like ImageNet's, so 0.5 would deny them.
    """
    return min(0.5, float(np.quantile(dog_probabilities, 0.01)))


def golden_indices(logits: np.ndarray, truths: np.ndarray, temperature: float, count: int) -> list[int]:
    """Photos to keep as known answers: rightly answered, by a clear margin, classes spread evenly.

    Of each chosen class the photo with the median margin is taken: neither the easiest nor one that
    another CPU's rounding could turn.

    Args:
        logits: float ``[N, C]``.
        truths: int ``[N]``.
    """
    probabilities = softmax(logits / temperature)
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    margin = np.where(probabilities.argmax(axis=1) == truths, first - second, -1.0)
    chosen = []
    for truth in sorted(set(truths.tolist())):
        clear = [i for i in np.flatnonzero(truths == truth) if margin[i] >= 0.2]
        if clear:
            chosen.append(int(sorted(clear, key=lambda i: margin[i])[len(clear) // 2]))
    step = max(1.0, len(chosen) / count)
    return [chosen[int(i * step)] for i in range(min(count, len(chosen)))]
