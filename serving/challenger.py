"""Making the challenger: the training job's model is exported, quantized and calibrated into a served artifact."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dataset import Photo, ReadError, Source
from dataset.faults import DAMAGED, UNREADABLE, Unreadable, refuse_empty_classes
from dataset.layout import DatasetError
from dataset.other_formats import why_unusable
from dataset.photo_bytes import media_type
from serving.cpu_precision import PRECISIONS, cpu_kind, precisions_for, preferred_precision
from serving.dataset_photos import as_golden, dataset_pixels
from serving.evaluation_metrics import dog_threshold, fit_temperature, golden_indices
from serving.model import ServedModel, softmax
from serving.preprocess import MAX_BYTES, PhotoError, ServingPreprocess
from serving.progress import evenly_spaced, map_photos
from serving.served_artifact import Calibration, Card, GoldenExample, Label, ServedArtifact, unpack, verified_files

MODEL = "model.safetensors"
# Suffixes of files that are pickles, or programs with pickled parts.
_PICKLED = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pt2", ".pth")
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
        build: Builds the network, a module of torch in eval mode that maps normalized photos ``[B, 3, S, S]`` to logits
            ``[B, C]`` and P(dog) ``[B]``. It is called once.
        sha256: The SHA-256 of the artifact's manifest, hexadecimal; of the file of a model from elsewhere.
        labels: The classes, in the order of the network's output.
        preprocess: How a photo becomes the network's input.
        backbone: Name of the backbone.
        training: ``training.json``: hyperparameters, mode, and how long the training took.
        ddp: ``ddp.json``: the proof that the ranks trained together; None for a model that was trained elsewhere.
        hashes: Paths of the photos of the train and valid splits, by the first 16 hex digits of their SHA-256.
        leaked: Photos that training itself found in two splits.
        unreadable: Training photos that training could not read.
        curve: The learning curve, SVG; empty for a model that was trained elsewhere.
        tuned: ``tuned.json``: the search for hyperparameters; None if there was none.
        photos: SHA-256 of each photo that the training could read, by its path; empty in older artifacts.
    """

    build: Callable[[], Any]
    sha256: str
    labels: tuple[Label, ...]
    preprocess: ServingPreprocess
    backbone: str
    training: dict[str, Any]
    ddp: dict[str, Any] | None
    hashes: dict[str, str]
    leaked: list[dict[str, str]]
    unreadable: list[Unreadable]
    curve: bytes
    tuned: dict[str, Any] | None
    photos: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Challenger:
    """The artifact that will be served if the gate promotes it, and what was measured while it was made.

    Attributes:
        artifact: The artifact.
        valid_top1: Top-1 on the validation split in each precision. It has int8 even if int8 was not good enough.
        int8: What came of quantizing, in words.
        parity: How far the float network's answers are from the trained network's.
        unreadable: The validation photos that cannot be read.
    """

    artifact: ServedArtifact
    valid_top1: dict[str, float]
    int8: str
    parity: dict[str, Any]
    unreadable: list[Unreadable]


@dataclass(frozen=True)
class ValidationAnswers:
    """The networks' answers for the validation split.

    Attributes:
        photos: The readable photos, in the order of the arrays.
        truths: Index of each photo's true class, int ``[N]``.
        logits: Logits float32 ``[N, C]`` in each precision, not calibrated.
        dogs: P(dog) ``[N]`` in [0, 1] in each precision.
        unreadable: The photos that cannot be read.
    """

    photos: list[Photo]
    truths: np.ndarray
    logits: dict[str, np.ndarray]
    dogs: dict[str, np.ndarray]
    unreadable: list[Unreadable]

    def top1(self, precision: str) -> float:
        """Return the share of photos that are classified correctly."""
        return float((self.logits[precision].argmax(axis=1) == self.truths).mean())

    def merge(self, other: "ValidationAnswers") -> "ValidationAnswers":
        """Return these answers together with those in other precisions for the same photos."""
        return replace(self, logits=self.logits | other.logits, dogs=self.dogs | other.dogs)


