"""Compute the backbone's features of photos once, and keep them in files that any later run can read."""

import hashlib
import io
import json
import pickle
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
from training.distributed import World, broadcast_from_main, gather, sum_over_ranks
from training.files import replace_file, replace_json, to_bytes
from training.hyperparameters import Hyperparameters
from training.inference import FeatureNetwork, supported_precisions
from training.preprocess import UnreadablePhotoError, pixels
from training.stopping import StopRequestedError
from training.workers import WorkerProgress, map_ahead, worker_pool

_FORMAT = 3  # version of the cache's files
# Photos per call. Sizes between and above these differ from one of them by less than the error of the measurement.
_BATCH_SIZES = (8, 32)
_CUDA_BATCH_SIZE = 256  # photos
# The larger batch must be faster by this factor, because with small batches fewer cores are idle at the end.
_MIN_GAIN = 1.03


@dataclass(frozen=True)
class Features:
    """Features of photos, in the photos' order.

    features: float16 ``[N, num_features]``; zeros for a photo that cannot be read.
    readable: whether each photo can be read and decoded.
    num_computed: photos whose features were not in the cache.
    """

    features: Tensor
    readable: list[bool]
    num_computed: int


@dataclass(frozen=True)
class InferenceChoice:
    """How the backbone computes.

    precision: ``fp32`` or ``bf16``.
    batch_size: photos per call; every call has this many.
    """

    precision: str
    batch_size: int


