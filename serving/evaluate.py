"""The processing job: it makes the served artifact from the trained model, and judges it.

    python -m serving.evaluate --root /opt/ml/processing --version VERSION

It reads ``input/model/model.tar.gz`` (training's artifact; with ``--backbone`` the one file there, the state dict of a
classifier of torchvision that was trained elsewhere), ``input/dataset`` and, if there is a champion,
``input/champion/model.tar.gz``. It writes ``output/artifact/model.tar.gz``, loads that very file again, and judges it
on the test photos, and the champion on the same photos. ``output/report`` receives ``evaluation.json`` for programs,
``card.html`` for people and ``golden/`` for the smoke test.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset import DatasetError, Source, open_source
from dataset.layout import named
from serving.card import render_card
from serving.challenger import EvaluationError, TrainedModel, check_readable, make_challenger, read_trained
from serving.judge import changed_breeds, compare, compare_precisions, judge, model_figures
from serving.model import ServedModel, device_name
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
    parser.add_argument("--backbone", help="torchvision's name of the classifier, if it was trained elsewhere")
    parser.add_argument("--activation", default="relu", help="function between the layers of its head (%(default)s)")
    parser.add_argument("--preprocess", type=json.loads, default={}, help="fields of its preprocess.json, JSON")
    options = parser.parse_args(arguments)
    own = OwnModelOptions(options.backbone, options.activation, options.preprocess) if options.backbone else None
    try:
        evaluate(options.root, options.version, own)
    except (EvaluationError, ArtifactError, DatasetError) as error:
        return _fail(options.root, str(error))
    return 0


def _fail(root: Path, message: str) -> int:
    file = root.resolve().parent / "output" / "message"  # SageMaker shows its text as the job's ExitMessage.
    with suppress(OSError):  # The log has the message in any case.
        file.parent.mkdir(exist_ok=True)
        file.write_text(message[:1024])
    print(message, file=sys.stderr)
    return 1


@dataclass(frozen=True)
class OwnModelOptions:
    """What the file of a model that was trained elsewhere does not say; see ``serving.own_model.as_trained``."""

    backbone: str
    activation: str
    preprocess: dict[str, Any]


def evaluate(root: Path, version: str, own: OwnModelOptions | None = None) -> None:
    """Make the served artifact from the trained model, and judge it.

    Args:
        root: Folder with ``input`` and ``output``, as SageMaker mounts them.
        version: Name of the model version.
        own: The description of a model that was trained elsewhere; None for an artifact of the training job.

    Raises:
        EvaluationError: The model cannot be judged.
        ArtifactError: The trained model or the new artifact cannot be loaded.
        DatasetError: The dataset cannot be used.
    """
    source = open_source(root / "input" / "dataset")
    archive = root / "output" / "artifact" / "model.tar.gz"
    with tempfile.TemporaryDirectory() as folder:
        trained = _trained(root / "input" / "model", own, source, Path(folder, "trained"))
        tuned = _search_by_jobs(root / "input" / "tuned" / "tuned.json") or trained.tuned
        _check_labels(trained.labels, source)
        champion = _champion(root / "input" / "champion" / "model.tar.gz", Path(folder, "champion"))
        challenger = make_challenger(trained, source, version)
        write_artifact(challenger.artifact, Path(folder, "packed"))
        pack(Path(folder, "packed"), archive)
        served = _load_served(archive, Path(folder, "served"))

    judgement = judge("challenger", served, source)
    check_readable(source, judgement.unreadable)
    report = {
        "schema": 1,
        "version": version,
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
        "unreadable": challenger.unreadable + judgement.unreadable,
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
        "card.html": render_card(report, served.artifact.card, source, trained.curve, tuned).encode(),
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

    return as_trained(files[0], own.backbone, own.activation, own.preprocess, source, folder)


def _check_labels(labels: Sequence[Label], source: Source) -> None:
    """Refuse a model that was trained without some of the dataset's classes."""
    unknown = sorted(set(source.listing.classes) - {label.id for label in labels})
    if unknown:
        raise EvaluationError(
            f"the model was trained without the classes {named(unknown)} of this dataset; train it on the same dataset"
        )


def _champion(archive: Path, folder: Path) -> ServedModel | None:
    """Load the champion, if there is one, before the challenger is made: a broken champion should fail at once."""
    if not archive.exists():
        return None
    try:
        return _load_served(archive, folder)
    except ArtifactError as error:
        raise EvaluationError(
            f"the champion cannot be judged ({error}); run teardown to remove it, then run again"
        ) from error


def _search_by_jobs(path: Path) -> dict[str, Any] | None:
    """Return ``tuned.json`` of a search by training jobs; None if there was none."""
    tuned: dict[str, Any] | None = json.loads(path.read_bytes()) if path.exists() else None
    return tuned


def _load_served(archive: Path, folder: Path) -> ServedModel:
    """Load a served artifact's model as the server loads it, golden photos included."""
    unpack(archive, folder)
    model = ServedModel(load_artifact(folder))
    model.check_golden()
    return model


if __name__ == "__main__":
    sys.exit(main())
