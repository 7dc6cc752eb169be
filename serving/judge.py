"""Judging a served artifact on the test photos: accuracy and speed of the model as the server loads it."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset import OTHER, Photo, ReadError, Source
from dataset.faults import Unreadable
from serving.challenger import why_unreadable
from serving.cpu_precision import PRECISIONS, cpu_kind
from serving.dataset_photos import as_sent, dataset_pixels
from serving.evaluation_metrics import (
    JudgedPhoto,
    accuracy,
    calibration_error,
    chance_calibration_error,
    compare_paired,
    most_confused_pairs,
    reliability_bins,
    wilson,
)
from serving.model import ServedModel, softmax
from serving.preprocess import PhotoError, pixels
from serving.progress import evenly_spaced, map_photos

_NUM_TIMED_PHOTOS = 60
_MAX_CONFUSED_PAIRS = 12


@dataclass(frozen=True)
class Judgement:
    """A model's answers for the test photos and for the photos without a dog.

    Attributes:
        answers: Answers for the readable test photos, in the order of the listing.
        rejected: For each readable photo without a dog, whether the model says that it shows none.
        unreadable: The photos, of either kind, that cannot be read.
        hashes: Path of each test photo that could be loaded, with the first 16 hex digits of its SHA-256, as in
            training's ``data.json``.
    """

    answers: list[JudgedPhoto]
    rejected: list[bool]
    unreadable: list[Unreadable]
    hashes: list[tuple[str, str]]


def judge(name: str, model: ServedModel, source: Source) -> Judgement:
    """Answer every test photo, and every photo without a dog, as the server would.

    Args:
        name: Name of the model in the lines of progress.
        model: The model.
        source: The dataset.
    """

    def answer(photo: Photo) -> tuple[str, JudgedPhoto | None]:
        try:
            content = source.read(photo)
        except ReadError:
            return "", None
        digest = hashlib.sha256(content).hexdigest()[:16]
        try:
            logits, dog = model.infer(dataset_pixels(content, model.artifact.preprocess))
        except PhotoError:
            return digest, None
        prediction = model.to_prediction(logits, dog)
        return digest, JudgedPhoto(photo.path, photo.label, prediction, float(softmax(logits).max()))

    def is_rejected(photo: Photo) -> bool | None:
        try:
            logits, dog = model.infer(dataset_pixels(source.read(photo), model.artifact.preprocess))
            return not model.to_prediction(logits, dog).is_dog
        except (ReadError, PhotoError):
            return None

    photos, others = source.listing.of("test"), source.listing.of(OTHER)
    digests, answers = zip(*map_photos(name, photos, answer), strict=True)
    rejected = map_photos(f"{name} without a dog", others, is_rejected)
    results = zip((*photos, *others), (*answers, *rejected), strict=True)
    return Judgement(
        answers=[judged for judged in answers if judged is not None],
        rejected=[is_rejected for is_rejected in rejected if is_rejected is not None],
        unreadable=[why_unreadable(source, photo) for photo, result in results if result is None],
        hashes=[(photo.path, digest) for photo, digest in zip(photos, digests, strict=True) if digest],
    )


def model_figures(name: str, model: ServedModel, judgement: Judgement, source: Source) -> dict[str, Any]:
    """Return one model's part of ``evaluation.json``, and print its summary.

    Args:
        name: Name of the model in the summary.
        model: The model.
        judgement: Its answers.
        source: The dataset.

    Returns:
        The figures: times in milliseconds, shares in [0, 1].
    """
    answers, card = judgement.answers, model.artifact.card
    figures = {
        "version": card.version,
        "digest": model.artifact.digest,
        "precision": model.precision,
        "bytes": sum(network.size for network in model.artifact.networks.values()),
        **accuracy(answers),
        "valid_top1": card.valid_top1,
        "most_confused": most_confused_pairs(answers, _MAX_CONFUSED_PAIRS),
        "calibration": _calibration(model, answers),
        "dogs": _dogs(model, judgement),
        **_speed(model, _photos_to_time(model, judgement, source)),
    }
    print(
        f"{name} top1={figures['top1']:.4f} top5={figures['top5']:.4f} photos={figures['num_photos']} "
        f"precision={figures['precision']} latency_ms={figures['latency_ms']:.1f}",
        flush=True,
    )
    return figures


def _calibration(model: ServedModel, answers: Sequence[JudgedPhoto]) -> dict[str, Any]:
    """Return how far the probabilities can be trusted, before and after the temperature."""
    correct = [j.is_correct for j in answers]
    bins = reliability_bins([j.prediction.ranking[0][1] for j in answers], correct)
    return {
        "temperature": model.artifact.calibration.temperature,
        "error_before": calibration_error(reliability_bins([j.uncalibrated_probability for j in answers], correct)),
        "error_after": calibration_error(bins),
        "chance": chance_calibration_error(bins),
        "bins": bins,
    }


def _dogs(model: ServedModel, judgement: Judgement) -> dict[str, Any]:
    """Return the shares of the dogs that are accepted and of the photos without a dog that are rejected."""
    return {
        "threshold": model.artifact.calibration.dog_threshold,
        "accepted": _share([j.prediction.is_dog for j in judgement.answers]),
        "rejected": _share(judgement.rejected),
    }


def _share(hits_and_misses: Sequence[bool]) -> dict[str, Any] | None:
    """Return a share with its 95 % interval; None if there is no photo."""
    if not hits_and_misses:
        return None
    hits, total = sum(hits_and_misses), len(hits_and_misses)
    return {"share": hits / total, "interval": wilson(hits, total), "num_photos": total}


def compare(
    challenger: ServedModel,
    judgement: Judgement,
    champion: ServedModel,
    champion_judgement: Judgement,
    source: Source,
) -> dict[str, Any] | None:
    """Compare two models on the photos of the breeds that the champion knows.

    Args:
        challenger: The challenger.
        judgement: The challenger's answers.
        champion: The champion.
        champion_judgement: The champion's answers.
        source: The dataset.

    Returns:
        The part ``comparison`` of ``evaluation.json``: the fields of ``compare_paired``; ``unknown_to_champion``, the
        number of breeds that are left out; and ``slowdown``, the challenger's time per photo divided by the
        champion's. None if the champion knows none of the breeds.
    """
    known = {label.id for label in champion.artifact.labels}
    shared = [j for j in judgement.answers if j.truth in known]
    if not shared:
        return None
    return {
        **compare_paired(shared, champion_judgement.answers),
        "unknown_to_champion": len(set(source.listing.classes) - known),
        "slowdown": _slowdown(challenger, champion, _photos_to_time(challenger, judgement, source)),
    }


def changed_breeds(challenger: ServedModel, champion: ServedModel) -> dict[str, list[dict[str, str]]]:
    """Return the breeds that only one of two models knows.

    Returns:
        The part ``changed_breeds`` of ``evaluation.json``: ``lost`` are those of the champion, ``new`` those of the
        challenger. Each has its ``class``, the name of the folder, and its ``breed`` as people read it.
    """
    new = {label.id: label.breed for label in challenger.artifact.labels}
    old = {label.id: label.breed for label in champion.artifact.labels}
    return {
        "lost": [{"class": key, "breed": old[key]} for key in sorted(old.keys() - new.keys())],
        "new": [{"class": key, "breed": new[key]} for key in sorted(new.keys() - old.keys())],
    }


def _slowdown(challenger: ServedModel, champion: ServedModel, photos: Sequence[bytes]) -> float:
    """Return the median ratio of the two times of a photo, taken in turns so that other load affects both alike."""
    ratios = []
    for photo in photos:
        new, old = challenger.predict(photo), champion.predict(photo)
        ratios.append((new.decode_ms + new.model_ms) / (old.decode_ms + old.model_ms))
    return float(np.median(ratios))


def _photos_to_time(model: ServedModel, judgement: Judgement, source: Source) -> list[bytes]:
    """Load some of the readable test photos as the server would receive them, to measure times with."""
    readable = {j.photo for j in judgement.answers}
    photos = [photo for photo in source.listing.of("test") if photo.path in readable]
    spec = model.artifact.preprocess
    return [as_sent(source.read(photo), spec) for photo in evenly_spaced(photos, _NUM_TIMED_PHOTOS)]


def _speed(model: ServedModel, photos: Sequence[bytes]) -> dict[str, Any]:
    """Measure the time from bytes to answer, one photo at a time, and the rate on all cores."""
    predictions = [model.predict(photo) for photo in photos]
    decode, network = (np.array([getattr(p, part) for p in predictions]) for part in ("decode_ms", "model_ms"))
    with ThreadPoolExecutor(model.num_threads) as threads:
        # First let each thread create its inference request.
        list(threads.map(model.predict, photos[: model.num_threads]))
        started = time.perf_counter()
        list(threads.map(model.predict, photos))
        seconds = time.perf_counter() - started
    parts = {"decode": decode, "model": network, "both": decode + network}
    return {
        "latency_ms": float(np.median(parts["both"])),
        "latency": {part: _quantiles(times) for part, times in parts.items()},
        "photos_per_s": len(photos) / seconds,
    }


def _quantiles(times: np.ndarray) -> dict[str, float]:
    return {"p50": float(np.quantile(times, 0.5)), "p95": float(np.quantile(times, 0.95))}


def compare_precisions(served: ServedModel, valid_top1: Mapping[str, float], int8: str) -> list[dict[str, Any]]:
    """Compare the model's accuracy, time and size in each precision on this CPU.

    Args:
        served: The model in the precision that is served on this CPU.
        valid_top1: Top-1 on the validation split, for each precision that was tried.
        int8: What came of quantizing, in words.

    Returns:
        For each precision: ``valid_top1``; ``model_ms``, the milliseconds of one photo on one core; ``bytes`` of its
        network (each of the three None if there is none); ``used``, whether it serves; and ``why``, the reason.
    """
    artifact = served.artifact
    images = [pixels(example.photo, artifact.preprocess) for example in artifact.golden]
    models = {name: served if name == served.precision else ServedModel(artifact, name) for name in artifact.precisions}
    times: dict[str, list[float]] = {name: [] for name in models}
    for image in images * (_NUM_TIMED_PHOTOS // len(images)):
        # The precisions take turns, so that other load affects all of them alike.
        for name, model in models.items():
            started = time.perf_counter()
            model.infer(image)
            times[name].append((time.perf_counter() - started) * 1e3)
    networks = artifact.networks
    return [
        {
            "precision": name,
            "valid_top1": valid_top1.get(name),
            "model_ms": float(np.median(times[name])) if name in models else None,
            "bytes": networks[network].size if network in networks else None,
            "used": name == served.precision,
            "why": _why(name, served, int8),
        }
        for name, (network, _) in PRECISIONS.items()
    ]


def _why(name: str, served: ServedModel, int8: str) -> str:
    """Return in words why a precision is used on this CPU, or why it is not."""
    if name == "int8" and name not in served.artifact.networks:
        return int8
    if name == served.precision:
        return f"chosen for this CPU ({cpu_kind()})" + (f"; {int8}" if name == "int8" else "")
    if name not in served.artifact.precisions:
        return "not computed by this CPU"
    return f"for other CPUs; {int8}" if name == "int8" else "for other CPUs"
