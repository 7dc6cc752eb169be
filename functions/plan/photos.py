"""Inspect the dataset in S3 without downloading its photos."""

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any

from dataset import DatasetError, Listing, listing
from dataset.archive import ARCHIVE_SUFFIXES, HEAD_BYTES, Members, archive_kind, tar_members, zip_members
from shared.contracts import Dataset
from shared.s3 import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def inspect(
    s3: "S3Client", location: Location, check_classes: Callable[[Sequence[str]], None] = lambda _: None
) -> Dataset:
    """List the dataset and check its layout.

    Only the central directory of a zip is read; a tar is streamed once. The fingerprint includes S3's ETags, so it
    also changes when bytes change under the same names and sizes.

    Args:
        s3: client of S3.
        location: the prefix or archive.
        check_classes: called with the names of the class folders; what it raises is raised.

    Raises:
        DatasetError: the location is empty, or its layout cannot be used for training.
    """
    if location.key.lower().endswith(ARCHIVE_SUFFIXES):
        return _inspect_archive(s3, location, check_classes)
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
            f"dataset {location.uri}: nothing found; upload the folders train/, valid/ and test/, or an archive of them"
        )
    name, *others = objects
    if not others and name.lower().endswith(ARCHIVE_SUFFIXES):  # The prefix contains one archive.
        return _inspect_archive(s3, Location(location.bucket, location.key + name), check_classes)
    files = listing([(path, item["Size"]) for path, item in objects.items()], location.uri)
    check_classes(files.classes)
    return _document(location, files, [objects[files.file(photo)]["ETag"] for photo in files.photos])


def _inspect_archive(s3: "S3Client", location: Location, check_classes: Callable[[Sequence[str]], None]) -> Dataset:
    try:
        head = s3.head_object(Bucket=location.bucket, Key=location.key)
    except s3.exceptions.ClientError as error:
        raise DatasetError(f"dataset {location.uri}: no such archive ({error})") from error
    size = head["ContentLength"]
    file = io.BufferedReader(RangedObject(s3, location, size), 1 << 20)
    first = RangedObject(s3, location, min(size, HEAD_BYTES)).read()
    if archive_kind(first or b"", location.key) == "zip":
        members: Members[Any] = zip_members(file, location.uri)
    else:
        body: IO[bytes] = s3.get_object(Bucket=location.bucket, Key=location.key)["Body"]  # type: ignore[assignment]
        members = tar_members(body, location.uri)
    files = listing(members.sizes.items(), location.uri, members.left_out)
    check_classes(files.classes)
    return _document(location, files, [head["ETag"]])


def _document(location: Location, files: Listing, etags: Iterable[str]) -> Dataset:
    versions = "\n".join([files.fingerprint(), *etags])
    return Dataset(
        uri=location.uri,
        fingerprint=hashlib.sha256(versions.encode()).hexdigest()[:16],
        num_classes=len(files.classes),
        counts=files.counts(),
        ignored=len(files.ignored),
    )


class RangedObject(io.RawIOBase):
    """An S3 object as a seekable file. Each read is one ranged GET."""

    def __init__(self, s3: "S3Client", location: Location, size: int) -> None:
        self._s3, self._location, self._size, self._position = s3, location, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return it; nothing is read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer from the position on and return the number of bytes read, 0 at the end."""
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        content = self._s3.get_object(
            Bucket=self._location.bucket, Key=self._location.key, Range=f"bytes={self._position}-{end - 1}"
        )["Body"].read()
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
