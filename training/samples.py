"""Turn this rank's photos into samples for the head, and preview the head's accuracy while they are computed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from dataset import Photo, ReadError, Source
from dataset.faults import UNREADABLE, Unreadable
from dataset.other_formats import why_unusable
from training.backbones import Pretrained
from training.distributed import World, gather, sum_over_ranks
from training.features import FeaturePass
from training.head import HeadStart, Samples, preview
from training.hyperparameters import Hyperparameters
from training.photos import HashedPhotos
from training.workers import WorkerProgress

_FIRST_PREVIEW = 1_000  # training photos before the first preview
_T = TypeVar("_T")


@dataclass(frozen=True)
class HeadSamples:
    """The samples of this rank, and what all ranks learned about the photos.

    train, valid: this rank's samples.
    unreadable: the photos that could not be read or decoded, of all ranks.
    photos_per_second: rate at which all ranks together computed features; 0 if all came from the cache.
    """

    train: Samples
    valid: Samples
    unreadable: list[Unreadable]
    photos_per_second: float


def head_samples(
    world: World,
    settings: Hyperparameters,
    pretrained: Pretrained,
    source: Source,
    photos: Mapping[str, HashedPhotos],
    start: HeadStart,
    cache_dir: Path,
    threads: int,
) -> HeadSamples:
    """Compute the photos' features, each photo on one rank; all ranks must call it.

    The validation photos come first. After 1,000 training photos, and after each doubling, a preview is printed.

    Args:
        world: this rank among its peers.
        settings: the hyperparameters.
        pretrained: the backbone.
        source: the dataset.
        photos: the hashed photos by split, ``train`` and ``valid``.
        start: the head's start.
        cache_dir: folder of the feature cache.
        threads: cores of this rank.
    """
    feature_pass = FeaturePass(pretrained, world, threads, cache_dir, settings)
    world.print_once(
        f"{sum(len(hashed.photos) for hashed in photos.values()):,} photos of {len(source.listing.classes)} classes "
        f"over {world.world_size} ranks, {pretrained.name} in {feature_pass.choice.precision}"
    )
    begin = time.monotonic()
    own = {
        split: shard(list(zip(hashed.photos, hashed.hashes, strict=True)), world, settings.seed)
        for split, hashed in photos.items()
    }
    hashes = [digest for part in own.values() for _, digest in part]
    num_photos, num_cached = sum_over_ranks(world, len(hashes), feature_pass.num_cached(hashes))
    if num_cached:
        world.print_once(f"{num_cached:,.0f} of {num_photos:,.0f} photos' features come from the cache")
    progress = WorkerProgress("features", len(hashes), world.is_main)
    unreadable: list[Unreadable] = []
    computed: list[int] = []

    def samples(part: Sequence[tuple[Photo, str]]) -> Samples:
        result = feature_pass.features(source, [photo for photo, _ in part], [digest for _, digest in part], progress)
        computed.append(result.num_computed)
        readable: list[Photo] = []
        for (photo, _), is_readable in zip(part, result.readable, strict=True):
            if is_readable:
                readable.append(photo)
            else:
                unreadable.append(Unreadable(photo.path, _reason(source, photo)))
        features = result.features[torch.tensor(result.readable, dtype=torch.bool)].float()
        labels = class_indices(readable, source.listing.classes)
        return Samples(features.to(world.device), labels.to(world.device), readable)

    valid = samples(own["valid"])
    num_train = len(photos["train"].photos)
    (num_valid,) = sum_over_ranks(world, len(valid.labels))
    counts = [] if num_cached or not num_valid else preview_counts(num_train)
    ends = [len(own["train"]) * count // num_train for count in counts]
    train: list[Samples] = []
    for count, first, end in zip([*counts, num_train], [0, *ends], [*ends, None], strict=True):
        train.append(samples(own["train"][first:end]))
        if count < num_train:
            top1 = preview(world, settings, start, _concatenate(train), valid)
            world.print_once(f"after {count:,} of {num_train:,} training photos valid_top1={top1:.4f}")
    # Waits for the slowest rank, so the time below covers all ranks.
    of_all_ranks = gather(world, (unreadable, sum(computed)))
    seconds = time.monotonic() - begin
    num_computed = sum(count for _, count in of_all_ranks)
    world.print_once(
        f"features of {num_computed:,} photos in {seconds:.1f} s, photos_per_s={num_computed / seconds:.1f}"
    )
    of_all = [photo for part, _ in of_all_ranks for photo in part]
    return HeadSamples(_concatenate(train), valid, of_all, num_computed / seconds)


def shard(items: Sequence[_T], world: World, seed: int) -> list[_T]:
    """Return this rank's items, every ``world_size``-th of a seeded shuffle; each item belongs to exactly one rank."""
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist()
    return [items[index] for index in order[world.rank :: world.world_size]]


def class_indices(photos: Sequence[Photo], classes: Sequence[str]) -> Tensor:
    """Return the class index of each photo, int64 ``[N]``."""
    index = {label: number for number, label in enumerate(classes)}
    return torch.tensor([index[photo.label] for photo in photos], dtype=torch.int64)


def preview_counts(num_train: int) -> list[int]:
    """Return the numbers of training photos after which there is a preview: 1,000, 2,000, 4,000 and so on."""
    return [count for count in (_FIRST_PREVIEW << doublings for doublings in range(32)) if count < num_train]


def _reason(source: Source, photo: Photo) -> str:
    """Return why a photo could not be used; the feature cache knows only that it could not."""
    try:
        return why_unusable(source.read(photo))
    except ReadError:
        return UNREADABLE


def _concatenate(parts: Sequence[Samples]) -> Samples:
    features, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("features", "labels"))
    return Samples(features, labels, [photo for part in parts for photo in part.photos])
