"""What a benchmark works on: the served model, the trained one for the peers, and the photos."""

import argparse
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.client import photo_request
from benchmarks.servers import Question
from local import laptop
from local.api import CONTENT_TYPES
from local.data import sketches
from local.home import LocalError
from local.stack import STACK
from serving.cpu_precision import PRECISIONS, preferred_precision
from serving.progress import evenly_spaced
from serving.served_artifact import ServedArtifact, golden_files, load_artifact, unpack

_NUM_PHOTOS = 300
_JPEGS = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Inputs:
    """What a benchmark works on.

    model: folder of the served artifact. peer_model: folder with what the peers read; none where there are no peers.
    photos: JPEG files. described: the same for the output.
    """

    model: Path
    artifact: ServedArtifact
    peer_model: Path
    photos: list[Path]
    described: dict[str, Any]

    @property
    def questions(self) -> list[Question]:
        """The golden photos, and what the model must say to each."""
        return questions(self.artifact)

    def requests(self, path: str = "/invocations") -> list[bytes]:
        """One request per photo."""
        return [photo_request(path, photo.read_bytes()) for photo in self.photos]


def parser(
    name: str, description: str, rounds: int | None = None, seconds: float | None = None
) -> argparse.ArgumentParser:
    """The options that the benchmarks share.

    Args:
        rounds: of ours and the peers, which want the trained model too; none where there are no peers.
        seconds: of each measurement, where it has a length.
    """
    options = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=description.splitlines()[0])
    options.add_argument("--model", type=Path, help="served artifact, a folder or model.tar.gz (default: the champion)")
    options.add_argument("--photos", type=Path, help="any folder of JPEGs (default: the sketchbook's drawings)")
    if rounds is not None:
        trained = "training's artifact with the same weights (default: the champion's)"
        options.add_argument("--trained", type=Path, help=trained)
        options.add_argument("--rounds", type=int, default=rounds)
    if seconds is not None:
        options.add_argument("--seconds", type=float, default=seconds, help="of each measurement")
    return options


@contextmanager
def prepared(options: argparse.Namespace) -> Iterator[Inputs]:
    """Gather what ``parser``'s options name.

    Raises:
        LocalError: something is not there.
        ArtifactError: the served artifact is damaged.
    """
    with TemporaryDirectory() as folder:
        model, peer_model = served_model(options.model, Path(folder, "model")), Path(folder, "peer")
        artifact, photos = load_artifact(model), _photos(options.photos)
        if "trained" in options:
            trained = options.trained or _of_champion("training", Path(folder, "trained.tar.gz"))
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


def served_model(given: Path | None, folder: Path) -> Path:
    """The folder of a served artifact, by default of the one that the laptop cloud serves.

    Raises:
        LocalError: nothing was given, and nothing is served.
        ArtifactError: not an archive.
    """
    return _unpacked(given or _of_champion("artifact", folder.with_suffix(".tar.gz")), folder)


def questions(artifact: ServedArtifact) -> list[Question]:
    """The artifact's golden photos."""
    photos = {name: photo for name, photo in golden_files(artifact.golden).items() if not name.endswith(".json")}
    return [
        Question(photo, CONTENT_TYPES[Path(name).suffix], golden.class_id)
        for (name, photo), golden in zip(photos.items(), artifact.golden, strict=True)
    ]


def _unpacked(given: Path, folder: Path) -> Path:
    if given.is_dir():
        return given
    unpack(given, folder)
    return folder


def _of_champion(what: str, path: Path) -> Path:
    """Download the ``artifact`` or the ``training`` of the model that the laptop cloud serves."""
    cloud = laptop.find()
    champion = "none"
    if cloud:
        champion = cloud.client("ssm").get_parameter(Name=f"/{STACK}/champion")["Parameter"]["Value"]
    if cloud is None or champion == "none":
        raise LocalError("there is no model to measure; give --model and --trained, or let `make run` promote one")
    serving = json.loads(champion)
    if what == "artifact":
        uri = serving["artifact_uri"]
    else:  # of the job that the registered model names: the run itself may have trained nothing
        sagemaker = cloud.client("sagemaker")
        package = sagemaker.describe_model_package(ModelPackageName=serving["model_package_arn"])
        job = package["CustomerMetadataProperties"]["training_job"]
        uri = sagemaker.describe_training_job(TrainingJobName=job)["ModelArtifacts"]["S3ModelArtifacts"]
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    cloud.client("s3").download_file(bucket, key, str(path))
    return path


def _photos(folder: Path | None) -> list[Path]:
    folder = folder or sketches() / "test"
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _JPEGS)
    if not found:
        raise LocalError(f"{folder} holds no JPEG; give --photos another folder")
    return evenly_spaced(found, _NUM_PHOTOS)


def _write_peer_model(artifact: ServedArtifact, trained: Path, folder: Path) -> None:
    """What the peers read: the same weights, specification and calibration."""
    if not (trained / "model.pt2").exists():
        raise LocalError(f"{trained} holds no model.pt2; give --trained what the training job of this model left")
    folder.mkdir()
    shutil.copy(trained / "model.pt2", folder)
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
