"""The processing job: it makes the served artifact from the trained model, and judges it.

    python -m serving.evaluate --root /opt/ml/processing --version VERSION

It reads ``input/model/model.tar.gz`` (training's artifact; with ``--backbone`` the one file there, the state dict of a
classifier of torchvision that was trained elsewhere), ``input/dataset`` and, if there is a champion,
``input/champion/model.tar.gz``. It writes ``output/artifact/model.tar.gz``, loads that very file again, and judges it
on the test photos, and the champion on the same photos. ``output/report`` receives ``evaluation.json`` for programs,
``card.html`` for people and ``golden/`` for the smoke test. The SHA-256 of ``evaluation.json``, which has that of the
artifact's manifest, goes into SageMaker's description of the job, where nobody who may write the bucket can change it.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dataset import DatasetError, Source, open_source
from dataset.faults import counted
from dataset.layout import named
from dataset.reading import AS_IT_IS, Reading
from serving.card import render_card
from serving.challenger import EvaluationError, TrainedModel, check_readable, make_challenger, read_trained
from serving.compile_ahead import compile_ahead
from serving.judge import changed_breeds, compare, compare_precisions, judge, model_figures
from serving.model import ServedModel, device_name
from serving.same_photos import check_photos
from serving.served_artifact import (
    ArtifactError,
    Label,
    golden_files,
    load_artifact,
    pack,
    unpack,
    write_artifact,
    write_files,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job. A failure is reported in one sentence, on stderr and in SageMaker's exit message."""
    parser = argparse.ArgumentParser(prog="python -m serving.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("/opt/ml/processing"), help="folder with input/ and output/")
    parser.add_argument("--version", required=True, help="name for the new model version")
    parser.add_argument("--champion-manifest", default="", help="SHA-256 of the manifest of the champion's artifact")
    parser.add_argument("--reading", type=Reading.from_json, default=AS_IT_IS, help="what to leave out, JSON")
    parser.add_argument("--same-photos", action="store_true", help="refuse photos that the training has not read")
    parser.add_argument("--backbone", help="torchvision's name of the classifier, if it was trained elsewhere")
    parser.add_argument("--activation", default="relu", help="function between the layers of its head (%(default)s)")
    parser.add_argument("--preprocess", type=_json_object, default={}, help="fields of its preprocess.json, JSON")
    parser.add_argument("--prices", type=_json_object, help="what a million answers cost, for the card, JSON")
    options = parser.parse_args(arguments)
    own = OwnModelOptions(options.backbone, options.activation, options.preprocess) if options.backbone else None
    try:
        evaluate(
            options.root,
            options.version,
            own,
            options.reading,
            options.champion_manifest,
            options.same_photos,
            options.prices,
        )
    except (EvaluationError, ArtifactError, DatasetError) as error:
        print(error, file=sys.stderr)
        _tell(options.root, str(error)[:1024])
        return 1
    report = (options.root / "output" / "report" / "evaluation.json").read_bytes()
    _tell(options.root, json.dumps({"report_sha256": hashlib.sha256(report).hexdigest()}))
    return 0


def _json_object(text: str) -> dict[str, Any]:
    with suppress(ValueError):
        if isinstance(document := json.loads(text), dict):
            return document
    raise argparse.ArgumentTypeError(f"'{text}' must be a JSON object, such as {{}}")


def _tell(root: Path, message: str) -> None:
    """Leave a message, which SageMaker returns as the job's ExitMessage when the job has ended in any way.

    See https://docs.aws.amazon.com/sagemaker/latest/dg/byoc-metadata.html.
    """
    file = root.resolve().parent / "output" / "message"
    with suppress(OSError):  # Without SageMaker nobody reads it, and the log has an error's message in any case.
        file.parent.mkdir(exist_ok=True)
        file.write_text(message)


@dataclass(frozen=True)
class OwnModelOptions:
    """What the file of a model that was trained elsewhere does not say; see ``serving.own_model.as_trained``."""

    backbone: str
    activation: str
    preprocess: dict[str, Any]


def evaluate(
    root: Path,
    version: str,
    own: OwnModelOptions | None = None,
    reading: Reading = AS_IT_IS,
    champion_manifest: str = "",
    same_photos: bool = False,
    prices: dict[str, Any] | None = None,
) -> None:
    """Make the served artifact from the trained model, and judge it.

    Args:
        root: Folder with ``input`` and ``output``, as SageMaker mounts them.
        version: Name of the model version.
        own: The description of a model that was trained elsewhere; None for an artifact of the training job.
        reading: What to leave out of the dataset, and how to make splits.
        champion_manifest: The SHA-256 of the manifest of the champion's artifact; empty if its run did not record it.
        same_photos: Whether the model was trained on this very dataset, so that other photos are refused.
        prices: What Plan has found in the price book, for the card; None if nobody gave them.

    Raises:
        EvaluationError: The model cannot be judged.
        ArtifactError: The trained model or the new artifact cannot be loaded.
        DatasetError: The dataset cannot be used.
    """
    source = open_source(root / "input" / "dataset", reading)
    archive = root / "output" / "artifact" / "model.tar.gz"
    with tempfile.TemporaryDirectory() as folder:
        trained = _trained(root / "input" / "model", own, source, Path(folder, "trained"))
        tuned = _search_by_jobs(root / "input" / "tuned" / "tuned.json") or trained.tuned
        if same_photos and trained.photos:
            check_photos(source, trained.photos)
        _check_labels(trained.labels, source)
        champion = _champion(root / "input" / "champion" / "model.tar.gz", Path(folder, "champion"), champion_manifest)
        challenger = make_challenger(trained, source, version)
        compiled = compile_ahead(challenger.artifact)
        write_artifact(replace(challenger.artifact, compiled=compiled), Path(folder, "packed"))
        pack(Path(folder, "packed"), archive)
        served = _load_served(archive, Path(folder, "served"))

    judgement = judge("challenger", served, source)
    check_readable(source, judgement.unreadable)
    unreadable = trained.unreadable + challenger.unreadable + judgement.unreadable
    report = {
        "schema": 1,
        "version": version,
        "artifact_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "manifest_sha256": served.artifact.manifest,
        "trained_sha256": trained.sha256,
        "device": device_name(),
        "challenger": model_figures("challenger", served, judgement, source),
        "champion": None,
        "comparison": None,
        "changed_breeds": None,
        "precisions": compare_precisions(served, challenger.valid_top1, challenger.int8),
        "parity": challenger.parity,
        "dataset": source.listing.counts(),
        "leaked": trained.leaked
        + [{"photo": path, "also": trained.hashes[h]} for path, h in judgement.hashes if h in trained.hashes],
        "unreadable": [{"photo": photo.path, "reason": photo.reason} for photo in unreadable],
        "unreadable_counts": counted(unreadable),
        "left_out_counts": counted(source.listing.left_out),
        "training": trained.training,
        "ddp": trained.ddp,
    }
    if champion is not None:
        champion_judgement = judge("champion", champion, source)
        report["champion"] = model_figures("champion", champion, champion_judgement, source)
        report["comparison"] = compare(served, judgement, champion, champion_judgement, source)
        report["changed_breeds"] = changed_breeds(served, champion)
    files = {
        **golden_files(served.artifact.golden),
        "card.html": render_card(report, served.artifact.card, source, trained.curve, tuned, prices).encode(),
        "evaluation.json": (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    if tuned:
        files["tuned.json"] = (json.dumps(tuned, indent=1) + "\n").encode()
    write_files(files, root / "output" / "report")


def _trained(inputs: Path, own: OwnModelOptions | None, source: Source, folder: Path) -> TrainedModel:
    """Read the model of the training job, or one that was trained elsewhere."""
    if own is None:
        return read_trained(inputs / "model.tar.gz", folder)
    files = [path for path in inputs.iterdir() if path.is_file()]
    if len(files) != 1:
        raise EvaluationError(f"{inputs} must hold one file, the model; it holds {named(p.name for p in files)}")
    # Only such a model needs torchvision.
    from serving.own_model import as_trained

    return as_trained(files[0], own.backbone, own.activation, own.preprocess, source)


def _check_labels(labels: Sequence[Label], source: Source) -> None:
    """Refuse a model that was trained without some of the dataset's classes."""
    unknown = sorted(set(source.listing.classes) - {label.id for label in labels})
    if unknown:
        raise EvaluationError(
            f"the model was trained without the classes {named(unknown)} of this dataset; train it on the same dataset"
        )


def _champion(archive: Path, folder: Path, manifest: str) -> ServedModel | None:
    """Load the champion, if there is one, before the challenger is made: a broken champion should fail at once."""
    if not archive.exists():
        return None
    try:
        return _load_served(archive, folder, manifest)
    except ArtifactError as error:
        raise EvaluationError(
            f"the champion cannot be judged ({error}); run teardown to remove it, then run again"
        ) from error


def _search_by_jobs(path: Path) -> dict[str, Any] | None:
    """Return ``tuned.json`` of a search by training jobs; None if there was none."""
    tuned: dict[str, Any] | None = json.loads(path.read_bytes()) if path.exists() else None
    return tuned


def _load_served(archive: Path, folder: Path, manifest: str = "") -> ServedModel:
    """Load a served artifact's model as the server loads it, golden photos included."""
    unpack(archive, folder)
    model = ServedModel(load_artifact(folder, manifest))
    model.check_golden()
    return model


if __name__ == "__main__":
    sys.exit(main())
