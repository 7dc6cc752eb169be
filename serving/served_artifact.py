"""The served artifact: a folder (or its ``model.tar.gz``) of data, of which nothing is executed.

``float.xml`` and ``float.bin`` (OpenVINO IR), where it pays ``int8.xml`` and ``int8.bin``,
``labels.json``, ``preprocess.json``, ``calibration.json``, ``card.json``, ``golden/`` (photos with
known answers) and ``manifest.json`` with the SHA-256 of all of them. Every file is read once,
checked, and used from memory: what was verified is what is served.
"""

import gzip
import hashlib
import io
import json
import math
import os
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serving.cpu_precision import PRECISIONS
from serving.preprocess import ServingPreprocess

MANIFEST = "manifest.json"


class ArtifactError(ValueError):
    """The artifact cannot be served; the message says what is wrong with which file."""


@dataclass(frozen=True)
class Label:
    """One class: the dataset's folder name and the breed as a person says it."""

    id: str
    breed: str


@dataclass(frozen=True)
class GoldenExample:
    """A photo with a known answer.

    photo: its bytes.
    class_id: the class that must come first.
    breed: its breed.
    probabilities: of that class, in [0, 1], by the name of each precision that the evaluation
        could compute (``serving.cpu_precision``).
    """

    photo: bytes
    class_id: str
    breed: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class Calibration:
    """What the validation split fitted.

    temperature: the logits are divided by it before the softmax.
    dog_threshold: P(dog) from which a photo counts as one of a dog.
    """

    temperature: float = 1.0
    dog_threshold: float = 0.5


@dataclass(frozen=True)
class Card:
    """Who the model is.

    version: the run's name for it.
    backbone: for example ``efficientnet_lite0``.
    classes: how many.
    valid_top1: share of validation photos answered rightly, in [0, 1]; the test split's figures
        are in the evaluation, because this file is sealed before the test photos are read.
    created: UTC, ISO 8601.
    """

    version: str
    backbone: str
    classes: int
    valid_top1: float
    created: str


@dataclass(frozen=True)
class OpenVinoNetwork:
    """One OpenVINO IR: uint8 ``[1, S, S, 3]`` to logits ``[1, C]`` and P(dog) ``[1]``."""

    xml: bytes
    weights: bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.xml) + len(self.weights)


@dataclass(frozen=True)
class ServedArtifact:
    """A verified artifact in memory.

    networks: ``float``, and ``int8`` where that loses next to nothing.
    labels: in the order of the network's output.
    """

    networks: Mapping[str, OpenVinoNetwork]
    labels: tuple[Label, ...]
    preprocess: ServingPreprocess
    calibration: Calibration
    card: Card
    golden: tuple[GoldenExample, ...] = ()

    @property
    def digest(self) -> str:
        """The first 16 hex digits of a SHA-256 over everything that decides how long an answer takes.

        Equal networks of different runs have the same digest. Kept measurements are found by it, so the text that
        is hashed must not change: it names the specification ``Preprocess``, as release 0.1.0 does.
        """
        networks = (part for _, network in sorted(self.networks.items()) for part in (network.xml, network.weights))
        fields = ", ".join(f"{name}={value!r}" for name, value in asdict(self.preprocess).items())
        specification = f"Preprocess({fields})"
        return hashlib.sha256(b"".join((*networks, specification.encode()))).hexdigest()[:16]

    @property
    def precisions(self) -> tuple[str, ...]:
        """What may be served: the precisions whose network is there and in which every golden answer is known."""
        return tuple(
            name
            for name, precision in PRECISIONS.items()
            if precision.network in self.networks and all(name in golden.probabilities for golden in self.golden)
        )


def load_artifact(folder: str | os.PathLike[str]) -> ServedArtifact:
    """Read and verify an artifact folder.

    Raises:
        ArtifactError: a file missing, changed or not what it should be.
    """
    folder = Path(folder)
    files = _verified_files(folder)
    try:
        golden = tuple(
            GoldenExample(
                files[f"golden/{g['photo']}"],
                g["class"],
                g["breed"],
                {precision: float(p) for precision, p in g["probabilities"].items()},
            )
            for g in json.loads(files["golden/golden.json"])
        )
        if not golden:
            raise ValueError("golden/golden.json knows no photo")
        return ServedArtifact(
            {name: _network(files, name) for name in ("float", "int8") if f"{name}.xml" in files or name == "float"},
            tuple(Label(c["id"], c["breed"]) for c in json.loads(files["labels.json"])["classes"]),
            ServingPreprocess.from_json(json.loads(files["preprocess.json"])),
            _calibration(json.loads(files["calibration.json"])),
            Card(**json.loads(files["card.json"])),
            golden,
        )
    except KeyError as error:
        raise ArtifactError(f"artifact {folder}: {error} is missing; export the model again") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"artifact {folder}: {error}; export the model again") from error


