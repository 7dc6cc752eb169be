"""Looking at the dataset in S3 without downloading its photos."""

import io
from typing import IO, TYPE_CHECKING

from dataset import DatasetError, listing
from dataset.source import ARCHIVE_SUFFIXES, tar_files, zip_files
from shared.contracts import Dataset
from shared.s3 import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def look(s3: "S3Client", location: Location) -> Dataset:
    """List the dataset and check its layout.

    A zip is judged by its central directory alone, a tar by streaming it once.

    Raises:
        DatasetError: nothing there, or a layout that cannot be trained on.
    """
    if location.key.lower().endswith(ARCHIVE_SUFFIXES):
        files = _archive_files(s3, location)
    else:
        location = Location(location.bucket, location.key.rstrip("/") + "/")
        files = _prefix_files(s3, location)
        if len(files) == 1 and files[0][0].lower().endswith(ARCHIVE_SUFFIXES):  # a prefix around one archive
            return look(s3, Location(location.bucket, location.key + files[0][0]))
    if not files:
        raise DatasetError(
            f"dataset {location.uri}: nothing there; upload train/, valid/ and test/ folders or one archive of them"
        )
    found = listing(files, location.uri)
    return Dataset(
        uri=location.uri,
        fingerprint=found.fingerprint(),
        num_classes=len(found.classes),
        counts=found.counts(),
        ignored=len(found.ignored),
    )


def _prefix_files(s3: "S3Client", location: Location) -> list[tuple[str, int]]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=location.key)
    return [
        (item["Key"][len(location.key) :], item["Size"])
        for page in pages
        for item in page.get("Contents", [])
        if not item["Key"].endswith("/")
    ]


def _archive_files(s3: "S3Client", location: Location) -> list[tuple[str, int]]:
    try:
        size = s3.head_object(Bucket=location.bucket, Key=location.key)["ContentLength"]
    except s3.exceptions.ClientError as error:
        raise DatasetError(f"dataset {location.uri}: no such archive ({error})") from error
    if location.key.lower().endswith(".zip"):
        return zip_files(io.BufferedReader(RangedObject(s3, location, size), 1 << 20), location.uri)
    body: IO[bytes] = s3.get_object(Bucket=location.bucket, Key=location.key)["Body"]  # type: ignore[assignment]
    return tar_files(body, location.uri)


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
