"""Batches of decoded photos: choose the photos of each step, and augment them before the training needs them.

See "The loader: 165 µs a photo, and what was dropped" in docs/decisions/training.md.
"""

import math
import mmap
import time
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from training import augment
from training.distributed import World
from training.hyperparameters import HyperparameterError, Hyperparameters
from training.inference import normalize
from training.photos import DecodedPhotos
from training.preprocess import TrainingPreprocess

_AHEAD = 2  # batches in preparation while the training uses another


@dataclass(frozen=True)
class Batch:
    """This rank's part of a step's photos; on CPU the next batch overwrites its images.

    images: float32 ``[B, 3, side, side]``, normalized, channels last in memory, on the device.
    labels: int64 ``[B]``, on the device.
    indices: int64 ``[B]``, positions among the training photos, on the CPU.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


class TrainLoader:
    """This rank's batches of augmented photos.

    All ranks shuffle all photos in the same way. A global batch is a slice of that shuffle, and each rank takes an
    equal part of it. So every rank takes part in every step, and no photo is used by two ranks. Order and augmentation
    depend only on the seed, the epoch and the position in the epoch. Neither the number of threads nor a resumed epoch
    changes them.

    Args:
        world: this rank among its peers.
        photos: all training photos, whole and squashed.
        labels: int64 ``[N]``, class indices.
        spec: how the values are normalized.
        settings: the hyperparameters.
        num_threads: cores that this rank may use.

    Attributes:
        steps_per_epoch: the same on every rank.
        waited: total seconds that the consumer has waited for batches.

    Raises:
        HyperparameterError: a step would have fewer photos than ranks.
    """

    def __init__(
        self,
        world: World,
        photos: DecodedPhotos,
        labels: Tensor,
        spec: TrainingPreprocess,
        settings: Hyperparameters,
        num_threads: int,
    ) -> None:
        if settings.global_batch_size < world.world_size:
            raise HyperparameterError(
                f"training: global_batch_size is {settings.global_batch_size}; it must be at least the number of "
                f"processes, {world.world_size}, so that each has a photo in every step"
            )
        if len(labels) < world.world_size:
            raise HyperparameterError(
                f"training: {len(labels)} photos cannot be divided among {world.world_size} processes; use fewer"
            )
        self.steps_per_epoch = min(math.ceil(len(labels) / settings.global_batch_size), len(labels) // world.world_size)
        self.waited = 0.0
        self._world, self._settings, self._spec = world, settings, spec
        self._pixels, self._sizes, self._labels = _tensor(photos.pixels).permute(0, 3, 1, 2), photos.sizes, labels
        self._on_cpu = world.device.type == "cpu"
        # A single thread prepares batches faster than all cores of a CPU can train on them. A GPU trains faster.
        self._num_threads = 1 if self._on_cpu else num_threads
        largest = math.ceil(math.ceil(len(labels) / self.steps_per_epoch) / world.world_size)
        num_buffers = _AHEAD + 1 if self._on_cpu else 0
        self._buffers = [_huge_pages(largest * 3 * spec.image_size**2) for _ in range(num_buffers)]

    def epoch(self, epoch: int, first_step: int, side: int) -> Iterator[Batch]:
        """Yield this rank's part of each step of an epoch.

        Args:
            epoch: the epoch, which decides order and augmentation.
            first_step: the step to begin with, from 0.
            side: side of the photos, pixels; at most ``spec.image_size``.
        """
        order = _order(self._labels, self._settings, epoch)
        steps = torch.arange(len(order)).tensor_split(self.steps_per_epoch)[first_step:]
        # Inside these threads torch uses one core, because a photo is too little work for more.
        pool = ThreadPoolExecutor(self._num_threads, "loader", torch.set_num_threads, (1,))
        pending: deque[tuple[Tensor, Tensor, list[Future[None]]]] = deque()
        try:
            for number, step in enumerate(steps):
                positions = step.tensor_split(self._world.world_size)[self._world.rank]
                indices, images = order[positions], self._batch_memory(number, len(positions), side)
                parts = (each.tensor_split(self._num_threads) for each in (images, indices, positions))
                work = [pool.submit(self._prepare, epoch, *part) for part in zip(*parts, strict=True) if len(part[0])]
                pending.append((images, indices, work))
                if len(pending) > _AHEAD:
                    yield self._finish(*pending.popleft())
            while pending:
                yield self._finish(*pending.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _batch_memory(self, number: int, count: int, side: int) -> Tensor:
        """Return memory for a batch, ``[count, 3, side, side]``.

        It is uint8 for a GPU, which converts and normalizes bytes faster than a CPU, otherwise float32.
        """
        shape = (count, side, side, 3)
        if self._on_cpu:
            memory = self._buffers[number % len(self._buffers)][: math.prod(shape)].view(shape)
        else:
            memory = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        return memory.permute(0, 3, 1, 2)

    @torch.inference_mode()
    def _prepare(self, epoch: int, images: Tensor, indices: Tensor, positions: Tensor) -> None:
        """Augment photos and write them into ``images``, a part of a batch."""
        side = images.shape[3]
        draws = augment.draws(self._settings.seed, epoch, int(positions[0]), len(positions))
        sizes = self._sizes[indices.numpy()]
        boxes = augment.scale_boxes(augment.boxes(draws, sizes), sizes, self._pixels.shape[3])
        scale, shift = _rows(self._spec, side, images.device)
        for target, index, box, flip, photo_draws in zip(
            torch.split(images, 1), indices.tolist(), boxes.tolist(), augment.flips(draws).tolist(), draws, strict=True
        ):
            photo = augment.crop(self._pixels, index, box, flip, side)
            if self._settings.augment == "trivial":
                augment.trivial_augment(photo, photo_draws)
            target.copy_(photo)
            if self._on_cpu:
                torch.addcmul(shift, target, scale, out=target)

    def _finish(self, images: Tensor, indices: Tensor, work: "list[Future[None]]") -> Batch:
        begin = time.monotonic()
        for each in work:
            each.result()
        self.waited += time.monotonic() - begin
        if self._on_cpu:
            return Batch(images, self._labels[indices], indices)
        device = self._world.device
        labels = self._labels[indices].pin_memory().to(device, non_blocking=True)
        scale, shift = _rows(self._spec, images.shape[3], device)
        normalized = torch.addcmul(shift, images.to(device, non_blocking=True).float(), scale)
        return Batch(normalized, labels, indices)


def valid_batches(
    world: World, photos: DecodedPhotos, labels: Tensor, spec: TrainingPreprocess, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of this rank's share of the photos, without augmentation; each photo is on exactly one rank.

    Args:
        world: this rank among its peers.
        photos: all validation photos.
        labels: int64 ``[N]``, class indices.
        spec: how the values are normalized.
        batch_size: photos per batch.

    Yields:
        Normalized photos ``[B, 3, S, S]`` and labels ``[B]``, on the device.
    """
    pixels, device = _tensor(photos.pixels), world.device
    own_indices = torch.arange(len(labels)).tensor_split(world.world_size)[world.rank]
    for part in torch.split(own_indices, batch_size):
        if len(part):
            rows = slice(int(part[0]), int(part[-1]) + 1)
            yield normalize(pixels[rows].to(device), spec), labels[rows].to(device)


