"""Copy S3 objects to files and back, for jobs and endpoints.

Call these functions from worker threads only. ``caller`` is the access key of the session that reads or writes; the
session is one of the job's or the model's role.
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
    """Return the sorted keys that start with the URI's key, without folder markers (``…/``).

    Raises:
        AccessError: The caller may not list the bucket.
        StorageError: There is no such bucket.
    """
    _authorize(caller, f"list objects under {uri}", permissions.listing(uri.bucket, uri.key))
    # One page contains all keys, because a long answer within this process costs no network transfer.
    query = {"list-type": "2", "prefix": uri.key, "max-keys": "10000000", "encoding-type": "url"}
    try:
        answer = emulator.call("s3", "GET", f"/{uri.bucket}", query=query)
    except emulator.CallError as error:
        raise StorageError(f"bucket '{uri.bucket}' cannot be listed (HTTP {error.status})") from error
    listing = ElementTree.fromstring(answer)  # noqa: S314 - MiniStack wrote this XML
    all_keys = (unquote(element.text or "") for element in listing.iter(f"{_XML}Key"))
    return sorted(key for key in all_keys if not key.endswith("/"))


def region_of(bucket: str) -> str | None:
    """Return the region of a bucket; None when there is no such bucket."""
    try:
        answer = emulator.call("s3", "GET", f"/{bucket}", query={"location": ""})
    except emulator.CallError:
        return None
    region = ElementTree.fromstring(answer).text  # noqa: S314 - MiniStack wrote this XML
    return region or "us-east-1"  # The answer is empty for a bucket in us-east-1, as on AWS.


def exists(uri: S3Uri, caller: str) -> bool:
    """Whether there is an object with exactly this key.

    Raises:
        AccessError: The caller may not read the object.
    """
    _authorize(caller, f"read object {uri}", permissions.read(str(uri)))
    try:
        emulator.call("s3", "HEAD", f"/{uri.bucket}/{uri.key}")
    except emulator.CallError:
        return False
    return True


def download(uri: S3Uri, file: Path, caller: str, version: str = "") -> None:
    """Write one object, or one version of it, to a file.

    Raises:
        AccessError: The caller may not read the object.
        StorageError: There is no such object.
    """
    _authorize(caller, f"download object {uri}", permissions.read(str(uri), version))
    query = {"versionId": version} if version else {}
    try:
        content = emulator.call("s3", "GET", f"/{uri.bucket}/{uri.key}", query=query)
    except emulator.CallError as error:
        raise StorageError(f"no object at {uri} (HTTP {error.status})") from error
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def download_prefix(uri: S3Uri, folder: Path, caller: str) -> int:
    """Write all objects under a prefix below a folder and return their number.

    Raises:
        AccessError: The caller may not list the bucket or read an object.
        StorageError: There is no such bucket, or an object's key leads outside the folder.
    """
    root = folder.resolve()
    object_keys = keys(uri, caller)
    for key in object_keys:
        file = (root / relative_path(uri.key, key)).resolve()
        if not file.is_relative_to(root):
            raise StorageError(f"key '{key}' of bucket '{uri.bucket}' leads outside the folder that it is copied to")
        download(S3Uri(uri.bucket, key), file, caller)
    return len(object_keys)


def upload(file: Path, uri: S3Uri, caller: str, key: str = "") -> None:
    """Write one file to one object.

    Args:
        file: The file.
        uri: URI of the object.
        caller: Access key of the caller.
        key: ARN, id or alias of the KMS key that encrypts the object; empty for the bucket's own encryption.

    Raises:
        AccessError: The caller may not write the object or use the KMS key.
        StorageError: S3 refused the object.
    """
    arn = kms_hooks.key_arn(key) if key else ""
    for_key = permissions.encrypt(arn) if key else []
    _authorize(caller, f"upload object {uri}", permissions.write(str(uri), arn), *for_key)
    headers = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": key}
    path = f"/{uri.bucket}/{uri.key}"
    try:
        emulator.call("s3", "PUT", path, headers=headers if key else {}, body=file.read_bytes())
    except emulator.CallError as error:
        raise StorageError(f"cannot write {uri} (HTTP {error.status})") from error


def delete(uri: S3Uri, caller: str) -> None:
    """Delete one object; a missing object is not an error.

    Raises:
        AccessError: The caller may not delete the object.
    """
    _authorize(caller, f"delete object {uri}", permissions.delete(str(uri)))
    emulator.call("s3", "DELETE", f"/{uri.bucket}/{uri.key}")


def upload_tree(folder: Path, uri: S3Uri, caller: str, key: str = "") -> None:
    """Write every file below a folder to an object under a prefix; it raises the errors of ``upload``."""
    for file in files_below(folder):
        upload(file, uri.child(file.relative_to(folder).as_posix()), caller, key)


def files_below(folder: Path) -> Iterator[Path]:
    """Return the sorted regular files below a folder; none when the folder is missing."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _authorize(caller: str, intent: str, *needed: Permission) -> None:
    try:
        authorization.authorize(caller, needed)
    except authorization.DeniedError as error:
        raise AccessError(f"Unable to {intent} (AccessDenied: {error})") from None
