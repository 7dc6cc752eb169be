"""Read the photo of a request: from its body, or from the stack's own bucket. No other address is ever fetched."""

import base64
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from aws_lambda_powertools.utilities.data_classes.common import BaseProxyEvent
from botocore.exceptions import ClientError

from classify.invoke import NO_ANSWER
from classify.wrappings import FORMS, MAX_BODY_BYTES, MAX_BYTES, lost_bytes, media_type, too_large, unwrap
from shared.problems import ProblemError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ENDINGS = ("jpg", "jpeg", "png", "webp")  # in any capitals
UPLOADS = "uploads/"  # Here photos may have no ending too, or one of these.
_OTHER_ENDINGS = ("", "jfif", "jpe")
_MAX_KEY_BYTES = 1024  # limit of S3
# Segments that are empty, "." or "..", characters with a meaning of their own in a URL, control characters, and those
# that turn the direction of writing. See "{"s3": …} takes plain keys only" in docs/decisions/api.md.
_TRICKS = re.compile(r"(^|/)\.{0,2}(/|$)|[%?#\\\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_ADDRESS = re.compile(r"arn:|\w+://")


def read_photo(event: BaseProxyEvent, bucket: str, s3: Callable[[], "S3Client"]) -> tuple[bytes, str]:
    """Return the photo and its content type.

    Args:
        s3: returns the S3 client. It is called only if the request names a photo in the bucket.

    Raises:
        ProblemError: 400, 404, 413 or 415, with what to send instead; 503 if S3 does not answer.
    """
    content_type = (event.headers.get("content-type") or "").partition(";")[0].strip().lower()
    photo = _body(event)
    if lost_bytes(photo):
        raise ProblemError(400, f"curl's -d took line breaks and zero bytes out of the photo; {FORMS}")
    if not media_type(photo):
        if not photo and content_type != "application/json":
            raise ProblemError(400, f"the photo is empty; {FORMS}")
        if len(photo) > MAX_BODY_BYTES:
            raise too_large(len(photo))
        content = unwrap(photo, content_type)
        photo = _read(s3(), bucket, _key(content, bucket)) if isinstance(content, str) else content
    return _checked(photo), media_type(photo)


def _body(event: BaseProxyEvent) -> bytes:
    body = event.body or ""
    if not event.is_base64_encoded:
        if "\ufffd" in body[:16]:  # Bytes that are no text became this sign before the function was called.
            raise ProblemError(415, f"the photo arrived as text and lost bytes, because of its content type; {FORMS}")
        return body.encode("utf-8", "surrogatepass")
    if len(body) * 3 // 4 > MAX_BODY_BYTES + 2:
        raise too_large(len(body) * 3 // 4)
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        raise ProblemError(400, "the body is marked as base64 but is no base64") from None


def _checked(photo: bytes) -> bytes:
    if not photo:
        raise ProblemError(400, "the photo is empty")
    if len(photo) > MAX_BYTES:
        raise too_large(len(photo))
    if not media_type(photo):
        raise ProblemError(415, "the bytes are no JPEG, PNG or WebP photo")
    return photo


def _key(location: str, bucket: str) -> str:
    """Return the key of the bucket that ``{"s3": …}`` names."""
    key = location.removeprefix(f"s3://{bucket}/")
    why = ""
    if _ADDRESS.match(key):
        why = "send the key alone, of a photo that lies in that bucket"
    elif _TRICKS.search(key) or len(key.encode()) > _MAX_KEY_BYTES:
        why = (
            "send a plain key, without %, ?, #, \\, control characters and empty, . or .. parts; "
            "a photo that has no such key is copied to another, or sent itself"
        )
    elif _ending(key) not in ENDINGS + (_OTHER_ENDINGS if key.startswith(UPLOADS) else ()):
        why = f"send a key that ends in .jpg, .jpeg, .png or .webp; below {UPLOADS} it may have no ending"
    if why:
        raise ProblemError(400, f"s3 names no photo of the stack's own bucket: {why}")
    return key


def _ending(key: str) -> str:
    return PurePosixPath(key).suffix.removeprefix(".").lower()


def _read(s3: "S3Client", bucket: str, key: str) -> bytes:
    try:
        response = s3.get_object(Bucket=bucket, Key=key)
        with closing(response["Body"]) as body:
            if response["ContentLength"] > MAX_BYTES:
                raise too_large(response["ContentLength"])
            return body.read()
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
            # See "Absent and forbidden photos are the same 404" in docs/decisions/api.md.
            raise ProblemError(404, "there is no such photo") from None
        raise ProblemError(503, "the photo cannot be read now; try again shortly") from error
    except NO_ANSWER as error:
        raise ProblemError(503, "the photo cannot be read now; try again shortly") from error
