"""Read the photo of a request: from its body, or from the stack's own bucket. No other address is ever fetched."""

import base64
import json
import re
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from aws_lambda_powertools.utilities.data_classes.common import BaseProxyEvent
from botocore.exceptions import ClientError

from classify.invoke import NO_ANSWER
from classify.problems import ProblemError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_BYTES = 4_500_000  # Lambda accepts 6 MB, and photos arrive as base64.
CONTENT_TYPES = ("image/jpeg", "image/png", "image/webp")
CONTENT_TYPE_BY_ENDING = dict(zip(("jpeg", "png", "webp", "jpg"), (*CONTENT_TYPES, "image/jpeg"), strict=True))
CONTENT_TYPE_BY_ENDING |= {ending.upper(): content_type for ending, content_type in CONTENT_TYPE_BY_ENDING.items()}
_MAX_KEY_BYTES = 1024  # limit of S3
# Segments that are empty, "." or "..", and characters with a meaning of their own in a URL.
# See "{"s3": …} takes plain keys only" in docs/decisions/api.md.
_TRICKS = re.compile(r"(^|/)\.{0,2}(/|$)|[%?#\\]|^arn:")


def read_photo(event: BaseProxyEvent, bucket: str, s3: Callable[[], "S3Client"]) -> tuple[bytes, str]:
    """Return the photo and its content type.

    Args:
        s3: returns the S3 client. It is called only if the request names a photo in the bucket.

    Raises:
        ProblemError: 400, 404, 413 or 415, with what to send instead; 503 if S3 does not answer.
    """
    content_type = (event.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if content_type in CONTENT_TYPES:
        return _checked(_body(event)), content_type
    if content_type == "application/json":
        key = _key(_body(event), bucket)
        return _checked(_read(s3(), bucket, key)), CONTENT_TYPE_BY_ENDING[_ending(key)]
    raise ProblemError(415, f"send the photo itself as the body, with content-type {', '.join(CONTENT_TYPES)}")


def _body(event: BaseProxyEvent) -> bytes:
    body = event.body or ""
    try:
        return base64.b64decode(body, validate=True) if event.is_base64_encoded else body.encode()
    except ValueError:
        raise ProblemError(400, "the body is marked as base64 but is no base64") from None


def _checked(photo: bytes) -> bytes:
    if not photo:
        raise ProblemError(400, "the photo is empty")
    if len(photo) > MAX_BYTES:
        raise _too_large(len(photo))
    return photo


def _too_large(size: int) -> ProblemError:
    return ProblemError(413, f"the photo has {size:,} bytes; the limit is {MAX_BYTES:,} bytes")


def _key(document: bytes, bucket: str) -> str:
    """Return the key of the bucket that the document ``{"s3": …}`` names."""
    try:
        location = json.loads(document)
    except (ValueError, RecursionError):
        raise ProblemError(400, "the body is no JSON") from None
    if not isinstance(location, dict) or set(location) != {"s3"} or not isinstance(location["s3"], str):
        raise ProblemError(400, 'the body is not of the form {"s3": "key"}')
    key = location["s3"].removeprefix(f"s3://{bucket}/")
    is_plain = key.isprintable() and not _TRICKS.search(key) and len(key.encode()) <= _MAX_KEY_BYTES
    if not is_plain or _ending(key) not in CONTENT_TYPE_BY_ENDING:
        raise ProblemError(
            400, "s3 names no photo of the stack's own bucket: send a key that ends in .jpg, .jpeg, .png or .webp"
        )
    return key


def _ending(key: str) -> str:
    return key.rpartition(".")[2]


def _read(s3: "S3Client", bucket: str, key: str) -> bytes:
    try:
        response = s3.get_object(Bucket=bucket, Key=key)
        with closing(response["Body"]) as body:
            if response["ContentLength"] > MAX_BYTES:
                raise _too_large(response["ContentLength"])
            return body.read()
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
            # See "Absent and forbidden photos are the same 404" in docs/decisions/api.md.
            raise ProblemError(404, "there is no such photo") from None
        raise ProblemError(503, "the photo cannot be read now; try again shortly") from error
    except NO_ANSWER as error:
        raise ProblemError(503, "the photo cannot be read now; try again shortly") from error
