"""Making the challenger: the training job's model is exported, quantized and calibrated into a served artifact."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dataset import Photo, ReadError, Source
from dataset.layout import DatasetError, check_classes, named
from serving.cpu_precision import PRECISIONS, cpu_kind, precisions_for, preferred_precision
from serving.evaluation_metrics import dog_threshold, fit_temperature, golden_indices
from serving.model import ServedModel, softmax
from serving.preprocess import MAX_BYTES, PhotoError, ServingPreprocess, pixels
from serving.progress import evenly_spaced, map_photos
from serving.served_artifact import Calibration, Card, GoldenExample, Label, ServedArtifact, unpack

_NUM_GOLDEN_PHOTOS = 8
_NUM_PARITY_PHOTOS = 8
_MAX_PARITY_DIFFERENCE = 0.05
_MAX_INT8_LOSS = 0.005  # top-1 on the validation split that int8 may lose
# NNCF learns the ranges of the activations from so many photos.
_MAX_QUANTIZATION_PHOTOS = 300
_QUANTIZATION_PHOTOS_PER_CLASS = 5


class EvaluationError(ValueError):
    """The job cannot judge this model; the message says why, and what to do."""


@dataclass(frozen=True)
class TrainedModel:
    """The training job's artifact, as far as the evaluation needs it.

    Attributes:
        folder: The unpacked artifact, with ``model.pt2``.
        labels: The classes, in the order of the network's output.
        preprocess: How a photo becomes the network's input.
        backbone: Name of the backbone.
        training: ``training.json``: hyperparameters, mode, and how long the training took.
        ddp: ``ddp.json``: the proof that the ranks trained together; None for a model that was trained elsewhere.
        hashes: Paths of the photos of the train and valid splits, by the first 16 hex digits of their SHA-256.
        leaked: Photos that training itself found in two splits.
        curve: The learning curve, SVG; empty for a model that was trained elsewhere.
        tuned: ``tuned.json``: the search for hyperparameters; None if there was none.
    """

    folder: Path
    labels: tuple[Label, ...]
    preprocess: ServingPreprocess
    backbone: str
    training: dict[str, Any]
    ddp: dict[str, Any] | None
    hashes: dict[str, str]
    leaked: list[dict[str, str]]
    curve: bytes
    tuned: dict[str, Any] | None


@dataclass(frozen=True)
class Challenger:
    """The artifact that will be served if the gate promotes it, and what was measured while it was made.

    Attributes:
        artifact: The artifact.
        valid_top1: Top-1 on the validation split in each precision. It has int8 even if int8 was not good enough.
        int8: What came of quantizing, in words.
        parity: How far the float network's answers are from the trained program's.
        unreadable: Paths of the validation photos that cannot be read.
    """

    artifact: ServedArtifact
    valid_top1: dict[str, float]
    int8: str
    parity: dict[str, Any]
    unreadable: list[str]


@dataclass(frozen=True)
class ValidationAnswers:
    """The networks' answers for the validation split.

    Attributes:
        photos: The readable photos, in the order of the arrays.
        truths: Index of each photo's true class, int ``[N]``.
        logits: Logits float32 ``[N, C]`` in each precision, not calibrated.
        dogs: P(dog) ``[N]`` in [0, 1] in each precision.
        unreadable: Paths of the photos that cannot be read.
    """

    photos: list[Photo]
    truths: np.ndarray
    logits: dict[str, np.ndarray]
    dogs: dict[str, np.ndarray]
    unreadable: list[str]

    def top1(self, precision: str) -> float:
        """Return the share of photos that are classified correctly."""
        return float((self.logits[precision].argmax(axis=1) == self.truths).mean())

    def merge(self, other: "ValidationAnswers") -> "ValidationAnswers":
        """Return these answers together with those in other precisions for the same photos."""
        return replace(self, logits=self.logits | other.logits, dogs=self.dogs | other.dogs)


def read_trained(archive: Path, folder: Path) -> TrainedModel:
    """Unpack the training job's artifact.

    Raises:
        EvaluationError: There is no archive, or it has not the files of a training job.
        ArtifactError: The archive cannot be unpacked.
    """
    if not archive.exists():
        raise EvaluationError(f"{archive}: the trained model is missing; did the training job finish?")
    unpack(archive, folder)
    try:
        labels, spec, training, ddp, data = (
            json.loads((folder / f"{name}.json").read_bytes())
            for name in ("labels", "preprocess", "training", "ddp", "data")
        )
        return TrainedModel(
            folder,
            tuple(Label(c["id"], c["breed"]) for c in labels["classes"]),
            ServingPreprocess.from_json(spec),
            training["backbone"],
            training,
            ddp,
            {h: path for split in ("valid", "train") for h, path in data["hashes"][split].items()},
            data["leaked"],
            (folder / "history.svg").read_bytes(),
            json.loads(tuned.read_bytes()) if (tuned := folder / "tuned.json").exists() else None,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{archive}: not an artifact of the training job ({error})") from error


def make_challenger(trained: TrainedModel, source: Source, version: str) -> Challenger:
    """Export the trained model, compare it with the trained program, quantize it, and calibrate it.

    Args:
        trained: The training job's artifact.
        source: The dataset.
        version: Name of the model version.

    Raises:
        EvaluationError: The model cannot be exported faithfully, or its accuracy is too low for golden photos.
    """
    # Import torch only here: the import takes seconds, and only the export needs it.
    from serving.export import ExportError, export, load_program, program_probabilities

    started = time.perf_counter()
    try:
        program = load_program(trained.folder / "model.pt2")
        network = export(program, trained.preprocess)
    except ExportError as error:
        raise EvaluationError(f"model.pt2: {error}") from error
    print(f"exported the network in {time.perf_counter() - started:.1f} s", flush=True)
    card = Card(version, trained.backbone, len(trained.labels), 0.0, _now())
    draft = ServedArtifact({"float": network}, trained.labels, trained.preprocess, Calibration(), card)

    floats = [name for name in precisions_for(cpu_kind()) if PRECISIONS[name].network == "float"]
    split = _validate("validation", draft, floats, source)
    images = [
        pixels(source.read(photo), trained.preprocess) for photo in evenly_spaced(split.photos, _NUM_PARITY_PHOTOS)
    ]
    parity = _parity(draft, images, program_probabilities(program, images, trained.preprocess))
    del program  # A large network's weights would stay in memory while it is quantized.
    draft, split, int8 = _quantized(draft, split, source)
    print(f"int8: {int8}", flush=True)
    valid_top1 = {precision: split.top1(precision) for precision in split.logits}
    return Challenger(_calibrated(draft, split, source), valid_top1, int8, parity, split.unreadable)


def _quantized(
    draft: ServedArtifact, split: ValidationAnswers, source: Source
) -> tuple[ServedArtifact, ValidationAnswers, str]:
    """Add an int8 network if it loses next to no accuracy.

    Returns:
        The artifact, the validation split's answers with those in int8, and what came of quantizing in words.
    """
    if "int8" not in precisions_for(cpu_kind()):
        return draft, split, "not made: this CPU does not compute in int8"
    # The import of NNCF takes seconds too.
    from serving.quantize import QuantizationError, quantize

    images = _quantization_images(source, draft.preprocess)
    accuracy = ""
    # Asymmetric activations cost the server a tenth of its speed, so they are tried only if they are needed.
    for asymmetric in (False, True):
        print(f"quantizing with {len(images)} photos", flush=True)  # NNCF prints nothing for some 20 s.
        started = time.perf_counter()
        try:
            network = quantize(draft.networks["float"], images, asymmetric)
        except QuantizationError as error:
            return draft, split, f"not made: {error}"
        print(f"quantized in {time.perf_counter() - started:.1f} s", flush=True)
        candidate = replace(draft, networks={**draft.networks, "int8": network})
        split = split.merge(_validate("quantized", candidate, ["int8"], source))
        top1, expected = split.top1("int8"), split.top1("f32")
        accuracy = f"top-1 {top1:.2%} on {len(split.photos):,} validation photos, f32 {expected:.2%}"
        if expected - top1 <= _MAX_INT8_LOSS:
            return candidate, split, accuracy
    return draft, split, f"not used: {accuracy}, more than {100 * _MAX_INT8_LOSS:.1f} points lost"


def _quantization_images(source: Source, spec: ServingPreprocess) -> list[np.ndarray]:
    """Choose training photos for NNCF, evenly over the classes; fewer photos if there are few classes."""
    classes = source.listing.classes
    count = min(_MAX_QUANTIZATION_PHOTOS, _QUANTIZATION_PHOTOS_PER_CLASS * len(classes))
    by_class: dict[str, list[Photo]] = {}
    for photo in source.listing.of("train"):
        by_class.setdefault(photo.label, []).append(photo)
    chosen = [photo for photos in by_class.values() for photo in evenly_spaced(photos, -(-count // len(classes)))]
    images = map_photos(
        "photos to quantize with", evenly_spaced(chosen, count), lambda photo: _pixels(source, photo, spec)
    )
    return [image for image in images if image is not None]


def _validate(name: str, draft: ServedArtifact, precisions: Sequence[str], source: Source) -> ValidationAnswers:
    """Answer every validation photo in each of the precisions.

    Raises:
        EvaluationError: A class has no readable photo.
    """
    models = {precision: ServedModel(draft, precision) for precision in precisions}
    index = {label.id: i for i, label in enumerate(draft.labels)}

    def answer(photo: Photo) -> dict[str, tuple[np.ndarray, float]] | None:
        image = _pixels(source, photo, draft.preprocess)
        return None if image is None else {precision: model.infer(image) for precision, model in models.items()}

    photos = source.listing.of("valid")
    results = map_photos(name, photos, answer)
    answers = [result for result in results if result is not None]
    readable = [photo for photo, result in zip(photos, results, strict=True) if result is not None]
    unreadable = [photo.path for photo, result in zip(photos, results, strict=True) if result is None]
    check_readable(source, unreadable)
    return ValidationAnswers(
        photos=readable,
        truths=np.array([index[photo.label] for photo in readable]),
        logits={precision: np.array([a[precision][0] for a in answers]) for precision in precisions},
        dogs={precision: np.array([a[precision][1] for a in answers]) for precision in precisions},
        unreadable=unreadable,
    )


def _pixels(source: Source, photo: Photo, spec: ServingPreprocess) -> np.ndarray | None:
    """Return the networks' input, or None if the photo cannot be read."""
    try:
        return pixels(source.read(photo), spec)
    except (ReadError, PhotoError):
        return None


