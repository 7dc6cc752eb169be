"""The build context of the images: the code in the stack's layer, uploaded to S3 by content hash."""

import hashlib
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import dataset as _dataset
from plan import contents
from shared.s3 import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# The folder that contains the `dataset` package is the layer: /opt/python on AWS, another folder on a laptop.
LAYER = Path(_dataset.__file__).parents[1]
CONTEXT = ("dataset", "networks", "serving", "training")
# What decides the content of each image, beside its build arguments. A change of the server must not train anew. The
# images that evaluate and serve are built together and have one hash, although the server needs no networks.
CONTENT = {
    "train": ("dataset", "networks", "training", "serving/Dockerfile"),
    "evaluate": ("dataset", "networks", "serving"),
    "serve": ("dataset", "networks", "serving"),
}


def content_hash(target: str, *arguments: str, layer: Path = LAYER) -> str:
    """Return 16 hex digits of everything that decides the content of an image.

    Args:
        target: target of ``serving/Dockerfile``.
        *arguments: values of the build arguments.
    """
    return _hash(layer, _files(layer, CONTENT[target]), *arguments)


def upload_context(s3: "S3Client", bucket: str, layer: Path = LAYER) -> tuple[str, str]:
    """Upload the build context of all images, one zip, unless the bucket already has this very content.

    Returns:
        Its key, and the version that the build reads: nobody can put another zip between Plan and the build.
    """
    files = _files(layer, CONTEXT)
    key, content = f"images/{_hash(layer, files)}.zip", _zip(layer, files)
    sha256 = hashlib.sha256(content).hexdigest()
    return key, contents.ensure(s3, Location(bucket, key), sha256, lambda: io.BytesIO(content))


def _files(layer: Path, names: Iterable[str]) -> list[Path]:
    paths = (path for name in names for path in (layer / name, *(layer / name).rglob("*")))
    return sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts)


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