class FeaturePass:
    """Turns photos into features on this rank's device and cores; all ranks must create one.

    Each of ``num_threads`` workers reads and decodes a batch of photos and computes the network on one core. So no
    data passes between threads, no core waits for another, and a photo's features do not depend on the number of
    cores. On CUDA the workers take turns at the device.

    On CPU, a measurement of about a second chooses precision and batch size. It compares the CPU time of all workers
    of all ranks, because other programs on the machine disturb CPU time least. The choice is kept in the cache folder
    for this kind of CPU and any number of ranks and cores. A restarted job must make the same choice, otherwise the
    features in the cache would not fit. On CUDA nothing is measured, because a device that supports bf16 is faster in
    it.

    Args:
        pretrained: the backbone.
        world: this rank among its peers.
        num_threads: cores that this rank may use.
        cache_dir: folder of the features and the choice; other runs may use it at the same time.
        settings: the hyperparameters.

    Attributes:
        choice: precision and batch size, the same on every rank.

    Raises:
        HyperparameterError, WeightsError: the backbone cannot be loaded.
        FileWriteError: the choice cannot be written.
    """

    def __init__(
        self, pretrained: Pretrained, world: World, num_threads: int, cache_dir: Path, settings: Hyperparameters
    ) -> None:
        self._spec, self._world, self._num_threads = pretrained.preprocess, world, num_threads
        self._seconds = settings.checkpoint_seconds
        self._network = cache(partial(FeatureNetwork, pretrained, world.device))
        self._device_lock = threading.Lock() if world.device.type == "cuda" else nullcontext()
        backbone = (_FORMAT, pretrained.name, pretrained.digest, asdict(pretrained.preprocess))
        self.choice = self._choose(settings.precision, cache_dir, backbone)
        self._cache = FeatureCache(cache_dir, _digest(*backbone, world.device.type, asdict(self.choice)))

    def num_cached(self, hashes: Sequence[str]) -> int:
        """Return how many of these photos have features in the cache."""
        return sum(digest in self._cache.rows for digest in hashes)

    def features(
        self, source: Source, photos: Sequence[Photo], hashes: Sequence[str], progress: WorkerProgress
    ) -> Features:
        """Return the features of photos; compute those that are not in the cache.

        Args:
            source: the dataset.
            photos: some of this rank's photos.
            hashes: the hash of each photo's bytes; empty if they cannot be read.
            progress: counts the computed photos.

        Raises:
            HyperparameterError, WeightsError: the backbone cannot be loaded.
            FileWriteError: the cache cannot be written.
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
        for target, row in zip(features, rows, strict=True):
            if row is not None:
                target.copy_(row)
        return Features(features, [row is not None for row in rows], len(missing))

    def _compute(self, source: Source, photos: Sequence[tuple[str, Photo]], progress: WorkerProgress) -> None:
        """Compute the features of (hash, photo) pairs; save them every ``checkpoint_seconds`` and before a stop."""
        size = self.choice.batch_size
        batches = [photos[first : first + size] for first in range(0, len(photos), size)]
        unsaved: dict[str, Tensor | None] = {}
        last_save = time.monotonic()
        with worker_pool(self._num_threads) as pool:
            work = partial(self._batch, self._network(self.choice.precision), source)
            try:
                for rows in map_ahead(pool, work, batches, 2 * self._num_threads):
                    unsaved |= rows
                    progress.add(len(rows))
                    if time.monotonic() - last_save >= self._seconds:
                        self._cache.add(unsaved)
                        unsaved, last_save = {}, time.monotonic()
            except StopRequestedError:
                self._cache.add(unsaved)
                raise
        self._cache.add(unsaved)

    def _batch(
        self, network: FeatureNetwork, source: Source, photos: Sequence[tuple[str, Photo]]
    ) -> dict[str, Tensor | None]:
        """Call the network once; black photos fill up the batch, so that every call has the same size."""
        side = self._spec.image_size
        images = np.zeros((self.choice.batch_size, side, side, 3), np.uint8)
        is_readable = []
        for target, (_, photo) in zip(images, photos, strict=False):
            image = self._pixels(source, photo)
            is_readable.append(image is not None)
            if image is not None:
                target[:] = image
        with self._device_lock:
            features = network(images)
        rows = zip(photos, is_readable, features, strict=False)
        return {digest: row if readable else None for (digest, _), readable, row in rows}

    def _pixels(self, source: Source, photo: Photo) -> np.ndarray | None:
        try:
            return pixels(source.read(photo), self._spec)
        except (ReadError, UnreadablePhotoError):
            return None

    def _choose(self, precision: str, cache_dir: Path, backbone: tuple[object, ...]) -> InferenceChoice:
        precisions: tuple[str, ...] = (precision,)
        if precision == "auto":  # The precisions that all ranks support.
            precisions = min(gather(self._world, supported_precisions(self._world.device)), key=len)
        if self._world.device.type == "cuda":
            return InferenceChoice(precisions[-1], _CUDA_BATCH_SIZE)
        cpu = sorted(torch.cpu.get_capabilities().items())
        file = cache_dir / f"inference-{_digest(*backbone, precision, cpu)}.json"
        saved = broadcast_from_main(self._world, _read_json(file) if self._world.is_main else None)
        if saved:
            return InferenceChoice(**saved)
        choice: InferenceChoice = broadcast_from_main(self._world, self._measure(precisions))
        if self._world.is_main:
            replace_json(file, asdict(choice))
        return choice

    def _measure(self, precisions: Sequence[str]) -> InferenceChoice:
        side = self._spec.image_size
        photos = np.random.default_rng(0).integers(0, 256, (max(_BATCH_SIZES), side, side, 3), dtype=np.uint8)

        def seconds(precision: str, batch_size: int) -> float:
            """Return the CPU time of a photo, seconds."""
            network = self._network(precision)

            def work(_: int) -> float:
                begin = time.thread_time()
                network(photos[:batch_size])
                return time.thread_time() - begin

            for _ in range(2):  # The first round also maps memory and makes oneDNN generate its kernels.
                total = sum(pool.map(work, range(self._num_threads)))
            return sum_over_ranks(self._world, total)[0] / batch_size

        small, large = _BATCH_SIZES
        with worker_pool(self._num_threads) as pool:
            times = {precision: seconds(precision, small) for precision in precisions}
            best = min(times, key=times.__getitem__)
            return InferenceChoice(best, large if times[best] > _MIN_GAIN * seconds(best, large) else small)


class FeatureCache:
    """Features by the hash of the photo's bytes, in files that are written once and named by their content.

    Args:
        folder: folder of the files; those of all hosts, runs and world sizes are read.
        key: digest of everything else that the features depend on.

    Attributes:
        rows: float16 ``[num_features]`` by hash; None if the bytes are no photo.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        self.rows: dict[str, Tensor | None] = {}
        for file in sorted(folder.glob(f"features-{key}-*.pt")):
            data = file.read_bytes()
            if file.name != self._name(data):
                print(f"{file} is damaged and is ignored; the features of its photos are computed again", flush=True)
                continue
            try:
                saved = torch.load(io.BytesIO(data), weights_only=True)
            except pickle.UnpicklingError:
                print(f"{file} holds more than tensors and could run code, so it was not loaded", flush=True)
                continue
            self.rows |= dict.fromkeys(saved["unreadable"]) | dict(zip(saved["hashes"], saved["features"], strict=True))

    def add(self, rows: Mapping[str, Tensor | None]) -> None:
        """Add features to the cache and write them to a file.

        Args:
            rows: as the attribute.

        Raises:
            FileWriteError: the file cannot be written.
        """
        if not rows:
            return
        readable = {digest: row for digest, row in rows.items() if row is not None}
        content = {
            "hashes": list(readable),
            "features": torch.stack(list(readable.values())) if readable else [],
            "unreadable": [digest for digest, row in rows.items() if row is None],
        }
        data = to_bytes(content)
        replace_file(self._folder / self._name(data), data)
        self.rows |= rows

    def _name(self, data: bytes) -> str:
        return f"features-{self._key}-{hashlib.sha256(data).hexdigest()[:16]}.pt"


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _read_json(file: Path) -> dict[str, object] | None:
    try:
        document: dict[str, object] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return document
