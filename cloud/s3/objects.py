"""S3 objects to files and back, for jobs and endpoints; in process, from worker threads only.

``caller`` is the access key of whoever reads or writes: a session of the job's or the model's role.
"""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from cloud.core import emulator
from cloud.core.uris import AccessError, S3Uri, StorageError, relative_path
from cloud.iam import authorization, permissions
from cloud.iam.permissions import Permission
from cloud.kms import hooks as kms_hooks

_XML = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def keys(uri: S3Uri, caller: str) -> list[str]:
    """Keys that start with the URI's key, sorted; folder markers (``…/``) are left out.

    Raises:
        AccessError: the caller may not list the bucket.
        StorageError: no such bucket.
    """
    _authorize(caller, f"list objects under {uri}", permissions.listing(uri.bucket, uri.key))
    # One page: the listing is made in this process, so its size costs nothing on a wire.
    query = {"list-type": "2", "prefix": uri.key, "max-keys": "10000000", "encoding-type": "url"}
    try:
        answer = emulator.call("s3", "GET", f"/{uri.bucket}", query=query)
    except emulator.CallError as error:
        raise StorageError(f"bucket '{uri.bucket}' cannot be listed (HTTP {error.status})") from error
    listing = ElementTree.fromstring(answer)  # noqa: S314 - MiniStack's own words
    found = (unquote(element.text or "") for element in listing.iter(f"{_XML}Key"))
    return sorted(key for key in found if not key.endswith("/"))


def region_of(bucket: str) -> str | None:
    """Where a bucket lies; None when there is no such bucket."""
    try:
        answer = emulator.call("s3", "GET", f"/{bucket}", query={"location": ""})
    except emulator.CallError:
        return None
    region = ElementTree.fromstring(answer).text  # noqa: S314 - MiniStack's own words
    return region or "us-east-1"  # empty there, as on AWS


def exists(uri: S3Uri, caller: str) -> bool:
    """Whether there is an object of exactly this key.

    Raises:
        AccessError: the caller may not read it.
    """
    _authorize(caller, f"read object {uri}", permissions.read(str(uri)))
    try:
        emulator.call("s3", "HEAD", f"/{uri.bucket}/{uri.key}")
    except emulator.CallError:
        return False
    return True


def download(uri: S3Uri, file: Path, caller: str) -> None:
    """Write one object to a file.

    Raises:
        AccessError: the caller may not read it.
        StorageError: no such object.
    """
    _authorize(caller, f"download object {uri}", permissions.read(str(uri)))
    try:
        content = emulator.call("s3", "GET", f"/{uri.bucket}/{uri.key}")
    except emulator.CallError as error:
        raise StorageError(f"no object at {uri} (HTTP {error.status})") from error
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def download_prefix(uri: S3Uri, folder: Path, caller: str) -> int:
    """Write all objects under a prefix below a folder; returns how many there were.

    Raises:
        AccessError: the caller may not list or read.
        StorageError: no such bucket, or a key that would land outside the folder.
    """
    root = folder.resolve()
    found = keys(uri, caller)
    for key in found:
        file = (root / relative_path(uri.key, key)).resolve()
        if not file.is_relative_to(root):
            raise StorageError(f"key '{key}' of bucket '{uri.bucket}' would land outside its folder")
        download(S3Uri(uri.bucket, key), file, caller)
    return len(found)


def upload(file: Path, uri: S3Uri, caller: str, key: str = "") -> None:
    """Put one file as one object, encrypted with a KMS key if one is given.

    Raises:
        AccessError: the caller may not write it, or not use the key.
        StorageError: S3 refused it.
    """
    arn = kms_hooks.key_arn(key) if key else ""
    wanted = permissions.encrypt(arn) if key else []
    _authorize(caller, f"upload object {uri}", permissions.write(str(uri), arn), *wanted)
    headers = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": key}
    path = f"/{uri.bucket}/{uri.key}"
    try:
        emulator.call("s3", "PUT", path, headers=headers if key else {}, body=file.read_bytes())
    except emulator.CallError as error:
        raise StorageError(f"cannot write {uri} (HTTP {error.status})") from error


def delete(uri: S3Uri, caller: str) -> None:
    """Delete one object, which need not be there.

    Raises:
        AccessError: the caller may not delete it.
    """
    _authorize(caller, f"delete object {uri}", permissions.delete(str(uri)))
    emulator.call("s3", "DELETE", f"/{uri.bucket}/{uri.key}")


def upload_tree(folder: Path, uri: S3Uri, caller: str, key: str = "") -> None:
    """Put every file below a folder under a prefix; raises as ``upload`` does."""
    for file in files_below(folder):
        upload(file, uri.child(file.relative_to(folder).as_posix()), caller, key)


def files_below(folder: Path) -> Iterator[Path]:
    """Regular files below a folder, sorted; none when the folder is missing."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _authorize(caller: str, what: str, *needed: Permission) -> None:
    try:
        authorization.authorize(caller, needed)
    except authorization.DeniedError as error:
        raise AccessError(f"Unable to {what} (AccessDenied: {error})") from None
