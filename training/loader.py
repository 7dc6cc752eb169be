"""Batches from the decoded photos: which photos a step has, how they are augmented, ready before they are asked for."""

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
from training.inference import normalized
from training.photos import Decoded
from training.preprocess import Preprocess

_AHEAD = 2  # batches that are being prepared while one is trained on


@dataclass(frozen=True)
class Batch:
    """This rank's part of a step's photos; on CPU its images are gone when the next batch is asked for.

    images: float32 ``[B, 3, side, side]``, normalized, channels last in memory, on the device.
    labels: int64 ``[B]``, on the device.
    indices: int64 ``[B]``, positions among the training photos, on the CPU.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


class TrainLoader:
    """This rank's batches of augmented photos.

    A global batch is a slice of one shuffle of all photos, of which each rank takes its even part, so that every rank
    has every step, and none sees a photo that another has seen. Order and augmentation come from the seed, the epoch
    and the position in it alone: neither the number of threads nor where an epoch was taken up changes them.

    Args:
        world: this rank among its peers.
        photos: whole ones, squashed.
        labels: int64 ``[N]``, class indices.
        spec: how the values are normalized.
        settings: the hyperparameters.
        num_threads: cores that this rank may use.

    Attributes:
        steps_per_epoch: the same on every rank.
        waited: seconds that the consumer has waited for batches, in all.

    Raises:
        HyperparameterError: a step would leave a rank without a photo.
    """

    def __init__(
        self,
        world: World,
        photos: Decoded,
        labels: Tensor,
        spec: Preprocess,
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
                f"training: {len(labels)} photos cannot be shared out to {world.world_size} processes; use fewer"
            )
        self.steps_per_epoch = min(math.ceil(len(labels) / settings.global_batch_size), len(labels) // world.world_size)
        self.waited = 0.0
        self._world, self._settings, self._spec = world, settings, spec
        self._pixels, self._sizes, self._labels = _tensor(photos.pixels).permute(0, 3, 1, 2), photos.sizes, labels
        self._on_cpu = world.device.type == "cpu"
        # One thread prepares faster than all the cores of a processor train; not so beside a GPU.
        self._num_threads = 1 if self._on_cpu else num_threads
        largest = math.ceil(math.ceil(len(labels) / self.steps_per_epoch) / world.world_size)
        rooms = _AHEAD + 1 if self._on_cpu else 0
        self._memory = [_huge_pages(largest * 3 * spec.image_size**2) for _ in range(rooms)]

    def epoch(self, epoch: int, first_step: int, side: int) -> Iterator[Batch]:
        """This rank's part of the steps of an epoch.

        Args:
            epoch: whose order and augmentation.
            first_step: where to begin; 0 is the first.
            side: of the photos, pixels; at most ``spec.image_size``.
        """
        order = _order(self._labels, self._settings, epoch)
        steps = torch.arange(len(order)).tensor_split(self.steps_per_epoch)[first_step:]
        # Of these threads only: a photo is too little work to be shared out further.
        pool = ThreadPoolExecutor(self._num_threads, "loader", torch.set_num_threads, (1,))
        pending: deque[tuple[Tensor, Tensor, list[Future[None]]]] = deque()
        try:
            for number, step in enumerate(steps):
                positions = step.tensor_split(self._world.world_size)[self._world.rank]
                indices, images = order[positions], self._room(number, len(positions), side)
                parts = (each.tensor_split(self._num_threads) for each in (images, indices, positions))
                work = [pool.submit(self._prepare, epoch, *part) for part in zip(*parts, strict=True) if len(part[0])]
                pending.append((images, indices, work))
                if len(pending) > _AHEAD:
                    yield self._finished(*pending.popleft())
            while pending:
                yield self._finished(*pending.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _room(self, number: int, count: int, side: int) -> Tensor:
        """Where a batch is put, ``[count, 3, side, side]``.

        A GPU is sent bytes, of which it makes numbers faster than a processor could.
        """
        shape = (count, side, side, 3)
        if self._on_cpu:
            room = self._memory[number % len(self._memory)][: math.prod(shape)].view(shape)
        else:
            room = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        return room.permute(0, 3, 1, 2)

    @torch.inference_mode()
    def _prepare(self, epoch: int, images: Tensor, indices: Tensor, positions: Tensor) -> None:
        """Augment some photos into their places of a batch."""
        side = images.shape[3]
        draws = augment.draws(self._settings.seed, epoch, int(positions[0]), len(positions))
        sizes = self._sizes[indices.numpy()]
        boxes = augment.on_square(augment.boxes(draws, sizes), sizes, self._pixels.shape[3])
        scale, shift = _rows(self._spec, side, images.device)
        for place, index, box, flip, drawn in zip(
            torch.split(images, 1), indices.tolist(), boxes.tolist(), augment.flips(draws).tolist(), draws, strict=True
        ):
            photo = augment.crop(self._pixels, index, box, flip, side)
            if self._settings.augment == "trivial":
                augment.trivial(photo, drawn)
            place.copy_(photo)
            if self._on_cpu:
                torch.addcmul(shift, place, scale, out=place)

    def _finished(self, images: Tensor, indices: Tensor, work: "list[Future[None]]") -> Batch:
        begin = time.monotonic()
        for each in work:
            each.result()
        self.waited += time.monotonic() - begin
        if self._on_cpu:
            return Batch(images, self._labels[indices], indices)
        device = self._world.device
        labels = self._labels[indices].pin_memory().to(device, non_blocking=True)
        scale, shift = _rows(self._spec, images.shape[3], device)
        numbers = torch.addcmul(shift, images.to(device, non_blocking=True).float(), scale)
        return Batch(numbers, labels, indices)


def valid_batches(
    world: World, photos: Decoded, labels: Tensor, spec: Preprocess, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """This rank's share of the photos, each on exactly one rank, as they are.

    Yields:
        Normalized photos ``[B, 3, S, S]`` and labels ``[B]``, on the device.
    """
    pixels, device = _tensor(photos.pixels), world.device
    mine = torch.arange(len(labels)).tensor_split(world.world_size)[world.rank]
    for part in torch.split(mine, batch_size):
        if len(part):
            rows = slice(int(part[0]), int(part[-1]) + 1)
            yield normalized(pixels[rows].to(device), spec), labels[rows].to(device)


def _order(labels: Tensor, settings: Hyperparameters, epoch: int) -> Tensor:
    """The photos of an epoch, int64 ``[N]``.

    Balanced, every class comes equally often and so does every photo of a class, within one; the epoch stays as long.
    """
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    shuffled = torch.randperm(len(labels), generator=generator)
    if settings.sampling == "natural":
        return shuffled
    counts = labels.bincount()
    by_class = torch.split(shuffled[labels[shuffled].argsort(stable=True)], counts[counts > 0].tolist())
    quotas = torch.arange(len(labels)).tensor_split(len(by_class))  # the first ones are larger by one
    mixed = torch.randperm(len(by_class), generator=generator).tolist()
    drawn = [
        by_class[label][torch.arange(len(quota)) % len(by_class[label])]
        for label, quota in zip(mixed, quotas, strict=True)
    ]
    return torch.cat(drawn)[torch.randperm(len(labels), generator=generator)]


def _tensor(array: np.ndarray) -> Tensor:
    """Without a copy. Torch, which knows no read-only tensors, warns; nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


@cache
def _rows(spec: Preprocess, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """What a row of bytes is multiplied with, and what is added then: ``[1, 3, 1, side]`` each.

    Laid out like the row, channels last, which torch walks through several times faster than three numbers.
    """
    mean, std = torch.tensor(spec.mean, device=device), torch.tensor(spec.std, device=device)
    scale, shift = (
        each.view(1, 3, 1, 1).expand(1, 3, 1, side).contiguous(memory_format=torch.channels_last)
        for each in (1 / (255 * std), -mean / std)
    )
    return scale, shift


def _huge_pages(num_floats: int) -> Tensor:
    """float32 in memory of 2 MB pages, where the system has them: with 4 KB ones a photo takes a sixth longer."""
    memory = mmap.mmap(-1, 4 * num_floats, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # not on macOS, nor with every kernel
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.float32)
