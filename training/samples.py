"""This rank's photos as samples for the head. While they come, a quick head tells now and then how good it will be."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from dataset import Photo, Source
from training.backbones import Pretrained
from training.distributed import World, gathered, num_threads, summed
from training.features import FeaturePass
from training.head import Samples, Start, preview
from training.hyperparameters import Hyperparameters
from training.photos import Hashed
from training.workers import Progress

_FIRST_PREVIEW = 1_000  # training photos
T = TypeVar("T")


@dataclass(frozen=True)
class Sampled:
    """What became of the photos.

    train, valid: this rank's samples.
    unreadable: paths of the photos that could not be read or decoded, of all ranks.
    photos_per_second: of all ranks together, where features were computed.
    """

    train: Samples
    valid: Samples
    unreadable: list[str]
    photos_per_second: float


def head_samples(
    world: World,
    settings: Hyperparameters,
    chosen: Pretrained,
    source: Source,
    photos: Mapping[str, Hashed],
    start: Start,
    cache_dir: Path,
) -> Sampled:
    """Take the photos through the backbone, each on one rank; all ranks must call it.

    The validation photos come first, and after the first thousand training photos there is a preview.

    Args:
        chosen: the backbone.
        photos: by split, ``train`` and ``valid``.
        start: what the head starts from.
        cache_dir: where features are kept.
    """
    threads = num_threads(world)
    work = FeaturePass(chosen, world, threads, cache_dir, settings)
    _say(
        world,
        f"{sum(len(found.photos) for found in photos.values()):,} photos of {len(source.listing.classes)} classes over "
        f"{world.world_size} ranks, {chosen.name} in {work.choice.precision} with {threads} threads per rank",
    )
    begin = time.monotonic()
    mine = {
        split: share(list(zip(found.photos, found.hashes, strict=True)), world, settings.seed)
        for split, found in photos.items()
    }
    hashes = [digest for part in mine.values() for _, digest in part]
    num_photos, num_kept = summed(world, len(hashes), work.num_kept(hashes))
    if num_kept:
        _say(world, f"{num_kept:,.0f} of {num_photos:,.0f} photos' features were kept from before")
    progress = Progress("features", len(hashes), world.is_main)
    unreadable: list[str] = []
    computed: list[int] = []

    def samples(part: Sequence[tuple[Photo, str]]) -> Samples:
        found = work.features(source, [photo for photo, _ in part], [digest for _, digest in part], progress)
        computed.append(found.num_computed)
        unreadable.extend(photo.path for (photo, _), fine in zip(part, found.readable, strict=True) if not fine)
        readable = [photo for (photo, _), fine in zip(part, found.readable, strict=True) if fine]
        features = found.features[torch.tensor(found.readable, dtype=torch.bool)].float()
        return Samples(features.to(world.device), labels(readable, source.listing.classes).to(world.device), readable)

    valid = samples(mine["valid"])
    num_train = len(photos["train"].photos)
    (num_valid,) = summed(world, len(valid.labels))
    counts = [] if num_kept or not num_valid else previewed(num_train)
    ends = [len(mine["train"]) * count // num_train for count in counts]
    train: list[Samples] = []
    for count, first, end in zip([*counts, num_train], [0, *ends], [*ends, None], strict=True):
        train.append(samples(mine["train"][first:end]))
        if count < num_train:
            top1 = preview(world, settings, start, _together(train), valid)
            _say(world, f"after {count:,} of {num_train:,} training photos valid_top1={top1:.4f}")
    everywhere = gathered(world, (unreadable, sum(computed)))  # so until the slowest rank is done
    seconds = time.monotonic() - begin
    num_computed = sum(count for _, count in everywhere)
    _say(world, f"features of {num_computed:,} photos in {seconds:.1f} s, photos_per_s={num_computed / seconds:.1f}")
    paths = [path for part, _ in everywhere for path in part]
    return Sampled(_together(train), valid, paths, num_computed / seconds)


def share(items: Sequence[T], world: World, seed: int) -> list[T]:
    """This rank's items: every ``world_size``-th of a seeded shuffle; each falls to one rank."""
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist()
    return [items[index] for index in order[world.rank :: world.world_size]]


def labels(photos: Sequence[Photo], classes: Sequence[str]) -> Tensor:
    """Class indices, int64 ``[N]``."""
    index = {label: number for number, label in enumerate(classes)}
    return torch.tensor([index[photo.label] for photo in photos], dtype=torch.int64)


def previewed(num_train: int) -> list[int]:
    """After how many training photos there is a preview: 1,000, 2,000, 4,000 and so on."""
    return [count for count in (_FIRST_PREVIEW << doubled for doubled in range(32)) if count < num_train]


def _together(parts: Sequence[Samples]) -> Samples:
    features, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("features", "labels"))
    return Samples(features, labels, [photo for part in parts for photo in part.photos])


def _say(world: World, line: str) -> None:
    if world.is_main:
        print(line, flush=True)
