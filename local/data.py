"""Check a folder or archive of photos and upload it to the stack's bucket as one archive, once per content."""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from PIL import Image

from dataset import DatasetError, Listing, Photo, ReadError, Reason, open_source
from dataset.archive import ARCHIVE_SUFFIXES
from dataset.duplicates import Duplicates, duplicates, without_leaks
from dataset.faults import CUT, UNREADABLE, Unreadable, fault, refuse_empty_classes
from dataset.layout import named
from dataset.photo_bytes import pixel_bytes
from dataset.reading import AS_IT_IS, Reading, shares_of
from dataset.source import Source, kind_of
from local.console import say
from local.home import HOME, LocalError
from local.laptop import Cloud
from sketchbook import write as draw_sketches

EQUAL_PHOTOS = HOME / "equal-photos.txt"
UNREADABLE_PHOTOS = HOME / "unreadable-photos.txt"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # The earliest date of a zip; with one fixed date equal photos make equal archives.


@dataclass(frozen=True)
class Data:
    """A checked dataset.

    Attributes:
        source: the reader of its photos on this machine.
        archive: the file that is uploaded.
        key: the key of the uploaded object, which contains the archive's hash.
        equal: its photos that are equal byte for byte. Those in two splits are not in the archive.
        unreadable: its photos that the jobs cannot read, by their headers and ends.
    """

    source: Source
    archive: Path
    key: str
    equal: Duplicates
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def listing(self) -> Listing:
        """The photos and classes of the dataset."""
        return self.source.listing


def sketches() -> Path:
    """Return the folder of the sketchbook, which is drawn on first use."""
    folder = HOME / "sketches"
    if not folder.exists():
        say("No DATA=folder was given, so the sketchbook is drawn: ten cartoon breeds stand in for photos")
        draw_sketches(folder)
    return folder


def reading_of(request: dict[str, Any]) -> Reading:
    """Return how the fields of a request read the dataset.

    Raises:
        LocalError: the field ``split`` is wrong. Plan refuses the other fields if they are.
    """
    split, names = request.get("split"), request.get("drop_breeds")
    try:
        shares = shares_of(split if isinstance(split, str) else "")
    except ValueError as error:
        raise LocalError(f"split: {error}") from error
    dropped = tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
    return Reading(shares, request.get("leaks") == "drop", dropped)


def prepare(path: Path, reading: Reading = AS_IT_IS) -> Data:
    """Check the dataset and pack it into one archive, because S3 takes one file far faster than thousands.

    Args:
        path: the folder or archive.
        reading: what to leave out, and how to make splits. Photos that stand in an earlier split, too, are refused if
            they are not left out, because the gate would refuse the model after all is trained and evaluated.

    Raises:
        dataset.DatasetError: the dataset cannot be trained on; the message says why.
    """
    source = open_source(path, replace(reading, drop_leaks=False))
    equal, unreadable = _looked_at(source)
    if equal.splits and not reading.drop_leaks:
        raise DatasetError(
            f"dataset {path}: photos stand in two splits, so the gate would refuse the model: {len(equal.splits):,} ("
            f"{named(f'{photo.path} is also {other.path}' for photo, other in equal.splits)}); all of them are in "
            f"{os.path.relpath(EQUAL_PHOTOS)}; take them out, or let make run LEAKS=drop leave them out of valid/ and "
            "test/"
        )
    leaked = [photo for photo, _ in equal.splits]
    kept = without_leaks(source.listing, leaked, str(path))
    refuse_empty_classes(kept, unreadable, str(path))
    if path.is_file() and not source.listing.made_splits and not leaked:
        name, longest_first = path.name.lower(), sorted(ARCHIVE_SUFFIXES, key=len, reverse=True)
        archive, suffix = path, next((s for s in longest_first if name.endswith(s)), f".{kind_of(path)}")
    else:
        lost = {photo.path for photo in unreadable if photo.reason == UNREADABLE}
        # Plan finds the folders of breeds that the request drops, as it does in a dataset that is not packed.
        # They may be links that lead nowhere, or empty folders.
        dropped = [file.path for file in source.listing.left_out if file.reason is Reason.DROPPED]
        archive, suffix = _pack(source, (photo for photo in kept.photos if photo.path not in lost), dropped), ".zip"
    return Data(source, archive, f"datasets/{_digest(archive)}{suffix}", equal, unreadable)


def _looked_at(source: Source) -> tuple[Duplicates, tuple[Unreadable, ...]]:
    """Find photos that are equal byte for byte, and those that cannot be read, and write the lists of them."""
    digests, unreadable = {}, []
    for photo in source.listing.photos:
        try:
            content = source.read(photo)
        except ReadError:
            unreadable.append(Unreadable(photo.path, UNREADABLE))
            continue
        digests[photo] = hashlib.sha256(content).digest()
        reason = fault(content)
        if reason and not (reason == CUT and _is_decoded(content)):
            unreadable.append(Unreadable(photo.path, reason))
    equal = duplicates(digests)
    kinds = (("in two splits", equal.splits), ("in two classes", equal.classes))
    _write(EQUAL_PHOTOS, [f"{kind}\t{photo.path}\t{other.path}\n" for kind, pairs in kinds for photo, other in pairs])
    _write(UNREADABLE_PHOTOS, [f"{reason}\t{path}\n" for path, reason in unreadable])
    return equal, tuple(unreadable)


def _is_decoded(photo: bytes) -> bool:
    """Whether a photo that seems to end too early lacks nothing but its end mark."""
    with suppress(OSError, SyntaxError, ValueError):
        Image.open(io.BytesIO(pixel_bytes(photo)[0])).load()
        return True
    return False


def _write(path: Path, lines: Sequence[str]) -> None:
    """Write a list, or take away that of an earlier run."""
    if lines:
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def own_model(path: str | None) -> dict[str, str]:
    """Return the field of a request that names a model file of this machine; ``{}`` without one.

    Raises:
        LocalError: there is no such file.
    """
    if path is None:
        return {}
    file = Path(path).expanduser()
    if not file.is_file():
        raise LocalError(f"model {path}: no such file; save one with torch.save(model.state_dict(), '{file.name}')")
    return {"trained_model": f"TrainedModels/{_digest(file)}/{file.name}"}


def upload(cloud: Cloud, bucket: str, file: Path, key: str) -> bool:
    """Upload a file, whose key contains its hash, unless the bucket already has it; return whether it was uploaded."""
    s3 = cloud.client("s3")
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        s3.upload_file(str(file), bucket, key)
        return True
    return False


def _pack(source: Source, photos: Iterable[Photo], names: Iterable[str]) -> Path:
    archive = HOME / "dataset.zip"
    HOME.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:  # Photos are already compressed.
        for photo in photos:
            file.writestr(zipfile.ZipInfo(photo.path, _EPOCH), source.read(photo))
        for path in names:
            file.writestr(zipfile.ZipInfo(path, _EPOCH), b"")
    return archive


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
