"""Find the photo in a request's body. The bytes decide; what the content type says does not matter.

See "The bytes decide, not the content type" in docs/decisions/api.md.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_to_bytes

from shared.problems import ProblemError

MAX_BYTES = 4_500_000  # Lambda accepts 6 MB, and photos arrive as base64.
MAX_BODY_BYTES = 6_500_000  # a photo of MAX_BYTES in base64 with line breaks, in JSON or in a form
_MAX_PARTS = 100  # of a form, and texts of a JSON document
_MAX_VALUES = 10_000  # of a JSON document; a matrix of pixels has more
_MAX_INSIDE = 4  # texts of a JSON document that are JSON themselves
_MAX_PREAMBLE = 2000  # bytes before a form's first boundary
_MAX_LINE = 300  # bytes of the first line of a form; a boundary has at most 70 characters
FORMS = (
    'send the photo\'s own bytes as the body: curl -H "x-api-key: $KEY" --data-binary @photo.jpg API_URL '
    '(one photo in a form, one in base64 and {"s3": "key"} are taken too)'
)
CONTENT_TYPES = ("image/jpeg", "image/png", "image/webp")
_SIGNATURES = tuple(
    re.compile(signature, re.DOTALL) for signature in (rb"\xff\xd8\xff", rb"\x89PNG\r\n\x1a\n", rb"RIFF....WEBP")
)
_OTHER_KINDS = {
    "a GIF": rb"GIF8",
    "a HEIC photo": rb"....ftyp(hei|hev|mif1|msf1)",
    "an AVIF photo": rb"....ftypavi",
    "a video": rb"....ftyp|\x1aE\xdf\xa3",
    "a TIFF": rb"II\*\0|MM\0\*",
    "a BMP": rb"BM....\0\0\0\0",
    "a JPEG XL": rb"\0\0\0\x0cJXL |\xff\x0a",
    "a JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "a PDF": rb"%PDF",
    "a zip": rb"PK\x03\x04",
    "a pointer of Git LFS": rb"version https://git-lfs",
    "a web page or SVG": rb"(?i)\s{0,99}<(!doctype html|html|svg|\?xml)",
}
_COMPRESSED = {"gzip": (b"\x1f\x8b\x08",), "zstd": (b"\x28\xb5\x2f\xfd",), "deflate": (b"x\x01", b"x\x9c", b"x\xda")}
# What a photo in base64 begins with, in either alphabet: maybe behind the head of a data: URI, or in Python's b'…'.
_BASE64_HEAD = rb"(?:b')?(?i:data:[^,]{0,200},)?\s{0,9}"
_BASE64 = re.compile(_BASE64_HEAD + rb"(?=(?:/|_|%2[Ff])9j(?:/|_|%2[Ff])|iVBORw0KGg|UklGR)")
_ANY_BASE64 = re.compile(_BASE64_HEAD + rb"([\w+/-]{16,64})")
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_NO_LETTERS = b"\t\r\n'="
_FIELDS = re.compile(rb"[\w.\[\]-]{1,100}=[^=]")
_FIRST_BOUNDARY = re.compile(rb"\n--[^\r\n]{1,70}\r?\n")
_ADDRESS = re.compile(r"\s{0,99}(https?|s3|ftp|file|gs)://", re.IGNORECASE)


def media_type(photo: bytes) -> str:
    """Return a photo's media type by its first bytes; empty if it is neither JPEG nor PNG nor WebP."""
    pairs = zip(CONTENT_TYPES, _SIGNATURES, strict=True)
    return next((kind for kind, signature in pairs if signature.match(photo)), "")


