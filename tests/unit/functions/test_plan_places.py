"""Plan says what is wrong with the place of a dataset in S3, before any job is started."""

import io
import zipfile

import pytest

from dataset import DatasetError
from plan import photos, places
from shared.s3 import Location

PHOTOS = [f"{split}/{label}/{n}.jpg" for split in ("train", "valid", "test") for label in "ab" for n in range(3)]


class Bucket:
    """A bucket as far as Plan asks S3, with the parameters of ListObjectsV2 that it uses."""

    def __init__(self):
        self.files = {f"dataset/{path}": b"x" * (number + 1) for number, path in enumerate(PHOTOS)}

    def get_paginator(self, _):
        return self

    def paginate(self, Prefix="", Delimiter=None, **_):
        keys = sorted(key for key in self.files if key.startswith(Prefix))
        if Delimiter:
            yield {
                "CommonPrefixes": [
                    {"Prefix": name} for name in {key.split("/")[0] + "/" for key in keys if "/" in key}
                ],
                "Contents": [{"Key": key} for key in keys if "/" not in key],
            }
        for key in () if Delimiter else keys:
            yield {"Contents": [{"Key": key, "Size": len(self.files[key]), "ETag": f'"{key}"'}]}

    def head_object(self, Key, **_):
        return {"ContentLength": len(self.files[Key]), "ETag": "e"}

    def get_object(self, Key, Range=None, **_):
        first, last = (int(part) for part in Range.removeprefix("bytes=").split("-")) if Range else (0, None)
        return {"Body": io.BytesIO(self.files[Key][first : None if last is None else last + 1])}


@pytest.fixture
def s3():
    return Bucket()


def packed():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in PHOTOS:
            archive.writestr(path, path)
    return content.getvalue()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("https://b.s3.amazonaws.com/dataset/", "is an address of the web"),
        ("S3://b/dataset/", "write s3://b/dataset/"),
        ("arn:aws:s3:::b/dataset/", "is an ARN; write s3://b/dataset/"),
        (" dataset/", "has spaces around it"),
        ("", "names nothing"),
        ("/", "names nothing"),
        ("C:\\dogs", "is a path of another machine"),
    ],
)
def test_a_slip_in_an_address_is_named(value, sentence):
    assert sentence in places.slip(value)


@pytest.mark.parametrize("value", ["dataset/", "s3://b/dataset/", "dogs.zip", "a b/c:d/", "/odd/"])
def test_an_address_without_a_slip_is_taken(value):
    assert places.slip(value) == ""


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("Dataset/", "nothing found; did you mean 'dataset/'"),
        ("/dataset/", "nothing found; did you mean 'dataset/'"),
        ("dogs.zip", "s3://b/dogs.zip: nothing found; the bucket has dataset/"),
        ("dataset/*", "nothing found; the bucket has dataset/"),
        ("dataset/train/a/0.jpg", "s3://b/dataset/train/a/0.jpg: is one object and no archive by its name"),
    ],
)
def test_a_place_without_photos_is_told_with_what_the_bucket_has(s3, key, sentence):
    with pytest.raises(DatasetError) as refused:
        photos.inspect(s3, Location("b", key))
    assert sentence in str(refused.value)


def test_an_archive_that_a_job_would_not_receive_alone_is_refused(s3):
    s3.files["dogs.zip"] = packed()
    assert photos.inspect(s3, Location("b", "dogs.zip")).num_classes == 2
    s3.files["dogs.zip.md5"] = b"x"
    with pytest.raises(DatasetError, match=r"other objects begin with this name, too: dogs.zip.md5; a job would"):
        photos.inspect(s3, Location("b", "dogs.zip"))


def test_markers_of_folders_are_empty_classes_only_without_photos(s3):
    s3.files["dataset/"] = b""
    s3.files["dataset/train/a/"] = b""
    assert photos.inspect(s3, Location("b", "dataset/")).num_classes == 2
    s3.files["dataset/train/c/"] = b""
    with pytest.raises(DatasetError, match=r"'c' \(1 empty folder in train/\); fill empty folders"):
        photos.inspect(s3, Location("b", "dataset/"))


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("dataset/train/a", "train/a is an object and a folder at once; delete the object"),
        (f"dataset/train/a/{'x' * 260}.jpg", "names of more than 255 bytes cannot be files"),
        ("dataset/train/../c/0.jpg", "begin with a dot|hidden by a dot"),
    ],
)
def test_keys_that_cannot_be_files_are_refused(s3, key, sentence):
    s3.files[key] = b"x"
    with pytest.raises(DatasetError, match=sentence):
        photos.inspect(s3, Location("b", "dataset/"))


def test_empty_objects_are_no_photos(s3):
    s3.files["dataset/train/a/0.jpg"] = b""
    assert photos.inspect(s3, Location("b", "dataset/")).counts["train"] == 5
    for path in PHOTOS:
        s3.files[f"dataset/{path}"] = b""
    with pytest.raises(DatasetError, match=r"'a' \(3 empty in test/, .*fetch empty files anew"):
        photos.inspect(s3, Location("b", "dataset/"))
