"""From the training job's artifact to the one that would be served: export, quantize, calibrate."""

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

_NUM_GOLDEN = 8
_NUM_PARITY = 8
_MAX_DIFFERENCE = 0.05
_MAX_LOSS = 0.005  # of top-1 on the validation split, that int8 may cost
_MAX_CALIBRATION = 300  # photos that show NNCF the ranges of the activations
_CALIBRATION_PER_CLASS = 5


class EvaluationError(ValueError):
    """The job cannot judge this model; the message says why and how to mend it."""


@dataclass(frozen=True)
class TrainedModel:
    """What the training job left, as far as the evaluation needs it.

    folder: the unpacked artifact, with ``model.pt2``.
    training: ``training.json``: hyperparameters, mode and how long it took.
    ddp: ``ddp.json``: the proof of the distribution.
    hashes: 16 hex digits of a photo's SHA-256 to its path, for the train and valid splits.
    leaked: photos that training itself found in two splits.
    curve: its learning curve, SVG.
    """

    folder: Path
    labels: tuple[Label, ...]
    preprocess: ServingPreprocess
    backbone: str
    training: dict[str, Any]
    ddp: dict[str, Any]
    hashes: dict[str, str]
    leaked: list[dict[str, str]]
    curve: bytes


@dataclass(frozen=True)
class Challenger:
    """The artifact that would be served, and what its making showed.

    valid_top1: on the validation split, by precision; of int8 also when that was not good enough.
    int8: what came of it, in words.
    parity: how far the float network's answers are from the trained program's.
    unreadable: paths of validation photos that cannot be read.
    """

    artifact: ServedArtifact
    valid_top1: dict[str, float]
    int8: str
    parity: dict[str, Any]
    unreadable: list[str]


@dataclass(frozen=True)
class ValidationAnswers:
    """The networks' answers for the validation split.

    photos: the readable ones, in the order of the arrays.
    truths: int ``[N]``, the right class's index.
    logits: float32 ``[N, C]`` in each precision, not calibrated.
    dogs: P(dog) ``[N]`` in [0, 1] in each precision.
    unreadable: paths of the others.
    """

    photos: list[Photo]
    truths: np.ndarray
    logits: dict[str, np.ndarray]
    dogs: dict[str, np.ndarray]
    unreadable: list[str]

    def top1(self, precision: str) -> float:
        """The share of photos answered rightly."""
        return float((self.logits[precision].argmax(axis=1) == self.truths).mean())

    def joined(self, other: "ValidationAnswers") -> "ValidationAnswers":
        """These answers and another model's for the same photos."""
        return replace(self, logits=self.logits | other.logits, dogs=self.dogs | other.dogs)


