"""The list of a dataset's objects as S3 had them when the run was planned, and what is different later.

Plan writes it, and the gate compares it with the bucket after the last job has read the photos. An object is identified
by its ETag and the time of its last change: under a key of KMS, each upload gives another ETag, also of equal bytes
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html).
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.s3 import Location, parse_uri, read_json

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Changes(NamedTuple):
    """What is different in the bucket, as sentences without a subject: ``KEY was changed``; empty if nothing is."""

    words: tuple[str, ...]
    num_objects: int


def _identity(item: Any) -> str:
    """Return what identifies the content of an object: of an entry of ListObjectsV2, or of HeadObject's answer."""
    return f"{item['ETag']} {item['LastModified']:%Y-%m-%dT%H:%M:%SZ}"


def write(s3: "S3Client", location: Location, dataset: Location, objects: Mapping[str, Any]) -> str:
    """Write the list and return its URI.

    Args:
        location: where it is written.
        dataset: prefix of the photos, which ends in a slash, or the archive.
        objects: S3's entry of each object by its key.
    """
    known = {key: _identity(item) for key, item in objects.items()}
    body = json.dumps({"dataset": dataset.uri, "objects": known}, separators=(",", ":")).encode()
    s3.put_object(Bucket=location.bucket, Key=location.key, Body=body, ContentType="application/json")
    return location.uri


def changes(s3: "S3Client", uri: str) -> Changes:
    """Compare a list with the bucket."""
    kept = read_json(s3, uri)
    location, planned = parse_uri(kept["dataset"]), kept["objects"]
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=location.key)
    found = {item["Key"]: _identity(item) for page in pages for item in page.get("Contents", [])}
    if not location.key.endswith("/"):  # The archive alone; others may have names that begin with its name.
        found = {key: value for key, value in found.items() if key == location.key}
    words = [
        f"{key} was {'deleted' if key not in found else 'added' if key not in planned else 'changed'}"
        for key in sorted(planned.keys() | found.keys())
        if planned.get(key) != found.get(key)
    ]
    return Changes(tuple(words), len(planned))
