"""Two models' answers for the same photos: is the new one worse? Arithmetic alone, for the function brings no SciPy."""

import math
from collections.abc import Sequence

_Z95 = 1.644854  # one-sided 95 % of a normal distribution
_Z90 = 1.281552
_EXACTLY = 1e-6  # far below what is printed


def chance_of_loss(gained: int, lost: int) -> float:
    """How likely a model that is as good loses that many of the photos on which the two differ (McNemar, one-sided).

    Args:
        gained: photos that the new model alone names rightly.
        lost: photos that the old one alone names rightly.
    """
    differing = gained + lost
    return sum(math.comb(differing, k) for k in range(lost, differing + 1)) / (1 << differing)


def largest_loss(num_photos: int, gained: int, lost: int) -> float:
    """The one-sided 95 % upper bound of the share of photos lost, in [0, 1] (Tango 1998, score interval)."""
    low, high = max(0.0, (lost - gained) / num_photos), 1.0
    while high - low > _EXACTLY:
        middle = (low + high) / 2
        low, high = (middle, high) if _score(num_photos, gained, lost, middle) < _Z95 else (low, middle)
    return high


def photos_needed(num_photos: int, gained: int, lost: int, loss: float) -> int:
    """Photos on which a model as good as the old one is nine times in ten shown to lose no more than that.

    Args:
        num_photos: photos that both answered; it is assumed that of others the same share is answered otherwise.
        loss: share of photos in (0, 1).
    """
    half = (gained + lost) / 2
    return math.ceil(num_photos * ((_Z95 + _Z90) / _score(num_photos, half, half, loss)) ** 2)


def _score(num_photos: int, gained: float, lost: float, loss: float) -> float:
    """How many standard deviations less than ``loss`` was lost, were ``loss`` the truth."""
    # The likeliest share of photos gained under that truth: the larger root of its likelihood equation.
    b = loss * (2 * num_photos + gained - lost) - (gained + lost)
    share = (math.sqrt(b * b + 8 * num_photos * gained * loss * (1 - loss)) - b) / (4 * num_photos)
    return (num_photos * loss - (lost - gained)) / math.sqrt(num_photos * (2 * share + loss * (1 - loss)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for being many: by chance any of them is below 0.05 once in twenty times (Holm 1979)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
