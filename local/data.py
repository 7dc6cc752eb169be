"""Check a folder or archive of photos and upload it to the stack's bucket as one archive, once per content."""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from dataset import Listing, open_source
from dataset.archive import ARCHIVE_SUFFIXES
from dataset.source import Source, kind_of
from dataset.split import SHARES
from local.console import say
from local.home import HOME, LocalError
from local.laptop import Cloud
from sketchbook import write as draw_sketches

_EPOCH = (1980, 1, 1, 0, 0, 0)  # The earliest date of a zip; with one fixed date equal photos make equal archives.


@dataclass(frozen=True)
class Data:
    """A checked dataset.

    Attributes:
        source: the reader of its photos on this machine.
        archive: the file that is uploaded.
        key: the key of the uploaded object, which contains the archive's hash.
    """

    source: Source
    archive: Path
    key: str

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


def prepare(path: Path, shares: Sequence[int] = SHARES) -> Data:
    """Check the dataset and pack it into one archive, because S3 takes one file far faster than thousands.

    Args:
        path: the folder or archive.
        shares: percent of train, valid and test where the dataset has no splits.

    Raises:
        dataset.DatasetError: the dataset cannot be trained on; the message says why.
    """
    source = open_source(path, shares)
    if path.is_file() and not source.listing.made_splits:
        name, longest_first = path.name.lower(), sorted(ARCHIVE_SUFFIXES, key=len, reverse=True)
        archive, suffix = path, next((s for s in longest_first if name.endswith(s)), f".{kind_of(path)}")
    else:
        archive, suffix = _pack(source), ".zip"
    return Data(source, archive, f"datasets/{_digest(archive)}{suffix}")


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


def _pack(source: Source) -> Path:
    archive = HOME / "dataset.zip"
    HOME.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:  # Photos are already compressed.
        for photo in source.listing.photos:
            file.writestr(zipfile.ZipInfo(photo.path, _EPOCH), source.read(photo))
    return archive


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
