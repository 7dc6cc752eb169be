"""Tests of the batches, which must depend only on the seed, the epoch and the position in the epoch."""

import ctypes
import mmap
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from training.distributed import World
from training.hyperparameters import HyperparameterError, Hyperparameters
from training.loader import Batch, TrainLoader, _huge_pages, valid_batches
from training.memory import keep_freed_memory
from training.photos import DecodedPhotos
from training.preprocess import TrainingPreprocess

NUM_PHOTOS, SIDE = 23, 32
SPEC = TrainingPreprocess(image_size=SIDE, resize_to=SIDE)
SETTINGS = Hyperparameters(global_batch_size=5, augment="crop", seed=3)
LABELS = torch.arange(NUM_PHOTOS) % 3


def world(rank: int = 0, world_size: int = 1) -> World:
    return World(rank, world_size, 0, 1, torch.device("cpu"), "gloo", "here")


def photos(count: int = NUM_PHOTOS) -> DecodedPhotos:
    random = np.random.default_rng(0)
    sizes = random.integers(200, 400, (count, 2), dtype=np.int32)
    return DecodedPhotos(random.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8), sizes)


def plain(value: int, count: int = NUM_PHOTOS) -> DecodedPhotos:
    return DecodedPhotos(np.full((count, SIDE, SIDE, 3), value, np.uint8), np.full((count, 2), SIDE, np.int32))


def loader(
    settings: Hyperparameters = SETTINGS, rank: int = 0, world_size: int = 1, num_threads: int = 1
) -> TrainLoader:
    return TrainLoader(world(rank, world_size), photos(), LABELS, SPEC, settings, num_threads)


def collect(batches: Iterator[Batch]) -> list[Batch]:
    """Return all batches with copies of their images, because the next batch overwrites them."""
    return [replace(batch, images=batch.images.clone()) for batch in batches]


def steps_of(settings: Hyperparameters, world_size: int, epoch: int = 1) -> list[list[Batch]]:
    """Return the ranks' parts of each step."""
    ranks = [collect(loader(settings, rank, world_size).epoch(epoch, 0, SIDE)) for rank in range(world_size)]
    return [list(parts) for parts in zip(*ranks, strict=True)]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_an_epoch_has_every_photo_once_in_even_parts(world_size: int) -> None:
    steps = steps_of(SETTINGS, world_size)
    assert len(steps) == loader(world_size=world_size).steps_per_epoch == 5  # 23 / 5, rounded up
    assert sorted(len(torch.cat([part.indices for part in step])) for step in steps) == [4, 4, 5, 5, 5]
    for step in steps:
        counts = [len(part.indices) for part in step]
        assert max(counts) - min(counts) <= 1
    indices = torch.cat([part.indices for step in steps for part in step])
    assert indices.sort().values.tolist() == list(range(NUM_PHOTOS))


@pytest.mark.parametrize("augment", ["crop", "trivial"])
def test_world_size_changes_neither_a_steps_photos_nor_their_augmentation(augment: str) -> None:
    settings = replace(SETTINGS, augment=augment)
    for (alone,), parts in zip(steps_of(settings, 1), steps_of(settings, 3), strict=True):
        assert torch.equal(torch.cat([part.indices for part in parts]), alone.indices)
        assert torch.equal(torch.cat([part.images for part in parts]), alone.images)


def test_an_epoch_resumed_in_the_middle_is_the_same_epoch() -> None:
    settings = replace(SETTINGS, augment="trivial")
    whole, rest = collect(loader(settings).epoch(2, 0, SIDE)), collect(loader(settings).epoch(2, 3, SIDE))
    assert len(rest) == 2
    for batch, expected in zip(rest, whole[3:], strict=True):
        assert torch.equal(batch.indices, expected.indices)
        assert torch.equal(batch.images, expected.images)
    assert not collect(loader().epoch(2, 5, SIDE))


@pytest.mark.parametrize(("epoch", "seed"), [(2, 3), (1, 4)])
def test_epochs_and_seeds_differ_in_order_and_augmentation(epoch: int, seed: int) -> None:
    def images(seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        batches = collect(loader(replace(SETTINGS, seed=seed)).epoch(epoch, 0, SIDE))
        indices = torch.cat([batch.indices for batch in batches])
        return indices, torch.cat([batch.images for batch in batches])[indices.argsort()]

    (indices, by_photo), (other_indices, other_by_photo) = images(3, 1), images(seed, epoch)
    assert not torch.equal(indices, other_indices)
    assert not (by_photo == other_by_photo).all(3).all(2).all(1).any()


def test_images_are_normalized_by_channel_and_laid_out_channels_last() -> None:
    spec = replace(SPEC, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 0.2))
    train = TrainLoader(world(), plain(51), LABELS, spec, SETTINGS, num_threads=1)
    for batch in train.epoch(1, 0, 24):
        assert batch.images.shape[1:] == (3, 24, 24)
        assert batch.images.dtype == torch.float32
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        # A pixel of 51 has the value 51 / 255 = 0.2.
        expected = torch.tensor([-0.6, -0.2, 1.0]).view(3, 1, 1).expand_as(batch.images)
        torch.testing.assert_close(batch.images, expected)
        assert torch.equal(batch.labels, LABELS[batch.indices])


