"""The list of a dataset's objects: what Plan writes, and what the gate finds to be different."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from plan import photos
from shared import listing
from shared.s3 import Location
from tests.unit.functions.buckets import Bucket

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


class Dated(Bucket):
    """A bucket whose objects have ETags and times."""

    def __init__(self, *keys):
        super().__init__({})
        self.entries = {key: {"Key": key, "Size": 1, "ETag": f"{key} 1", "LastModified": NOON} for key in keys}

    def put_object(self, *, Key, Body, **_):
        self.files[Key] = Body

    def get_paginator(self, _operation):
        return SimpleNamespace(paginate=self._pages)

    def _pages(self, *, Prefix, **_):
        entries = [entry for key, entry in sorted(self.entries.items()) if key.startswith(Prefix)]
        return [{"Contents": entries[:2]}, {"Contents": entries[2:]}, {}]


def written(s3, dataset="dataset/"):
    known = {key: entry for key, entry in s3.entries.items() if key.startswith(dataset)}
    return listing.write(s3, Location("b", "runs/x/photos.json"), Location("b", dataset), known)


def test_nothing_is_different_in_a_bucket_that_nobody_touched():
    s3 = Dated("dataset/a.jpg", "dataset/b.jpg", "dataset/c.jpg", "other/x.jpg")
    uri = written(s3)
    assert uri == "s3://b/runs/x/photos.json"
    s3.entries["other/y.jpg"] = s3.entries["other/x.jpg"]
    assert listing.changes(s3, uri) == ((), 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda entries: entries["dataset/b.jpg"].update(ETag="2"), "dataset/b.jpg was changed"),
        # The same ETag at another time: without a key of KMS an ETag is an MD5, which collides.
        (
            lambda entries: entries["dataset/b.jpg"].update(LastModified=NOON + timedelta(seconds=1)),
            "dataset/b.jpg was changed",
        ),
        (lambda entries: entries.pop("dataset/a.jpg"), "dataset/a.jpg was deleted"),
        (
            lambda entries: entries.update({"dataset/d.jpg": entries["dataset/a.jpg"] | {"Key": "dataset/d.jpg"}}),
            "dataset/d.jpg was added",
        ),
    ],
)
def test_a_photo_that_was_changed_deleted_or_added_is_named(change, words):
    s3 = Dated("dataset/a.jpg", "dataset/b.jpg")
    uri = written(s3)
    change(s3.entries)
    assert listing.changes(s3, uri) == ((words,), 2)


def test_an_archive_is_compared_alone():
    s3 = Dated("datasets/dogs.zip", "datasets/dogs.zip.bak")
    uri = written(s3, "datasets/dogs.zip")
    kept = json.loads(s3.files["runs/x/photos.json"])
    del kept["objects"]["datasets/dogs.zip.bak"]
    s3.files["runs/x/photos.json"] = json.dumps(kept).encode()
    assert listing.changes(s3, uri) == ((), 1)
    s3.entries["datasets/dogs.zip"]["ETag"] = "2"
    assert listing.changes(s3, uri).words == ("datasets/dogs.zip was changed",)


def test_plan_keeps_every_object_of_the_prefix():
    """A file that Plan leaves out by its name might be taken by a job that reads other rules."""
    s3 = Dated(*(f"dataset/{split}/{breed}/1.jpg" for split in ("train", "valid", "test") for breed in "ab"))
    for size, entry in enumerate(s3.entries.values(), 1):
        entry["Size"] = size  # Of different sizes, they are not compared with each other.
    s3.entries["dataset/notes.txt"] = {"Key": "dataset/notes.txt", "Size": 9, "ETag": "n", "LastModified": NOON}
    kept = {}

    def keep(location, objects):
        kept.update(objects)
        return f"list of {location.uri}"

    dataset = photos.inspect(s3, Location("b", "dataset"), keep=keep)
    assert dataset.listing == "list of s3://b/dataset/"
    assert kept == s3.entries
