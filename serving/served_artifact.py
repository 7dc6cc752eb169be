"""The served artifact: a folder (or its ``model.tar.gz``) of data. No code in it is ever executed.

It contains ``float.xml`` and ``float.bin`` (OpenVINO IR), ``int8.xml`` and ``int8.bin`` if int8 is worth it,
``labels.json``, ``preprocess.json``, ``calibration.json``, ``card.json``, ``golden/`` (photos with known answers),
perhaps ``compiled/`` (``serving.compiled``), and ``manifest.json`` with the SHA-256 of every other file. Each file is
read once, verified, and then used from memory, so that the server computes with exactly the bytes that were verified.
"""

import gzip
import hashlib
import io
import json
import math
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from serving.cpu_precision import PRECISIONS
from serving.preprocess import ServingPreprocess

MANIFEST = "manifest.json"
_COMPILED = "compiled/"


class ArtifactError(ValueError):
    """The artifact cannot be served; the message says which file is wrong and how."""


@dataclass(frozen=True)
class Label:
    """One class: the name of its folder in the dataset, and the name of the breed for people."""

    id: str
    breed: str


@dataclass(frozen=True)
class GoldenExample:
    """A golden photo: a photo with a known answer.

    Attributes:
        photo: The photo's bytes.
        class_id: The class that must come first.
        breed: That class's breed.
        probabilities: The calibrated probability of that class, in [0, 1], by the name of the precision
            (``serving.cpu_precision``). It has every precision that the evaluation's CPU could compute.
    """

    photo: bytes
    class_id: str
    breed: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class Calibration:
    """The values that the evaluation fits on the validation split.

    Attributes:
        temperature: The logits are divided by it before the softmax.
        dog_threshold: A photo counts as one of a dog from this P(dog) on.
    """

    temperature: float = 1.0
    dog_threshold: float = 0.5


@dataclass(frozen=True)
class Card:
    """The identity of the model.

    Attributes:
        version: The name of the model version.
        backbone: The name of the backbone, for example ``efficientnet_lite0``.
        classes: The number of classes.
        valid_top1: Share of validation photos that are classified correctly, in [0, 1]. The test split's figures are
            in the evaluation, because this file is sealed before the test photos are read.
        created: Time in UTC, ISO 8601.
    """

    version: str
    backbone: str
    classes: int
    valid_top1: float
    created: str


@dataclass(frozen=True)
class OpenVinoNetwork:
    """An OpenVINO IR in memory. It maps uint8 ``[1, S, S, 3]`` to logits ``[1, C]`` and P(dog) ``[1]``."""

    xml: bytes
    weights: bytes

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self.xml) + len(self.weights)


