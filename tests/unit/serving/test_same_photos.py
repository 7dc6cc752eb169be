"""The evaluation refuses photos that the training has not read, by their names."""

from pathlib import Path

import pytest

from dataset import OTHER, open_source
from serving.challenger import EvaluationError
from serving.same_photos import check_photos
from training.distributed import World, process_group
from training.photos import hash_photos

CLASSES = ("001.Red", "002.Blue")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "valid", "test"):
        for number, label in enumerate(CLASSES):
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "1.jpg").write_bytes(f"{split} {number}".encode())
    (tmp_path / OTHER / "cat").mkdir(parents=True)
    (tmp_path / OTHER / "cat" / "1.jpg").write_bytes(b"cat")
    return tmp_path


@pytest.fixture
def manifest(folder: Path) -> dict[str, str]:
    """What a training of the same photos writes."""
    source = open_source(folder)
    with process_group() as world:
        assert isinstance(world, World)
        hashed = [hash_photos(world, source, split, 1) for split in ("train", "valid", "test", OTHER)]
    return {path: digest for each in hashed for path, digest in each.manifest().items()}


def test_the_manifest_has_the_sha_256_of_every_photo(folder: Path, manifest: dict[str, str]) -> None:
    assert len(manifest) == 7
    # printf 'test 1' | sha256sum
    assert manifest["test/002.Blue/1.jpg"] == "f67213b122a5d442d2b93bda8cc45c564a70ec5d2a4e0e95bb585cf199869c98"
    check_photos(open_source(folder), manifest)


@pytest.mark.parametrize(
    "path", ["train/001.Red/1.jpg", "valid/001.Red/1.jpg", "test/002.Blue/1.jpg", "other/cat/1.jpg"]
)
def test_a_photo_that_was_changed_after_the_training_is_named(
    folder: Path, manifest: dict[str, str], path: str
) -> None:
    (folder / path).write_bytes(b"changed")
    with pytest.raises(EvaluationError, match=rf"^the photos are others than .* has read: 1 \({path}\); start"):
        check_photos(open_source(folder), manifest)


def test_one_photo_more_and_one_less_are_named(folder: Path, manifest: dict[str, str]) -> None:
    (folder / "test/001.Red/2.jpg").write_bytes(b"more")
    (folder / "valid/002.Blue/1.jpg").rename(folder / "valid/002.Blue/3.jpg")
    with pytest.raises(EvaluationError) as error:
        check_photos(open_source(folder), manifest)
    words = "the photos are others than those that the training has read: 3 (test/001.Red/2.jpg, valid/"
    assert str(error.value).startswith(words)