def test_trivial_changes_most_photos_and_crop_alone_none() -> None:
    def unchanged(augment: str) -> int:
        train = TrainLoader(world(), plain(100), LABELS, SPEC, replace(SETTINGS, augment=augment), num_threads=1)
        grey = (100 / 255 - 0.5) / 0.5
        return sum(
            int(((batch.images - grey).abs() < 1e-5).flatten(1).all(1).sum()) for batch in train.epoch(1, 0, SIDE)
        )

    assert unchanged("crop") == NUM_PHOTOS
    assert unchanged("trivial") < NUM_PHOTOS


@pytest.mark.parametrize(
    ("num_photos", "global_batch_size", "world_size", "expected"),
    [(10, 4, 1, 3), (10, 5, 2, 2), (10, 100, 2, 1), (20, 8, 8, 2), (8, 8, 8, 1)],
)
def test_steps_leave_every_rank_a_photo(
    num_photos: int, global_batch_size: int, world_size: int, expected: int
) -> None:
    settings = replace(SETTINGS, global_batch_size=global_batch_size)
    labels = torch.zeros(num_photos, dtype=torch.int64)
    train = TrainLoader(world(0, world_size), photos(num_photos), labels, SPEC, settings, num_threads=1)
    assert train.steps_per_epoch == expected


def test_steps_that_leave_a_rank_without_a_photo_are_refused_with_a_sentence() -> None:
    with pytest.raises(HyperparameterError, match=r"global_batch_size is 5; .* number of processes, 6"):
        loader(world_size=6)
    with pytest.raises(HyperparameterError, match="23 photos cannot be divided among 24 processes"):
        loader(replace(SETTINGS, global_batch_size=100), world_size=24)


def test_balanced_sampling_draws_classes_and_their_photos_equally() -> None:
    labels = torch.tensor([0] * 15 + [1] * 6 + [2] * 2)  # 23 photos, so each class gets 7 or 8.
    settings = replace(SETTINGS, sampling="balanced")
    orders = []
    for epoch in (1, 2, 1):
        train = TrainLoader(world(), photos(), labels, SPEC, settings, num_threads=1)
        orders.append(torch.cat([batch.indices for batch in train.epoch(epoch, 0, SIDE)]))
        assert sorted(Counter(labels[orders[-1]].tolist()).values()) == [7, 8, 8]
        counts = orders[-1].bincount(minlength=NUM_PHOTOS)
        for label in range(3):
            of_class = counts[labels == label]
            assert of_class.max() - of_class.min() <= 1
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])


def loader_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_an_error_while_preparing_reaches_the_consumer() -> None:
    broken = photos()
    train = TrainLoader(
        world(), DecodedPhotos(broken.pixels, broken.sizes[:-1]), LABELS, SPEC, SETTINGS, num_threads=1
    )  # one size is missing
    with pytest.raises(IndexError):
        collect(train.epoch(1, 0, SIDE))
    assert not loader_threads()


def test_an_epoch_that_is_abandoned_leaves_no_thread() -> None:
    batches = loader().epoch(1, 0, SIDE)
    next(batches)
    assert loader_threads()
    batches.close()  # type: ignore[attr-defined]
    assert not loader_threads()


def test_waiting_is_counted_and_the_callers_threads_are_left_alone() -> None:
    torch.set_num_threads(2)
    train = loader()
    assert train.waited == 0
    collect(train.epoch(1, 0, SIDE))
    assert train.waited > 0
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("world_size", [1, 2, 24])
def test_validation_has_every_photo_on_one_rank_as_it_is(world_size: int) -> None:
    decoded = photos()
    ranks = [list(valid_batches(world(rank, world_size), decoded, LABELS, SPEC, 4)) for rank in range(world_size)]
    batches = [batch for rank in ranks for batch in rank]
    assert max(len(labels) for _, labels in batches) <= 4
    assert torch.equal(torch.cat([labels for _, labels in batches]), LABELS)
    images = torch.cat([images for images, _ in batches]).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(images, decoded.pixels / 127.5 - 1, atol=1e-6)


def test_memory_is_taken_as_macos_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no huge pages on request, and no glibc to tune."""
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    assert _huge_pages(1000).fill_(1).sum() == 1000
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(ctypes, "CDLL")
    keep_freed_memory()
