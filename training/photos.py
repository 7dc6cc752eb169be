"""The photos of a split: hashed over all ranks, and decoded once per host into a file that its ranks map."""

import hashlib
import mmap
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import torch
from PIL import Image

from dataset import DatasetError, Photo, ReadError, Source
from training.augment import crop
from training.distributed import World, gathered
from training.files import StorageError
from training.preprocess import Preprocess, UnreadablePhotoError, decode, resize
from training.workers import Progress, workers

_CHUNK = 16  # photos
_SIZE_BYTES = 8  # width and height of a photo
_T = TypeVar("_T")


@dataclass(frozen=True)
class Hashed:
    """The photos of one split, the same on every rank.

    photos: in the listing's order.
    hashes: 16 hex digits of each photo's bytes; empty where they cannot be read.
    """

    photos: tuple[Photo, ...]
    hashes: tuple[str, ...]


@dataclass(frozen=True)
class Decoded:
    """Photos as they lie in a host's memory.

    pixels: uint8 RGB ``[N, S, S, 3]``, read-only.
    sizes: int32 ``[N, 2]``, width and height of each upright photo before it became square.
    """

    pixels: np.ndarray
    sizes: np.ndarray


def hashed(world: World, source: Source, split: str, num_threads: int) -> Hashed:
    """Hash a split's photos, each on one rank."""
    photos = source.listing.of(split)

    def digests(chunk: Sequence[Photo]) -> list[str]:
        return [_digest(source, photo) for photo in chunk]

    own: list[str] = []
    mine = photos[world.rank :: world.world_size]
    progress = Progress(f"hashed {split}", len(mine), world.is_main)
    with ThreadPoolExecutor(num_threads) as pool:
        for part in pool.map(digests, _chunks(mine)):
            own += part
            progress.add(len(part))
    hashes = [""] * len(photos)
    for rank, part in enumerate(gathered(world, own)):
        hashes[rank :: world.world_size] = part
    return Hashed(photos, tuple(hashes))


def decoded(
    world: World,
    source: Source,
    photos: Sequence[Photo],
    spec: Preprocess,
    whole: bool,
    scratch: Path,
    num_threads: int,
) -> Decoded:
    """Decode photos into one file per host, each on one of its ranks; all of them map it, and it has no name.

    Args:
        photos: readable ones, the same on every rank.
        whole: keep all of each photo, squashed to a square of side ``spec.resize_to`` to cut random crops from;
            else exactly what ``preprocess.pixels`` gives.
        scratch: folder of this host for the file.
        num_threads: of this rank.

    Raises:
        DatasetError: a photo cannot be read.
        StorageError: the folder has no room.
    """
    side = spec.resize_to if whole else spec.image_size
    sizes_bytes, photo_bytes = len(photos) * _SIZE_BYTES, side * side * 3  # all sizes, then all photos
    length = sizes_bytes + len(photos) * photo_bytes
    try:
        with _shared_file(world, scratch) as file:
            if world.local_rank == 0 and hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(file.fileno(), 0, length)  # a full disk is found out now, not at the last photo
            mine = range(world.local_rank, len(photos), world.local_world_size)
            progress = Progress("decoded", len(mine), world.is_main)

            def put(chunk: Sequence[int]) -> int:
                for index in chunk:
                    image = _decoded(source, photos[index], spec)
                    square = _squashed(image, side) if whole else np.asarray(resize(image, spec))
                    # Not through mapped memory: that takes four times as long, a page fault for every 4 KB.
                    os.pwrite(file.fileno(), np.array(image.size, np.int32).data, index * _SIZE_BYTES)
                    os.pwrite(file.fileno(), square.data, sizes_bytes + index * photo_bytes)
                return len(chunk)

            with workers(num_threads) as pool:
                for count in pool.map(put, _chunks(mine)):
                    progress.add(count)
            gathered(world, None)  # until every rank has decoded its share
            memory = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ)
    except OSError as error:
        raise StorageError(
            f"storage: cannot keep the decoded photos in {scratch} ({error.strerror}); "
            f"it must be writable and have {length / 1e9:.2f} GB free"
        ) from error
    sizes = np.frombuffer(memory, np.int32, 2 * len(photos)).reshape(-1, 2)
    return Decoded(np.frombuffer(memory, np.uint8, offset=sizes_bytes).reshape(-1, side, side, 3), sizes)


def _chunks(items: Sequence[_T]) -> list[Sequence[_T]]:
    """What a thread does at once: to hand over single photos would take as long as to hash them."""
    return [items[begin : begin + _CHUNK] for begin in range(0, len(items), _CHUNK)]


def _digest(source: Source, photo: Photo) -> str:
    try:
        return hashlib.sha256(source.read(photo)).hexdigest()[:16]
    except ReadError:
        return ""


def _decoded(source: Source, photo: Photo, spec: Preprocess) -> Image.Image:
    try:
        return decode(source.read(photo), spec)
    except (ReadError, UnreadablePhotoError) as error:
        raise DatasetError(
            f"dataset: photo {photo.path} could be read before and cannot now ({error}); "
            "leave the data as it is while it is trained on"
        ) from error


def _squashed(image: Image.Image, side: int) -> np.ndarray:
    """As ``Image.resize`` does it, within a rounding, in a quarter of the time."""
    photo = torch.from_numpy(np.array(image)).unsqueeze(0).permute(0, 3, 1, 2)
    return crop(photo, 0, (0, 0, *image.size), False, side).permute(0, 2, 3, 1).numpy()


def _shared_file(world: World, scratch: Path) -> BinaryIO:
    """A file that the ranks of this host have open, without a name: however they end, it ends with them."""
    with ExitStack() as stack:
        name = None
        if world.local_rank == 0:
            scratch.mkdir(parents=True, exist_ok=True)
            name = stack.enter_context(tempfile.NamedTemporaryFile(prefix="photos-", dir=scratch)).name
        file = open(gathered(world, name)[world.rank - world.local_rank], "r+b")  # noqa: SIM115  # the caller closes it
        gathered(world, None)  # until every rank has opened it
    return file
