"""Photos of the sizes that prices are told for, as callers send them and as the function sends them on."""

import importlib
import io
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from local.home import ROOT
from prices import per_million
from serving.preprocess import ServingPreprocess

_NUM_PHOTOS = 24
_QUALITY = 90  # of the enlarged photos
_CLOSE = 0.95  # An enlarged photo has at least this share of the bytes.
_SHRUNK_QUALITY = 85
_CORE_MEGABYTES = 1769  # A function has one core for so much memory.
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
        milliseconds = self.shrink_cpu_ms / min(per_million.MEGABYTES / _CORE_MEGABYTES, 1)
        return per_million.Call(photo_bytes, round(statistics.mean(map(len, self.shrunk))), milliseconds)


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


def function_shrink(preprocess: ServingPreprocess) -> tuple[str, Shrink]:
    """Return who shrinks, in words, and what does it: the function's own code, or Pillow where it has none."""
    if (ROOT / "functions/classify/shrinking.py").exists():
        sys.path.append(str(ROOT / "functions"))  # It imports its neighbours by their names there.
        code = importlib.import_module("classify.shrinking")
        return "the function's own code", lambda photo: bytes(
            code.shrunk(photo, preprocess.resize_to, per_million.MEGABYTES)
        )
    return f"Pillow, JPEG quality {_SHRUNK_QUALITY}", lambda photo: _shrunk(photo, preprocess.resize_to)


def _shrunk(photo: bytes, side: int) -> bytes:
    image: Image.Image = Image.open(io.BytesIO(photo))
    share = min(1.0, side / min(image.size))
    size = round(image.width * share), round(image.height * share)
    image.draft("RGB", (2 * size[0], 2 * size[1]))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(file, "JPEG", quality=_SHRUNK_QUALITY)
    return min(file.getvalue(), photo, key=len)
