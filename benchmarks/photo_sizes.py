"""Photos of the sizes that prices are told for, as callers send them and as the function sends them on."""

import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from classify import shrinking
from classify.view import View
from prices import per_million
from serving.preprocess import ServingPreprocess

_NUM_PHOTOS = 24
_QUALITY = 90  # of the enlarged photos
_CLOSE = 0.95  # An enlarged photo has at least this share of the bytes.
Shrink = Callable[[bytes], bytes]


@dataclass(frozen=True)
class SizedPhotos:
    """Photos of about one size.

    Attributes:
        sent: as a caller sends them, JPEGs.
        shrunk: as the function sends them on.
        shrink_cpu_ms: milliseconds of a core of this machine that making one smaller takes, the median.
    """

    sent: list[bytes]
    shrunk: list[bytes]
    shrink_cpu_ms: float

    def call(self, shrink: bool) -> per_million.Call:
        """Return what a request does with such a photo, in the function as it is deployed.

        Args:
            shrink: whether the function makes the photo smaller.
        """
        photo_bytes = round(statistics.mean(map(len, self.sent)))
        if not shrink:
            return per_million.Call(photo_bytes, photo_bytes)
        return per_million.Call(photo_bytes, round(statistics.mean(map(len, self.shrunk))), self.shrink_cpu_ms)


def sized_photos(photos: Sequence[Path], size: int, shrink: Shrink) -> SizedPhotos:
    """Make photos of a size from others, by enlarging them, and shrink them.

    Args:
        photos: JPEGs of any size.
        size: bytes.
        shrink: what the function does with a photo.
    """
    sent = [enlarged(photo.read_bytes(), size) for photo in islice(photos, _NUM_PHOTOS)]
    shrunk, milliseconds = [], []
    for photo in sent:
        shrink(photo)  # The second time nothing is loaded any more.
        began = time.process_time()
        shrunk.append(shrink(photo))
        milliseconds.append((time.process_time() - began) * 1e3)
    return SizedPhotos(sent, shrunk, statistics.median(milliseconds))


def enlarged(photo: bytes, size: int) -> bytes:
    """Return a photo as a JPEG of at least about so many bytes: of more pixels, if it has too few bytes as it is."""
    image = Image.open(io.BytesIO(photo)).convert("RGB")
    width, height = image.size
    if len(photo) >= _CLOSE * size:  # It is too large, so it becomes smaller first.
        width, height = (max(32, round(side * 0.5 * (size / len(photo)) ** 0.5)) for side in image.size)
    while True:
        file = io.BytesIO()
        image.resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=_QUALITY)
        num_bytes = file.tell()
        if num_bytes >= _CLOSE * size:
            return file.getvalue()
        growth = max(1.03, (size / num_bytes) ** 0.5)
        width, height = round(width * growth), round(height * growth)


def view_of(spec: ServingPreprocess) -> View:
    """Return what a model uses of a photo, as its answers tell the function."""
    return View(spec.resize_to, spec.resize == "shortest_side")


def function_shrink(view: View) -> Shrink:
    """Return what the function does with a photo before it sends it on, to a model that uses so much of it."""
    return lambda photo: shrinking.shrunk(photo, view, per_million.MEGABYTES)
