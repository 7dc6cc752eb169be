"""S3 objects to files and back, for jobs and endpoints; in process, from worker threads only."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from local.cloud import ministack
from local.cloud.s3uri import S3Uri, StorageError, relative_path

_XML = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def keys(uri: S3Uri) -> list[str]:
    """Keys that start with the URI's key, sorted; folder markers (``…/``) are left out.

    Raises:
        StorageError: no such bucket.
    """
    # One page: the listing is made in this process, so its size costs nothing on a wire.
    query = {"list-type": "2", "prefix": uri.key, "max-keys": "10000000", "encoding-type": "url"}
    try:
        answer = ministack.call("s3", "GET", f"/{uri.bucket}", query=query)
    except ministack.CallError as error:
        raise StorageError(f"bucket '{uri.bucket}' cannot be listed (HTTP {error.status})") from error
    found = (unquote(element.text or "") for element in ElementTree.fromstring(answer).iter(f"{_XML}Key"))
    return sorted(key for key in found if not key.endswith("/"))


def exists(uri: S3Uri) -> bool:
    """Whether there is an object of exactly this key."""
    try:
        ministack.call("s3", "HEAD", f"/{uri.bucket}/{uri.key}")
    except ministack.CallError:
        return False
    return True


def download(uri: S3Uri, file: Path) -> None:
    """Write one object to a file.

    Raises:
        StorageError: no such object.
    """
    try:
        content = ministack.call("s3", "GET", f"/{uri.bucket}/{uri.key}")
    except ministack.CallError as error:
        raise StorageError(f"no object at {uri} (HTTP {error.status})") from error
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def download_prefix(uri: S3Uri, folder: Path) -> int:
    """Write all objects under a prefix below a folder; returns how many there were.

    Raises:
        StorageError: no such bucket, or a key that would land outside the folder.
    """
    root = folder.resolve()
    found = keys(uri)
    for key in found:
        file = (root / relative_path(uri.key, key)).resolve()
        if not file.is_relative_to(root):
            raise StorageError(f"key '{key}' of bucket '{uri.bucket}' would land outside its folder")
        download(S3Uri(uri.bucket, key), file)
    return len(found)


def upload(file: Path, uri: S3Uri) -> None:
    """Put one file as one object.

    Raises:
        StorageError: S3 refused it.
    """
    try:
        ministack.call("s3", "PUT", f"/{uri.bucket}/{uri.key}", body=file.read_bytes())
    except ministack.CallError as error:
        raise StorageError(f"cannot write {uri} (HTTP {error.status})") from error


def upload_tree(folder: Path, uri: S3Uri) -> None:
    """Put every file below a folder under a prefix."""
    for file in files_below(folder):
        upload(file, uri.child(file.relative_to(folder).as_posix()))


def files_below(folder: Path) -> Iterator[Path]:
    """Regular files below a folder, sorted; none when the folder is missing."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
