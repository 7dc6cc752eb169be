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


def _number(default: Any, low: float, high: float, text: str) -> Any:
    return dataclasses.field(
        default=default, metadata={"low": low, "high": high, "allowed": f"{low:g} to {high:g}", "text": text}
    )


def _name(default: str, allowed: str, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"allowed": allowed, "text": text})


def _choice(default: str, choices: tuple[str, ...], text: str) -> Any:
    return dataclasses.field(
        default=default, metadata={"choices": choices, "allowed": " or ".join(choices), "text": text}
    )


@dataclass(frozen=True)
class Hyperparameters:
    """What a user may set; the text of each field is what ``--help`` prints."""

    mode: str = _choice("head", ("head",), "what is trained: a linear head on the frozen backbone's features")
    backbone: str = _name(
        "efficientnet_lite0",
        "efficientnet_lite0, efficientnet_lite2 or, with --weights, a classifier of torchvision such as resnet50",
        "the pretrained network",
    )
    epochs: int = _number(20, 1, 10_000, "passes over the training photos")
    global_batch_size: int = _number(128, 1, 1_000_000, "photos per step, over all ranks")
    learning_rate: float = _number(1e-3, 1e-8, 10.0, "Adam's step size at the start; a cosine takes it to 0")
    pull: float = _number(
        0.03, 0.0, 1_000.0, "strength of the pull towards the pretrained ImageNet rows, per squared distance"
    )
    seed: int = _number(0, 0, 2**31 - 1, "seed of the sharding and of the order of photos")


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
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            dest=field.name,
            metavar="TEXT" if isinstance(field.default, str) else "N",
            help=f"{meta['text']} ({meta['allowed']}; default {field.default})",
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
