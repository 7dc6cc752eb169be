"""The inputs of a benchmark: the served model, the trained model for the peers, and the photos."""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from botocore.exceptions import ClientError

from benchmarks.client import photo_request
from benchmarks.servers import Question
from local import laptop
from local.api import CONTENT_TYPES
from local.data import sketches
from local.home import LocalError
from local.stack import STACK
from networks.classifier import read_classifier
from serving.cpu_precision import PRECISIONS, preferred_precision
from serving.progress import evenly_spaced
from serving.served_artifact import ServedArtifact, golden_files, load_artifact, unpack

_NUM_PHOTOS = 300
_JPEGS = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Inputs:
    """The inputs of a benchmark.

    Attributes:
        model: Folder of the served artifact.
        artifact: The served artifact.
        peer_model: Folder with the peers' model. It does not exist if the benchmark has no peers.
        photos: JPEG files.
        described: The inputs in the report.
    """

    model: Path
    artifact: ServedArtifact
    peer_model: Path
    photos: list[Path]
    described: dict[str, Any]

    @property
    def questions(self) -> list[Question]:
        """The golden photos, with the class that the model must name for each."""
        return questions(self.artifact)

    def requests(self, path: str = "/invocations") -> list[bytes]:
        """Return one request per photo."""
        return [photo_request(path, photo.read_bytes()) for photo in self.photos]


def parser(
    name: str, description: str, rounds: int | None = None, seconds: float | None = None
) -> argparse.ArgumentParser:
    """Make the parser of the options that the benchmarks share.

    Args:
        name: Name of the benchmark.
        description: Its module's docstring.
        rounds: Default number of rounds of ours and the peers. None if there are no peers; then there is no trained
            model either.
        seconds: Default seconds of each measurement. None if the measurements have no fixed length.
    """
    options = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=description.splitlines()[0])
    options.add_argument("--model", type=Path, help="served artifact, a folder or model.tar.gz (default: the champion)")
    options.add_argument("--photos", type=Path, help="any folder of JPEGs (default: the sketchbook's drawings)")
    if rounds is not None:
        trained = "training's artifact with the same weights (default: the champion's)"
        options.add_argument("--trained", type=Path, help=trained)
        options.add_argument("--rounds", type=int, default=rounds)
    if seconds is not None:
        options.add_argument("--seconds", type=float, default=seconds, help="seconds of each measurement")
    return options


@contextmanager
def prepare_inputs(options: argparse.Namespace) -> Iterator[Inputs]:
    """Prepare the inputs that ``parser``'s options name.

    Raises:
        LocalError: An input does not exist.
        ArtifactError: The served artifact is damaged.
    """
    with TemporaryDirectory() as folder:
        model, peer_model = served_model(options.model, Path(folder, "model")), Path(folder, "peer")
        artifact, photos = load_artifact(model), _photos(options.photos)
        if "trained" in options:
            trained = options.trained or _download_champion("training", Path(folder, "trained.tar.gz"))
            _write_peer_model(artifact, _unpacked(trained, Path(folder, "trained")), peer_model)
        described = {
            "model": artifact.card.version,
            "backbone": artifact.card.backbone,
            "precision": preferred_precision(artifact.precisions),
            "photos": "the sketchbook's drawings" if options.photos is None else "given",
            "num_photos": len(photos),
            "mean_photo_bytes": sum(photo.stat().st_size for photo in photos) // len(photos),
        }
        yield Inputs(model, artifact, peer_model, photos, described)


def served_model(model: Path | None, folder: Path) -> Path:
    """Return the folder of a served artifact, by default of the one that the laptop cloud serves.

    Args:
        model: A folder, or a ``model.tar.gz``.
        folder: Folder to unpack an archive into.

    Raises:
        LocalError: No model was given, and the laptop cloud serves none.
        ArtifactError: The file is not an archive.
    """
    return _unpacked(model or _download_champion("artifact", folder.with_suffix(".tar.gz")), folder)


def questions(artifact: ServedArtifact) -> list[Question]:
    """Return the artifact's golden photos as questions."""
    photos = {name: photo for name, photo in golden_files(artifact.golden).items() if not name.endswith(".json")}
    return [
        Question(photo, CONTENT_TYPES[Path(name).suffix], example.class_id)
        for (name, photo), example in zip(photos.items(), artifact.golden, strict=True)
    ]


def _unpacked(model: Path, folder: Path) -> Path:
    if model.is_dir():
        return model
    unpack(model, folder)
    return folder


def _download_champion(artifact: str, path: Path) -> Path:
    """Download the champion's served artifact (``artifact``) or training artifact (``training``)."""
    cloud = laptop.find()
    champion = "none"
    if cloud:
        with suppress(ClientError):  # Nothing is deployed on it yet.
            champion = cloud.client("ssm").get_parameter(Name=f"/{STACK}/champion")["Parameter"]["Value"]
    if cloud is None or champion == "none":
        raise LocalError("there is no model to measure; give --model and --trained, or let `make run` promote one")
    serving = json.loads(champion)
    if artifact == "artifact":
        uri = serving["artifact_uri"]
    else:  # The registered model names its training job. The run itself may have reused an older job.
        sagemaker = cloud.client("sagemaker")
        package = sagemaker.describe_model_package(ModelPackageName=serving["model_package_arn"])
        job = package["CustomerMetadataProperties"]["training_job"]
        uri = sagemaker.describe_training_job(TrainingJobName=job)["ModelArtifacts"]["S3ModelArtifacts"]
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    cloud.client("s3").download_file(bucket, key, str(path))
    return path


def _photos(folder: Path | None) -> list[Path]:
    folder = folder or sketches() / "test"
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _JPEGS)
    if not photos:
        raise LocalError(f"{folder} contains no JPEG; give --photos another folder")
    return evenly_spaced(photos, _NUM_PHOTOS)


def _write_peer_model(artifact: ServedArtifact, trained: Path, folder: Path) -> None:
    """Write the peers' model: the same weights, specification and calibration."""
    file = trained / "model.safetensors"
    if not file.exists():
        raise LocalError(f"{trained} contains no {file.name}; give --trained the artifact of this model's training job")
    folder.mkdir()
    side = artifact.preprocess.image_size
    classifier = read_classifier(file, artifact.card.backbone, artifact.card.classes)
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    with torch.no_grad():  # The peers load a program that they need no code of ours for.
        program = torch.export.export(classifier, (torch.zeros(2, 3, side, side),), dynamic_shapes=shapes)
    torch.export.save(program, folder / "model.pt2")
    network = artifact.networks[PRECISIONS[preferred_precision(artifact.precisions)].network]
    (folder / "network.xml").write_bytes(network.xml)
    (folder / "network.bin").write_bytes(network.weights)
    document = {
        "version": artifact.card.version,
        "preprocess": asdict(artifact.preprocess),
        "labels": [{"breed": label.breed, "class": label.id} for label in artifact.labels],
        **asdict(artifact.calibration),
    }
    (folder / "model.json").write_text(json.dumps(document))
