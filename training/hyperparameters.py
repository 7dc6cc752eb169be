"""The hyperparameters: one frozen dataclass, read from the command line or from SageMaker's strings."""

import argparse
import dataclasses
import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class HyperparameterError(ValueError):
    """A hyperparameter is unknown, of the wrong type or out of range; the message names all that are."""


def _number(default: Any, low: float, high: float, text: str, mode: str = "") -> Any:
    allowed = f"{low:g} to {high:g}"
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
    """What a user may set; the text of each field is what ``--help`` prints."""

    mode: str = _choice(
        "auto",
        ("auto", "head", "full"),
        "what is trained: head, a linear head on the frozen backbone's features; full, after it the whole network; "
        "auto, full where there is a GPU and enough photos",
    )
    backbone: str = _name(
        "efficientnet_lite0",
        "efficientnet_lite0, efficientnet_lite2 or, with --weights, a classifier of torchvision such as resnet50",
        "the pretrained network",
    )
    epochs: int = _number(20, 0, 10_000, "passes of the head over the features; 0 leaves it as it starts")
    full_epochs: int = _number(5, 1, 10_000, "passes of the whole network over the photos", "full")
    global_batch_size: int = _number(128, 1, 1_000_000, "photos per step, over all ranks")
    learning_rate: float = _number(3e-3, 1e-8, 10.0, "the head's: Adam's first step size; a cosine takes it to 0")
    full_learning_rate: float = _number(
        3e-4, 1e-8, 10.0, "the whole network's: AdamW's step size for the last layer, after a warm-up", "full"
    )
    layer_decay: float = _number(
        0.8, 0.01, 1.0, "what the step size is multiplied with from each block to the one before it", "full"
    )
    pull: float = _number(
        0.05, 0.0, 1_000.0, "strength of the head's pull towards the pretrained ImageNet rows, per squared distance"
    )
    keep: float = _number(
        0.3, 0.0, 1.0, "share of the network as it was before full training in the average that results", "full"
    )
    weight_decay: float = _number(0.01, 0.0, 10.0, "AdamW's, of matrices and convolutions", "full")
    label_smoothing: float = _number(0.1, 0.0, 0.9, "share of each label spread over all classes", "full")
    clip_norm: float = _number(1.0, 1e-6, 1e6, "greatest norm of a step's gradient", "full")
    ema_decay: float = _number(
        0.998, 0.0, 0.999999, "of the moving average of the weights that is judged and kept, per step", "full"
    )
    augment: str = _choice(
        "trivial", ("trivial", "crop"), "crop: random crops and flips; trivial: TrivialAugment as well", "full"
    )
    start_resolution: float = _number(
        0.625, 0.1, 1.0, "side of the photos in the first full epoch, as a share of the last one's", "full"
    )
    sampling: str = _choice(
        "natural", ("natural", "balanced"), "balanced: every class weighs the same, however few photos it has"
    )
    precision: str = _choice(
        "auto", ("auto", "fp32", "bf16"), "what the backbone computes in; auto: the faster, measured at the start"
    )
    checkpoint_seconds: float = _number(60.0, 0.0, 86_400.0, "seconds between checkpoints")
    seed: int = _number(0, 0, 2**31 - 1, "seed of the sharding, the order of photos and the augmentation")

    def of_mode(self, mode: str) -> dict[str, Any]:
        """Those that a run of this mode, ``head`` or ``full``, looks at."""
        others = {"head", "full"} - {mode}
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata["mode"] not in others
        }


def from_strings(given: Mapping[str, Any]) -> Hyperparameters:
    """Hyperparameters from names and strings, as SageMaker delivers them (``"20"``, also ``"\\"20\\""``).

    Raises:
        HyperparameterError: naming every unknown, ill-typed and out-of-range one, and the valid names.
    """
    fields = {field.name: field for field in dataclasses.fields(Hyperparameters)}
    values, problems = {}, []
    for name, text in given.items():
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            problems.append(f"'{name}' is unknown" + (f" (did you mean '{close[0]}'?)" if close else ""))
            continue
        try:
            values[name] = _parse(fields[name], text)
        except ValueError as error:
            problems.append(f"'{name}' {error}")
    if problems:
        raise HyperparameterError(f"hyperparameters: {'; '.join(problems)}; valid are {', '.join(fields)}")
    return Hyperparameters(**values)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One ``--name`` per hyperparameter, explained with its range and default."""
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


def _parse(field: dataclasses.Field[Any], given: Any) -> Any:
    text = _unquoted(given)
    if "choices" in field.metadata:
        if text not in field.metadata["choices"]:
            raise ValueError(f"must be {' or '.join(field.metadata['choices'])}, not '{text}'")
        return text
    if isinstance(field.default, str):
        return text
    kind = int if isinstance(field.default, int) else float
    low, high = field.metadata["low"], field.metadata["high"]
    if kind is int and not re.fullmatch(r"[+-]?\d+", text):
        raise ValueError(f"must be a whole number, not '{text}'")
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"must be a number, not '{text}'") from None
    if not low <= value <= high:  # also refuses nan
        raise ValueError(f"must be between {low:g} and {high:g}, not {text}")
    return value


def _unquoted(given: Any) -> str:
    text = str(given).strip()
    if text.startswith('"'):
        try:
            return str(json.loads(text)).strip()
        except json.JSONDecodeError:
            return text
    return text