def _calibration(document: Mapping[str, Any]) -> Calibration:
    calibration = Calibration(**{name: float(value) for name, value in document.items()})
    if not 0 < calibration.temperature < math.inf or not 0 <= calibration.dog_threshold <= 1:
        raise ValueError("calibration.json: the temperature must be above 0 and the dog threshold within 0 to 1")
    return calibration


def _network(files: Mapping[str, bytes], name: str) -> OpenVinoNetwork:
    return OpenVinoNetwork(files[f"{name}.xml"], files[f"{name}.bin"])


def _verified_files(folder: Path) -> dict[str, bytes]:
    """Every file that the manifest names, with the content that it promises."""
    try:
        promised: Mapping[str, str] = json.loads((folder / MANIFEST).read_bytes())["sha256"]
        names = list(promised.items())
    except FileNotFoundError as error:
        raise ArtifactError(f"artifact {folder}: {MANIFEST} is missing; is this a served model?") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"artifact {folder}: {MANIFEST} is damaged; export the model again") from error
    files = {}
    for name, digest in names:
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise ArtifactError(f"artifact {folder}: '{name}' lies outside the artifact")
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise ArtifactError(f"artifact {folder}: {name} is missing or unreadable") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise ArtifactError(f"artifact {folder}: {name} is not the file that was exported (SHA-256 differs)")
        files[name] = content
    return files


def write_artifact(artifact: ServedArtifact, folder: str | os.PathLike[str]) -> None:
    """Write an artifact's files and their manifest into a new or empty folder."""
    files = {
        **{f"{name}.xml": network.xml for name, network in artifact.networks.items()},
        **{f"{name}.bin": network.weights for name, network in artifact.networks.items()},
        "labels.json": _json({"classes": [asdict(label) for label in artifact.labels]}),
        "preprocess.json": _json(asdict(artifact.preprocess)),
        "calibration.json": _json(asdict(artifact.calibration)),
        "card.json": _json(asdict(artifact.card)),
        **golden_files(artifact.golden),
    }
    files[MANIFEST] = _json({"sha256": {n: hashlib.sha256(c).hexdigest() for n, c in sorted(files.items())}})
    write_files(files, folder)


def golden_files(golden: tuple[GoldenExample, ...]) -> dict[str, bytes]:
    """The golden photos as files: ``golden/golden.json`` and ``golden/NN.<suffix>``."""
    names = [f"{number:02}{_suffix(g.photo)}" for number, g in enumerate(golden)]
    answers = [
        {
            "photo": name,
            "class": g.class_id,
            "breed": g.breed,
            "probabilities": {precision: round(p, 4) for precision, p in g.probabilities.items()},
        }
        for name, g in zip(names, golden, strict=True)
    ]
    photos = {f"golden/{name}": g.photo for name, g in zip(names, golden, strict=True)}
    return {"golden/golden.json": _json(answers), **photos}


def write_files(files: Mapping[str, bytes], folder: str | os.PathLike[str]) -> None:
    """Write files, given by their paths inside the folder."""
    for name, content in files.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def pack(folder: str | os.PathLike[str], archive: str | os.PathLike[str]) -> None:
    """Pack a folder into a ``.tar.gz`` with its files at the root; equal folders give equal bytes."""
    Path(archive).parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size = path.stat().st_size
            with open(path, "rb") as file:
                tar.addfile(member, file)
    # Level 1: weights hardly compress, and a higher level costs seconds.
    Path(archive).write_bytes(gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0))


def unpack(archive: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """Unpack a ``model.tar.gz``; members that are no plain files inside the folder are refused.

    Raises:
        ArtifactError: no such file, not an archive, or one that reaches outside itself.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ArtifactError(f"{archive}: not a readable model archive ({error})") from error


def _suffix(photo: bytes) -> str:
    return ".png" if photo.startswith(b"\x89PNG") else ".webp" if photo.startswith(b"RIFF") else ".jpg"


def _json(document: Any) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
