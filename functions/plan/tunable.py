"""The hyperparameters that a search may vary, what the training program allows for each, and the default ranges.

The functions do not contain the training program; ``tests/contract/test_tunable.py`` holds this table against it.
"""

from dataclasses import dataclass, field
from typing import Literal

Range = dict[str, int | float | str] | list[int | float | str]


@dataclass(frozen=True)
class Tunable:
    """A hyperparameter that a search may vary.

    Attributes:
        kind: type of its values.
        low, high: smallest and largest number that the training accepts.
        values: the names that the training accepts; empty for numbers, and for backbones, which Plan checks otherwise.
        mode: the only mode that reads it; empty for both.
        searched_in: modes in which it is searched if the request names no ranges.
        default: the range that is then searched.
    """

    kind: Literal["integer", "continuous", "categorical"]
    low: float = 0
    high: float = 0
    values: tuple[str, ...] = ()
    mode: str = ""
    searched_in: tuple[str, ...] = ()
    default: Range = field(default_factory=list)


def _log(low: float, high: float) -> Range:
    return {"min": low, "max": high, "scale": "log"}


def _linear(low: float, high: float) -> Range:
    return {"min": low, "max": high, "scale": "linear"}


TUNABLE = {
    "backbone": Tunable("categorical"),
    "epochs": Tunable("integer", 0, 10_000, searched_in=("head",), default=_linear(8, 24)),
    "full_epochs": Tunable("integer", 1, 10_000, mode="full"),
    "global_batch_size": Tunable("integer", 1, 1_000_000, searched_in=("head",), default=_log(64, 256)),
    "learning_rate": Tunable("continuous", 1e-8, 10, searched_in=("head",), default=_log(3e-4, 3e-2)),
    "full_learning_rate": Tunable("continuous", 1e-8, 10, (), "full", ("full",), _log(1e-4, 1e-3)),
    "layer_decay": Tunable("continuous", 0.01, 1, (), "full", ("full",), _linear(0.6, 0.95)),
    "pull": Tunable("continuous", 0, 1_000, searched_in=("head",), default=_log(0.03, 0.3)),
    "keep": Tunable("continuous", 0, 1, (), "full", ("full",), _linear(0.0, 0.6)),
    "weight_decay": Tunable("continuous", 0, 10, (), "full", ("full",), _log(1e-3, 0.1)),
    "label_smoothing": Tunable("continuous", 0, 0.9, (), "full", ("full",), _linear(0.0, 0.2)),
    "clip_norm": Tunable("continuous", 1e-6, 1e6, mode="full"),
    "ema_decay": Tunable("continuous", 0, 0.999999, mode="full"),
    "augment": Tunable("categorical", values=("trivial", "crop"), mode="full"),
    "start_resolution": Tunable("continuous", 0.1, 1, mode="full"),
    "sampling": Tunable("categorical", values=("natural", "balanced")),
}


def default_ranges(mode: str) -> dict[str, Range]:
    """Return the ranges of a search whose request names none."""
    return {name: each.default for name, each in TUNABLE.items() if mode in each.searched_in}
