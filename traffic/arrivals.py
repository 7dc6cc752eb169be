"""When requests are sent, which does not depend on how fast they are answered."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Stage:
    """A part of a load with one rate.

    Attributes:
        seconds: its length.
        rate: requests/s; 0 for a pause.
    """

    seconds: float
    rate: float


class Poisson:
    """Random moments without end, of a Poisson process.

    Attributes:
        rate: requests/s; a new value takes effect at once.
    """

    def __init__(self, rate: float, seed: int = 0) -> None:
        self.rate, self._random = rate, random.Random(seed)

    def __iter__(self) -> Iterator[float]:
        """Yield seconds since the start."""
        due = 0.0
        while True:
            due += self._random.expovariate(self.rate)
            yield due


def poisson_moments(stages: Sequence[Stage], seed: int = 0) -> list[float]:
    """Return the moments of a Poisson process whose rate is that of the stages, in seconds since the start."""
    rng, moments = random.Random(seed), list[float]()
    for begin, stage in zip(starts(stages), stages, strict=True):
        due = begin
        # A Poisson process has no memory, so each stage may begin it anew.
        while stage.rate and (due := due + rng.expovariate(stage.rate)) < begin + stage.seconds:
            moments.append(due)
    return moments


def constant_moments(stages: Sequence[Stage]) -> list[float]:
    """Return moments at equal distances within each stage, the first at its start, in seconds since the start."""
    return [
        begin + number / stage.rate
        for begin, stage in zip(starts(stages), stages, strict=True)
        for number in range(math.ceil(round(stage.seconds * stage.rate, 6)))
    ]


def starts(stages: Sequence[Stage]) -> list[float]:
    """Return the second at which each stage starts."""
    return list(accumulate((stage.seconds for stage in stages[:-1]), initial=0.0))
