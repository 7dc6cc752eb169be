"""The photo that a request is about: its body, or an object of the stack's own bucket; never an address elsewhere."""

import base64
import json
import re
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from aws_lambda_powertools.utilities.data_classes.common import BaseProxyEvent
from botocore.exceptions import ClientError

from classify.invoke import NO_ANSWER
from classify.problems import Problem

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_BYTES = 4_500_000  # Lambda takes 6 MB, and a photo travels to it as base64
CONTENT_TYPES = ("image/jpeg", "image/png", "image/webp")
_OF_ENDING = dict(zip(("jpeg", "png", "webp", "jpg"), (*CONTENT_TYPES, "image/jpeg"), strict=True))
_OF_ENDING |= {ending.upper(): content_type for ending, content_type in _OF_ENDING.items()}
_MAX_KEY_BYTES = 1024  # S3's own limit
# Segments that are empty, "." or "..", and what means something else in an address.
_TRICKS = re.compile(r"(^|/)\.{0,2}(/|$)|[%?#\\]|^arn:")


def photo_of(event: BaseProxyEvent, bucket: str, s3: Callable[[], "S3Client"]) -> tuple[bytes, str]:
    """The photo and its content type.

    Args:
        s3: called only where the photo lies in the bucket.

    Raises:
        Problem: 400, 404, 413 or 415, with what to send instead; 503 when S3 does not answer.
    """
    content_type = (event.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if content_type in CONTENT_TYPES:
        return _checked(_body(event)), content_type
    if content_type == "application/json":
        key = _key(_body(event), bucket)
        return _checked(_read(s3(), bucket, key)), _OF_ENDING[_ending(key)]
    raise Problem(415, f"send the photo itself as the body, with content-type {', '.join(CONTENT_TYPES)}")


def _body(event: BaseProxyEvent) -> bytes:
    body = event.body or ""
    try:
        return base64.b64decode(body, validate=True) if event.is_base64_encoded else body.encode()
    except ValueError:
        raise Problem(400, "the body is marked as base64 and is not") from None


def _checked(photo: bytes) -> bytes:
    if not photo:
        raise Problem(400, "the photo is empty")
    if len(photo) > MAX_BYTES:
        raise _too_large(len(photo))
    return photo


def _too_large(size: int) -> Problem:
    return Problem(413, f"the photo has {size:,} bytes; at most {MAX_BYTES:,} are taken")


def _key(document: bytes, bucket: str) -> str:
    """The key that ``{"s3": …}`` names in the bucket."""
    try:
        asked = json.loads(document)
    except (ValueError, RecursionError):
        raise Problem(400, "the body is no JSON") from None
    if not isinstance(asked, dict) or set(asked) != {"s3"} or not isinstance(asked["s3"], str):
        raise Problem(400, 'the body is not of the form {"s3": "key"}')
    key = asked["s3"].removeprefix(f"s3://{bucket}/")
    is_plain = key.isprintable() and not _TRICKS.search(key) and len(key.encode()) <= _MAX_KEY_BYTES
    if not is_plain or _ending(key) not in _OF_ENDING:
        raise Problem(
            400, "s3 names no photo of the stack's own bucket: give a key ending in .jpg, .jpeg, .png or .webp"
        )
    return key


def _ending(key: str) -> str:
    return key.rpartition(".")[2]


def _read(s3: "S3Client", bucket: str, key: str) -> bytes:
    try:
        found = s3.get_object(Bucket=bucket, Key=key)
        with closing(found["Body"]) as body:
            if found["ContentLength"] > MAX_BYTES:
                raise _too_large(found["ContentLength"])
            return body.read()
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
            # Whether it is absent or may not be read is not the caller's business.
            raise Problem(404, "there is no such photo") from None
        raise Problem(503, "the photo cannot be read now; try again shortly") from error
    except NO_ANSWER as error:
        raise Problem(503, "the photo cannot be read now; try again shortly") from error
