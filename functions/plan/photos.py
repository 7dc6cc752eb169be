"""Looking at the dataset in S3 without downloading its photos."""

import hashlib
import io
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

from dataset import DatasetError, Listing, listing
from dataset.source import ARCHIVE_SUFFIXES, tar_files, zip_files
from shared.contracts import Dataset
from shared.s3 import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def look(s3: "S3Client", location: Location) -> Dataset:
    """List the dataset and check its layout.

    A zip is judged by its central directory alone, a tar by streaming it once. Bytes that changed under equal names
    and sizes show in S3's ETags.

    Raises:
        DatasetError: nothing there, or a layout that cannot be trained on.
    """
    if location.key.lower().endswith(ARCHIVE_SUFFIXES):
        return _look_into(s3, location)
    location = Location(location.bucket, location.key.rstrip("/") + "/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=location.key)
    objects = {
        item["Key"][len(location.key) :]: item
        for page in pages
        for item in page.get("Contents", [])
        if not item["Key"].endswith("/")
    }
    if not objects:
        raise DatasetError(
            f"dataset {location.uri}: nothing there; upload train/, valid/ and test/ folders or one archive of them"
        )
    name, *others = objects
    if not others and name.lower().endswith(ARCHIVE_SUFFIXES):  # a prefix around one archive
        return _look_into(s3, Location(location.bucket, location.key + name))
    found = listing([(path, item["Size"]) for path, item in objects.items()], location.uri)
    return _document(location, found, [objects[found.prefix + photo.path]["ETag"] for photo in found.photos])


def _look_into(s3: "S3Client", location: Location) -> Dataset:
    try:
        head = s3.head_object(Bucket=location.bucket, Key=location.key)
    except s3.exceptions.ClientError as error:
        raise DatasetError(f"dataset {location.uri}: no such archive ({error})") from error
    if location.key.lower().endswith(".zip"):
        file = io.BufferedReader(RangedObject(s3, location, head["ContentLength"]), 1 << 20)
        files = zip_files(file, location.uri)
    else:
        body: IO[bytes] = s3.get_object(Bucket=location.bucket, Key=location.key)["Body"]  # type: ignore[assignment]
        files = tar_files(body, location.uri)
    return _document(location, listing(files, location.uri), [head["ETag"]])


def _document(location: Location, found: Listing, etags: Iterable[str]) -> Dataset:
    versions = "\n".join([found.fingerprint(), *etags])
    return Dataset(
        uri=location.uri,
        fingerprint=hashlib.sha256(versions.encode()).hexdigest()[:16],
        num_classes=len(found.classes),
        counts=found.counts(),
        ignored=len(found.ignored),
    )


class RangedObject(io.RawIOBase):
    """An S3 object as a seekable file; each read is one ranged GET."""

    def __init__(self, s3: "S3Client", location: Location, size: int) -> None:
        self._s3, self._location, self._size, self._at = s3, location, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        got = self._s3.get_object(
            Bucket=self._location.bucket, Key=self._location.key, Range=f"bytes={self._at}-{end - 1}"
        )["Body"].read()
        buffer[: len(got)] = got
        self._at += len(got)
        return len(got)
