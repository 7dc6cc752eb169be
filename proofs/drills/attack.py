"""A caller with a valid key who does harm: floods, large photos, and bodies that no decoder takes."""

import io
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType

import urllib3
from PIL import Image

_NUM_SENDERS = 16  # As many requests are under way at once; on the laptop each takes a process of the API's function.
_TIMEOUT = urllib3.Timeout(connect=5, read=40)
_REFUSED = (403, 429)
_PAUSE_SECONDS = 0.2  # after a refusal of the gateway, which comes at once and would only cost the attacker's machine
_SIDE = 7000  # 49 megapixels: below what any photo may have, and as much work as there can be


def worst_bodies(photo: bytes, rng: random.Random) -> dict[str, tuple[int, bytes]]:
    """Return the attacker's bodies by their kinds, each with how often it is sent.

    Args:
        photo: a small photo that the API classifies.
        rng: the source of randomness.
    """
    flat = Image.new("RGB", (_SIDE, _SIDE), (200, 120, 40))
    damaged = bytearray(photo)
    for _ in range(40):
        damaged[rng.randrange(20, len(damaged))] = rng.randrange(256)
    return {
        "flood of small photos": (60, photo),
        "49 megapixels as JPEG": (8, _saved(flat, "JPEG")),
        "49 megapixels as PNG": (4, _saved(flat, "PNG")),
        "49 megapixels as WebP": (4, _saved(flat, "WEBP", lossless=True)),
        "photo that is cut off": (8, photo[: len(photo) // 2]),
        "damaged photo": (8, bytes(damaged)),
        "noise that begins as a photo": (4, b"\xff\xd8\xff\xe0" + rng.randbytes(50_000)),
        "more bytes than a photo may have": (4, b"\xff\xd8\xff\xe0" + bytes(4_600_000)),
    }


def _saved(image: Image.Image, form: str, **options: bool) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


class Attack(AbstractContextManager["Attack"]):
    """Sends bodies from several senders at once, as fast as answers come, until the block ends.

    Attributes:
        tried: how many requests of each kind got which status; 0 when no answer came.
    """

    def __init__(self, url: str, key: str, bodies: Mapping[str, tuple[int, bytes]]) -> None:
        self.tried = Counter[tuple[str, int]]()
        self._url, self._headers = url, {"x-api-key": key, "content-type": "image/jpeg"}
        self._kinds, self._weights = list(bodies), [weight for weight, _ in bodies.values()]
        self._bodies = {kind: body for kind, (_, body) in bodies.items()}
        self._pool = urllib3.PoolManager(maxsize=_NUM_SENDERS, retries=False, timeout=_TIMEOUT)
        self._stopped = threading.Event()
        self._senders = [threading.Thread(target=self._run, args=(seed,)) for seed in range(_NUM_SENDERS)]

    def __enter__(self) -> "Attack":
        for sender in self._senders:
            sender.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for sender in self._senders:
            sender.join()

    def by_kind(self) -> dict[str, dict[int, int]]:
        """Return the number of answers by kind and status."""
        return {
            kind: {status: number for (each, status), number in sorted(self.tried.items()) if each == kind}
            for kind in self._kinds
        }

    def _run(self, seed: int) -> None:
        rng = random.Random(seed)
        while not self._stopped.is_set():
            [kind] = rng.choices(self._kinds, self._weights)
            try:
                status = self._pool.request("POST", self._url, body=self._bodies[kind], headers=self._headers).status
            except urllib3.exceptions.HTTPError:
                status = 0
            self.tried[kind, status] += 1
            if status in _REFUSED or not status:
                time.sleep(_PAUSE_SECONDS)