def read_trained(archive: Path, folder: Path) -> TrainedModel:
    """Unpack the training job's artifact.

    Raises:
        EvaluationError: no archive, or not what the training job writes.
        ArtifactError: an archive that cannot be unpacked.
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
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{archive}: not what the training job writes ({error})") from error


def make_challenger(trained: TrainedModel, source: Source, version: str) -> Challenger:
    """Export, quantize, hold against the trained program, and calibrate on the validation split.

    Raises:
        EvaluationError: a model that cannot be exported faithfully, or that knows too little.
    """
    # torch takes seconds to import, and only the export needs it.
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
    images = [pixels(source.read(photo), trained.preprocess) for photo in evenly_spaced(split.photos, _NUM_PARITY)]
    parity = _parity(draft, images, program_probabilities(program, images, trained.preprocess))
    draft, split, int8 = _quantized(draft, split, source)
    print(f"int8: {int8}", flush=True)
    valid_top1 = {precision: split.top1(precision) for precision in split.logits}
    return Challenger(_calibrated(draft, split, source), valid_top1, int8, parity, split.unreadable)


def _quantized(
    draft: ServedArtifact, split: ValidationAnswers, source: Source
) -> tuple[ServedArtifact, ValidationAnswers, str]:
    """Add an int8 network where that loses next to nothing.

    Returns:
        the artifact, the validation split's answers with those in int8, and what came of it in words.
    """
    if "int8" not in precisions_for(cpu_kind()):
        return draft, split, "not made: this CPU does not compute in it"
    # NNCF takes seconds to import too.
    from serving.quantize import QuantizationError, quantize

    images = _calibration_images(source, draft.preprocess)
    found = ""
    for zero_points in (False, True):  # they cost the server a tenth, so only if it loses too much without
        print(f"quantizing with {len(images)} photos", flush=True)  # for some 20 s NNCF says nothing
        started = time.perf_counter()
        try:
            network = quantize(draft.networks["float"], images, zero_points)
        except QuantizationError as error:
            return draft, split, f"not made: {error}"
        print(f"quantized in {time.perf_counter() - started:.1f} s", flush=True)
        candidate = replace(draft, networks={**draft.networks, "int8": network})
        split = split.joined(_validate("quantized", candidate, ["int8"], source))
        top1, expected = split.top1("int8"), split.top1("f32")
        found = f"top-1 {top1:.2%} on {len(split.photos):,} validation photos, f32 {expected:.2%}"
        if expected - top1 <= _MAX_LOSS:
            return candidate, split, found
    return draft, split, f"not used: {found}, more than {100 * _MAX_LOSS:.1f} points lost"


def _calibration_images(source: Source, spec: ServingPreprocess) -> list[np.ndarray]:
    """Training photos for NNCF, spread evenly over the classes; some only where there are few classes."""
    classes = source.listing.classes
    count = min(_MAX_CALIBRATION, _CALIBRATION_PER_CLASS * len(classes))
    of_class: dict[str, list[Photo]] = {}
    for photo in source.listing.of("train"):
        of_class.setdefault(photo.label, []).append(photo)
    chosen = [photo for photos in of_class.values() for photo in evenly_spaced(photos, -(-count // len(classes)))]
    images = map_photos(
        "photos to quantize with", evenly_spaced(chosen, count), lambda photo: _pixels(source, photo, spec)
    )
    return [image for image in images if image is not None]


def _validate(name: str, draft: ServedArtifact, precisions: Sequence[str], source: Source) -> ValidationAnswers:
    models = {precision: ServedModel(draft, precision) for precision in precisions}
    index = {label.id: i for i, label in enumerate(draft.labels)}

    def answer(photo: Photo) -> dict[str, tuple[np.ndarray, float]] | None:
        image = _pixels(source, photo, draft.preprocess)
        return None if image is None else {precision: model.infer(image) for precision, model in models.items()}

    photos = source.listing.of("valid")
    outcomes = map_photos(name, photos, answer)
    answers = [outcome for outcome in outcomes if outcome is not None]
    readable = [photo for photo, outcome in zip(photos, outcomes, strict=True) if outcome is not None]
    unreadable = [photo.path for photo, outcome in zip(photos, outcomes, strict=True) if outcome is None]
    check_readable(source, unreadable)
    return ValidationAnswers(
        photos=readable,
        truths=np.array([index[photo.label] for photo in readable]),
        logits={precision: np.array([a[precision][0] for a in answers]) for precision in precisions},
        dogs={precision: np.array([a[precision][1] for a in answers]) for precision in precisions},
        unreadable=unreadable,
    )


def _pixels(source: Source, photo: Photo, spec: ServingPreprocess) -> np.ndarray | None:
    """What the networks take, or None when the photo is unreadable."""
    try:
        return pixels(source.read(photo), spec)
    except (ReadError, PhotoError):
        return None


def _calibrated(draft: ServedArtifact, split: ValidationAnswers, source: Source) -> ServedArtifact:
    """The artifact with temperature, dog threshold and golden photos.

    Raises:
        EvaluationError: not one photo is answered clearly enough to be a known answer.
    """
    logits = {precision: split.logits[precision] for precision in draft.precisions if precision in split.logits}
    served = preferred_precision(logits)
    temperature = fit_temperature(logits[served], split.truths)
    probabilities = {precision: softmax(values / temperature) for precision, values in logits.items()}
    askable = np.flatnonzero([photo.size <= MAX_BYTES for photo in split.photos])  # the server refuses larger ones
    chosen = golden_indices([p[askable] for p in probabilities.values()], split.truths[askable], _NUM_GOLDEN)
    if not chosen:
        raise EvaluationError(
            f"the model answers no validation photo of up to {MAX_BYTES:,} bytes with a clear margin; train it longer"
        )
    golden = []
    for i in askable[chosen]:
        label = draft.labels[split.truths[i]]
        known = {precision: float(p[i, split.truths[i]]) for precision, p in probabilities.items()}
        golden.append(GoldenExample(source.read(split.photos[i]), label.id, label.breed, known))
    return replace(
        draft,
        calibration=Calibration(temperature, dog_threshold(split.dogs[served])),
        golden=tuple(golden),
        card=replace(draft.card, valid_top1=split.top1(served)),
    )


def _parity(draft: ServedArtifact, images: Sequence[np.ndarray], expected: np.ndarray) -> dict[str, Any]:
    """How far the exported network's answers are from the trained program's.

    Compared in f32: what bf16 and int8 round is no fault of the export, and the test photos judge it.

    Raises:
        EvaluationError: too far for rounding.
    """
    model = ServedModel(draft, precision="f32")
    exported = softmax(np.stack([model.infer(image)[0] for image in images]))
    difference = float(np.abs(exported - expected).max())
    if difference > _MAX_DIFFERENCE:
        raise EvaluationError(
            f"the exported network's probabilities differ by up to {difference:.3f} from the trained "
            f"program's, more than {_MAX_DIFFERENCE}; the export is not faithful"
        )
    return {"photos": len(images), "max_probability_difference": difference}


def check_readable(source: Source, unreadable: Sequence[str]) -> None:
    """Refuse a dataset that unreadable photos leave without a class in a split.

    Raises:
        EvaluationError: naming the class and the split.
    """
    bad = set(unreadable)
    try:
        check_classes(source.listing.classes, [p for p in source.listing.photos if p.path not in bad], "input")
    except DatasetError as error:
        raise EvaluationError(f"{error} (unreadable: {named(unreadable)})") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
