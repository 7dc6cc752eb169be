"""S3 URIs, and the few S3 calls that several functions need."""

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Location(NamedTuple):
    """An object or prefix in S3."""

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self.bucket}/{self.key}"


def parse_uri(uri: str) -> Location:
    """Return the location that a URI names.

    Raises:
        ValueError: the URI is not of the form ``s3://bucket/key``.
    """
    bucket, slash, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not slash:
        raise ValueError(f"'{uri}' is not of the form s3://bucket/key")
    return Location(bucket, key)


def exists(s3: "S3Client", location: Location) -> bool:
    """Whether the bucket has an object with this key, or with a key that begins with it."""
    return s3.list_objects_v2(Bucket=location.bucket, Prefix=location.key, MaxKeys=1)["KeyCount"] > 0


def read_bytes(s3: "S3Client", uri: str) -> bytes:
    """Return the bytes of an object."""
    location = parse_uri(uri)
    return s3.get_object(Bucket=location.bucket, Key=location.key)["Body"].read()


def read_json(s3: "S3Client", uri: str) -> Any:
    """Return an object, parsed as JSON."""
    return json.loads(read_bytes(s3, uri))
