"""S3 URIs and the few S3 calls that several functions make."""

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
    """Raises: ValueError when it is not ``s3://bucket/key``."""
    bucket, slash, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not slash:
        raise ValueError(f"'{uri}' is not of the form s3://bucket/key")
    return Location(bucket, key)


def exists(s3: "S3Client", place: Location) -> bool:
    """Whether an object lies there, or one whose key begins so."""
    return s3.list_objects_v2(Bucket=place.bucket, Prefix=place.key, MaxKeys=1)["KeyCount"] > 0


def read_bytes(s3: "S3Client", uri: str) -> bytes:
    """The object's bytes."""
    location = parse_uri(uri)
    return s3.get_object(Bucket=location.bucket, Key=location.key)["Body"].read()


def read_json(s3: "S3Client", uri: str) -> Any:
    """The object, parsed as JSON."""
    return json.loads(read_bytes(s3, uri))
