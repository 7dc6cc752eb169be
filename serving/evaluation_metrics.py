"""Figures of a model's answers on labelled photos: plain functions over arrays and answers."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset import breed_name
from serving.model import Prediction

_TEMPERATURES = (0.05, 20.0)
_Z = 1.959964  # 95 % of a normal distribution lie within this many standard deviations
_CLEAR_MARGIN = 0.2
_BINS = 15  # of the expected calibration error, as Guo et al. 2017 (arXiv:1706.04599)


@dataclass(frozen=True)
class JudgedPhoto:
    """One test photo and what the model answered.

    photo: its path in the dataset.
    truth: the class folder that it lies in.
    uncalibrated: the first answer's probability at temperature 1.
    """

    photo: str
    truth: str
    prediction: Prediction
    uncalibrated: float

    @property
    def answer(self) -> str:
        """The class that came first."""
        return self.prediction.ranking[0][0].id

    @property
    def right(self) -> bool:
        """Whether that is the truth."""
        return self.answer == self.truth


def accuracy(judged: Sequence[JudgedPhoto]) -> dict[str, Any]:
    """Top-1 and top-5 with their 95 % intervals, and the recall of each breed, all in [0, 1]."""
    totals = Counter(j.truth for j in judged)
    hits = Counter(j.truth for j in judged if j.right)
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
    """The 95 % confidence interval of a share, which stays within [0, 1] (Wilson 1927)."""
    share, spread = hits / total, _Z**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def paired(challenger: Sequence[JudgedPhoto], champion: Sequence[JudgedPhoto]) -> dict[str, Any]:
    """Two models on the same photos: what one of them knows and the other does not.

    Returns:
        ``difference``: top-1 of the challenger less the champion's on the photos that both answered, with its 95 %
        ``interval`` (Agresti and Min 2005: half a photo added to each cell of the table); ``only_challenger`` and
        ``only_champion``: photos that one alone named rightly; ``p_value``: how likely they are to be split so
        unevenly by chance (McNemar's test, exact, two-sided); ``per_breed``: these photos of each breed.
    """
    right = {j.photo: j.right for j in champion}
    pairs: dict[str, list[tuple[bool, bool]]] = {}
    for j in challenger:
        if j.photo in right:
            pairs.setdefault(j.truth, []).append((j.right, right[j.photo]))
    everything = _counts([pair for of_breed in pairs.values() for pair in of_breed])
    num_photos, gained, lost = everything.values()
    total = num_photos + 2
    middle = (gained - lost) / total
    half = _Z * math.sqrt((gained + lost + 1) / total - middle**2) / math.sqrt(total)
    return {
        **everything,
        "difference": (gained - lost) / num_photos,
        "interval": (max(-1.0, middle - half), min(1.0, middle + half)),
        "p_value": mcnemar(gained, lost),
        "per_breed": [{"breed": breed_name(c), "class": c, **_counts(pairs[c])} for c in sorted(pairs)],
    }


def _counts(pairs: Sequence[tuple[bool, bool]]) -> dict[str, int]:
    return {
        "num_photos": len(pairs),
        "only_challenger": pairs.count((True, False)),
        "only_champion": pairs.count((False, True)),
    }


def mcnemar(gained: int, lost: int) -> float:
    """The probability that ``gained + lost`` throws of a coin are split at least as unevenly."""
    throws = gained + lost
    tail = sum(math.comb(throws, k) for k in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / (1 << throws))


def reliability(sure: Sequence[float], right: Sequence[bool]) -> list[dict[str, Any]]:
    """How often answers were right, by how sure they were: bins of equal width, the empty ones left out.

    Args:
        sure: each answer's probability in [0, 1].
        right: whether it was the truth.
    """
    members: list[list[tuple[float, bool]]] = [[] for _ in range(_BINS)]
    for pair in zip(sure, right, strict=True):
        members[min(int(pair[0] * _BINS), _BINS - 1)].append(pair)
    return [
        {
            "low": b / _BINS,
            "high": (b + 1) / _BINS,
            "num_photos": len(inside),
            "confidence": sum(probability for probability, _ in inside) / len(inside),
            "accuracy": sum(is_right for _, is_right in inside) / len(inside),
        }
        for b, inside in enumerate(members)
        if inside
    ]


def calibration_error(bins: Sequence[dict[str, Any]]) -> float:
    """The expected calibration error of ``reliability``'s bins: the mean gap of a photo's bin, in [0, 1]."""
    total = sum(b["num_photos"] for b in bins)
    return float(sum(b["num_photos"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / total)


def chance_error(bins: Sequence[dict[str, Any]]) -> float:
    """What ``calibration_error`` is on average, about, where the probabilities are right, in [0, 1].

    A bin's count of right answers strays from what is expected of it by sqrt(2 / pi) standard deviations.
    """
    distances = (math.sqrt(b["num_photos"] * b["confidence"] * (1 - b["confidence"])) for b in bins)
    return float(math.sqrt(2 / math.pi) * sum(distances) / sum(b["num_photos"] for b in bins))


def confusions(judged: Sequence[JudgedPhoto], limit: int) -> list[dict[str, Any]]:
    """The pairs mistaken most often, most frequent first, each with the photo that was mistaken most surely."""
    pairs: dict[tuple[str, str], list[JudgedPhoto]] = {}
    for j in judged:
        if not j.right:
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


def golden_indices(probabilities: Sequence[np.ndarray], truths: np.ndarray, count: int) -> list[int]:
    """Photos to keep as known answers: rightly answered by a clear margin in every precision, classes spread evenly.

    Of each chosen class the photo with the median margin is taken: neither the easiest nor one that
    another CPU's rounding could turn.

    Args:
        probabilities: calibrated ``[N, C]``, of each precision.
        truths: int ``[N]``.
    """
    margin = np.min([_margins(p, truths) for p in probabilities], axis=0)
    chosen = []
    for truth in sorted(set(truths.tolist())):
        clear = [i for i in np.flatnonzero(truths == truth) if margin[i] >= _CLEAR_MARGIN]
        if clear:
            chosen.append(int(sorted(clear, key=lambda i: margin[i])[len(clear) // 2]))
    step = max(1.0, len(chosen) / count)
    return [chosen[int(i * step)] for i in range(min(count, len(chosen)))]


def _margins(probabilities: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """By how much the first answer leads, ``[N]``; -1 where it is wrong."""
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    return np.where(probabilities.argmax(axis=1) == truths, first - second, -1.0)
