"""The processing job: export the trained model, calibrate it, and judge what will be served.

    python -m serving.evaluate --root /opt/ml/processing --version VERSION

reads ``input/model/model.tar.gz`` (training's artifact), ``input/dataset`` and, when there is one,
``input/champion/model.tar.gz``; writes ``output/artifact/model.tar.gz``, then loads that very file
back and judges it, and the champion beside it, on the test photos: ``output/report``.
"""

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dataset import DatasetError, Photo, ReadError, Source, open_source
from dataset.layout import check_classes, named
from serving.artifact import (
    Artifact,
    ArtifactError,
    Calibration,
    Card,
    Golden,
    Label,
    Network,
    golden_files,
    load_artifact,
    pack,
    unpack,
    write_artifact,
    write_files,
)
from serving.confusion import draw_confusion
from serving.metrics import (
    Judged,
    accuracy,
    confusions,
    dog_threshold,
    fit_temperature,
    golden_indices,
)
from serving.model import Model, device_name, num_cores, softmax
from serving.precision import choose
from serving.preprocess import PhotoError, Preprocess, pixels

_NUM_GOLDEN = 8
_NUM_CONFUSED = 10
_NUM_PARITY = 8
_NUM_TIMED = 50
_MAX_DIFFERENCE = 0.05

T = TypeVar("T")


class EvaluationError(ValueError):
    """The job cannot judge this model; the message says why and how to mend it."""


@dataclass(frozen=True)
class Trained:
    """What the training job left, as far as the evaluation needs it.

    folder: the unpacked artifact, with ``model.pt2``.
    hashes: 16 hex digits of a photo's SHA-256 to its path, for the train and valid splits.
    leaked: photos that training itself found in two splits.
    """

    folder: Path
    labels: tuple[Label, ...]
    preprocess: Preprocess
    backbone: str
    ddp: dict[str, Any]
    hashes: dict[str, str]
    leaked: list[dict[str, str]]


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
        trained = _read_trained(root / "input" / "model" / "model.tar.gz", Path(folder, "trained"))
        _check_labels(trained.labels, source)
        artifact, parity, unreadable = _make_artifact(trained, source, version)
        write_artifact(artifact, Path(folder, "served"))
        pack(Path(folder, "served"), archive)
        challenger = _load(archive, Path(folder, "challenger"))
        champion_archive = root / "input" / "champion" / "model.tar.gz"
        champion = _load(champion_archive, Path(folder, "champion")) if champion_archive.exists() else None

    judged, unreadable_test, hashes = _judge(challenger, source, "challenger")
    unreadable += unreadable_test
    _check_readable(source, unreadable)
    report = {
        "schema": 1,
        "version": version,
        "challenger": _figures(challenger, judged, source, "challenger"),
        "champion": None,
        "most_confused": confusions(judged, _NUM_CONFUSED),
        "leaked": trained.leaked
        + [{"photo": path, "also": trained.hashes[h]} for path, h in hashes if h in trained.hashes],
        "unreadable": unreadable,
        "ddp": trained.ddp,
        "parity": parity,
        "precision": challenger.precision,
        "device": device_name(),
    }
    if champion is not None:
        answers, _, _ = _judge(champion, source, "champion")
        report["champion"] = _figures(champion, answers, source, "champion")
    _write_report(root / "output" / "report", report, challenger, judged)


