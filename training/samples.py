"""This rank's photos as samples for the head. While they come, a quick head tells now and then how good it will be."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from dataset import Photo, Source
from training.distributed import World, gathered, summed
from training.features import FeaturePass, Progress
from training.head import Samples, Start, preview
from training.hyperparameters import Hyperparameters
from training.photos import Hashed

_FIRST_PREVIEW = 1_000  # training photos, after which there is the first; the others after twice as many each
T = TypeVar("T")


@dataclass(frozen=True)
class Sampled:
    """What became of the photos of both splits.

    samples: this rank's, by split.
    unreadable: paths of the photos that could not be read or decoded, of all ranks.
    photos_per_second: of all ranks together, where they computed.
    """

    samples: dict[str, Samples]
    unreadable: list[str]
    photos_per_second: float


def head_samples(
    world: World,
    settings: Hyperparameters,
    source: Source,
    photos: Mapping[str, Hashed],
    work: FeaturePass,
    start: Start,
) -> Sampled:
    """Take the photos through the backbone, each on one rank; all ranks must call it.

    Args:
        photos: by split, ``train`` and ``valid``.
        start: of the head; what the previews start from.
    """
    begin = time.monotonic()
    mine = {
        split: (share(found.photos, world, settings.seed), share(found.hashes, world, settings.seed))
        for split, found in photos.items()
    }
    all_hashes = [digest for _, hashes in mine.values() for digest in hashes]
    num_photos, num_kept = summed(world, len(all_hashes), work.num_kept(all_hashes))
    if num_kept:
        _say(world, f"{num_kept:,.0f} of {num_photos:,.0f} photos' features were kept from before")
    progress = Progress("features", len(all_hashes), world.is_main)
    unreadable: list[str] = []
    num_computed = 0

    def samples(split: str, first: int, end: int | None) -> Samples:
        nonlocal num_computed
        some, hashes = (each[first:end] for each in mine[split])
        found = work.features(source, some, hashes, progress)
        num_computed += found.num_computed
        unreadable.extend(photo.path for photo, fine in zip(some, found.readable, strict=True) if not fine)
        readable = [photo for photo, fine in zip(some, found.readable, strict=True) if fine]
        features = found.features[torch.tensor(found.readable, dtype=torch.bool)].float()
        return Samples(features.to(world.device), labels(readable, source.listing.classes).to(world.device), readable)
    ...
