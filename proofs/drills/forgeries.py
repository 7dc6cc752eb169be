"""Forgeries for the drill ``tamper``. They fit in themselves, so that only who knows the right digest can tell."""

import gzip
import hashlib
import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

MANIFEST = "manifest.json"
# Makes a forgery of an object's bytes.
Forge = Callable[[bytes], bytes]


class Trap:
    """An object that creates a file when it is unpickled.

    Args:
        trace: the file.
    """

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch '{self.trace}'",))


def trap(trace: Path) -> bytes:
    """Return a pickle that creates a file when it is loaded."""
    return pickle.dumps(Trap(trace))


def rewritten(archive: bytes, changes: Mapping[str, Forge], added: Mapping[str, bytes] | None = None) -> bytes:
    """Return a model archive with other files, and with a manifest that fits them.

    Args:
        archive: a ``model.tar.gz`` with ``manifest.json``.
        changes: what becomes of a file, by its name.
        added: further files.
    """
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        files = {each.name: file.read() for each in tar if (file := tar.extractfile(each))}
    for name, forge in changes.items():
        files[name] = forge(files[name])
    files |= added or {}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != MANIFEST}
    files[MANIFEST] = (json.dumps({"sha256": dict(sorted(digests.items()))}, indent=1) + "\n").encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0)


def blind(artifact: bytes) -> bytes:
    """Return an artifact that takes no photo for a dog's. It answers its golden photos as known, so it looks right."""
    return rewritten(artifact, {"calibration.json": _with(dog_threshold=1.0)})


def other_tensors(model: bytes) -> bytes:
    """Return a trained model with another last byte in its tensors."""
    return rewritten(model, {"model.safetensors": lambda tensors: tensors[:-1] + bytes([tensors[-1] ^ 1])})


def with_program(model: bytes, trace: Path) -> bytes:
    """Return a trained model as releases wrote it that handed over a program: it creates a file when it is loaded."""
    return rewritten(model, {}, {"model.pt2": trap(trace)})


def perfect(report: bytes) -> bytes:
    """Return an evaluation's report whose challenger has made no mistake."""
    document = json.loads(report)
    document["challenger"]["top1"] = 1.0
    return json.dumps(document).encode()


def tireless(measurement: bytes) -> bytes:
    """Return a measurement whose instance can answer a thousand times as much."""
    document = json.loads(measurement)
    for field in ("rate_per_second", "knee_per_second", "concurrency"):
        document[field] *= 1000
    return json.dumps(document).encode()


def other_photos(archive: bytes) -> bytes:
    """Return a dataset's zip in which every photo of the test split is of the first breed of that split."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        photos = [each for each in old.namelist() if "test/" in each and each.endswith(".jpg")]
        for name in old.namelist():
            new.writestr(name, old.read(min(photos) if name in photos else name))
    return buffer.getvalue()


def other_weights(weights: bytes) -> bytes:
    """Return a weights file of torch with other bytes among its tensors, whose checksums, if it has any, fit again."""
    if not zipfile.is_zipfile(io.BytesIO(weights)):  # Before version 1.6 torch wrote the tensors behind a pickle.
        return weights[:-1] + bytes([weights[-1] ^ 1])
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(weights)) as old, zipfile.ZipFile(buffer, "w") as new:
        largest = max(old.infolist(), key=lambda each: each.file_size).filename
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:-4] + bytes(4) if name == largest else content)
    return buffer.getvalue()


def _with(**fields: object) -> Forge:
    return lambda document: json.dumps(json.loads(document) | fields).encode()
