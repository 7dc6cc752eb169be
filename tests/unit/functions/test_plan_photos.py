"""Plan judges a prefix and an archive in S3 as the jobs judge their copies."""

import io
import tarfile
from types import SimpleNamespace

import pytest

from dataset import DatasetError, open_source
from plan import photos
from shared.s3 import Location

PHOTOS = [f"data/{split}/{label}/{n}.jpg" for split in ("Train", "val", "TEST") for label in "ab" for n in range(3)]
WITHOUT_SPLITS = [f"Images/{label}/{n}.jpg" for label in "ab" for n in range(20)]


def size(path):
    return 100 + len(path) + ord(path[-5])


def bucket(files):
    """Return a bucket with files, as far as Plan asks S3."""

    def get_object(Bucket, Key, Range=None):
        first, last = (int(part) for part in Range.removeprefix("bytes=").split("-")) if Range else (0, None)
        return {"Body": io.BytesIO(files[Key][first : None if last is None else last + 1])}

    contents = [{"Key": key, "Size": len(content), "ETag": f'"{key}"'} for key, content in files.items()]
    return SimpleNamespace(
        get_object=get_object,
        head_object=lambda Key, **_: {"ContentLength": len(files[Key]), "ETag": "e"},
        get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: [{"Contents": contents}]),
    )


@pytest.mark.parametrize("paths", [PHOTOS, WITHOUT_SPLITS])
def test_a_prefix_and_its_copy_have_the_same_splits(tmp_path, paths):
    files = {f"dataset/{path}": bytes(size(path)) for path in paths}
    for key, content in files.items():
        copy = tmp_path / key
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
    dataset = photos.inspect(bucket(files), Location("b", "dataset/"))
    assert dataset.counts == open_source(tmp_path / "dataset").listing.counts()
    assert sum(dataset.counts.values()) == len(paths)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("name", ["dogs.tar", "dogs.zip", "dogs.tgz"])
def test_the_content_of_an_archive_in_s3_decides_and_not_its_name(mode, name):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for path in PHOTOS:
            member = tarfile.TarInfo(path)
            member.size = size(path)
            archive.addfile(member, io.BytesIO(bytes(size(path))))
    dataset = photos.inspect(bucket({name: packed.getvalue()}), Location("b", name))
    assert dataset.counts == {"train": 6, "valid": 6, "test": 6}


def test_an_empty_archive_in_s3_is_refused():
    with pytest.raises(DatasetError, match="not a readable tar archive"):
        photos.inspect(bucket({"dogs.tar": b""}), Location("b", "dogs.tar"))