def unwrap(body: bytes, content_type: str) -> bytes | str:
    """Return the one photo that a body which is no photo contains, or the text of its ``{"s3": …}``.

    Args:
        body: at most MAX_BODY_BYTES.
        content_type: in lower case. It decides only about bodies that say nothing themselves.

    Raises:
        ProblemError: 400, 413 or 415, with what to send instead.
    """
    for coding, signatures in _COMPRESSED.items():
        if body.startswith(signatures):
            raise ProblemError(415, f"the body is compressed ({coding}); send it uncompressed: {FORMS}")
    if kind := _kind_of(body):
        raise ProblemError(415, f"the body is {kind}, and only JPEG, PNG and WebP photos are named; {FORMS}")
    start = body[:_MAX_LINE].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"--"):
        return _one("form", _form_parts(body.lstrip(b"\xef\xbb\xbf \t\r\n")))
    if content_type.startswith("multipart/") and (preamble := _FIRST_BOUNDARY.search(body[:_MAX_PREAMBLE])):
        return _one("form", _form_parts(body[preamble.start() + 1 :]))
    if start[:1] in (b"{", b"[", b'"') or content_type == "application/json" or content_type.endswith("+json"):
        return _unwrap_json(body)
    if photo := _from_base64(body):
        return photo
    if content_type == "application/x-www-form-urlencoded" or _FIELDS.match(start):
        # curl marks whatever it sends as a form, also what has no field.
        return _one("form" if _FIELDS.match(start) else "body", _url_encoded_values(body))
    if _ADDRESS.match(start.decode("latin-1")):
        raise _address()
    if content_type.startswith("multipart/"):
        raise ProblemError(400, f"the body is marked as a form but does not begin with its boundary; {FORMS}")
    if len(body) > MAX_BYTES:
        raise too_large(len(body))
    raise ProblemError(415, f"the body is no JPEG, PNG or WebP photo; {FORMS}")


def lost_bytes(photo: bytes) -> bool:
    """Whether ``curl -d @photo.jpg``, which drops line breaks and zero bytes, sent a JPEG or PNG.

    No JPEG or PNG is without a zero byte: the lengths of its first segments have some. A few bytes are no photo.
    """
    return (
        len(photo) > 100 and photo.startswith((b"\xff\xd8\xff", b"\x89PNG\x1a")) and not re.search(rb"[\0\r\n]", photo)
    )


def too_large(size: int) -> ProblemError:
    """Return the problem of a photo that has too many bytes."""
    return ProblemError(413, f"the photo has {size:,} bytes; the limit is {MAX_BYTES:,} bytes")


def _unwrap_json(body: bytes) -> bytes | str:
    try:
        document = json.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        raise ProblemError(400, f"the body is no JSON; {FORMS}") from None
    if isinstance(document, dict) and "s3" in document:
        if set(document) != {"s3"} or not isinstance(document["s3"], str):
            raise ProblemError(400, f'the body is not of the form {{"s3": "key"}}; {FORMS}')
        return document["s3"]
    texts = list(_texts(document))
    if any(_ADDRESS.match(text) for text in texts) and not any(_starts_as_base64(text) for text in texts):
        raise _address()
    return _one("JSON", (_bytes_of(text) for text in texts))


def _texts(document: Any) -> Iterator[str]:
    """Yield the texts of a JSON document, in whichever fields they are, also in JSON that is a text of it."""
    rest, seen, inside = [document], 0, 0
    while rest:
        value = rest.pop()
        seen += 1
        if isinstance(value, str):
            if inside < _MAX_INSIDE and value.lstrip()[:1] in ("{", "[", '"'):
                inside += 1
                with suppress(ValueError, RecursionError):
                    rest.append(json.loads(value))
                    continue
            yield value
        elif isinstance(value, dict | list):
            seen += len(value)
            rest.extend(value.values() if isinstance(value, dict) else value[:_MAX_VALUES])
        if seen > _MAX_VALUES:
            raise ProblemError(400, f"the JSON has too many values; numbers are no photo; {FORMS}")


def _starts_as_base64(text: str) -> bool:
    return bool(_BASE64.match(text.lstrip()[:_MAX_LINE].encode("ascii", "replace")))


def _bytes_of(text: str) -> bytes:
    """Return a text that may be a photo in base64, and of others what they begin with."""
    return (text if _starts_as_base64(text) else text[:_MAX_LINE]).encode("ascii", "replace")