def _read_trained(archive: Path, folder: Path) -> Trained:
    if not archive.exists():
        raise EvaluationError(f"{archive}: the trained model is missing; did the training job finish?")
    unpack(archive, folder)
    try:
        labels, spec, training, ddp, data = (
            json.loads((folder / f"{name}.json").read_bytes())
            for name in ("labels", "preprocess", "training", "ddp", "data")
        )
        return Trained(
            folder,
            tuple(Label(c["id"], c["breed"]) for c in labels["classes"]),
            Preprocess.from_json(spec),
            training["backbone"],
            ddp,
            {h: path for split in ("valid", "train") for h, path in data["hashes"][split].items()},
            data["leaked"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{archive}: not what the training job writes ({error})") from error


def _check_labels(labels: Sequence[Label], source: Source) -> None:
    unknown = sorted(set(source.listing.classes) - {label.id for label in labels})
    if unknown:
        raise EvaluationError(
            f"the model was trained without the classes {named(unknown)} of this dataset; train it on the same dataset"
        )


def _make_artifact(trained: Trained, source: Source, version: str) -> tuple[Artifact, dict[str, Any], list[str]]:
    """Export, check against the trained program, and calibrate on the validation split.

    Returns:
        the artifact, the report's ``parity``, and the paths of unreadable validation photos.
    """
    # torch takes seconds to import, and only the export needs it.
    from serving.export import ExportError, export, load_program, program_probabilities

    started = time.perf_counter()
    try:
        program = load_program(trained.folder / "model.pt2")
        xml, weights = export(program, trained.preprocess)
    except ExportError as error:
        raise EvaluationError(f"model.pt2: {error}") from error
    print(f"exported the network in {time.perf_counter() - started:.1f} s", flush=True)
    card = Card(version, trained.backbone, len(trained.labels), 0.0, _now())
    draft = Artifact({"float": Network(xml, weights)}, trained.labels, trained.preprocess, Calibration(), card)

    split = _validate(draft, source)
    _check_readable(source, split.unreadable)
    images = [pixels(source.read(photo), trained.preprocess) for photo in _spread(split.photos, _NUM_PARITY)]
    parity = _parity(draft, images, program_probabilities(program, images, trained.preprocess))
    return _calibrated(draft, split, source), parity, split.unreadable


@dataclass(frozen=True)
class Validated:
    """The network's answers for the validation split.

    photos: the readable ones, in the order of the arrays.
    truths: int ``[N]``, the right class's index.
    logits: float32 ``[N, C]``, not calibrated.
    dogs: P(dog) ``[N]`` in [0, 1].
    unreadable: paths of the others.
    """

    photos: list[Photo]
    truths: np.ndarray
    logits: np.ndarray
    dogs: np.ndarray
    unreadable: list[str]


def _validate(draft: Artifact, source: Source) -> Validated:
    model = Model(draft)
    index = {label.id: i for i, label in enumerate(draft.labels)}
    photos = source.listing.of("valid")
    answers = _each("calibration", photos, lambda photo: _infer(model, source, photo))
    readable = [(photo, answer) for photo, answer in zip(photos, answers, strict=True) if answer]
    return Validated(
        photos=[photo for photo, _ in readable],
        truths=np.array([index[photo.label] for photo, _ in readable]),
        logits=np.array([logits for _, (logits, _) in readable]),
        dogs=np.array([dog for _, (_, dog) in readable]),
        unreadable=[photo.path for photo, answer in zip(photos, answers, strict=True) if not answer],
    )


def _calibrated(draft: Artifact, split: Validated, source: Source) -> Artifact:
    """The artifact with temperature, dog threshold and golden photos.

    Raises:
        EvaluationError: not one photo is answered clearly enough to be a known answer.
    """
    temperature = fit_temperature(split.logits, split.truths)
    probabilities = softmax(split.logits / temperature)
    chosen = golden_indices(split.logits, split.truths, temperature, _NUM_GOLDEN)
    if not chosen:
        raise EvaluationError("the model answers no validation photo with a clear margin; train it longer")
    golden = []
    for i in chosen:
        label = draft.labels[split.truths[i]]
        probability = float(probabilities[i, split.truths[i]])
        known = {choose(draft.precisions): probability}
        golden.append(Golden(source.read(split.photos[i]), label.id, label.breed, known))
    return replace(
        draft,
        calibration=Calibration(temperature, dog_threshold(split.dogs)),
        golden=tuple(golden),
        card=replace(draft.card, valid_top1=float((split.logits.argmax(axis=1) == split.truths).mean())),
    )


def _infer(model: Model, source: Source, photo: Photo) -> tuple[np.ndarray, float] | None:
    """Logits and P(dog), or None when the photo is unreadable."""
    try:
        return model.infer(pixels(source.read(photo), model.artifact.preprocess))
    except (ReadError, PhotoError):
        return None


def _parity(draft: Artifact, images: Sequence[np.ndarray], expected: np.ndarray) -> dict[str, Any]:
    """How far the exported network's answers are from the trained program's.

    Compared in fp32: what bf16 rounds is no fault of the export, and the test photos judge it.

    Raises:
        EvaluationError: too far for rounding.
    """
    model = Model(draft, precision="f32")
    exported = softmax(np.stack([model.infer(image)[0] for image in images]))
    difference = float(np.abs(exported - expected).max())
    if difference > _MAX_DIFFERENCE:
        raise EvaluationError(
            f"the exported network's probabilities differ by up to {difference:.3f} from the trained "
            f"program's, more than {_MAX_DIFFERENCE}; the export is not faithful"
        )
    return {"photos": len(images), "max_probability_difference": difference}


def _load(archive: Path, folder: Path) -> Model:
    """The model of a served artifact, as the server loads it."""
    unpack(archive, folder)
    model = Model(load_artifact(folder))
    model.check_golden()
    return model


def _judge(model: Model, source: Source, name: str) -> tuple[list[Judged], list[str], list[tuple[str, str]]]:
    """Answers for the test photos, unreadable photos, and (path, hash) of all."""

    def answer(photo: Photo) -> tuple[str, Judged | None]:
        try:
            content = source.read(photo)
        except ReadError:
            return "", None
        # The same hash as training's data.json, to find a photo that lies in two splits.
        digest = hashlib.sha256(content).hexdigest()[:16]
        try:
            return digest, Judged(photo.path, photo.label, model.predict(content))
        except PhotoError:
            return digest, None

    photos = source.listing.of("test")
    outcomes = _each(name, photos, answer)
    judged = [judged for _, judged in outcomes if judged is not None]
    unreadable = [photo.path for photo, (_, judged) in zip(photos, outcomes, strict=True) if judged is None]
    return judged, unreadable, [(photo.path, h) for photo, (h, _) in zip(photos, outcomes, strict=True)]


def _figures(model: Model, judged: Sequence[Judged], source: Source, name: str) -> dict[str, Any]:
    timed = [model.predict(source.read(p)) for p in _spread(_readable_test(judged, source), _NUM_TIMED)]
    figures = accuracy(judged)
    figures["latency_ms"] = statistics.median(p.decode_ms + p.model_ms for p in timed)
    figures["model_ms"] = statistics.median(p.model_ms for p in timed)
    figures["valid_top1"] = model.artifact.card.valid_top1
    print(
        f"{name} top1={figures['top1']:.4f} top5={figures['top5']:.4f} photos={figures['num_photos']} "
        f"latency_ms={figures['latency_ms']:.1f}",
        flush=True,
    )
    return figures


def _readable_test(judged: Sequence[Judged], source: Source) -> list[Photo]:
    readable = {j.photo for j in judged}
    return [photo for photo in source.listing.of("test") if photo.path in readable]


def _check_readable(source: Source, unreadable: Sequence[str]) -> None:
    """Refuse a dataset that unreadable photos leave without a class.

    Raises:
        DatasetError: naming the class and the split.
    """
    bad = set(unreadable)
    try:
        check_classes(source.listing.classes, [p for p in source.listing.photos if p.path not in bad], "input")
    except DatasetError as error:
        raise EvaluationError(f"{error} (unreadable: {named(unreadable)})") from error


def _write_report(folder: Path, report: dict[str, Any], challenger: Model, judged: Sequence[Judged]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_files(golden_files(challenger.artifact.golden), folder)
    title = f"{report['version']}: top-1 {report['challenger']['top1']:.1%} of {len(judged):,} test photos"
    draw_confusion(judged, title).save(folder / "confusion.png", optimize=True)
    (folder / "evaluation.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _each(name: str, photos: Sequence[Photo], work: Callable[[Photo], T]) -> list[T]:
    """Do the work for every photo on all cores, and say how far it is once a second."""
    outcomes: list[T] = []
    started = said = time.perf_counter()
    with ThreadPoolExecutor(num_cores()) as threads:
        for outcome in threads.map(work, photos):
            outcomes.append(outcome)
            now = time.perf_counter()
            if now - said >= 1 or len(outcomes) == len(photos):
                said = now
                rate = len(outcomes) / (now - started)
                print(
                    f"evaluate {name} {len(outcomes)}/{len(photos)} photos_per_s={rate:.1f} "
                    f"eta_s={(len(photos) - len(outcomes)) / rate:.1f}",
                    flush=True,
                )
    return outcomes


def _spread(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` items, evenly spaced."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main())
