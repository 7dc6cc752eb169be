"""Backbone features of photos: computed once, kept in files that any later run may read."""

import hashlib
import io
import json
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset import Photo, ReadError, Source
from training.backbones import Pretrained
from training.distributed import World, gathered, same_as_main, summed
from training.files import replace_file, replace_json, to_bytes
from training.hyperparameters import Hyperparameters
from training.inference import FeatureNetwork, supported_precisions
from training.preprocess import UnreadablePhotoError, pixels
from training.workers import Progress, ahead, workers

_FORMAT = 3  # of the cache's files
_BATCH_SIZES = (8, 32)  # photos; what lies between them, or above, differs from one of them by less than is measured
_CUDA_BATCH_SIZE = 256  # photos
_GAIN = 1.03  # what a larger batch must be better by: smaller ones leave fewer cores idle at the end


@dataclass(frozen=True)
class Features:
    """Features of photos, in the photos' order.

    features: float16 ``[N, num_features]``; zeros where a photo cannot be read.
    readable: which photos can be read and decoded.
    num_computed: how many were not known from before.
    """

    features: Tensor
    readable: list[bool]
    num_computed: int


@dataclass(frozen=True)
class Choice:
    """How the backbone computes.

    precision: ``fp32`` or ``bf16``.
    batch_size: photos per call, always as many.
    """

    precision: str
    batch_size: int


class FeaturePass:
    """Turns photos into features on this rank's device and cores; all ranks must make one.

    Each of ``num_threads`` workers does all of it alone: it reads and decodes a batch of photos and computes the
    network on one core. So nothing is handed over, no core waits for another, and a photo's features do not depend on
    how many cores there are. On CUDA the workers take turns at the device.

    Precision and batch size are chosen by a measurement of about a second, in the CPU time of all workers of all ranks
    at once, which other programs on the machine disturb least. The choice is kept beside the features and goes for the
    kind of CPU, whatever the number of ranks and cores: a restarted job must choose as it did before, or its features
    do not fit. On CUDA nothing is measured: a device that computes in bf16 is faster in it.

    Args:
        chosen: the backbone.
        world: this rank among its peers.
        num_threads: cores that this rank may use.
        cache_dir: where features and the choice are kept; may be shared with other runs at the same time.
        settings: the hyperparameters.

    Attributes:
        choice: the same on every rank.

    Raises:
        HyperparameterError, WeightsError: the backbone cannot be loaded.
        StorageError: the choice cannot be written.
    """

    def __init__(
        self, chosen: Pretrained, world: World, num_threads: int, cache_dir: Path, settings: Hyperparameters
    ) -> None:
        self._spec, self._world, self._num_threads = chosen.preprocess, world, num_threads
        self._seconds = settings.checkpoint_seconds
        self._network = cache(partial(FeatureNetwork, chosen, world.device))
        self._device_lock = threading.Lock() if world.device.type == "cuda" else nullcontext()
        backbone = (_FORMAT, chosen.name, chosen.digest, asdict(chosen.preprocess))
        self.choice = self._choose(settings.precision, cache_dir, backbone)
        self._cache = FeatureCache(cache_dir, _digest(*backbone, world.device.type, asdict(self.choice)))

    def num_kept(self, hashes: Sequence[str]) -> int:
        """How many of these photos' features are known."""
        return sum(digest in self._cache.rows for digest in hashes)

    def features(self, source: Source, photos: Sequence[Photo], hashes: Sequence[str], progress: Progress) -> Features:
        """Features of these photos.

        Args:
            source: where the photos are.
            photos: some of this rank's.
            hashes: of each photo's bytes; empty where they cannot be read.
            progress: of these photos, and maybe others.

        Raises:
            HyperparameterError, WeightsError: the backbone cannot be loaded.
            StorageError: the cache cannot be written.
        """
        missing = {
            digest: photo
            for digest, photo in zip(hashes, photos, strict=True)
            if digest and digest not in self._cache.rows
        }
        progress.skip(len(photos) - len(missing))
        if missing:
            self._compute(source, list(missing.items()), progress)
        rows = [self._cache.rows.get(digest) for digest in hashes]
        width = next((len(row) for row in rows if row is not None), 0)
        features = torch.zeros(len(rows), width or self._network(self.choice.precision).num_features).half()
        for place, row in zip(features, rows, strict=True):
            if row is not None:
                place.copy_(row)
        return Features(features, [row is not None for row in rows], len(missing))

    def _compute(self, source: Source, photos: Sequence[tuple[str, Photo]], progress: Progress) -> None:
        """Compute photos by their hashes, and keep what is done every so many seconds."""
        size = self.choice.batch_size
        batches = [photos[first : first + size] for first in range(0, len(photos), size)]
        found: dict[str, Tensor | None] = {}
        saved = time.monotonic()
        with workers(self._num_threads) as pool:
            work = partial(self._batch, self._network(self.choice.precision), source)
            for done in ahead(pool, work, batches, 2 * self._num_threads):
                found |= done
                progress.add(len(done))
                if time.monotonic() - saved >= self._seconds:
                    self._cache.add(found)
                    found, saved = {}, time.monotonic()
        self._cache.add(found)

    def _batch(
        self, network: FeatureNetwork, source: Source, photos: Sequence[tuple[str, Photo]]
    ) -> dict[str, Tensor | None]:
        """One call of the network; black photos stand for what is missing, so that every call has the same size."""
        side = self._spec.image_size
        images = np.zeros((self.choice.batch_size, side, side, 3), np.uint8)
        is_readable = []
        for place, (_, photo) in zip(images, photos, strict=False):
            image = self._pixels(source, photo)
            is_readable.append(image is not None)
            if image is not None:
                place[:] = image
        with self._device_lock:
            features = network(images)
        rows = zip(photos, is_readable, features, strict=False)
        return {digest: row if fine else None for (digest, _), fine, row in rows}

    def _pixels(self, source: Source, photo: Photo) -> np.ndarray | None:
        try:
            return pixels(source.read(photo), self._spec)
        except (ReadError, UnreadablePhotoError):
            return None

    def _choose(self, precision: str, cache_dir: Path, backbone: tuple[object, ...]) -> Choice:
        precisions: tuple[str, ...] = (precision,)
        if precision == "auto":  # what all ranks have
            precisions = min(gathered(self._world, supported_precisions(self._world.device)), key=len)
        if self._world.device.type == "cuda":
            return Choice(precisions[-1], _CUDA_BATCH_SIZE)
        cpu = sorted(torch.cpu.get_capabilities().items())
        file = cache_dir / f"inference-{_digest(*backbone, precision, cpu)}.json"
        kept = same_as_main(self._world, _read_json(file) if self._world.is_main else None)
        if kept:
            return Choice(**kept)
        choice: Choice = same_as_main(self._world, self._measured(precisions))
        if self._world.is_main:
            replace_json(file, asdict(choice))
        return choice

    def _measured(self, precisions: Sequence[str]) -> Choice:
        side = self._spec.image_size
        photos = np.random.default_rng(0).integers(0, 256, (max(_BATCH_SIZES), side, side, 3), dtype=np.uint8)

        def seconds(precision: str, batch_size: int) -> float:
            """CPU time of a photo."""
            network = self._network(precision)

            def work(_: int) -> float:
                begin = time.thread_time()
                network(photos[:batch_size])
                return time.thread_time() - begin

            for _ in range(2):  # the first maps memory and makes oneDNN write its kernels
                total = sum(pool.map(work, range(self._num_threads)))
            return summed(self._world, total)[0] / batch_size

        small, large = _BATCH_SIZES
        with workers(self._num_threads) as pool:
            times = {precision: seconds(precision, small) for precision in precisions}
            best = min(times, key=times.__getitem__)
            return Choice(best, large if times[best] > _GAIN * seconds(best, large) else small)


