"""What a served artifact is worth on the test photos: figures of the very model that the server would load."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset import OTHER, Photo, ReadError, Source
from serving.cpu_precision import PRECISIONS, cpu_kind
from serving.evaluation_metrics import (
    JudgedPhoto,
    accuracy,
    calibration_error,
    chance_error,
    confusions,
    paired,
    reliability,
    wilson,
)
from serving.model import ServedModel, softmax
from serving.preprocess import PhotoError, pixels
from serving.progress import evenly_spaced, map_photos

_NUM_TIMED = 60
_NUM_CONFUSED = 12


@dataclass(frozen=True)
class Judgement:
    """A model's answers for the test photos, and for those without a dog.

    answers: for the test photos that can be read, in the order of the listing.
    rejected: whether each readable photo without a dog is told to be one.
    unreadable: paths of the photos of either kind that cannot be read.
    hashes: of each test photo that has bytes its path and the first 16 hex digits of their SHA-256, as in training's
        ``data.json``.
    """

    answers: list[JudgedPhoto]
    rejected: list[bool]
    unreadable: list[str]
    hashes: list[tuple[str, str]]


def judge(name: str, model: ServedModel, source: Source) -> Judgement:
    """Answer every test photo, and every photo without a dog, as the server would.

    Args:
        name: what the lines of progress call the model.
    """

    def answer(photo: Photo) -> tuple[str, JudgedPhoto | None]:
        try:
            content = source.read(photo)
        except ReadError:
            return "", None
        digest = hashlib.sha256(content).hexdigest()[:16]
        try:
            logits, dog = model.infer(pixels(content, model.artifact.preprocess))
        except PhotoError:
            return digest, None
        return digest, JudgedPhoto(photo.path, photo.label, model.answer(logits, dog), float(softmax(logits).max()))

    def is_rejected(photo: Photo) -> bool | None:
        try:
            return not model.predict(source.read(photo)).is_dog
        except (ReadError, PhotoError):
            return None

    photos, others = source.listing.of("test"), source.listing.of(OTHER)
    digests, answers = zip(*map_photos(name, photos, answer), strict=True)
    rejected = map_photos(f"{name} without a dog", others, is_rejected)
    outcomes = zip((*photos, *others), (*answers, *rejected), strict=True)
    return Judgement(
        answers=[judged for judged in answers if judged is not None],
        rejected=[outcome for outcome in rejected if outcome is not None],
        unreadable=[photo.path for photo, outcome in outcomes if outcome is None],
        hashes=[(photo.path, digest) for photo, digest in zip(photos, digests, strict=True) if digest],
    )


def figures(name: str, model: ServedModel, judgement: Judgement, source: Source) -> dict[str, Any]:
    """One model's part of ``evaluation.json``; times in milliseconds, shares in [0, 1]."""
    answers, card = judgement.answers, model.artifact.card
    found = {
        "version": card.version,
        "digest": model.artifact.digest,
        "precision": model.precision,
        "bytes": sum(network.size for network in model.artifact.networks.values()),
        **accuracy(answers),
        "valid_top1": card.valid_top1,
        "most_confused": confusions(answers, _NUM_CONFUSED),
        "calibration": _calibration(model, answers),
        "dogs": _dogs(model, judgement),
        **_speed(model, _timed(judgement, source)),
    }
    print(
        f"{name} top1={found['top1']:.4f} top5={found['top5']:.4f} photos={found['num_photos']} "
        f"precision={found['precision']} latency_ms={found['latency_ms']:.1f}",
        flush=True,
    )
    return found


def _calibration(model: ServedModel, answers: Sequence[JudgedPhoto]) -> dict[str, Any]:
    """How far to trust the probabilities, before and after the temperature."""
    right = [j.right for j in answers]
    bins = reliability([j.prediction.ranking[0][1] for j in answers], right)
    return {
        "temperature": model.artifact.calibration.temperature,
        "error_before": calibration_error(reliability([j.uncalibrated for j in answers], right)),
        "error_after": calibration_error(bins),
        "chance": chance_error(bins),
        "bins": bins,
    }


