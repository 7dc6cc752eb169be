"""Plan judges a prefix and an archive in S3 as the jobs judge their copies."""

import hashlib
import io
import shutil
import tarfile
import uuid
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from botocore.stub import Stubber

from dataset import DatasetError, Reason, open_source
from dataset.reading import Reading
from plan import leaks, photos
from shared.errors import RequestError
from shared.s3 import Location

PHOTOS = [f"data/{split}/{label}/{n}.jpg" for split in ("Train", "val", "TEST") for label in "ab" for n in range(3)]
WITHOUT_SPLITS = [f"Images/{label}/{n}.jpg" for label in "ab" for n in range(20)]


def content(path):
    """Return the start and the end of a JPEG with the path between them: in no two photos equal."""
    return b"\xff\xd8\xff\xd9" + path.encode()


def md5(content):
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def bucket(files, etag=md5):
    """Return a bucket with files, as far as Plan asks S3."""

    def get_object(Bucket, Key, Range=None):
        first, last = (int(part) for part in Range.removeprefix("bytes=").split("-")) if Range else (0, None)
        return {"Body": io.BytesIO(files[Key][first : None if last is None else last + 1])}

    contents = [{"Key": key, "Size": len(body), "ETag": etag(body)} for key, body in files.items()]
    return SimpleNamespace(
        get_object=get_object,
        head_object=lambda Key, **_: {"ContentLength": len(files[Key]), "ETag": "e"},
        get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: [{"Contents": contents}]),
    )


@pytest.mark.parametrize("paths", [PHOTOS, WITHOUT_SPLITS])
def test_a_prefix_and_its_copy_have_the_same_splits(tmp_path, paths):
    files = {f"dataset/{path}": content(path) for path in paths}
    for key, body in files.items():
        copy = tmp_path / key
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(body)
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
            member.size = len(content(path))
            archive.addfile(member, io.BytesIO(content(path)))
    dataset = photos.inspect(bucket({name: packed.getvalue()}), Location("b", name))
    assert dataset.counts == {"train": 6, "valid": 6, "test": 6}


@pytest.mark.parametrize("form", ["prefix", "zip", "gztar"])
def test_a_list_of_classes_in_s3_is_read_as_in_its_copy(tmp_path, form):
    rows = "".join(f"{n},{'ab'[n % 2]}\n" for n in range(40))
    files = {f"train/{n}.jpg": b"\xff\xd8\xff\xd9" + bytes(100 + 3 * n) for n in range(40)} | {
        "labels.csv": f"id,breed\n{rows}".encode()
    }
    data = tmp_path / "data"
    for path, content in files.items():
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_bytes(content)
    if form == "prefix":
        dataset = photos.inspect(bucket({f"d/{path}": content for path, content in files.items()}), Location("b", "d/"))
    else:
        packed = Path(shutil.make_archive(str(tmp_path / "dogs"), form, data))
        dataset = photos.inspect(bucket({packed.name: packed.read_bytes()}), Location("b", packed.name))
    assert (dataset.num_classes, dataset.counts) == (2, {"train": 32, "valid": 4, "test": 4})
    assert dataset.counts == open_source(data).listing.counts()


def test_an_archive_beside_what_systems_write_is_found():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in PHOTOS:
            archive.writestr(path, content(path))
    files = {"d/dogs.zip": packed.getvalue(), "d/.DS_Store": b"x", "d/Thumbs.db": b"x"}
    assert photos.inspect(bucket(files), Location("b", "d")).counts == {"train": 6, "valid": 6, "test": 6}


def test_an_empty_archive_in_s3_is_refused():
    with pytest.raises(DatasetError, match="is empty; fetch or pack it anew"):
        photos.inspect(bucket({"dogs.tar": b""}), Location("b", "dogs.tar"))


LEAKED = {"data/val/a/9.jpg": "data/Train/a/1.jpg", "data/TEST/b/9.png": "data/Train/a/1.jpg"}


