"""The file of a model that somebody trained elsewhere: find the state dict in it, and run no code that it asks for."""

import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset.layout import named
from serving.challenger import EvaluationError

# Names under which training scripts keep the state dict beside the optimizer's and other values.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
WAY_OUT = "save the tensors alone: torch.save(model.state_dict(), 'model.pth')"
# Beginnings of files that are often given for a state dict, and what to do with them.
_KINDS: Mapping[bytes, str] = {
    b"\x1f\x8b": "an archive (.gz); unpack it, and give the file of tensors in it",
    b"\x89HDF": "a file of Keras (HDF5); only classifiers of torchvision can be served",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`",
    b"<": "a web page, not the file that it links to; download the file itself",
}
# Values without code that scripts save beside the tensors: their arguments, and numbers of NumPy such as an accuracy.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "b1")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]

Tensors = dict[str, Tensor]


def load(path: Path) -> Any:
    """Return the content of a file that ``torch.save`` has written.

    Raises:
        EvaluationError: it is another file, a damaged one, or one that asks for code.
    """
    with path.open("rb") as file:
        begin = file.read(64)
    if not begin:
        raise EvaluationError(f"{path.name} is damaged: it is empty; upload it again")
    if len(begin) > 9 and begin[8:10] == b'{"':
        raise EvaluationError(
            f"{path.name} is a file of safetensors; convert it: torch.save(safetensors.torch.load_file('{path.name}'), "
            "'model.pth')"
        )
    for kind, sentence in _KINDS.items():
        if begin.startswith(kind):
            raise EvaluationError(f"{path.name} is {sentence}")
    _check_archive(path, begin)
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The text of torch fills a page. It names the class that the file asks for.
        names = re.findall(r"GLOBAL (\S+)", str(error))
        what = f"asks for {names[0]}" if names else "is no file of tensors"
        raise EvaluationError(
            f"{path.name} {what}, so it was not loaded: a whole module or another object could run code then; {WAY_OUT}"
        ) from error
    except Exception as error:  # A broken file can make the reader raise any exception.
        raise EvaluationError(
            f"{path.name} is damaged, or not written by torch.save ({type(error).__name__}); {WAY_OUT}"
        ) from error


def _check_archive(path: Path, begin: bytes) -> None:
    """Check the archive that ``torch.save`` writes; ``torch.load`` does not compare its checksums.

    Raises:
        EvaluationError: it is damaged, or a program instead of tensors.
    """
    if not begin.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = {each.partition("/")[2] for each in archive.namelist()}
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError) as error:
        raise EvaluationError(
            f"{path.name} is damaged: its end is missing, or other bytes are; upload it again, or {WAY_OUT}"
        ) from error
    if broken:
        raise EvaluationError(f"{path.name} is damaged: the checksum of {broken} is wrong; upload it again")
    if "constants.pkl" in names:
        raise EvaluationError(f"{path.name} is a program of TorchScript; {WAY_OUT}")
    if "data.pkl" not in names:
        raise EvaluationError(f"{path.name} is an archive, but damaged, or not written by torch.save; {WAY_OUT}")


def state_dict(name: str, loaded: Any) -> Tensors:
    """Return the state dict that the content of a file is, or that it contains beside other values.

    Raises:
        EvaluationError: there is none, or several and none has a usual name.
    """
    found = _find(name, loaded)
    if found is None:
        raise EvaluationError(f"{name} holds no state dict, a dictionary of tensors by name; {WAY_OUT}")
    return found


def _find(name: str, loaded: Any) -> Tensors | None:
    if _is_state_dict(loaded):
        return dict(loaded)
    if not isinstance(loaded, dict):
        return None
    inner = {key: found for key, value in loaded.items() if (found := _find(name, value)) is not None}
    usual = [key for key in _WRAPPERS if key in inner] or list(inner)
    if not usual or (len(inner) > 1 and usual[0] not in _WRAPPERS):
        return None
    if len(inner) > 1:
        others = named(sorted(str(key) for key in inner if key != usual[0]))
        print(f"{name}: '{usual[0]}' is taken, not {others}, which has tensors too", flush=True)
    return inner[usual[0]]


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(each, Tensor) for key, each in value.items())
    )


def names_of_outputs(loaded: Any) -> Sequence[str]:
    """Return the classes in the order of the outputs, if a checkpoint has ImageFolder's ``class_to_idx`` or a list."""
    if not isinstance(loaded, dict):
        return []
    indices = loaded.get("class_to_idx")
    if isinstance(indices, dict) and all(isinstance(each, int) for each in indices.values()):
        return [str(key) for key in sorted(indices, key=indices.__getitem__)]
    classes = loaded.get("classes", loaded.get("class_names"))
    return [str(each) for each in classes] if isinstance(classes, list | tuple) else []


def dense(name: str, tensors: Tensors) -> Tensors:
    """Return the tensors, each of which has a value of its own for every element.

    Raises:
        EvaluationError: one has not.
    """
    unusual = [key for key, each in tensors.items() if not _is_dense(each)]
    if unusual:
        raise EvaluationError(
            f"{name}: {named(unusual)} are quantized, sparse, nested, expanded, complex or without values; save the "
            "model in dense floats"
        )
    return tensors


def _is_dense(tensor: Tensor) -> bool:
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized or tensor.is_meta:
        return False
    # A file of a few bytes can describe an expanded tensor of any size.
    is_expanded = tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
    return not is_expanded and not tensor.is_complex()
