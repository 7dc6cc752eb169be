"""Tests of hashing and decoding by one rank; tests/integration/training has several ranks."""

import hashlib
import io
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset import DatasetError, Source, open_source
from training.distributed import World
from training.files import FileWriteError
from training.photos import decode_photos, hash_photos
from training.preprocess import TrainingPreprocess, pixels

ALONE = World(0, 1, 0, 1, torch.device("cpu"), "none", "here")
SPEC = TrainingPreprocess(image_size=48, resize_to=64)


def photo(width: int, height: int, mode: str, kind: str, **options: object) -> bytes:
    """Return a coloured gradient as the bytes of a photo."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = Image.fromarray(np.stack([x, y, 255 - x], 2).astype(np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # Viewers must rotate the photo by 90 degrees.
    return exif


# The training photos by name: their bytes, and width and height as a viewer shows them.
PHOTOS = {
    "crop.png": (photo(90, 60, "RGB", "PNG"), (90, 60)),
    "cmyk.jpg": (photo(80, 100, "CMYK", "JPEG"), (80, 100)),
    "grey.jpg": (photo(64, 64, "L", "JPEG"), (64, 64)),
    "turned.jpg": (photo(120, 80, "RGB", "JPEG", exif=rotated()), (80, 120)),
    "palette.png": (photo(70, 50, "P", "PNG"), (70, 50)),
    # Decoded at a quarter of its size, because 2 * 64 pixels are enough.
    "large.jpg": (photo(600, 512, "RGB", "JPEG"), (150, 128)),
}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Return a dataset with all photos in one class of train/, and one photo in each other folder."""
    for split in ("train", "valid", "test"):
        for label in ("1.Beagle", "2.Pug"):
            folder = tmp_path / "dogs" / split / label
            folder.mkdir(parents=True)
            (folder / "one.png").write_bytes(PHOTOS["crop.png"][0])
    for name, (data, _) in PHOTOS.items():
        (tmp_path / "dogs/train/1.Beagle" / name).write_bytes(data)
    return open_source(tmp_path / "dogs")


def test_hashes_are_of_the_bytes_in_the_listings_order(source: Source, tmp_path: Path) -> None:
    photos = source.listing.of("train")
    (tmp_path / "dogs" / photos[1].path).unlink()
    hashed = hash_photos(ALONE, source, "train", num_threads=2)
    assert hashed.photos == photos
    expected = [hashlib.sha256(source.read(each)).hexdigest()[:16] for each in photos if each != photos[1]]
    assert [digest for digest in hashed.hashes if digest] == expected
    assert hashed.hashes[1] == ""


@pytest.mark.parametrize("resize", ["squash", "shortest_side"])
def test_validation_photos_equal_those_of_preprocess(source: Source, tmp_path: Path, resize: str) -> None:
    spec = replace(SPEC, resize=resize)
    photos = source.listing.of("train")
    decoded = decode_photos(ALONE, source, photos, spec, whole=False, scratch=tmp_path / "scratch", num_threads=2)
    assert decoded.pixels.shape == (len(photos), 48, 48, 3)
    for each, decoded_pixels in zip(photos, decoded.pixels, strict=True):
        np.testing.assert_array_equal(decoded_pixels, pixels(source.read(each), spec))


def test_photos_are_decoded_where_no_space_can_be_reserved(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)  # as on macOS
    photos = source.listing.of("valid")
    decoded = decode_photos(ALONE, source, photos, SPEC, whole=False, scratch=tmp_path / "scratch", num_threads=1)
    np.testing.assert_array_equal(decoded.pixels[0], pixels(source.read(photos[0]), SPEC))


def test_training_photos_are_whole_upright_and_squashed(source: Source, tmp_path: Path) -> None:
    photos = [each for each in source.listing.of("train") if Path(each.path).name in PHOTOS]
    decoded = decode_photos(ALONE, source, photos, SPEC, whole=True, scratch=tmp_path / "scratch", num_threads=2)
    assert [tuple(size) for size in decoded.sizes] == [PHOTOS[Path(each.path).name][1] for each in photos]
    whole = TrainingPreprocess(image_size=64, resize_to=64, resize="squash")
    for each, squashed in zip(photos, decoded.pixels, strict=True):
        np.testing.assert_allclose(squashed, pixels(source.read(each), whole).astype(int), atol=1, err_msg=each.path)


def test_decoded_photos_are_read_only_and_leave_no_file(source: Source, tmp_path: Path) -> None:
    photos = source.listing.of("train")
    decoded = decode_photos(ALONE, source, photos, SPEC, whole=True, scratch=tmp_path / "scratch", num_threads=1)
    assert not list((tmp_path / "scratch").iterdir())
    for array in (decoded.pixels, decoded.sizes):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_photo_that_became_unreadable_is_named_and_leaves_no_file(source: Source, tmp_path: Path) -> None:
    photos = source.listing.of("train")
    (tmp_path / "dogs" / photos[2].path).write_bytes(b"no photo")
    with pytest.raises(DatasetError, match=f"photo {photos[2].path} could be read before and cannot be read now"):
        decode_photos(ALONE, source, photos, SPEC, whole=True, scratch=tmp_path / "scratch", num_threads=2)
    assert not list((tmp_path / "scratch").iterdir())


@contextmanager
def files_limited(num_bytes: int) -> Iterator[None]:
    """Limit the length of this process's files, as if the disk were full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_a_sentence_and_leaves_no_file(source: Source, tmp_path: Path) -> None:
    photos = source.listing.of("train") * 100  # 700 photos of 64 * 64 * 3 + 8 bytes
    with files_limited(1_000_000), pytest.raises(FileWriteError, match=r"cannot keep .* must .* have 0\.01 GB free"):
        decode_photos(ALONE, source, photos, SPEC, whole=True, scratch=tmp_path / "scratch", num_threads=1)
    assert not list((tmp_path / "scratch").iterdir())
