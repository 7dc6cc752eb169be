"""Statistics for two models on the same photos: is the new model worse?

Everything is computed with the standard library, because the function contains no SciPy.
See "No worse than δ" in docs/decisions/evaluation-and-gate.md.
"""

import math
from collections.abc import Sequence

_Z95 = 1.644854  # one-sided 95 % of a normal distribution
_Z90 = 1.281552
_TOLERANCE = 1e-6  # far smaller than the digits that are printed


def chance_of_loss(gained: int, lost: int) -> float:
    """Return the probability that a model that is as good loses at least ``lost`` photos (McNemar, one-sided).

    Only the photos on which the two models differ matter.

    Args:
        gained: number of photos that only the new model names correctly.
        lost: number of photos that only the old model names correctly.
    """
    differing = gained + lost
    return sum(math.comb(differing, k) for k in range(lost, differing + 1)) / (1 << differing)


def largest_loss(num_photos: int, gained: int, lost: int) -> float:
    """Return the one-sided 95 % upper bound of the share of photos lost, in [0, 1] (Tango 1998, score interval)."""
    low, high = max(0.0, (lost - gained) / num_photos), 1.0
    while high - low > _TOLERANCE:
        middle = (low + high) / 2
        low, high = (middle, high) if _score(num_photos, gained, lost, middle) < _Z95 else (low, middle)
    return high


def photos_needed(num_photos: int, gained: int, lost: int, loss: float) -> int:
    """Return how many photos are needed to show that a model that is as good loses no more than ``loss``.

    With so many photos, ``largest_loss`` stays below ``loss`` nine times in ten.

    Args:
        num_photos: number of photos that both models answered. It is assumed that the two models differ on the
            same share of further photos.
        gained: number of photos that only the new model names correctly.
        lost: number of photos that only the old model names correctly.
        loss: share of photos in (0, 1).
    """
    half = (gained + lost) / 2
    return math.ceil(num_photos * ((_Z95 + _Z90) / _score(num_photos, half, half, loss)) ** 2)


def _score(num_photos: int, gained: float, lost: float, loss: float) -> float:
    """Return by how many standard deviations the observed loss is below ``loss``, if ``loss`` is the true share."""
    # Most likely share of photos gained if `loss` is true: the larger root of the likelihood equation.
    b = loss * (2 * num_photos + gained - lost) - (gained + lost)
    share = (math.sqrt(b * b + 8 * num_photos * gained * loss * (1 - loss)) - b) / (4 * num_photos)
    return (num_photos * loss - (lost - gained)) / math.sqrt(num_photos * (2 * share + loss * (1 - loss)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for multiple tests (Holm 1979).

    If nothing differs, the chance that any corrected value is below 0.05 is at most 0.05.
    See "A breed's veto" in docs/decisions/evaluation-and-gate.md.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