def packed(files, kind):
    """Return the objects of a bucket that has these files as a prefix, a zip or a tar."""
    buffer = io.BytesIO()
    if kind == "prefix":
        return {f"dogs/{path}": body for path, body in files.items()}
    if kind == "dogs.zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            for path, body in files.items():
                archive.writestr(path, body)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for path, body in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(body)
                archive.addfile(member, io.BytesIO(body))
    return {kind: buffer.getvalue()}


def leaky():
    files = {path: content(path) for path in PHOTOS}
    return files | {path: files[same] for path, same in LEAKED.items()}


def random_etag(body):
    """Return an ETag as S3 gives it to an object that is encrypted by a key of KMS."""
    return f'"{uuid.uuid4().hex}"'


KINDS = [("prefix", md5), ("prefix", random_etag), ("prefix", lambda body: f"{md5(body)}-2"), ("dogs.zip", md5)]
KINDS += [("dogs.tgz", md5)]


@pytest.mark.parametrize(("kind", "etag"), KINDS)
def test_photos_in_two_splits_are_refused_before_anything_costs_or_left_out_on_request(tmp_path, kind, etag):
    objects = packed(leaky(), kind)
    location = Location("b", "dogs/" if kind == "prefix" else kind)
    with pytest.raises(DatasetError) as caught:
        photos.inspect(bucket(objects, etag), location)
    assert (
        "2 (test/b/9.png is also train/a/1.jpg, valid/a/9.jpg is also train/a/1.jpg); take them out, or leave them out "
        'of valid/ and test/ by {"leaks": "drop"} in the execution\'s input'
    ) in str(caught.value)
    dataset = photos.inspect(bucket(objects, etag), location, Reading(drop_leaks=True))
    assert dataset.counts == {"train": 6, "valid": 6, "test": 6}
    assert (dataset.reading, dataset.not_compared) == ('{"leaks":"drop"}', 0)
    assert [(each.count, each.splits, each.classes) for each in dataset.left_out] == [
        (2, {"valid": 1, "test": 1}, {"a": 1, "b": 1})
    ]
    for key, body in objects.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(body)
    copy = tmp_path / ("dogs" if kind == "prefix" else "")
    listing = open_source(copy, Reading.from_json(dataset.reading)).listing
    assert listing.counts() == dataset.counts
    assert sorted(file.path for file in listing.left_out) == ["test/b/9.png", "valid/a/9.jpg"]


def test_only_photos_of_equal_size_in_two_splits_are_read():
    files, asked = packed(leaky(), "prefix"), []
    s3 = bucket(files, random_etag)
    get_object = s3.get_object
    s3.get_object = lambda Bucket, Key: (asked.append(Key), get_object(Bucket, Key))[1]
    photos.inspect(s3, Location("b", "dogs/"), Reading(drop_leaks=True))
    lengths = [len(files[key]) for key in asked]
    splits = {length: {key.split("/")[2] for key, body in files.items() if len(body) == length} for length in lengths}
    assert all(len(each) > 1 for each in splits.values())
    assert len(asked) < len(files)


def test_photos_that_are_too_many_to_compare_are_counted(monkeypatch):
    monkeypatch.setattr(leaks, "_MAX_PHOTOS", 0)
    dataset = photos.inspect(bucket(packed(leaky(), "prefix"), random_etag), Location("b", "dogs/"))
    sizes = Counter(len(body) for body in leaky().values())
    assert 0 < dataset.not_compared <= sum(number for number in sizes.values() if number > 1)


@pytest.mark.parametrize("kind", ["prefix", "dogs.zip", "dogs.tgz"])
def test_files_that_are_left_out_are_counted_by_reason_split_and_class(kind):
    more = {"data/Train/a/x.psd": b"h", "data/TEST/b/y.jpg": b"", "data/Train/a/notes.txt": b"n", "data/x.txt": b"x"}
    location = Location("b", "dogs/" if kind == "prefix" else kind)
    dataset = photos.inspect(bucket(packed({path: content(path) for path in PHOTOS} | more, kind)), location)
    assert [each.model_dump() for each in dataset.left_out] == [
        {"reason": "no photos", "count": 2, "splits": {"train": 1}, "classes": {"a": 1}},
        {"reason": "empty files", "count": 1, "splits": {"test": 1}, "classes": {"b": 1}},
        {"reason": Reason.FORMAT, "count": 1, "splits": {"train": 1}, "classes": {"a": 1}},
    ]
    assert dataset.reading == ""


