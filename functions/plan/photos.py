"""Inspect the dataset in S3 without downloading its photos."""

import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from dataset import DatasetError, Listing, Reason, listing
from dataset import LeftOut as LeftOutFile
from dataset.archive import (
    ARCHIVE_SUFFIXES,
    HEAD_BYTES,
    archive_kind,
    tar_members,
    tar_reader,
    zip_members,
    zip_reader,
)
from dataset.duplicates import without_leaks
from dataset.faults import CUT, Unreadable, counted, fault, refuse_empty_classes
from dataset.layout import is_junk, named
from dataset.reading import AS_IT_IS, Reading
from plan import leaks, places
from plan.leaks import Leaks
from shared.contracts import Dataset, LeftOut
from shared.errors import RequestError
from shared.s3 import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


_MAX_CLASSES = 20  # that a count names
_MAX_READING = 256  # characters of an argument of a processing job
ClassCheck = Callable[[Sequence[str], Collection[str]], None]
Keep = Callable[[Location, Mapping[str, Any]], str]


def _not_kept(_location: Location, _objects: Mapping[str, Any]) -> str:
    return ""


def inspect(
    s3: "S3Client",
    location: Location,
    reading: Reading = AS_IT_IS,
    check_classes: ClassCheck = lambda _, __: None,
    keep: Keep = _not_kept,
) -> Dataset:
    """List the dataset, check its layout, and look for photos in two splits.

    Only the central directory of a zip is read; a tar is streamed once; of a prefix, see ``leaks.of_prefix``. The
    fingerprint includes S3's ETags, so it also changes when bytes change under the same names and sizes.

    Args:
        s3: client of S3.
        location: the prefix or archive.
        reading: what the request says about splits, equal photos and breeds to leave out.
        check_classes: called with the names of the classes, and of those that are left out; what it raises is raised.
        keep: called with the location and S3's entry of each of its objects by its key; returns where the list of them
            is kept, with which the gate finds out whether the photos are still the same.

    Raises:
        DatasetError: the location is empty, its layout cannot be used for training, or photos are in two splits.
        RequestError: the request leaves out too many folders.
    """
    if location.key.lower().endswith(ARCHIVE_SUFFIXES):
        return _inspect_archive(s3, location, reading, check_classes, keep)
    location = Location(location.bucket, location.key.rstrip("/") + "/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=location.key)
    items = {item["Key"][len(location.key) :]: item for page in pages for item in page.get("Contents", [])}
    objects = {path: item for path, item in items.items() if path and not path.endswith("/")}
    folders = [LeftOutFile(path.rstrip("/"), Reason.FOLDER) for path in items if path.endswith("/")]
    if not objects:
        raise places.nothing_found(s3, location)
    places.refuse_keys_without_files(objects, location.uri)
    name, *others = [path for path in objects if not is_junk(path)] or objects
    if not others and name.lower().endswith(ARCHIVE_SUFFIXES):  # The prefix contains one archive.
        return _inspect_archive(s3, Location(location.bucket, location.key + name), reading, check_classes, keep)

    def read(path: str) -> bytes:
        return s3.get_object(Bucket=location.bucket, Key=location.key + path)["Body"].read()

    sizes = [(path, item["Size"]) for path, item in objects.items()]
    files = listing(sizes, location.uri, folders, reading.shares, read, reading.drop_breeds)
    check_classes(files.classes, _dropped(files))
    etags = {path: item["ETag"] for path, item in objects.items()}
    found = leaks.of_prefix(s3, location, files, etags)
    files = _without_leaks(files, found, reading, location.uri)
    document = _document(location, files, [etags[files.file(photo)] for photo in files.photos], reading, found)
    kept = keep(location, {location.key + path: item for path, item in items.items()})
    return document.model_copy(update={"listing": kept})


def _inspect_archive(
    s3: "S3Client", location: Location, reading: Reading, check_classes: ClassCheck, keep: Keep
) -> Dataset:
    places.refuse_neighbours(s3, location)
    try:
        head = s3.head_object(Bucket=location.bucket, Key=location.key)
    except s3.exceptions.ClientError as error:
        missing = error.response["ResponseMetadata"]["HTTPStatusCode"] == 404
        words = "no such archive; upload it there" if missing else "S3 does not let Plan read it"
        raise DatasetError(f"dataset {location.uri}: {words}, or name another archive or prefix") from error
    size, uri = head["ContentLength"], location.uri
    first = RangedObject(s3, location, min(size, HEAD_BYTES)).read()
    faults: dict[str, str] = {}
    sums: dict[str, object]
    if archive_kind(first or b"", location.key) == "zip":
        stream = io.BufferedReader(RangedObject(s3, location, size), 1 << 20)
        zipped = zip_members(stream, uri)
        read = zip_reader(stream, zipped)
        files = listing(zipped.sizes.items(), uri, zipped.left_out, reading.shares, read, reading.drop_breeds)
        sums = {path: info.CRC for path, info in zipped.files.items()}
    else:
        body: IO[bytes] = s3.get_object(Bucket=location.bucket, Key=location.key)["Body"]  # type: ignore[assignment]
        seen: dict[int, tuple[int, str]] = {}

        def look(member: tarfile.TarInfo, content: bytes) -> None:
            seen[member.offset_data] = zlib.crc32(content), fault(content)

        packed = tar_members(body, uri, look)
        read = tar_reader(packed)
        files = listing(packed.sizes.items(), uri, packed.left_out, reading.shares, read, reading.drop_breeds)
        of_path = {path: seen[info.offset_data] for path, info in packed.files.items() if info.offset_data in seen}
        sums = {path: crc for path, (crc, _) in of_path.items()}
        faults = {path: words for path, (_, words) in of_path.items() if words and words != CUT}  # CUT is a guess.
    check_classes(files.classes, _dropped(files))
    found = leaks.of_archive(files, sums)
    files = _without_leaks(files, found, reading, uri)
    lost = [Unreadable(photo.path, faults[file]) for photo in files.photos if (file := files.file(photo)) in faults]
    if lost:
        refuse_empty_classes(files, lost, uri)
    document = _document(location, files, [head["ETag"]], reading, found, lost)
    return document.model_copy(update={"listing": keep(location, {location.key: head})})


def _dropped(files: Listing) -> set[str]:
    return {file.label for file in files.left_out if file.reason is Reason.DROPPED}


def _without_leaks(files: Listing, found: Leaks, reading: Reading, where: str) -> Listing:
    """Leave out photos that stand in an earlier split, too.

    Raises:
        DatasetError: there are some, and the request does not say that they shall be left out.
    """
    if not found.pairs:
        return files
    if not reading.drop_leaks:
        raise DatasetError(
            f"dataset {where}: photos stand in two splits, so the gate would refuse the model: {len(found.pairs):,} ("
            f"{named(f'{photo.path} is also {other.path}' for photo, other in found.pairs)}); take them out, or leave "
            'them out of valid/ and test/ by {"leaks": "drop"} in the execution\'s input'
        )
    return without_leaks(files, [photo for photo, _ in found.pairs], where)


def _document(
    location: Location,
    files: Listing,
    etags: Iterable[str],
    reading: Reading,
    found: Leaks,
    unreadable: Collection[Unreadable] = (),
) -> Dataset:
    versions = "\n".join([files.fingerprint(), *etags])
    effective = Reading(
        reading.shares if files.made_splits else AS_IT_IS.shares, bool(found.pairs), tuple(sorted(_dropped(files)))
    )
    text = effective.to_json()
    # https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_AppSpecification.html limits each argument.
    if len(text) > _MAX_READING:
        raise RequestError("drop_breeds: names too many folders of the dataset; take these folders out of it instead")
    return Dataset(
        uri=location.uri,
        fingerprint=hashlib.sha256(versions.encode()).hexdigest()[:16],
        num_classes=len(files.classes),
        counts=files.counts(),
        made_splits=files.made_splits,
        left_out=_counts(counted(files.left_out)),
        unreadable=_counts(counted(unreadable)),
        not_compared=found.unknown,
        reading=text,
    )


def _counts(counts: Iterable[dict[str, Any]]) -> list[LeftOut]:
    """Return counts that name few classes, because a state's output has at most 256 KB."""
    documents = []
    for each in counts:
        largest = sorted(each["classes"].items(), key=lambda item: (-item[1], item[0]))[:_MAX_CLASSES]
        documents.append(LeftOut(**each | {"classes": dict(sorted(largest))}))
    return documents


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
