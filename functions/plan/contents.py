"""Objects that Plan uploads and jobs run: they are known by their content, not by their name."""

import base64
import hashlib
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from shared.s3 import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHUNK = 1 << 20  # bytes
_NO_VERSION = ("", "null")  # Objects from before the bucket had versions have the version "null".


def ensure(s3: "S3Client", location: Location, sha256: str, opened: Callable[[], IO[bytes]]) -> str:
    """Upload an object unless the bucket has it with the same content; return the version that has this content.

    An object with another content is overwritten, because only its name is what it claims to be.

    Args:
        sha256: hex digits of the content's digest.
        opened: opens the content.
    """
    there = _version(s3, location, sha256)
    if there not in (None, *_NO_VERSION):
        return str(there)
    checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
    with opened() as content:  # One request, because S3 keeps no digest of the whole for an upload in parts.
        answer = s3.put_object(Bucket=location.bucket, Key=location.key, Body=content, ChecksumSHA256=checksum)
    return answer.get("VersionId", "")


def digest(s3: "S3Client", location: Location, version: str = "") -> str:
    """Return the SHA-256 of an object in hex: the one that S3 keeps, or that of its bytes.

    Args:
        version: id of the version; without it, the newest.
    """
    named: Any = {"VersionId": version} if version else {}
    head: Any = s3.head_object(Bucket=location.bucket, Key=location.key, ChecksumMode="ENABLED", **named)
    kept = head.get("ChecksumSHA256", "")
    if kept and head.get("ChecksumType") != "COMPOSITE" and "-" not in kept:
        return base64.b64decode(kept).hex()
    body: Any = s3.get_object(Bucket=location.bucket, Key=location.key, **named)["Body"]
    found = hashlib.sha256()
    for chunk in body.iter_chunks(_CHUNK):
        found.update(chunk)
    return found.hexdigest()


def _version(s3: "S3Client", location: Location, sha256: str) -> str | None:
    """Return the version of the object with this content; None if there is no such object."""
    try:
        head = s3.head_object(Bucket=location.bucket, Key=location.key)
    except s3.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        return None
    version = head.get("VersionId", "")
    return version if digest(s3, location, version) == sha256 else None
