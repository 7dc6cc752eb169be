"""The processing job: make what would be served from the trained model, and judge it.

    python -m serving.evaluate --root /opt/ml/processing --version VERSION

reads ``input/model/model.tar.gz`` (training's artifact), ``input/dataset`` and, when there is one,
``input/champion/model.tar.gz``; writes ``output/artifact/model.tar.gz``, then loads that very file
back and judges it, and the champion beside it, on the test photos. ``output/report`` gets
``evaluation.json`` for programs, ``card.html`` for people and ``golden/`` for the smoke test.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dataset import DatasetError, Source, open_source
from dataset.layout import named
from serving.card import render_card
from serving.challenger import EvaluationError, check_readable, make_challenger, read_trained
from serving.judge import compare, compare_precisions, figures, judge
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
    """Run the job; a failure is one sentence on stderr and in SageMaker's exit message."""
    parser = argparse.ArgumentParser(prog="python -m serving.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("/opt/ml/processing"), help="holds input/ and output/")
    parser.add_argument("--version", required=True, help="name of the model version that is made")
    options = parser.parse_args(arguments)
    try:
        evaluate(options.root, options.version)
    except (EvaluationError, ArtifactError, DatasetError) as error:
        return _fail(options.root, str(error))
    return 0


def _fail(root: Path, sentence: str) -> int:
    message = root.resolve().parent / "output" / "message"  # SageMaker shows it as the job's ExitMessage
    with suppress(OSError):  # the sentence below is in the log in any case
        message.parent.mkdir(exist_ok=True)
        message.write_text(sentence[:1024])
    print(sentence, file=sys.stderr)
    return 1


def evaluate(root: Path, version: str) -> None:
    """Make the served artifact from the trained model, and judge it.

    Args:
        root: holds ``input`` and gets ``output``, as SageMaker mounts them.
        version: name of the model version.

    Raises:
        EvaluationError, ArtifactError, DatasetError: each says what is wrong and how to mend it.
    """
    source = open_source(root / "input" / "dataset")
    archive = root / "output" / "artifact" / "model.tar.gz"
    with tempfile.TemporaryDirectory() as folder:
        trained = read_trained(root / "input" / "model" / "model.tar.gz", Path(folder, "trained"))
        _check_labels(trained.labels, source)
        champion = _champion(root / "input" / "champion" / "model.tar.gz", Path(folder, "champion"))
        challenger = make_challenger(trained, source, version)
        write_artifact(challenger.artifact, Path(folder, "packed"))
        pack(Path(folder, "packed"), archive)
        served = _load(archive, Path(folder, "served"))

    judgement = judge("challenger", served, source)
    check_readable(source, judgement.unreadable)
    report = {
        "schema": 1,
        "version": version,
        "device": device_name(),
        "challenger": figures("challenger", served, judgement, source),
        "champion": None,
        "comparison": None,
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
        report["champion"] = figures("champion", champion, champion_judgement, source)
        report["comparison"] = compare(served, judgement, champion, champion_judgement, source)
    files = {
        **golden_files(served.artifact.golden),
        "card.html": render_card(report, served.artifact.card, source, trained.curve).encode(),
        "evaluation.json": (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    write_files(files, root / "output" / "report")


def _check_labels(labels: Sequence[Label], source: Source) -> None:
    unknown = sorted(set(source.listing.classes) - {label.id for label in labels})
    if unknown:
        raise EvaluationError(
            f"the model was trained without the classes {named(unknown)} of this dataset; train it on the same dataset"
        )


def _champion(archive: Path, folder: Path) -> ServedModel | None:
    """The model that serves now, if any; loaded first, for a broken one would waste the minutes that follow."""
    if not archive.exists():
        return None
    try:
        return _load(archive, folder)
    except ArtifactError as error:
        raise EvaluationError(
            f"the champion cannot be judged ({error}); run teardown to forget it, then run again"
        ) from error


def _load(archive: Path, folder: Path) -> ServedModel:
    """The model of a served artifact, as the server loads it."""
    unpack(archive, folder)
    model = ServedModel(load_artifact(folder))
    model.check_golden()
    return model


if __name__ == "__main__":
    sys.exit(main())