def _dogs(model: ServedModel, judgement: Judgement) -> dict[str, Any]:
    """How many of the dogs, and of the photos without one, are told to be what they are."""
    return {
        "threshold": model.artifact.calibration.dog_threshold,
        "accepted": _share([j.prediction.is_dog for j in judgement.answers]),
        "rejected": _share(judgement.rejected),
    }


def _share(outcomes: Sequence[bool]) -> dict[str, Any] | None:
    if not outcomes:
        return None
    hits, total = sum(outcomes), len(outcomes)
    return {"share": hits / total, "interval": wilson(hits, total), "num_photos": total}


def compare(
    challenger: ServedModel, judgement: Judgement, champion: ServedModel, its_judgement: Judgement, source: Source
) -> dict[str, Any] | None:
    """The part of ``evaluation.json`` on two models and the photos of the breeds that the champion knows.

    Returns:
        The fields of ``paired``, with ``unknown_to_champion``, the number of breeds left out, and ``slowdown``, the
        challenger's time for a photo over the champion's; None when the champion knows none of the breeds.
    """
    known = {label.id for label in champion.artifact.labels}
    shared = [j for j in judgement.answers if j.truth in known]
    if not shared:
        return None
    return {
        **paired(shared, its_judgement.answers),
        "unknown_to_champion": len(set(source.listing.classes) - known),
        "slowdown": _slowdown(challenger, champion, _timed(judgement, source)),
    }


def _slowdown(challenger: ServedModel, champion: ServedModel, photos: Sequence[bytes]) -> float:
    """The median of a photo's two times, taken one after the other so that other load falls on both alike."""
    ratios = []
    for photo in photos:
        ours, theirs = challenger.predict(photo), champion.predict(photo)
        ratios.append((ours.decode_ms + ours.model_ms) / (theirs.decode_ms + theirs.model_ms))
    return float(np.median(ratios))


def _timed(judgement: Judgement, source: Source) -> list[bytes]:
    """Readable test photos to take times with."""
    readable = {j.photo for j in judgement.answers}
    photos = [photo for photo in source.listing.of("test") if photo.path in readable]
    return [source.read(photo) for photo in evenly_spaced(photos, _NUM_TIMED)]


def _speed(model: ServedModel, photos: Sequence[bytes]) -> dict[str, Any]:
    """Times of one photo at a time, from bytes to answer, and the rate on all cores."""
    timed = [model.predict(photo) for photo in photos]
    decode, network = (np.array([getattr(p, part) for p in timed]) for part in ("decode_ms", "model_ms"))
    with ThreadPoolExecutor(model.num_threads) as threads:
        list(threads.map(model.predict, photos[: model.num_threads]))  # each thread makes its request
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
    """What the model is worth and costs in each precision on this CPU.

    Args:
        served: the model in the precision that is served here.
        valid_top1: on the validation split, of those that were tried.
        int8: what came of quantizing, in words.

    Returns:
        per precision ``valid_top1``, ``model_ms`` of one photo on one core and ``bytes`` of its network (each None
        where there is none), whether it is ``used``, and ``why`` or why not.
    """
    artifact = served.artifact
    images = [pixels(golden.photo, artifact.preprocess) for golden in artifact.golden]
    models = {name: served if name == served.precision else ServedModel(artifact, name) for name in artifact.precisions}
    times: dict[str, list[float]] = {name: [] for name in models}
    for image in images * (_NUM_TIMED // len(images)):  # in turns, so that other load falls on all alike
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
    if name == "int8" and name not in served.artifact.networks:
        return int8
    if name == served.precision:
        return f"chosen for this CPU ({cpu_kind()})" + (f"; {int8}" if name == "int8" else "")
    if name not in served.artifact.precisions:
        return "not computed by this CPU"
    return f"for other CPUs; {int8}" if name == "int8" else "for other CPUs"