def test_unreadable_photos_of_a_tar_are_counted_and_a_class_of_them_is_refused():
    files = {path: content(path) for path in PHOTOS} | {"data/val/a/0.jpg": b"%PDF-"}
    dataset = photos.inspect(bucket(packed(files, "dogs.tgz")), Location("b", "dogs.tgz"))
    assert [each.model_dump() for each in dataset.unreadable] == [
        {"reason": "is a PDF", "count": 1, "splits": {"valid": 1}, "classes": {"a": 1}}
    ]
    files |= {f"data/val/a/{n}.jpg": f"%PDF-{n}".encode() for n in range(3)}
    objects = bucket(packed(files, "dogs.tgz"))
    with pytest.raises(
        DatasetError, match=r"class 'a' has 0 photos in valid/.*is a PDF: 3 .*\{\"drop_breeds\": \[\"a\"\]"
    ):
        photos.inspect(objects, Location("b", "dogs.tgz"))


@pytest.mark.parametrize("kind", ["prefix", "dogs.zip", "dogs.tgz"])
def test_breeds_that_the_request_drops_and_its_shares_hold_for_the_jobs_too(tmp_path, kind):
    files = {f"{label}/{n}.jpg": content(f"{label}/{n}") for label in ("1.A_b", "2.C", "3.D") for n in range(10, 30)}
    files |= {"4.Lost/1.psd": b"h"}
    objects, seen = packed(files, kind), []
    location = Location("b", "dogs/" if kind == "prefix" else kind)
    with pytest.raises(DatasetError, match=r"classes without a photo that is read: '4.Lost'.*drop_breeds"):
        photos.inspect(bucket(objects), location)
    dataset = photos.inspect(
        bucket(objects), location, Reading((60, 20, 20), False, ("a  B", "4.lost")), lambda *args: seen.append(args)
    )
    assert seen == [(("2.C", "3.D"), {"1.A_b", "4.Lost"})]
    assert dataset.counts == {"train": 24, "valid": 8, "test": 8}
    assert dataset.reading == '{"split":"60/20/20","drop_breeds":["1.A_b","4.Lost"]}'
    for key, body in objects.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(body)
    copy = tmp_path / ("dogs" if kind == "prefix" else "")
    assert open_source(copy, Reading.from_json(dataset.reading)).listing.counts() == dataset.counts


def test_more_dropped_folders_than_a_job_can_be_told_are_refused():
    labels = [f"{n}.{'x' * 30}" for n in range(10)]
    files = {f"{label}/{n}.jpg": content(f"{label}/{n}") for label in (*labels, "a", "b") for n in range(10, 20)}
    with pytest.raises(RequestError, match="names too many folders"):
        photos.inspect(bucket(packed(files, "prefix")), Location("b", "dogs/"), Reading(drop_breeds=tuple(labels)))


@pytest.mark.parametrize(
    ("status", "words"), [(404, "no such archive; upload it there"), (403, "S3 does not let Plan")]
)
def test_an_archive_that_is_listed_and_not_there_is_a_sentence_of_ours(status, words):
    s3 = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(s3) as stub:
        stub.add_response("list_objects_v2", {"Contents": [{"Key": "dogs.zip"}], "IsTruncated": False})
        stub.add_client_error("head_object", str(status), "Not Found", http_status_code=status)
        with pytest.raises(DatasetError) as error:
            photos.inspect(s3, Location("bucket", "dogs.zip"))
    assert str(error.value).startswith(f"dataset s3://bucket/dogs.zip: {words}")
    assert "HeadObject" not in str(error.value)
