"""The hyperparameters, one frozen dataclass, read from the command line or from SageMaker's strings."""

import argparse
import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_LONGEST_NAME = 40  # characters of a name or a value in a message
_MOST_NEIGHBOURS = 4


class HyperparameterError(ValueError):
    """Hyperparameters are unknown, of the wrong type or out of range; the message names all of them."""


# The functions below describe a field: ``text`` is its help, ``mode`` the only mode that reads it, empty for both.


def _number(default: Any, low: float, high: float, text: str, mode: str = "") -> Any:
    allowed = f"{low:.10g} to {high:.10g}"
    return dataclasses.field(
        default=default, metadata={"low": low, "high": high, "allowed": allowed, "text": text, "mode": mode}
    )


def _name(default: str, allowed: str, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"allowed": allowed, "text": text, "mode": ""})


def _choice(default: str, choices: tuple[str, ...], text: str, mode: str = "") -> Any:
    allowed = " or ".join(choices)
    return dataclasses.field(
        default=default, metadata={"choices": choices, "allowed": allowed, "text": text, "mode": mode}
    )


@dataclass(frozen=True)
class Hyperparameters:
    """The settings of a user; ``--help`` prints the text of each field."""

    mode: str = _choice(
        "auto",
        ("auto", "head", "full"),
        "head: train a linear head on the frozen backbone's features; full: then train the whole network as well; "
        "auto: full if there is a GPU and there are enough photos, otherwise head",
    )
    backbone: str = _name(
        "efficientnet_lite2",
        "efficientnet_lite0, efficientnet_lite2 or, with --weights, a classifier of torchvision such as resnet50",
        "the pretrained network",
    )
    epochs: int = _number(20, 0, 10_000, "passes of the head over the features; 0 leaves the head as it starts")
    full_epochs: int = _number(5, 1, 10_000, "passes of the whole network over the photos", "full")
    global_batch_size: int = _number(128, 1, 1_000_000, "photos per step, over all ranks")
    learning_rate: float = _number(3e-3, 1e-8, 10.0, "Adam's first step size for the head; a cosine lowers it to 0")
    full_learning_rate: float = _number(
        3e-4, 1e-8, 10.0, "AdamW's step size for the last layer of the whole network, after a warm-up", "full"
    )
    layer_decay: float = _number(
        0.8, 0.01, 1.0, "step size of each block, as a multiple of that of the block after it", "full"
    )
    pull: float = _number(
        0.05, 0.0, 1_000.0, "strength of the head's pull towards the pretrained ImageNet rows, per squared distance"
    )
    keep: float = _number(
        0.3, 0.0, 1.0, "the result averages the networks before and after full training; share of the former", "full"
    )
    weight_decay: float = _number(0.01, 0.0, 10.0, "AdamW's weight decay, for matrices and convolutions only", "full")
    label_smoothing: float = _number(0.1, 0.0, 0.9, "share of each label spread over all classes", "full")
    clip_norm: float = _number(1.0, 1e-6, 1e6, "greatest norm of a step's gradient", "full")
    ema_decay: float = _number(
        0.998, 0.0, 0.999999, "decay per step of the moving average of the weights, which is validated and kept", "full"
    )
    augment: str = _choice(
        "trivial", ("trivial", "crop"), "crop: random crops and flips; trivial: also TrivialAugment", "full"
    )
    start_resolution: float = _number(
        0.625, 0.1, 1.0, "side of the photos in the first full epoch, as a share of the side in the last", "full"
    )
    sampling: str = _choice(
        "natural", ("natural", "balanced"), "balanced: every class has the same weight, however few photos it has"
    )
    precision: str = _choice(
        "auto", ("auto", "fp32", "bf16"), "precision of the backbone; auto: the faster one, measured at the start"
    )
    checkpoint_seconds: float = _number(60.0, 0.0, 86_400.0, "seconds between checkpoints")
    seed: int = _number(0, 0, 2**31 - 1, "seed of the sharding, the order of photos and the augmentation")

    def of_mode(self, mode: str) -> dict[str, Any]:
        """Return the hyperparameters that a run of this mode, ``head`` or ``full``, reads."""
        others = {"head", "full"} - {mode}
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata["mode"] not in others
        }


