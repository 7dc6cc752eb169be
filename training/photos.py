"""Hash the photos of a split over all ranks, and decode them once per host into a file that its ranks map."""

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
from training.distributed import World, gather
from training.files import FileWriteError
from training.preprocess import TrainingPreprocess, UnreadablePhotoError, decode, resize
from training.workers import WorkerProgress, map_ahead, worker_pool

# Photos per task of a thread. A task for a single photo would cost as much as hashing the photo.
_CHUNK = 16
_SIZE_BYTES = 8  # bytes of a photo's width and height
_T = TypeVar("_T")


@dataclass(frozen=True)
class HashedPhotos:
    """The photos of one split, the same on every rank.

    photos: the photos in the listing's order.
    sha256: the SHA-256 of each photo's bytes in hex; empty if they cannot be read.
    """

    photos: tuple[Photo, ...]
    sha256: tuple[str, ...]

    @property
    def hashes(self) -> tuple[str, ...]:
        """The first 16 hex digits of each, by which photos are found again."""
        return tuple(digest[:16] for digest in self.sha256)

    def manifest(self) -> dict[str, str]:
        """Return the SHA-256 of each readable photo by its path."""
        return {photo.path: digest for photo, digest in zip(self.photos, self.sha256, strict=True) if digest}


@dataclass(frozen=True)
class DecodedPhotos:
    """Decoded photos in a host's memory.

    pixels: uint8 RGB ``[N, S, S, 3]``, read-only.
    sizes: int32 ``[N, 2]``, width and height of each upright photo before it became square.
    """

    pixels: np.ndarray
    sizes: np.ndarray


def hash_photos(world: World, source: Source, split: str, num_threads: int) -> HashedPhotos:
    """Hash a split's photos, each on one rank; all ranks must call it."""
    photos = source.listing.of(split)

    def digests(chunk: Sequence[Photo]) -> list[str]:
        return [_digest(source, photo) for photo in chunk]

    own_hashes: list[str] = []
    own_photos = photos[world.rank :: world.world_size]
    progress = WorkerProgress(f"hashed {split}", len(own_photos), world.is_main)
    with ThreadPoolExecutor(num_threads) as pool:
        for part in map_ahead(pool, digests, _chunks(own_photos), 2 * num_threads):
            own_hashes += part
            progress.add(len(part))
    hashes = [""] * len(photos)
    for rank, part in enumerate(gather(world, own_hashes)):
        hashes[rank :: world.world_size] = part
    return HashedPhotos(photos, tuple(hashes))


def decode_photos(
    world: World,
    source: Source,
    photos: Sequence[Photo],
    spec: TrainingPreprocess,
    whole: bool,
    scratch: Path,
    num_threads: int,
) -> DecodedPhotos:
    """Decode photos into one unnamed file per host, which all its ranks map; each photo is decoded by one of them.

    Args:
        world: this rank among its peers; all ranks must call this.
        source: the dataset.
        photos: readable photos, the same on every rank.
        spec: how a photo becomes the network's input.
        whole: True keeps the whole photo, squashed to a square of side ``spec.resize_to``, from which random crops are
            cut. False keeps exactly the result of ``preprocess.pixels``.
        scratch: folder of this host for the file.
        num_threads: threads of this rank.

    Raises:
        DatasetError: a photo cannot be read.
        FileWriteError: the folder cannot be written or is full.
    """
    side = spec.resize_to if whole else spec.image_size
    sizes_bytes, photo_bytes = len(photos) * _SIZE_BYTES, side * side * 3  # The file has all sizes, then all photos.
    length = sizes_bytes + len(photos) * photo_bytes
    try:
        with _shared_file(world, scratch) as file:
            if world.local_rank == 0 and hasattr(os, "posix_fallocate"):  # macOS does not have it.
                os.posix_fallocate(file.fileno(), 0, length)  # A full disk fails here and not at the last photo.
            own_indices = range(world.local_rank, len(photos), world.local_world_size)
            progress = WorkerProgress("decoded", len(own_indices), world.is_main)

            def decode_chunk(chunk: Sequence[int]) -> int:
                for index in chunk:
                    image = _decode(source, photos[index], spec)
                    square = _squash(image, side) if whole else np.asarray(resize(image, spec))
                    # Mapped memory would take four times as long, because of a page fault for every 4 KB.
                    os.pwrite(file.fileno(), np.array(image.size, np.int32).data, index * _SIZE_BYTES)
                    os.pwrite(file.fileno(), square.data, sizes_bytes + index * photo_bytes)
                return len(chunk)

            with worker_pool(num_threads) as pool:
                for count in map_ahead(pool, decode_chunk, _chunks(own_indices), 2 * num_threads):
                    progress.add(count)
            gather(world, None)  # Wait until every rank has decoded its share.
            memory = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ)
    except OSError as error:
        raise FileWriteError(
            f"storage: cannot keep the decoded photos in {scratch} ({error.strerror}); "
            f"it must be writable and have {length / 1e9:.2f} GB free"
        ) from error
    sizes = np.frombuffer(memory, np.int32, 2 * len(photos)).reshape(-1, 2)
    return DecodedPhotos(np.frombuffer(memory, np.uint8, offset=sizes_bytes).reshape(-1, side, side, 3), sizes)


def _chunks(items: Sequence[_T]) -> list[Sequence[_T]]:
    return [items[begin : begin + _CHUNK] for begin in range(0, len(items), _CHUNK)]


def _digest(source: Source, photo: Photo) -> str:
    try:
        return hashlib.sha256(source.read(photo)).hexdigest()
    except ReadError:
        return ""


def _decode(source: Source, photo: Photo, spec: TrainingPreprocess) -> Image.Image:
    try:
        return decode(source.read(photo), spec)
    except (ReadError, UnreadablePhotoError) as error:
        raise DatasetError(
            f"dataset: photo {photo.path} could be read before and cannot be read now ({error}); "
            "do not change the data during the training"
        ) from error


def _squash(image: Image.Image, side: int) -> np.ndarray:
    """Resize to a square, equal to ``Image.resize`` except for rounding, in a quarter of the time."""
    photo = torch.from_numpy(np.array(image)).unsqueeze(0).permute(0, 3, 1, 2)
    return crop(photo, 0, (0, 0, *image.size), False, side).permute(0, 2, 3, 1).numpy()


def _shared_file(world: World, scratch: Path) -> BinaryIO:
    """Open a file that all ranks of this host share, and delete its name, so that it is gone when they end.

    Returns:
        The open file; the caller closes it.
    """
    with ExitStack() as stack:
        name = None
        if world.local_rank == 0:
            scratch.mkdir(parents=True, exist_ok=True)
            name = stack.enter_context(tempfile.NamedTemporaryFile(prefix="photos-", dir=scratch)).name
        file = open(gather(world, name)[world.rank - world.local_rank], "r+b")  # noqa: SIM115
        gather(world, None)  # Wait until every rank has opened it.
    return file