def _form_parts(body: bytes) -> Iterator[bytes]:
    """Yield the contents of a form's parts (multipart/form-data). The first line is the boundary."""
    end = body.find(b"\n", 0, _MAX_LINE)
    if end < 0:
        raise ProblemError(400, f"the body begins like a form, and its boundary has no end; {FORMS}")
    newline = b"\r\n" if body[end - 1 : end] == b"\r" else b"\n"
    boundary = newline + body[:end].rstrip()
    parts = (newline + body).split(boundary, _MAX_PARTS + 1)
    if len(parts) > _MAX_PARTS + 1:
        raise ProblemError(400, f"the form has more than {_MAX_PARTS} parts; {FORMS}")
    for part in parts[1:]:
        if part.startswith(b"--"):
            return
        yield part.partition(newline * 2)[2]


def _url_encoded_values(body: bytes) -> Iterator[bytes]:
    """Yield the fields' values that may be base64, and of others the start. A + stays one: few clients escape it."""
    fields = body.split(b"&", _MAX_PARTS)
    if len(fields) > _MAX_PARTS:
        raise ProblemError(400, f"the form has {_MAX_PARTS} fields or more; {FORMS}")
    for field in fields:
        value = field.partition(b"=")[2]
        start = unquote_to_bytes(value[:_MAX_LINE])
        yield unquote_to_bytes(value) if _BASE64.match(start.lstrip()) else start


def _one(wrapping: str, candidates: Iterable[bytes]) -> bytes:
    photos, kind = list[bytes](), ""
    for candidate in candidates:
        if photo := candidate if media_type(candidate) else _from_base64(candidate):
            photos.append(photo)
        else:
            kind = kind or _kind_of(candidate) or _kind_in_base64(candidate)
    if not photos and kind:
        raise ProblemError(
            415, f"the {wrapping} contains {kind}, and only JPEG, PNG and WebP photos are named; {FORMS}"
        )
    if not photos:
        raise ProblemError(400, f"the {wrapping} contains no JPEG, PNG or WebP photo; {FORMS}")
    if len(photos) > 1:
        raise ProblemError(400, f"the {wrapping} contains {len(photos)} photos; send one photo a request")
    return photos[0]


def _kind_of(content: bytes) -> str:
    """Return what no photo is, by its first bytes; empty if they do not tell it."""
    return next((kind for kind, signature in _OTHER_KINDS.items() if re.match(signature, content, re.DOTALL)), "")


def _kind_in_base64(text: bytes) -> str:
    letters = _ANY_BASE64.match(text[:_MAX_LINE].lstrip())
    if not letters:
        return ""
    whole = letters[1][: len(letters[1]) // 4 * 4].translate(_STANDARD_ALPHABET)
    start = base64.b64decode(whole)
    return "" if start.startswith(b"\xff\x0a") else _kind_of(start)  # A path such as /work/photos has those letters.


def _from_base64(text: bytes) -> bytes:
    """Decode a photo in base64, in either alphabet, with or without line breaks; empty if it is none."""
    text = text.lstrip()
    head = _BASE64.match(text)
    if not head:
        return b""
    text = text[head.end() :]
    if b"%" in text:
        text = unquote_to_bytes(text)
    if b" " in text:
        text = _without_spaces(text)
    letters = text.translate(_STANDARD_ALPHABET, _NO_LETTERS)
    if len(letters) * 3 // 4 > MAX_BYTES:
        raise too_large(len(letters) * 3 // 4)
    try:
        photo = base64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
    except ValueError:
        raise ProblemError(400, f"the photo's base64 is cut off or contains other characters; {FORMS}") from None
    return photo if media_type(photo) else b""


def _without_spaces(text: bytes) -> bytes:
    """Put + where the decoder of a form made it a space, unless the spaces were line breaks of the base64 command."""
    text = b"".join(line.strip() for line in text.splitlines())
    width = text.find(b" ")
    breaks = text[width :: width + 1] if width > 0 and width % 4 == 0 else b""
    is_folded = text.count(b" ") == len(breaks) == breaks.count(b" ")
    return text.replace(b" ", b"" if is_folded else b"+")


def _address() -> ProblemError:
    return ProblemError(400, f"no address is fetched: download the photo yourself, and {FORMS}")