def _calibrated(draft: ServedArtifact, split: ValidationAnswers, source: Source) -> ServedArtifact:
    """Add the temperature, the dog threshold and the golden photos to an artifact.

    Raises:
        EvaluationError: No photo is answered clearly enough to become a golden photo.
    """
    logits = {precision: split.logits[precision] for precision in draft.precisions if precision in split.logits}
    served = preferred_precision(logits)
    temperature = fit_temperature(logits[served], split.truths)
    probabilities = {precision: softmax(values / temperature) for precision, values in logits.items()}
    # The server refuses larger photos, so they cannot be golden photos.
    allowed = np.flatnonzero([photo.size <= MAX_BYTES for photo in split.photos])
    chosen = golden_indices([p[allowed] for p in probabilities.values()], split.truths[allowed], _NUM_GOLDEN_PHOTOS)
    if not chosen:
        raise EvaluationError(
            f"the model answers no validation photo of up to {MAX_BYTES:,} bytes with a clear margin; train it longer"
        )
    golden = []
    for i in allowed[chosen]:
        label = draft.labels[split.truths[i]]
        expected = {precision: float(p[i, split.truths[i]]) for precision, p in probabilities.items()}
        golden.append(GoldenExample(source.read(split.photos[i]), label.id, label.breed, expected))
    return replace(
        draft,
        calibration=Calibration(temperature, dog_threshold(split.dogs[served])),
        golden=tuple(golden),
        card=replace(draft.card, valid_top1=split.top1(served)),
    )


