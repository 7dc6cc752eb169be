"""The ranges of hyperparameters that a tuning job searches."""

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_SPREAD_OF_LOGARITHMIC = 100.0  # ScalingType Auto takes the logarithmic scale from this ratio of the bounds on


@dataclass(frozen=True)
class Categories:
    """A categorical range.

    Attributes:
        name: the hyperparameter's name.
        values: the categories, at least 1.
    """

    name: str
    values: tuple[str, ...]

    def draw(self, generator: random.Random) -> str:
        """Return a random category."""
        return generator.choice(self.values)

    @property
    def count(self) -> float:
        """The number of values."""
        return len(self.values)


@dataclass(frozen=True)
class Interval:
    """An integer or continuous range.

    Attributes:
        name: the hyperparameter's name.
        low: the smallest value.
        high: the largest value, also included.
        is_integer: whether only whole numbers belong to it.
        scaling: Linear, Logarithmic or ReverseLogarithmic; the scale on which values are equally likely.
    """

    name: str
    low: float
    high: float
    is_integer: bool
    scaling: str

    def draw(self, generator: random.Random) -> str:
        """Return a random value as text."""
        if self.is_integer and self.scaling == "Linear":
            return str(generator.randint(int(self.low), int(self.high)))
        low, high = self.scaled_bounds
        return self.text(self.unscaled(generator.uniform(low, high)))

    @property
    def count(self) -> float:
        """The number of values; infinite for a continuous range."""
        return self.high - self.low + 1 if self.is_integer else math.inf

    @property
    def scaled_bounds(self) -> tuple[float, float]:
        """The bounds on the range's scale, in ascending order."""
        if self.scaling == "Logarithmic":
            return math.log(self.low), math.log(self.high)
        if self.scaling == "ReverseLogarithmic":
            return -math.log1p(-self.low), -math.log1p(-self.high)
        return self.low, self.high

    def scaled(self, value: float) -> float:
        """Return a value on the range's scale."""
        if self.scaling == "Logarithmic":
            return math.log(value)
        return -math.log1p(-value) if self.scaling == "ReverseLogarithmic" else value

    def unscaled(self, value: float) -> float:
        """Return the value for a number on the range's scale."""
        if self.scaling == "Logarithmic":
            value = math.exp(value)
        elif self.scaling == "ReverseLogarithmic":
            value = -math.expm1(-value)
        return min(max(value, self.low), self.high)

    def text(self, value: float) -> str:
        """Return a value as a training job gets it."""
        return str(round(value)) if self.is_integer else repr(float(value))


Range = Categories | Interval


def parse(ranges: Mapping[str, Any]) -> list[Range]:
    """Return the ranges of ParameterRanges, which ``rules`` has checked."""
    parsed: list[Range] = [
        Categories(each["Name"], tuple(each["Values"])) for each in ranges.get("CategoricalParameterRanges", [])
    ]
    for kind in ("Integer", "Continuous"):
        for each in ranges.get(f"{kind}ParameterRanges", []):
            low, high = float(each["MinValue"]), float(each["MaxValue"])
            scaling = each.get("ScalingType", "Auto")
            if scaling == "Auto":
                scaling = "Logarithmic" if low > 0 and high / low >= _SPREAD_OF_LOGARITHMIC else "Linear"
            parsed.append(Interval(each["Name"], low, high, kind == "Integer", scaling))
    return parsed


def combinations(ranges: Iterable[Range]) -> float:
    """Return how many combinations of values there are; infinite with a continuous range."""
    return math.prod((each.count for each in ranges), start=1.0)