def read_trained(archive: Path, folder: Path) -> TrainedModel:
    """Unpack the training job's artifact. Only the files of its manifest are read, and none is more than data.

    Raises:
        EvaluationError: There is no archive, or it has not the files of a training job.
        ArtifactError: The archive cannot be unpacked, or a file is not the one that the training wrote.
    """
    if not archive.exists():
        raise EvaluationError(f"{archive}: the trained model is missing; did the training job finish?")
    unpack(archive, folder)
    _refuse_programs(archive, folder)
    files, manifest = verified_files(folder)
    try:
        labels, spec, training, ddp, data = (
            json.loads(files[f"{name}.json"]) for name in ("labels", "preprocess", "training", "ddp", "data")
        )
        if MODEL not in files:
            raise ValueError(f"{MODEL} is missing")
        return TrainedModel(
            partial(_build, folder / MODEL, training["backbone"], len(labels["classes"])),
            manifest,
            tuple(Label(c["id"], c["breed"]) for c in labels["classes"]),
            ServingPreprocess.from_json(spec),
            training["backbone"],
            training,
            ddp,
            {h: path for split in ("valid", "train") for h, path in data["hashes"][split].items()},
            data["leaked"],
            _unreadable(data),
            files["history.svg"],
            json.loads(files["tuned.json"]) if "tuned.json" in files else None,
            data.get("photos", {}),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EvaluationError(f"{archive}: not an artifact of the training job ({error})") from error


def _refuse_programs(archive: Path, folder: Path) -> None:
    """Refuse what earlier releases wrote, a program with pickled parts, and whatever else asks to be unpickled.

    Raises:
        EvaluationError: The message names the file.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix in _PICKLED:
            raise EvaluationError(
                f"{archive}: holds {path.name}, which can run code when it is loaded, so it was not "
                f"loaded; a trained model is {MODEL} with its documents: train it again with this release"
            )


def _build(path: Path, architecture: str, num_classes: int) -> Any:
    """Build the trained network. The import takes seconds, and only the export needs it."""
    from networks.backbone import NetworkError
    from networks.classifier import read_classifier

    try:
        return read_classifier(path, architecture, num_classes)
    except NetworkError as error:
        raise EvaluationError(f"the trained model cannot be used: {error}") from error


def _unreadable(data: dict[str, Any]) -> list[Unreadable]:
    """Return the training photos that training left out. Older artifacts do not say why."""
    photos = data.get("splits", {}).get("train", {}).get("unreadable", {})
    return [
        Unreadable(*each) for each in (photos if isinstance(photos, dict) else dict.fromkeys(photos, DAMAGED)).items()
    ]


def make_challenger(trained: TrainedModel, source: Source, version: str) -> Challenger:
    """Export the trained model, compare it with the trained network, quantize it, and calibrate it.

    Args:
        trained: The training job's artifact.
        source: The dataset.
        version: Name of the model version.

    Raises:
        EvaluationError: The model cannot be exported faithfully, or its accuracy is too low for golden photos.
    """
    # Import torch only here: the import takes seconds, and only the export needs it.
    from serving.export import ExportError, export, torch_probabilities

    started = time.perf_counter()
    classifier = trained.build()
    try:
        network = export(classifier, trained.preprocess)
    except ExportError as error:
        raise EvaluationError(f"the trained model cannot be used: {error}") from error
    print(f"exported the network in {time.perf_counter() - started:.1f} s", flush=True)
    card = Card(version, trained.backbone, len(trained.labels), 0.0, _now())
    draft = ServedArtifact({"float": network}, trained.labels, trained.preprocess, Calibration(), card)

    floats = [name for name in precisions_for(cpu_kind()) if PRECISIONS[name].network == "float"]
    split = _validate("validation", draft, floats, source)
    images = [
        dataset_pixels(source.read(photo), trained.preprocess)
        for photo in evenly_spaced(split.photos, _NUM_PARITY_PHOTOS)
    ]
    parity = _parity(draft, images, torch_probabilities(classifier, images, trained.preprocess))
    del classifier  # A large network's weights would stay in memory while it is quantized.
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
    unreadable = [
        why_unreadable(source, photo) for photo, result in zip(photos, results, strict=True) if result is None
    ]
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
        return dataset_pixels(source.read(photo), spec)
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
    # The server refuses larger photos, so they cannot be golden photos. What it gets as a PNG may become smaller.
    allowed = np.flatnonzero([photo.size <= MAX_BYTES or not media_type(source.read(photo)) for photo in split.photos])
    chosen = golden_indices([p[allowed] for p in probabilities.values()], split.truths[allowed], _NUM_GOLDEN_PHOTOS)
    golden = []
    for i in allowed[chosen]:
        label = draft.labels[split.truths[i]]
        expected = {precision: float(p[i, split.truths[i]]) for precision, p in probabilities.items()}
        photo = as_golden(source.read(split.photos[i]), draft.preprocess)
        if len(photo) <= MAX_BYTES:
            golden.append(GoldenExample(photo, label.id, label.breed, expected))
    if not golden:
        raise EvaluationError(
            f"the model answers no validation photo of up to {MAX_BYTES:,} bytes with a clear margin; train it longer"
        )
    return replace(
        draft,
        calibration=Calibration(temperature, dog_threshold(split.dogs[served])),
        golden=tuple(golden),
        card=replace(draft.card, valid_top1=split.top1(served)),
    )


def _parity(draft: ServedArtifact, images: Sequence[np.ndarray], expected: np.ndarray) -> dict[str, Any]:
    """Measure how far the exported network's answers are from the trained network's.

    They are compared in f32, because the rounding of bf16 and int8 is no fault of the export. The test photos judge
    that rounding.

    Raises:
        EvaluationError: The difference is too large to be rounding.
    """
    model = ServedModel(draft, precision="f32")
    exported = softmax(np.stack([model.infer(image)[0] for image in images]))
    difference = float(np.abs(exported - expected).max())
    if not difference <= _MAX_PARITY_DIFFERENCE:  # A difference that is not a number is refused, too.
        raise EvaluationError(
            f"the exported network's probabilities differ by up to {difference:.3f} from the trained "
            f"network's, more than {_MAX_PARITY_DIFFERENCE}; the export is not faithful"
        )
    return {"photos": len(images), "max_probability_difference": difference}


def why_unreadable(source: Source, photo: Photo) -> Unreadable:
    """Return a photo that could not be answered, with the reason."""
    try:
        return Unreadable(photo.path, why_unusable(source.read(photo)))
    except ReadError:
        return Unreadable(photo.path, UNREADABLE)


def check_readable(source: Source, unreadable: Sequence[Unreadable]) -> None:
    """Refuse a dataset in which a class has no readable photo in one of the splits.

    Raises:
        EvaluationError: The message names the class and the split.
    """
    try:
        refuse_empty_classes(source.listing, unreadable, "input")
    except DatasetError as error:
        raise EvaluationError(str(error)) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
