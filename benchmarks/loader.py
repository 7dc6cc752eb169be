"""Photos per second and core: augmented batches from decoded photos, and decoding, compared with torchvision v2.

    python -m benchmarks loader [--data FOLDER] [--side N] [--rounds N]

Each system makes random crops and flips of the same training photos, as normalized float32, with TrivialAugment and
without. The peer is torchvision v2's training pipeline as in its documentation, on Pillow's images and on tensors; the
faster of the two counts. It starts from the JPEG files and makes no batches. Rates are per second of processor time,
summed over all threads; each system has one thread that works.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from benchmarks.figures import goal, rotated, rounded, spread
from benchmarks.servers import print_progress
from dataset import Photo, Source, open_source
from local.data import sketches
from networks.torchvision_import import torchvision_models
from serving.progress import evenly_spaced
from training.backbones import find_backbone
from training.distributed import World
from training.hyperparameters import Hyperparameters
from training.loader import TrainLoader
from training.photos import DecodedPhotos, decode_photos
from training.preprocess import TrainingPreprocess

_NUM_PHOTOS = 600
_PHOTO_SIZE, _PHOTO_QUALITY = (500, 375), 90  # the sides of most photos of Stanford Dogs and ImageNet
_ALONE = World(0, 1, 0, 1, torch.device("cpu"), "none", "here")
_AUGMENTS = ("crop", "trivial")
_PEERS = ("torchvision v2 on Pillow's images", "torchvision v2 on tensors")


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure photos per second of processor time.

    Raises:
        DatasetError: The data cannot be read.
    """
    options = _options(arguments)
    with TemporaryDirectory() as folder:
        return _measure_source(open_source(options.data or _enlarged(sketches(), Path(folder))), options)


def _measure_source(source: Source, options: argparse.Namespace) -> dict[str, Any]:
    photos = evenly_spaced(source.listing.of("train"), _NUM_PHOTOS)
    spec = find_backbone("efficientnet_lite0", None).preprocess
    spec = replace(spec, image_size=options.side or spec.image_size)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:

        def decode() -> DecodedPhotos:
            return decode_photos(_ALONE, source, photos, spec, True, Path(folder), num_threads=1)

        ours = {("ours", augment): _batches(decode(), spec, augment) for augment in _AUGMENTS}
        systems = {**ours, ("ours", "decoding"): decode, **_peers(source, photos, spec)}
        rounds: dict[tuple[str, str], list[float]] = {system: [] for system in systems}
        for work in systems.values():
            work()  # The first pass makes what is made once, and reads the files into the page cache.
        for number in range(options.rounds):
            for system in rotated(list(systems), number):
                began = time.process_time()
                systems[system]()
                rounds[system].append(len(photos) / (time.process_time() - began))
                print_progress(
                    f"round {number + 1}/{options.rounds}  {', '.join(system):42} {rounds[system][-1]:.0f} photos/s"
                )
    return {
        "inputs": {"data": "given" if options.data else "the sketchbook, enlarged", "num_photos": len(photos)}
        | {"side": spec.image_size, "mean_photo_bytes": sum(photo.size for photo in photos) // len(photos)},
        **_report(rounds),
    }


def _enlarged(drawings: Path, folder: Path) -> Path:
    """Enlarge the drawings to the size of the usual datasets' photos, because decoding costs time per pixel."""
    for path in drawings.rglob("*.jpg"):
        copy = folder / path.relative_to(drawings)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as drawing:
            drawing.resize(_PHOTO_SIZE, Image.Resampling.BICUBIC).save(copy, quality=_PHOTO_QUALITY)
    return folder


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks loader", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder or archive of photos (default: the sketchbook, enlarged)")
    parser.add_argument("--side", type=int, help="side of the crops, pixels (default: the default backbone's)")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args(arguments)


def _report(rounds: dict[tuple[str, str], list[float]]) -> dict[str, Any]:
    def ratio(what: str, augment: str) -> float:
        """Return our rate over the better peer's in the same round: the median over the rounds."""
        peers = zip(*(rounds[peer, augment] for peer in _PEERS), strict=True)
        return float(statistics.median(own / max(both) for own, both in zip(rounds["ours", what], peers, strict=True)))

    def figures(system: str) -> dict[str, dict[str, float]]:
        return {what: spread(rates) for (name, what), rates in rounds.items() if name == system}

    return {
        "rounds": len(rounds["ours", "crop"]),
        "ours": {**figures("ours"), "trivial_over_best_peer": rounded(ratio("trivial", "trivial"))},
        "peers": {peer: figures(peer) for peer in _PEERS},
        "limit": None,
        "ratio": rounded(ratio("crop", "crop")),
        "goal": {
            "crop_over_best_peer": goal(ratio("crop", "crop"), at_least=6),
            "decoding_over_best_peer": goal(ratio("decoding", "crop"), at_least=1.5),
        },
    }


def _batches(photos: DecodedPhotos, spec: TrainingPreprocess, augment: str) -> Callable[[], None]:
    """Return a function that runs one epoch of our loader."""
    labels = torch.zeros(len(photos.pixels), dtype=torch.int64)
    loader = TrainLoader(_ALONE, photos, labels, spec, Hyperparameters(augment=augment), num_threads=1)

    def epoch() -> None:
        for _ in loader.epoch(0, 0, spec.image_size):
            pass

    return epoch


def _peers(
    source: Source, photos: Sequence[Photo], spec: TrainingPreprocess
) -> dict[tuple[str, str], Callable[[], None]]:
    """Return functions that run torchvision's pipelines over all photos, by peer and augmentation."""
    torchvision_models()
    from torchvision.transforms import v2  # The line above makes this import possible.

    crops = [v2.RandomResizedCrop(spec.image_size, antialias=True), v2.RandomHorizontalFlip()]
    to_numbers = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(spec.mean, spec.std)]
    augmentations: dict[str, list[Any]] = {"crop": [], "trivial": [v2.TrivialAugmentWide()]}

    def over_all(pipeline: Callable[[Image.Image], Any]) -> Callable[[], None]:
        def run() -> None:
            for photo in photos:
                pipeline(Image.open(io.BytesIO(source.read(photo))).convert("RGB"))

        return run

    pillow, tensors = _PEERS
    pipelines = {
        (pillow, augment): [*crops, *augmentations[augment], v2.ToImage(), *to_numbers] for augment in _AUGMENTS
    }
    pipelines |= {
        (tensors, augment): [v2.ToImage(), *crops, *augmentations[augment], *to_numbers] for augment in _AUGMENTS
    }
    return {system: over_all(v2.Compose(pipeline)) for system, pipeline in pipelines.items()}