@dataclass(frozen=True)
class ServedArtifact:
    """A verified artifact in memory.

    Attributes:
        networks: ``float``, and ``int8`` if it loses next to no accuracy.
        labels: The classes, in the order of the network's output.
        preprocess: How a photo becomes the network's input.
        calibration: Temperature and threshold.
        card: The model's identity.
        golden: The golden photos.
        manifest: The SHA-256 of ``manifest.json``, hexadecimal; empty for an artifact that was not read from a folder.
        compiled: Compiled networks by the name that ``serving.compiled`` gives them, zlib. No server needs them.
    """

    networks: Mapping[str, OpenVinoNetwork]
    labels: tuple[Label, ...]
    preprocess: ServingPreprocess
    calibration: Calibration
    card: Card
    golden: tuple[GoldenExample, ...] = ()
    manifest: str = field(default="", compare=False)
    compiled: Mapping[str, bytes] = field(default_factory=dict, compare=False)

    @property
    def digest(self) -> str:
        """The first 16 hex digits of a SHA-256 over everything that decides how long an answer takes.

        Equal networks of different runs have the same digest. Stored measurements are found by it, so the hashed text
        must not change. That is why it calls the specification ``Preprocess``, its name in release 0.1.0.
        """
        networks = (part for _, network in sorted(self.networks.items()) for part in (network.xml, network.weights))
        fields = ", ".join(f"{name}={value!r}" for name, value in asdict(self.preprocess).items())
        specification = f"Preprocess({fields})"
        return hashlib.sha256(b"".join((*networks, specification.encode()))).hexdigest()[:16]

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that may be served: their network exists, and every golden photo has an answer in them."""
        return tuple(
            name
            for name, precision in PRECISIONS.items()
            if precision.network in self.networks and all(name in example.probabilities for example in self.golden)
        )


def load_artifact(folder: str | os.PathLike[str], manifest: str = "") -> ServedArtifact:
    """Read and verify an artifact folder.

    Args:
        folder: The folder.
        manifest: The SHA-256 that ``manifest.json`` must have, hexadecimal, because the model with this manifest was
            judged. It is empty for a model of a release that did not record it; then any artifact is read.

    Raises:
        ArtifactError: It is another artifact, or a file is missing, changed or malformed.
    """
    folder = Path(folder)
    return _artifact(*verified_files(folder), f"artifact {folder}", manifest)


def read_artifact(files: Mapping[str, bytes], source: str, manifest: str) -> ServedArtifact:
    """Verify an artifact in memory.

    Args:
        files: The files of ``archived_files``.
        source: Where they come from, for messages.
        manifest: See ``load_artifact``.

    Raises:
        ArtifactError: See ``load_artifact``.
    """

    def read(name: str) -> bytes:
        if name not in files:
            raise FileNotFoundError(name)
        return files[name]

    return _artifact(*_verified(read, source), source, manifest)


def _artifact(files: Mapping[str, bytes], digest: str, source: str, manifest: str) -> ServedArtifact:
    if manifest and digest != manifest:
        raise ArtifactError(
            f"{source}: this is not the model that was judged: the SHA-256 of its {MANIFEST} is {digest}, and "
            f"that of the judged one {manifest}; put back what its run wrote, or deploy another version"
        )
    try:
        golden = tuple(
            GoldenExample(
                files[f"golden/{answer['photo']}"],
                answer["class"],
                answer["breed"],
                {precision: float(p) for precision, p in answer["probabilities"].items()},
            )
            for answer in json.loads(files["golden/golden.json"])
        )
        if not golden:
            raise ValueError("golden/golden.json contains no photo")
        return ServedArtifact(
            {name: _network(files, name) for name in ("float", "int8") if f"{name}.xml" in files or name == "float"},
            tuple(Label(c["id"], c["breed"]) for c in json.loads(files["labels.json"])["classes"]),
            ServingPreprocess.from_json(json.loads(files["preprocess.json"])),
            _calibration(json.loads(files["calibration.json"])),
            Card(**json.loads(files["card.json"])),
            golden,
            digest,
            {name.removeprefix(_COMPILED): files[name] for name in files if name.startswith(_COMPILED)},
        )
    except KeyError as error:
        raise ArtifactError(f"{source}: {error} is missing; export the model again") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{source}: {error}; export the model again") from error


def _calibration(document: Mapping[str, Any]) -> Calibration:
    calibration = Calibration(**{name: float(value) for name, value in document.items()})
    if not 0 < calibration.temperature < math.inf or not 0 <= calibration.dog_threshold <= 1:
        raise ValueError("calibration.json: the temperature must be above 0 and the dog threshold within 0 to 1")
    return calibration


def _network(files: Mapping[str, bytes], name: str) -> OpenVinoNetwork:
    return OpenVinoNetwork(files[f"{name}.xml"], files[f"{name}.bin"])


def verified_files(folder: Path) -> tuple[dict[str, bytes], str]:
    """Read every file of the manifest, and compare each with its SHA-256 there. Other files are not read.

    Returns:
        The files, and the SHA-256 of the manifest itself, hexadecimal.

    Raises:
        ArtifactError: The manifest or a file is missing or damaged, or a file is outside the folder.
    """

    def read(name: str) -> bytes:
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise ArtifactError(f"artifact {folder}: '{name}' is outside the artifact")
        return (folder / name).read_bytes()

    return _verified(read, f"artifact {folder}")


def _verified(read: Callable[[str], bytes], source: str) -> tuple[dict[str, bytes], str]:
    """Read every file of the manifest as ``verified_files`` does.

    Args:
        read: Returns the content of a file by its name; it raises an OSError for one that is not there.
        source: Where the files come from, for messages.
    """
    try:
        document = read(MANIFEST)
        manifest: Mapping[str, str] = json.loads(document)["sha256"]
        digests = list(manifest.items())
    except FileNotFoundError as error:
        raise ArtifactError(f"{source}: {MANIFEST} is missing; is this a served model?") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{source}: {MANIFEST} is damaged; export the model again") from error
    files = {}
    for name, digest in digests:
        try:
            content = read(name)
        except OSError as error:
            raise ArtifactError(f"{source}: {name} is missing or unreadable") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise ArtifactError(f"{source}: {name} is not the file that was exported (SHA-256 differs)")
        files[name] = content
    return files, hashlib.sha256(document).hexdigest()


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
        **{f"{_COMPILED}{name}": content for name, content in artifact.compiled.items()},
    }
    files[MANIFEST] = _json({"sha256": {n: hashlib.sha256(c).hexdigest() for n, c in sorted(files.items())}})
    write_files(files, folder)


def golden_files(golden: tuple[GoldenExample, ...]) -> dict[str, bytes]:
    """Return the golden photos as files: ``golden/golden.json`` and ``golden/NN.<suffix>``."""
    names = [f"{number:02}{_suffix(example.photo)}" for number, example in enumerate(golden)]
    answers = [
        {
            "photo": name,
            "class": example.class_id,
            "breed": example.breed,
            "probabilities": {precision: round(p, 4) for precision, p in example.probabilities.items()},
        }
        for name, example in zip(names, golden, strict=True)
    ]
    photos = {f"golden/{name}": example.photo for name, example in zip(names, golden, strict=True)}
    return {"golden/golden.json": _json(answers), **photos}


def write_files(files: Mapping[str, bytes], folder: str | os.PathLike[str]) -> None:
    """Write files into a folder; their names are paths inside it."""
    for name, content in files.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def pack(folder: str | os.PathLike[str], archive: str | os.PathLike[str]) -> None:
    """Pack a folder into a ``.tar.gz`` with its files at the root. Equal folders give equal bytes.

    SageMaker takes a model only with gzip around it, but nothing is compressed: weights hardly shrink, and each start
    of a function would pay for unpacking them. See "The cold start, again" in docs/decisions/serving.md.
    """
    Path(archive).parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size = path.stat().st_size
            with open(path, "rb") as file:
                tar.addfile(member, file)
    Path(archive).write_bytes(gzip.compress(buffer.getvalue(), compresslevel=0, mtime=0))


def unpack(archive: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """Unpack a ``model.tar.gz``. Only plain files with a path inside the folder are written; others are refused.

    Raises:
        ArtifactError: The file does not exist, is not an archive, or has another member.
    """

    def write(path: PurePosixPath, content: IO[bytes]) -> None:
        target = Path(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            shutil.copyfileobj(content, file)

    _each_file({"name": archive}, str(archive), write)
    Path(folder).mkdir(parents=True, exist_ok=True)


def archived_files(archive: bytes, source: str) -> dict[str, bytes]:
    """Return the files of a ``model.tar.gz`` in memory, by their paths inside it. ``read_artifact`` verifies them.

    Args:
        archive: The archive.
        source: Where it comes from, for messages.

    Raises:
        ArtifactError: See ``unpack``.
    """
    files: dict[str, bytes] = {}

    def keep(path: PurePosixPath, content: IO[bytes]) -> None:
        files[str(path)] = content.read()

    _each_file({"fileobj": io.BytesIO(archive)}, source, keep)
    return files


def _each_file(opened: Mapping[str, Any], source: str, take: Callable[[PurePosixPath, IO[bytes]], None]) -> None:
    """Hand on each file of an archive.

    Args:
        opened: How ``tarfile.open`` gets the archive.
        source: Where it comes from, for messages.
        take: Takes a file's path inside the archive, and its content.
    """
    try:
        with tarfile.open(**opened, mode="r:gz") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or not (member.isreg() or member.isdir()):
                    raise ArtifactError(f"{source}: not a model archive: '{member.name}' is no file inside its folder")
                if content := tar.extractfile(member):
                    take(path, content)
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{source}: not a readable model archive ({error})") from error


def _suffix(photo: bytes) -> str:
    return ".png" if photo.startswith(b"\x89PNG") else ".webp" if photo.startswith(b"RIFF") else ".jpg"


def _json(document: Any) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
