"""The hyperparameters that a search may vary, what the training program allows for each, and the default ranges."""

from dataclasses import dataclass
from typing import Literal

from training.hyperparameters import FIELDS

Range = dict[str, int | float | str] | list[int | float | str]

# They decide where and when a training runs, not how good it becomes. The training program refuses them, too.
_NEVER_SEARCHED = {"mode", "precision", "checkpoint_seconds", "seed"}


@dataclass(frozen=True)
class Tunable:
    """A hyperparameter that a search may vary.

    Attributes:
        kind: type of its values.
        low, high: smallest and largest number that the training accepts.
        values: the names that the training accepts; empty for numbers, and for backbones, which Plan checks otherwise.
        mode: the only mode that reads it; empty for both.
    """

    kind: Literal["integer", "continuous", "categorical"]
    low: float
    high: float
    values: tuple[str, ...]
    mode: str


def _tunable(name: str) -> Tunable:
    meta, default = FIELDS[name].metadata, FIELDS[name].default
    kind: Literal["integer", "continuous", "categorical"] = "continuous"
    if not isinstance(default, float):
        kind = "integer" if isinstance(default, int) else "categorical"
    return Tunable(kind, meta.get("low", 0), meta.get("high", 0), meta.get("choices", ()), meta["mode"])


TUNABLE = {name: _tunable(name) for name in FIELDS if name not in _NEVER_SEARCHED}


def _log(low: float, high: float) -> Range:
    return {"min": low, "max": high, "scale": "log"}


def _linear(low: float, high: float) -> Range:
    return {"min": low, "max": high, "scale": "linear"}


_DEFAULT_RANGES: dict[str, dict[str, Range]] = {
    # The training program has the same. A weaker pull looks better on validation crops and is worse on whole photos.
    "head": {
        "epochs": _linear(8, 24),
        "global_batch_size": _log(64, 256),
        "learning_rate": _log(3e-4, 3e-2),
        "pull": _log(0.03, 0.3),
    },
    "full": {
        "full_learning_rate": _log(1e-4, 1e-3),
        "layer_decay": _linear(0.6, 0.95),
        "keep": _linear(0.0, 0.6),
        "weight_decay": _log(1e-3, 0.1),
        "label_smoothing": _linear(0.0, 0.2),
    },
}


def default_ranges(mode: str) -> dict[str, Range]:
    """Return the ranges of a search whose request names none."""
    return dict(_DEFAULT_RANGES[mode])
