"""Upload the code of the training job and of the images from the stack's layer to S3, by content hash."""

import hashlib
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import dataset as _dataset
from shared.s3 import Location, exists

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# The folder that contains the `dataset` package is the layer: /opt/python on AWS, another folder on a laptop.
LAYER = Path(_dataset.__file__).parents[1]
TRAINING = ("training", "dataset")
IMAGES = ("serving", "dataset")
_COMPLETE = "complete"  # ending of a marker that is uploaded last; without it an upload was interrupted


def upload(s3: "S3Client", bucket: str, layer: Path = LAYER) -> str:
    """Upload the code of the training job, unless the bucket already has these bytes.

    The files are uploaded one by one, because SageMaker does not unpack archives in a channel.

    Returns:
        The S3 URI of the prefix, without a slash at the end.
    """
    files = _files(layer, TRAINING)
    prefix = f"code/{_hash(layer, files)}"
    marker = f"{prefix}.{_COMPLETE}"  # The marker is outside the prefix, so it is not part of the channel.
    if not exists(s3, Location(bucket, marker)):
        for path in files:
            s3.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(layer).as_posix()}")
        s3.put_object(Bucket=bucket, Key=marker, Body=b"")
    return f"s3://{bucket}/{prefix}"


def upload_context(s3: "S3Client", bucket: str, base_image: str, layer: Path = LAYER) -> tuple[str, str]:
    """Upload the build context of the images, one zip, unless the bucket already has it.

    Returns:
        The hash of everything that decides the contents of an image, and ``bucket/key`` of the zip.
    """
    files = _files(layer, IMAGES)
    content_hash = _hash(layer, files, base_image)
    key = f"images/{content_hash}.zip"
    if not exists(s3, Location(bucket, key)):
        s3.put_object(Bucket=bucket, Key=key, Body=_zip(layer, files))
    return content_hash, f"{bucket}/{key}"


def _files(layer: Path, folders: Iterable[str]) -> list[Path]:
    return sorted(
        path
        for folder in folders
        for path in (layer / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def _hash(layer: Path, files: Iterable[Path], *more: str) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(layer).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for text in more:
        digest.update(f"{text}\0".encode())
    return digest.hexdigest()[:16]


def _zip(layer: Path, files: Iterable[Path]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(layer).as_posix())
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16  # Users other than root read the files in the image.
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()