FIELDS = {field.name: field for field in dataclasses.fields(Hyperparameters)}


def from_strings(strings: Mapping[str, Any]) -> Hyperparameters:
    r"""Read hyperparameters from strings, as SageMaker delivers them (``"20"``, also ``"\"20\""``).

    Args:
        strings: the values by name.

    Raises:
        HyperparameterError: names every unknown, ill-typed or out-of-range one, and the valid names.
    """
    values, problems = _read(strings)
    if problems:
        sentences = "; ".join(f"'{shortened(name)}' {problem}" for name, problem in problems.items())
        raise HyperparameterError(f"hyperparameters: {sentences}; valid are {', '.join(FIELDS)}")
    return Hyperparameters(**values)


def problems_of(strings: Mapping[str, Any]) -> dict[str, str]:
    """Return what ``from_strings`` would refuse: by name, what is wrong and what is meant, in words."""
    return _read(strings)[1]


def unquoted(value: Any) -> str:
    """Return a value as text without the quotes of JSON and spaces around it."""
    text = str(value).strip()
    if text.startswith('"'):
        try:
            return str(json.loads(text)).strip()
        except ValueError:
            return text
    return text


def neighbours(name: str, known: Iterable[str], likeness: float = 0.6) -> list[str]:
    """Return the known names that somebody may have meant by a name; the list is empty if there is none.

    They are the name in other letters (``learning-rate``, ``learningRate``), those that contain its words
    (``batch_size``), the one that is spelled most like it, or those that it abbreviates (``lr``).

    Args:
        name: what somebody wrote.
        known: the names to choose from.
        likeness: least likeness of the spelling, from 0 to 1 for the same.
    """
    known = list(known)
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:_LONGEST_NAME]).lower().strip()
    plain = re.sub(r"[\s_.-]+", "_", plain)
    if plain in known:
        return [plain]
    parts = [each for each in known if f"_{plain}_" in f"_{each}_"]
    if 1 <= len(parts) <= _MOST_NEIGHBOURS:
        return parts
    return difflib.get_close_matches(plain, known, n=1, cutoff=likeness) or [
        each for each in known if len(plain) > 1 and plain == "".join(word[0] for word in each.split("_"))
    ]


def shortened(text: str) -> str:
    """Return a text that fits into a sentence."""
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option ``--name`` for each hyperparameter, whose help gives its range and default."""
    group = parser.add_argument_group("hyperparameters")
    for field in dataclasses.fields(Hyperparameters):
        meta = field.metadata
        only = f"; mode {meta['mode']}" if meta["mode"] else ""
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            dest=field.name,
            metavar="TEXT" if isinstance(field.default, str) else "N",
            help=f"{meta['text']}{only} ({meta['allowed']}; default {field.default})",
        )


def _read(strings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of the right ones, and the problems of the others."""
    values, problems = {}, {}
    for name, text in strings.items():
        if name not in FIELDS:
            close = " or ".join(f"'{each}'" for each in neighbours(name, FIELDS))
            problems[name] = "is unknown" + (f" (did you mean {close}?)" if close else "")
            continue
        try:
            values[name] = _parse(FIELDS[name], text)
        except ValueError as error:
            problems[name] = str(error)
    return values, problems


def _parse(field: dataclasses.Field[Any], value: Any) -> Any:
    text = unquoted(value)
    shown = shortened(text)
    if "choices" in field.metadata:
        if text not in field.metadata["choices"]:
            raise ValueError(f"must be {' or '.join(field.metadata['choices'])}, not '{shown}'")
        return text
    if isinstance(field.default, str):
        return text
    kind = int if isinstance(field.default, int) else float
    low, high = field.metadata["low"], field.metadata["high"]
    if kind is int and not re.fullmatch(r"[+-]?\d+", text):
        raise ValueError(f"must be a whole number, not '{shown}'")
    try:
        number = kind(text) if len(text) < 1000 else float(text)  # Python reads whole numbers of 4,300 digits at most.
    except ValueError:
        raise ValueError(f"must be a number, not '{shown}'") from None
    if not low <= number <= high:  # This also refuses nan.
        raise ValueError(f"must be between {low:.10g} and {high:.10g}, not {shown}")
    return number
