"""From a folder or archive of photos to one archive in the stack's bucket, once per content."""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from dataset import Listing, open_source
from dataset.source import ARCHIVE_SUFFIXES, Source
from local.home import HOME
from local.laptop import Cloud
from sketchbook import write as draw_sketches

_EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip's earliest date: equal photos make equal archives


@dataclass(frozen=True)
class Data:
    """A checked dataset: how to read it here, and the archive that is uploaded."""

    source: Source
    archive: Path
    key: str

    @property
    def listing(self) -> Listing:
        """Its photos and classes."""
        return self.source.listing


def sketches() -> Path:
    """The sketchbook's folder, drawn at first use."""
    folder = HOME / "sketches"
    if not folder.exists():
        print("Drawing the sketchbook: ten cartoon breeds stand in, for no DATA=folder was given", flush=True)
        draw_sketches(folder)
    return folder


def prepare(path: Path) -> Data:
    """Check the dataset and make it one archive: S3 takes one file far faster than thousands.

    Raises:
        dataset.DatasetError: a dataset that cannot be trained on.
    """
    source = open_source(path)
    if path.is_file():
        archive = path
        suffix = next(s for s in sorted(ARCHIVE_SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(s))
    else:
        archive, suffix = _pack(source), ".zip"
    return Data(source, archive, f"datasets/{_digest(archive)}{suffix}")


def upload(cloud: Cloud, bucket: str, data: Data) -> bool:
    """Put the archive into the bucket unless it lies there; returns whether it had to travel."""
    s3 = cloud.client("s3")
    try:
        s3.head_object(Bucket=bucket, Key=data.key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        s3.upload_file(str(data.archive), bucket, data.key)
        return True
    return False


def _pack(source: Source) -> Path:
    archive = HOME / "dataset.zip"
    HOME.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:  # photos are compressed already
        for photo in source.listing.photos:
            file.writestr(zipfile.ZipInfo(photo.path, _EPOCH), source.read(photo))
    return archive


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
