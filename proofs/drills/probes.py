"""Generates requests that nobody should send, each with the statuses that are right for it."""

import base64
import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from local.stack import Stack

CANARY = "canary-7f3a9c"  # Bodies, headers and paths contain it; no log may contain it.
_IMAGES = ("image/jpeg", "image/png", "image/webp")
_OTHER_TYPES = ("", "text/html", "application/octet-stream", "image/gif", "image/svg+xml", "multipart/form-data", "*/*")
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
_REFUSED = frozenset(range(400, 500))
_ANSWERED = frozenset({200}) | _REFUSED


@dataclass(frozen=True)
class Probe:
    """One request, and the statuses that are right for it. 503 with Retry-After is always right."""

    kind: str
    method: str
    path: str
    statuses: frozenset[int]
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class ProbeGenerator:
    """Generates random requests of all kinds."""

    def __init__(self, deployed: Stack, photo: bytes, forbidden: list[str], rng: random.Random) -> None:
        """Prepare the kinds of requests with their weights.

        Args:
            deployed: the stack with the API.
            photo: a JPEG that the API classifies.
            forbidden: URIs in S3 that no caller may read.
            rng: the source of randomness.
        """
        self._deployed, self._photo, self._forbidden, self._rng = deployed, photo, forbidden, rng
        self._kinds: dict[Callable[[], Probe], int] = {
            self._good_photo: 4,
            self._broken_photo: 16,
            self._noise: 10,
            self._other_type: 4,
            self._odd_wrapping: 8,
            self._s3_trick: 24,
            self._odd_json: 14,
            self._odd_path: 14,
            self._odd_headers: 5,
            self._no_key: 5,
        }

    def probe(self) -> Probe:
        """Return the next request, without the key."""
        [make] = self._rng.choices(list(self._kinds), list(self._kinds.values()))
        return make()

    def _good_photo(self) -> Probe:
        return Probe("good photo", "POST", "/classify", frozenset({200}), self._photo, {"content-type": "image/jpeg"})

    def _broken_photo(self) -> Probe:
        """Return a photo with changed, missing or additional bytes. Some of them can still be decoded."""
        rng = self._rng
        photo = bytearray(self._photo)
        for _ in range(rng.randint(1, 30)):
            photo[rng.randrange(len(photo))] = rng.randrange(256)
        if rng.random() < 0.5:
            del photo[rng.randrange(len(photo)) :]
        if rng.random() < 0.2:
            photo[:0] = rng.randbytes(rng.randint(1, 64))
        headers = {"content-type": rng.choice(_IMAGES)}
        return Probe("broken photo", "POST", "/classify", _ANSWERED, bytes(photo), headers)

    def _noise(self) -> Probe:
        rng = self._rng
        size = rng.choice((0, 1, 16, 1_000, 50_000)) if rng.random() < 0.99 else 4_600_000
        heads = (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBPVP8 ", b"GIF89a")
        body = rng.choice(heads) + CANARY.encode() + rng.randbytes(size) if size else b""
        return Probe("noise", "POST", "/classify", _REFUSED, body, {"content-type": rng.choice(_IMAGES)})

    def _other_type(self) -> Probe:
        rng = self._rng
        headers = {"content-type": rng.choice(_OTHER_TYPES)}
        return Probe("other type", "POST", "/classify", frozenset({200}), self._photo, headers)

    def _odd_wrapping(self) -> Probe:
        """Return a form or a text in base64 that contains the photo in a broken way, or several of them, or none."""
        rng = self._rng
        text = base64.b64encode(self._photo)
        part = b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n'
        body = rng.choice(
            (
                part * rng.randint(1, 20_000),
                (part + self._photo + b"\r\n") * 2 + b"--x--",
                b"--" + CANARY.encode() * 1_000,
                b"--x\r\n\r\n" + CANARY.encode() + rng.randbytes(rng.randint(0, 50_000)),
                text + b"%" + CANARY.encode(),
                text[: rng.randint(4, 400) * 4 + 1],
                b"image=" + text + b"%25" + CANARY.encode(),
                json.dumps({"image": [text.decode()] * 2}).encode(),
                json.dumps({"image": f"data:image/jpeg;base64,{text.decode()}!"}).encode(),
                json.dumps({"image_url": f"https://example.com/{CANARY}.jpg"}).encode(),
            )
        )
        headers = {"content-type": rng.choice((*_IMAGES, *_OTHER_TYPES))}
        return Probe("odd wrapping", "POST", "/classify", frozenset({400, 415}), body, headers)

    def _s3_trick(self) -> Probe:
        """Return a request for a forbidden object, whose URI is written in one of many ways."""
        rng = self._rng
        bucket, uri = self._deployed.bucket, rng.choice(self._forbidden)
        path = uri.removeprefix("s3://")
        key = path.partition("/")[2]
        variant = rng.choice(
            (
                uri,
                key,
                f"s3://{bucket}/../{path}",
                f"s3://{bucket}@{path}",
                f"s3://{path.partition('/')[0]}/{key}.jpg",
                f"https://{bucket}.s3.amazonaws.com/{key}",
                f"http://169.254.169.254/latest/meta-data/{key}.jpg",
                f"file:///{key}.jpg",
                f"arn:aws:s3:::{path}",
                f"arn:aws:s3:us-east-1:000000000000:accesspoint/open/object/{key}.jpg",
                f"{key}?versionId=null&x=.jpg",
                f"{key}#.jpg",
                f"{key}\x00.jpg",
                f"{key}\n.jpg",
                f"./{key}",
                f"photos/../{key}",
                f"photos//../{key}",
                f"/{key}",
                quote(key, safe=""),
                quote(quote(key, safe=""), safe="") + ".jpg",
                key.replace("/", "\\") + ".jpg",
                key.upper(),
                f"{key}/.jpg",
                f"{key}.jpg/",
                "x" * 1025 + ".jpg",
                "é" * 600 + ".jpg",
                "." * rng.randint(1, 9) + "/" + key,
            )
        )
        body = json.dumps({"s3": variant}, ensure_ascii=rng.random() < 0.5).encode()
        return Probe("s3 trick", "POST", "/classify", frozenset({400, 404}), body, {"content-type": "application/json"})

    def _odd_json(self) -> Probe:
        """Return a request whose body is not a valid document."""
        rng = self._rng
        body = rng.choice(
            (
                b"",
                b"null",
                b"NaN",
                b"[" * rng.randint(1, 20_000),
                b'{"s3": ' * rng.randint(1, 2_000),
                b'{"s3": "a.jpg"',
                b'{"s3": "\\ud800.jpg"}',
                b'\xff\xfe{"s3": "a.jpg"}',
                b'{"S3": "a.jpg"}',
                b'{"s3": "' + b"9" * 5_000 + b'"}',
                b'{"s3": ' + b"9" * 5_000 + b"}",
                json.dumps({"url": f"https://example.com/{CANARY}.jpg"}).encode(),
                json.dumps({"s3": _value(rng, 3)}).encode(),
                json.dumps({"s3": f"{CANARY}.jpg", _text(rng): _value(rng, 2)}).encode(),
                json.dumps(_value(rng, 4)).encode(),
                _text(rng).encode("utf-8", "surrogatepass"),
            )
        )
        content_type = rng.choice(("application/json", "application/json; charset=utf-16", "APPLICATION/JSON"))
        return Probe("odd JSON", "POST", "/classify", frozenset({400, 404}), body, {"content-type": content_type})

    def _odd_path(self) -> Probe:
        """Return a request for a file that the page does not have, or with a path or method that does not exist."""
        rng = self._rng
        steps = ("..", "%2e%2e", "%2f", "page", "examples", "classify", ".env", "%00", "app.py", "a" * 500, CANARY)
        end = rng.choice(("x", "?x=1", f"x?key={CANARY}"))
        path = f"/{'/'.join(rng.choices(steps, k=rng.randint(1, 6)))}{end}"
        if rng.random() < 0.3:
            path = rng.choice(("/page/", "/page/examples/")) + quote(_text(rng) or "x", safe="")
        method = rng.choice(_METHODS)
        return Probe("odd path", method, path, _REFUSED, _text(rng).encode() if method in ("POST", "PUT") else b"")

    def _odd_headers(self) -> Probe:
        rng = self._rng
        names = ("accept", "origin", "x-forwarded-for", "x-amzn-trace-id", "x-http-method-override", "cookie")
        values = ("*/*", "null", f"https://{CANARY}.example", "../../etc", "\xe9" * 20, "a" * 4000, "text/html;q=0", "")
        headers = {name: rng.choice(values) for name in rng.sample(names, k=3)}
        path = rng.choice(("/breeds", "/openapi.json", f"/breeds?{CANARY}=1"))
        return Probe("odd headers", "GET", path, frozenset({200}), headers=headers)

    def _no_key(self) -> Probe:
        rng = self._rng
        method, path = rng.choice(
            (("POST", "/classify"), ("GET", "/breeds"), ("GET", "/openapi.json"), ("PUT", "/classify"))
        )
        key = rng.choice(
            ("", " ", "x" * 20, self._deployed.api_key[:-1], self._deployed.api_key.swapcase() + "0", "null")
        )
        headers = {"x-api-key": key, "content-type": "image/jpeg"}
        return Probe("no key", method, path, frozenset({403}), self._photo if method == "POST" else b"", headers)


def _value(rng: random.Random, depth: int) -> Any:
    """Return a random JSON value that is not a string."""
    if depth == 0 or rng.random() < 0.4:
        return rng.choice((None, True, 0, -1, 1e308, 10**30, [], {}))
    if rng.random() < 0.5:
        return [_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    return {_text(rng): _value(rng, depth - 1) for _ in range(rng.randint(0, 3))}


def _text(rng: random.Random) -> str:
    letters = string.printable + "éß漢🐕\u202e\x00\ufeff"
    return "".join(rng.choices(letters, k=rng.randint(0, 40)))
