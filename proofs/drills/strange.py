"""Requests that nobody should send, and how each is answered rightly."""

import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from local.stack import Stack

CANARY = "canary-7f3a9c"  # in bodies, headers and addresses; no log may know it
_IMAGES = ("image/jpeg", "image/png", "image/webp")
_OTHER_TYPES = ("", "text/html", "application/octet-stream", "image/gif", "image/svg+xml", "multipart/form-data", "*/*")
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
_REFUSED = frozenset(range(400, 500))
_ANSWERED = frozenset({200}) | _REFUSED


@dataclass(frozen=True)
class Probe:
    """One request, and the statuses that answer it rightly; 503 with Retry-After does as well."""

    kind: str
    method: str
    path: str
    statuses: frozenset[int]
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Stranger:
    """Makes requests of all kinds by chance."""

    def __init__(self, deployed: Stack, photo: bytes, forbidden: list[str], chance: random.Random) -> None:
        """Args:
        photo: a good one.
        forbidden: URIs in S3 that no caller may have.
        """
        self._deployed, self._photo, self._forbidden, self._chance = deployed, photo, forbidden, chance
        self._kinds: dict[Callable[[], Probe], int] = {
            self._good_photo: 4,
            self._broken_photo: 16,
            self._noise: 10,
            self._wrong_type: 8,
            self._s3_trick: 24,
            self._odd_json: 14,
            self._odd_path: 14,
            self._odd_headers: 5,
            self._no_key: 5,
        }

    def probe(self) -> Probe:
        """The next request, without the key."""
        [make] = self._chance.choices(list(self._kinds), list(self._kinds.values()))
        return make()

    def _good_photo(self) -> Probe:
        return Probe("good photo", "POST", "/classify", frozenset({200}), self._photo, {"content-type": "image/jpeg"})

    def _broken_photo(self) -> Probe:
        """Cut, flipped, padded or in a place that is not its own; some still are photos."""
        chance = self._chance
        photo = bytearray(self._photo)
        for _ in range(chance.randint(1, 30)):
            photo[chance.randrange(len(photo))] = chance.randrange(256)
        if chance.random() < 0.5:
            del photo[chance.randrange(len(photo)) :]
        if chance.random() < 0.2:
            photo[:0] = chance.randbytes(chance.randint(1, 64))
        headers = {"content-type": chance.choice(_IMAGES)}
        return Probe("broken photo", "POST", "/classify", _ANSWERED, bytes(photo), headers)

    def _noise(self) -> Probe:
        chance = self._chance
        size = chance.choice((0, 1, 16, 1_000, 50_000)) if chance.random() < 0.99 else 4_600_000
        heads = (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBPVP8 ", b"GIF89a")
        body = chance.choice(heads) + CANARY.encode() + chance.randbytes(size) if size else b""
        return Probe("noise", "POST", "/classify", _REFUSED, body, {"content-type": chance.choice(_IMAGES)})

    def _wrong_type(self) -> Probe:
        chance = self._chance
        headers = {"content-type": chance.choice(_OTHER_TYPES)}
        return Probe("wrong type", "POST", "/classify", frozenset({415}), self._photo[:2000], headers)

    def _s3_trick(self) -> Probe:
        """What is there and must not be had, in every way of writing it."""
        chance = self._chance
        bucket, place = self._deployed.bucket, chance.choice(self._forbidden)
        there = place.removeprefix("s3://").partition("/")[2]
        written = chance.choice(
            (
                place,
                there,
                f"s3://{bucket}/../{place.removeprefix('s3://')}",
                f"s3://{bucket}@{place.removeprefix('s3://')}",
                f"s3://{place.removeprefix('s3://').partition('/')[0]}/{there}.jpg",
                f"https://{bucket}.s3.amazonaws.com/{there}",
                f"http://169.254.169.254/latest/meta-data/{there}.jpg",
                f"file:///{there}.jpg",
                f"arn:aws:s3:::{place.removeprefix('s3://')}",
                f"arn:aws:s3:us-east-1:000000000000:accesspoint/open/object/{there}.jpg",
                f"{there}?versionId=null&x=.jpg",
                f"{there}#.jpg",
                f"{there}\x00.jpg",
                f"{there}\n.jpg",
                f"./{there}",
                f"photos/../{there}",
                f"photos//../{there}",
                f"/{there}",
                quote(there, safe=""),
                quote(quote(there, safe=""), safe="") + ".jpg",
                there.replace("/", "\\") + ".jpg",
                there.upper(),
                f"{there}/.jpg",
                f"{there}.jpg/",
                "x" * 1025 + ".jpg",
                "é" * 600 + ".jpg",
                "." * chance.randint(1, 9) + "/" + there,
            )
        )
        body = json.dumps({"s3": written}, ensure_ascii=chance.random() < 0.5).encode()
        return Probe("s3 trick", "POST", "/classify", frozenset({400, 404}), body, {"content-type": "application/json"})

    def _odd_json(self) -> Probe:
        """No document of the right form, however it may look."""
        chance = self._chance
        body = chance.choice(
            (
                b"",
                b"null",
                b"NaN",
                b"[" * chance.randint(1, 20_000),
                b'{"s3": ' * chance.randint(1, 2_000),
                b'{"s3": "a.jpg"',
                b'{"s3": "\\ud800.jpg"}',
                b'\xff\xfe{"s3": "a.jpg"}',
                b'{"S3": "a.jpg"}',
                b'{"s3": "' + b"9" * 5_000 + b'"}',
                b'{"s3": ' + b"9" * 5_000 + b"}",
                json.dumps({"url": f"https://example.com/{CANARY}.jpg"}).encode(),
                json.dumps({"s3": _value(chance, 3)}).encode(),
                json.dumps({"s3": f"{CANARY}.jpg", _text(chance): _value(chance, 2)}).encode(),
                json.dumps(_value(chance, 4)).encode(),
                _text(chance).encode("utf-8", "surrogatepass"),
            )
        )
        kind = chance.choice(("application/json", "application/json; charset=utf-16", "APPLICATION/JSON"))
        return Probe("odd JSON", "POST", "/classify", frozenset({400, 404}), body, {"content-type": kind})

    def _odd_path(self) -> Probe:
        """Files that are not the page's, paths and methods that are nobody's."""
        chance = self._chance
        steps = ("..", "%2e%2e", "%2f", "page", "examples", "classify", ".env", "%00", "app.py", "a" * 500, CANARY)
        end = chance.choice(("x", "?x=1", f"x?key={CANARY}"))
        path = f"/{'/'.join(chance.choices(steps, k=chance.randint(1, 6)))}{end}"
        if chance.random() < 0.3:
            path = chance.choice(("/page/", "/page/examples/")) + quote(_text(chance) or "x", safe="")
        method = chance.choice(_METHODS)
        return Probe("odd path", method, path, _REFUSED, _text(chance).encode() if method in ("POST", "PUT") else b"")

    def _odd_headers(self) -> Probe:
        chance = self._chance
        names = ("accept", "origin", "x-forwarded-for", "x-amzn-trace-id", "x-http-method-override", "cookie")
        values = ("*/*", "null", f"https://{CANARY}.example", "../../etc", "\xe9" * 20, "a" * 4000, "text/html;q=0", "")
        headers = {name: chance.choice(values) for name in chance.sample(names, k=3)}
        path = chance.choice(("/breeds", "/openapi.json", f"/breeds?{CANARY}=1"))
        return Probe("odd headers", "GET", path, frozenset({200}), headers=headers)

    def _no_key(self) -> Probe:
        chance = self._chance
        method, path = chance.choice(
            (("POST", "/classify"), ("GET", "/breeds"), ("GET", "/openapi.json"), ("PUT", "/classify"))
        )
        key = chance.choice(
            ("", " ", "x" * 20, self._deployed.api_key[:-1], self._deployed.api_key.swapcase() + "0", "null")
        )
        headers = {"x-api-key": key, "content-type": "image/jpeg"}
        return Probe("no key", method, path, frozenset({403}), self._photo if method == "POST" else b"", headers)


def _value(chance: random.Random, depth: int) -> Any:
    """A JSON value that is no string."""
    if depth == 0 or chance.random() < 0.4:
        return chance.choice((None, True, 0, -1, 1e308, 10**30, [], {}))
    if chance.random() < 0.5:
        return [_value(chance, depth - 1) for _ in range(chance.randint(0, 3))]
    return {_text(chance): _value(chance, depth - 1) for _ in range(chance.randint(0, 3))}


def _text(chance: random.Random) -> str:
    letters = string.printable + "éß漢🐕\u202e\x00\ufeff"
    return "".join(chance.choices(letters, k=chance.randint(0, 40)))
