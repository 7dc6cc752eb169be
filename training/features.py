"""Backbone features of this rank's photos: computed once, kept in a file named by their content."""

import ctypes
import hashlib
import itertools
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from dataset import Photo, ReadError, Source
from training.backbones import Backbone, Pretrained, fold_norms
from training.files import replace_file, to_bytes
from training.preprocess import Preprocess, UnreadablePhotoError, pixels

_BATCH = 16  # photos; larger ones are slower on CPU: their activations leave the cache
_FORMAT = 2  # of the cache file
_S = TypeVar("_S")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Shard:
    """The readable photos of one split that belong to this rank.

    photos: in the order of ``features``.
    features: float16 ``[N, num_features]``.
    hashes: 16 hex digits of each photo's bytes, in the same order.
    unreadable: paths of photos that could not be read or decoded.
    """

    photos: tuple[Photo, ...]
    features: Tensor
    hashes: tuple[str, ...]
    unreadable: tuple[str, ...]


class FeaturePass:
    """Turns photos into features on this rank's device and cores.

    Args:
        pretrained: the backbone.
        device: what the backbone runs on.
        num_threads: cores that this rank may use.
        cache_dir: where features are kept for the next start.
        talks: whether to print progress.
    """

    def __init__(
        self, pretrained: Pretrained, device: torch.device, num_threads: int, cache_dir: Path, talks: bool
    ) -> None:
        self.precision = best_precision(device)
        self._pretrained, self._spec, self._device = pretrained, pretrained.preprocess, device
        self._num_threads, self._cache_dir, self._talks = num_threads, cache_dir, talks
        torch.set_num_threads(num_threads)

    def shard(self, source: Source, photos: Sequence[Photo]) -> Shard:
        """Features of these photos, from the cache when the same photos were seen before.

        The cache is named by the photos' bytes, the backbone, its weights and preprocessing, and the precision.

        Raises:
            HyperparameterError, WeightsError: the backbone cannot be loaded.
            StorageError: the cache cannot be written.
        """
        hashes = _hash_photos(source, photos, self._num_threads)
        file = self._cache_dir / f"features-{self._key(hashes)}.pt"
        if file.is_file():
            kept = torch.load(file, weights_only=True)
            features, readable = kept["features"], kept["readable"]
        else:
            features, readable = self._compute(source, photos)
            replace_file(file, to_bytes({"features": features, "readable": readable}))
        good = [(photo, digest) for photo, digest, fine in zip(photos, hashes, readable, strict=True) if fine]
        return Shard(
            photos=tuple(photo for photo, _ in good),
            features=features,
            hashes=tuple(digest for _, digest in good),
            unreadable=tuple(photo.path for photo, fine in zip(photos, readable, strict=True) if not fine),
        )

    def _key(self, hashes: Sequence[str]) -> str:
        backbone = (self._pretrained.name, self._pretrained.digest)
        parts = (_FORMAT, *backbone, asdict(self._spec), str(self.precision), *hashes)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    def _compute(self, source: Source, photos: Sequence[Photo]) -> tuple[Tensor, list[bool]]:
        _keep_freed_memory()
        features, readable = [], []
        progress = Progress("features", len(photos), self._talks)

        def load(photo: Photo) -> np.ndarray | None:
            try:
                return pixels(source.read(photo), self._spec)
            except (ReadError, UnreadablePhotoError):
                return None

        with ThreadPoolExecutor(self._num_threads) as pool:
            for loaded in batches(ahead(pool, load, photos, 4 * _BATCH), _BATCH):
                readable += [image is not None for image in loaded]
                images = [image for image in loaded if image is not None]
                if images:
                    features.append(self._features(np.stack(images)))
                progress.add(len(loaded))
        empty = torch.empty(0, self._backbone.num_features, dtype=torch.float16)
        return torch.cat([empty, *features]), readable

    @torch.inference_mode()
    def _features(self, images: np.ndarray) -> Tensor:
        """uint8 ``[B, H, W, 3]`` to features ``[B, num_features]``."""
        inputs = normalized(torch.from_numpy(images).to(self._device), self._spec)
        return self._backbone.features(inputs.to(self.precision)).half().cpu()

    @cached_property
    def _backbone(self) -> Backbone:
        network = fold_norms(self._pretrained.load()).to(self._device, self.precision)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class Progress:
    """``features 1234/9000 photos_per_s=210.3 eta_s=36.9`` at most once a second."""

    def __init__(self, what: str, total: int, talks: bool) -> None:
        self._what, self._total, self._talks, self._done = what, total, talks, 0
        self._start = self._last = time.monotonic()

    def add(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        now = time.monotonic()
        if self._talks and now - self._last >= 1:
            self._last = now
            rate = self._done / (now - self._start)
            eta = (self._total - self._done) / rate
            print(f"{self._what} {self._done}/{self._total} photos_per_s={rate:.1f} eta_s={eta:.1f}", flush=True)


def normalized(images: Tensor, spec: Preprocess) -> Tensor:
    """uint8 ``[B, H, W, 3]`` to float32 ``[B, 3, H, W]`` (channels last in memory) as the spec says."""
    mean, std = (torch.tensor(v, device=images.device).view(3, 1, 1) * 255 for v in (spec.mean, spec.std))
    return (images.permute(0, 3, 1, 2).float() - mean) / std


def best_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor computes in it, else float32.

    By capability, not by a stopwatch: a restarted job must choose as it did before, or its cached
    features do not fit.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else torch.float32


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batches(items: Iterator[_T], size: int) -> Iterator[list[_T]]:
    """Lists of ``size`` items, the last one shorter."""
    while batch := list(itertools.islice(items, size)):
        yield batch


def ahead(pool: ThreadPoolExecutor, work: Callable[[_S], _T], items: Iterable[_S], depth: int) -> Iterator[_T]:
    """``map`` over a pool that keeps at most ``depth`` results waiting, so that memory stays bounded."""
    waiting = iter(items)
    futures = deque(pool.submit(work, item) for item in itertools.islice(waiting, depth))
    while futures:
        yield futures.popleft().result()
        futures.extend(pool.submit(work, item) for item in itertools.islice(waiting, 1))


def _hash_photos(source: Source, photos: Sequence[Photo], num_threads: int) -> list[str]:
    """16 hex digits per photo; empty for one whose bytes cannot be read."""

    def digest(photo: Photo) -> str:
        try:
            return hashlib.sha256(source.read(photo)).hexdigest()[:16]
        except ReadError:
            return ""

    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(digest, photos))


def _keep_freed_memory() -> None:
    """Let glibc keep large freed blocks: each batch's activations would else be mapped anew, page by page.

    Worth 1.3 to 1.6 times the photos per second. Elsewhere than on glibc this does nothing.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        m_trim_threshold, m_mmap_max = -1, -4  # from glibc's malloc.h
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