def _parity(draft: ServedArtifact, images: Sequence[np.ndarray], expected: np.ndarray) -> dict[str, Any]:
    """Measure how far the exported network's answers are from the trained program's.

    They are compared in f32, because the rounding of bf16 and int8 is no fault of the export. The test photos judge
    that rounding.

    Raises:
        EvaluationError: The difference is too large to be rounding.
    """
    model = ServedModel(draft, precision="f32")
    exported = softmax(np.stack([model.infer(image)[0] for image in images]))
    difference = float(np.abs(exported - expected).max())
    if difference > _MAX_PARITY_DIFFERENCE:
        raise EvaluationError(
            f"the exported network's probabilities differ by up to {difference:.3f} from the trained "
            f"program's, more than {_MAX_PARITY_DIFFERENCE}; the export is not faithful"
        )
    return {"photos": len(images), "max_probability_difference": difference}


def check_readable(source: Source, unreadable: Sequence[str]) -> None:
    """Refuse a dataset in which a class has no readable photo in one of the splits.

    Raises:
        EvaluationError: The message names the class and the split.
    """
    paths = set(unreadable)
    try:
        check_classes(source.listing.classes, [p for p in source.listing.photos if p.path not in paths], "input")
    except DatasetError as error:
        raise EvaluationError(f"{error} (unreadable: {named(unreadable)})") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