class FeatureCache:
    """Features by the hash of the photo's bytes, in files that are written once and named by their content.

    Args:
        folder: where the files are; those of all hosts, runs and world sizes are read.
        key: of all that the features depend on beside the photo.

    Attributes:
        rows: float16 ``[num_features]`` by hash; None where the bytes are no photo.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        self.rows: dict[str, Tensor | None] = {}
        for file in sorted(folder.glob(f"features-{key}-*.pt")):
            data = file.read_bytes()
            if file.name != self._name(data):
                print(f"{file} is damaged and is left alone; the features of its photos are computed anew", flush=True)
                continue
            kept = torch.load(io.BytesIO(data), weights_only=True)
            self.rows |= dict.fromkeys(kept["unreadable"]) | dict(zip(kept["hashes"], kept["features"], strict=True))

    def add(self, rows: Mapping[str, Tensor | None]) -> None:
        """Keep these too.

        Raises:
            StorageError: the file cannot be written.
        """
        if not rows:
            return
        readable = {digest: row for digest, row in rows.items() if row is not None}
        kept = {
            "hashes": list(readable),
            "features": torch.stack(list(readable.values())) if readable else [],
            "unreadable": [digest for digest, row in rows.items() if row is None],
        }
        data = to_bytes(kept)
        replace_file(self._folder / self._name(data), data)
        self.rows |= rows

    def _name(self, data: bytes) -> str:
        return f"features-{self._key}-{hashlib.sha256(data).hexdigest()[:16]}.pt"


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _read_json(file: Path) -> dict[str, object] | None:
    try:
        kept: dict[str, object] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return kept
