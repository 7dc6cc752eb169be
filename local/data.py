"""Check a folder or archive of photos and upload it to the stack's bucket as one archive, once per content."""

import hashlib
import os
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from dataset import DatasetError, Listing, Photo, ReadError, open_source
from dataset.archive import ARCHIVE_SUFFIXES
from dataset.duplicates import Duplicates, duplicates
from dataset.layout import check_classes, named
from dataset.source import Source, kind_of
from dataset.split import SHARES
from local.console import say
from local.home import HOME, LocalError
from local.laptop import Cloud
from sketchbook import write as draw_sketches

EQUAL_PHOTOS = HOME / "equal-photos.txt"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # The earliest date of a zip; with one fixed date equal photos make equal archives.


@dataclass(frozen=True)
class Data:
    """A checked dataset.

    Attributes:
        source: the reader of its photos on this machine.
        archive: the file that is uploaded.
        key: the key of the uploaded object, which contains the archive's hash.
        equal: its photos that are equal byte for byte. Those in two splits are not in the archive.
    """

    source: Source
    archive: Path
    key: str
    equal: Duplicates

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


def prepare(path: Path, shares: Sequence[int] = SHARES, drop_leaks: bool = False) -> Data:
    """Check the dataset and pack it into one archive, because S3 takes one file far faster than thousands.

    Args:
        path: the folder or archive.
        shares: percent of train, valid and test where the dataset has no splits.
        drop_leaks: leave photos of train/ out of valid/ and test/, and those of valid/ out of test/. Otherwise they
            are refused, because the gate would refuse the model after all is trained and evaluated.

    Raises:
        dataset.DatasetError: the dataset cannot be trained on; the message says why.
    """
    source = open_source(path, shares)
    equal = _equal_photos(source)
    if equal.splits and not drop_leaks:
        raise DatasetError(
            f"dataset {path}: photos stand in two splits, so the gate would refuse the model: {len(equal.splits):,} ("
            f"{named(f'{photo.path} is also {other.path}' for photo, other in equal.splits)}); all of them are in "
            f"{os.path.relpath(EQUAL_PHOTOS)}; take them out, or let make run LEAKS=drop leave them out of valid/ and "
            "test/"
        )
    leaked = {photo for photo, _ in equal.splits}
    kept = [photo for photo in source.listing.photos if photo not in leaked]
    check_classes(source.listing.classes, kept, str(path))
    if path.is_file() and not source.listing.made_splits and not leaked:
        name, longest_first = path.name.lower(), sorted(ARCHIVE_SUFFIXES, key=len, reverse=True)
        archive, suffix = path, next((s for s in longest_first if name.endswith(s)), f".{kind_of(path)}")
    else:
        archive, suffix = _pack(source, kept), ".zip"
    return Data(source, archive, f"datasets/{_digest(archive)}{suffix}", equal)


def _equal_photos(source: Source) -> Duplicates:
    """Find photos that are equal byte for byte, and write the list of those that contradict each other."""
    digests = {}
    for photo in source.listing.photos:
        with suppress(ReadError):  # The jobs name photos that cannot be read.
            digests[photo] = hashlib.sha256(source.read(photo)).digest()
    equal = duplicates(digests)
    kinds = (("in two splits", equal.splits), ("in two classes", equal.classes))
    lines = [f"{kind}\t{photo.path}\t{other.path}\n" for kind, pairs in kinds for photo, other in pairs]
    if lines:
        EQUAL_PHOTOS.parent.mkdir(exist_ok=True)
        EQUAL_PHOTOS.write_text("".join(lines), encoding="utf-8")
    else:
        EQUAL_PHOTOS.unlink(missing_ok=True)
    return equal


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


def _pack(source: Source, photos: Sequence[Photo]) -> Path:
    archive = HOME / "dataset.zip"
    HOME.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:  # Photos are already compressed.
        for photo in photos:
            file.writestr(zipfile.ZipInfo(photo.path, _EPOCH), source.read(photo))
    return archive


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