def _order(labels: Tensor, settings: Hyperparameters, epoch: int) -> Tensor:
    """Return the order of the photos in an epoch, int64 ``[N]``.

    With balanced sampling every class occurs equally often, and so does every photo of a class, to within one. The
    epoch has the same length.
    """
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    shuffled = torch.randperm(len(labels), generator=generator)
    if settings.sampling == "natural":
        return shuffled
    counts = labels.bincount()
    by_class = torch.split(shuffled[labels[shuffled].argsort(stable=True)], counts[counts > 0].tolist())
    # The first quotas are larger by one, so the classes take them in random order.
    quotas = torch.arange(len(labels)).tensor_split(len(by_class))
    class_order = torch.randperm(len(by_class), generator=generator).tolist()
    selected = [
        by_class[label][torch.arange(len(quota)) % len(by_class[label])]
        for label, quota in zip(class_order, quotas, strict=True)
    ]
    return torch.cat(selected)[torch.randperm(len(labels), generator=generator)]


def _tensor(array: np.ndarray) -> Tensor:
    """Return a tensor on the array's memory.

    Torch has no read-only tensors and warns about a read-only array; nothing here writes to it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


@cache
def _rows(spec: TrainingPreprocess, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the factor and the summand that normalize a row of bytes, ``[1, 3, 1, side]`` each.

    They have the row's layout, channels last, because torch combines equal layouts several times faster than it
    broadcasts three numbers.
    """
    mean, std = torch.tensor(spec.mean, device=device), torch.tensor(spec.std, device=device)
    scale, shift = (
        each.view(1, 3, 1, 1).expand(1, 3, 1, side).contiguous(memory_format=torch.channels_last)
        for each in (1 / (255 * std), -mean / std)
    )
    return scale, shift


def _huge_pages(num_floats: int) -> Tensor:
    """Return uninitialized float32 memory, in pages of 2 MB if possible; with 4 KB a photo takes a sixth longer."""
    memory = mmap.mmap(-1, 4 * num_floats, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # macOS and some Linux kernels do not support it.
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.float32)
