"""Shrink a photo to what the model uses of it, where that costs less than SageMaker's fee for the bytes it saves.

The decision falls by the photo's header and its number of bytes, before anything is decoded. Only plain JPEGs are
shrunk, and only those whose decoding takes a fraction of a second at most; all else goes to the endpoint as it came.
See "A photo goes to the endpoint at the model's own size where that pays" in docs/decisions/photos.md.

Pillow is imported with the first photo that is worth it: it would make the function's cold start longer.
"""

import io
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import prices
from classify.jpeg import PlainJpeg, exif_of, read_plain
from classify.view import View
from prices.cores import core_share


@dataclass(frozen=True)
class Encoding:
    """How a photo is shrunk.

    Attributes:
        side_share: of the pixels that the model uses: the shorter side of what is sent.
        quality: of the JPEG.
        subsampling: of its colours, as Pillow names it.
        oversampling: the photo is decoded at 1/2, 1/4 or 1/8 if that leaves so many times the side. The server does it
            with 2, so with 2 both see the same pixels.
        resample: Pillow's number of the filter; 2 is the server's own, bilinear.
    """

    side_share: float = 1.0
    quality: int = 90
    subsampling: str = "4:2:0"
    oversampling: int = 2
    resample: int = 2

    def side(self, shortest_side: int) -> int:
        """Return the pixels of the shorter side of what is sent, by those that the model uses."""
        return round(self.side_share * shortest_side)


# What `python -m benchmarks shrinking` chose and measured, see the decision.
CHOSEN = Encoding()
BYTES_PER_PIXEL = 0.3  # of what is sent
# Milliseconds of one core for any photo; for a megapixel of it; for one of what is decoded and resized; for one of
# what is encoded; for a megabyte of the photo. They were fitted to photos of 0.1 to 12 megapixels, see the decision.
_ANY_MS, _PHOTO_MS, _DECODED_MS, _ENCODED_MS, _MEGABYTE_MS = 0.2, 0.42, 7.0, 15.6, 8.8
_PROGRESSIVE_MS, _PROGRESSIVE_MEGABYTE_MS = 3.0, 29.7
# The worst that photos were found to take for a megapixel and a megabyte, as in serving/decoding_cost.py.
_WORST_PHOTO_MS, _WORST_PROGRESSIVE_MS, _WORST_SCAN_MS, _WORST_MEGABYTE_MS = 0.9, 6.0, 0.6, 10.0
_MOST_MS = 250.0  # Of 12 megapixels the worst takes about 70, the worst progressive one of ten scans about 190.
_MOST_PIXELS = 50_000_000  # as many as the server takes
_GIGABYTE = 1e9
_LEAST_GAIN = 2.0


@dataclass(frozen=True)
class Estimate:
    """What shrinking a photo costs and saves, by its header.

    Attributes:
        milliseconds: of one core, of usual photos with such a header.
        saved_bytes: that need not be sent.
        most_milliseconds: of the worst photo with such a header.
    """

    milliseconds: float
    saved_bytes: float
    most_milliseconds: float

    def pays(self, megabytes: int) -> bool:
        """Whether the fee that is saved is at least twice what the function's time costs.

        The estimate errs, and each encoding changes a few answers, so what hardly pays is not done.

        Args:
            megabytes: the function's memory, which decides over its share of a core.
        """
        seconds = self.milliseconds / 1e3 / core_share(megabytes)
        cost = _price("lambda/gb-second", seconds * megabytes / 1024)
        return _price("invoke/in", self.saved_bytes / _GIGABYTE) > _LEAST_GAIN * cost


def shrunk(photo: bytes, view: View, megabytes: int) -> bytes:
    """Return a photo as it is sent to the endpoint: scaled down if that pays, otherwise with its pixels as they came.

    The answer to a smaller photo is that to the original but for rounding: it keeps its orientation, and has all pixels
    that the model uses, the shorter side's and, if the model takes no others, those of the central square. Of a plain
    JPEG's metadata nothing else is sent.

    Args:
        photo: a photo of any kind.
        view: what the model uses of a photo.
        megabytes: the function's memory.
    """
    header = read_plain(photo) if view.shortest_side else None
    if header is None or header.width * header.height > _MOST_PIXELS:
        return photo
    bare = header.bare()  # This costs nothing and changes no pixel, so it needs no gain.
    candidates = [photo, bare]
    costs = estimate(header, view)
    if _has_pillow() and costs.most_milliseconds <= _MOST_MS and costs.pays(megabytes):
        candidates.append(encoded(header, view) or photo)
    return min(candidates, key=len)  # the first of equally long ones


def is_scaled(sent: bytes, photo: bytes) -> bool:
    """Whether a photo as ``shrunk`` returned it has fewer pixels than the photo."""
    after, before = read_plain(sent), read_plain(photo)
    return bool(after and before and after.width * after.height < before.width * before.height)


def estimate(header: PlainJpeg, view: View) -> Estimate:
    """Estimate the work and the gain of shrinking a photo, compared with sending it without its metadata.

    Args:
        header: what its header says.
        view: what the model uses of a photo.
    """
    width, height = header.width, header.height
    side, shorter = CHOSEN.side(view.shortest_side), min(width, height)
    shrinking = min(1.0, side / shorter)
    reduced = max(each for each in (1, 2, 4, 8) if each == 1 or shorter >= CHOSEN.oversampling * side * each)
    size, megapixels = len(header.pixels), width * height / 1e6
    sent_pixels = (shorter**2 if view.central_square else width * height) * shrinking**2
    megabytes, any_way = size / 1e6, _ANY_MS + megapixels / reduced**2 * _DECODED_MS + sent_pixels / 1e6 * _ENCODED_MS
    if header.is_progressive:
        usual = megapixels * _PROGRESSIVE_MS + megabytes * _PROGRESSIVE_MEGABYTE_MS
        worst = megapixels * (_WORST_PROGRESSIVE_MS + _WORST_SCAN_MS * header.num_scans)
    else:
        usual, worst = megapixels * _PHOTO_MS + megabytes * _MEGABYTE_MS, megapixels * _WORST_PHOTO_MS
    most = any_way + max(usual, worst + megabytes * _WORST_MEGABYTE_MS)
    return Estimate(any_way + usual, size - BYTES_PER_PIXEL * sent_pixels, most)


def encoded(header: PlainJpeg, view: View, encoding: Encoding = CHOSEN) -> bytes:
    """Return the photo, or its central square, as a JPEG whose shorter side has the pixels of a view, or its own fewer.

    Args:
        header: the photo.
        view: what the model uses of a photo.
        encoding: how it is done.

    Returns:
        The JPEG; empty bytes if the photo cannot be decoded, which its model's server will say better.
    """
    try:
        from PIL import Image
        from PIL.JpegImagePlugin import JpegImageFile

        image: Image.Image = JpegImageFile(io.BytesIO(header.pixels))
        if image.size != (header.width, header.height) or image.mode not in ("RGB", "L"):
            return b""
        side = encoding.side(view.shortest_side)
        image.draft(None, (encoding.oversampling * side,) * 2)
        shorter = min(header.width, header.height)
        shrinking = min(1.0, side / shorter)
        image.load()
        if view.central_square:
            box = _middle(*image.size, in_whole_pixels=shrinking == 1)
            size = (side, side) if shrinking < 1 else (round(box[2] - box[0]), round(box[3] - box[1]))
        else:
            box = (0, 0, *image.size)
            size = max(1, round(header.width * shrinking)), max(1, round(header.height * shrinking))
        if image.size != size:
            image = image.resize(size, Image.Resampling(encoding.resample), box)
        options = {"quality": encoding.quality, "subsampling": encoding.subsampling, "icc_profile": None}
        file = io.BytesIO()
        image.save(file, "JPEG", exif=exif_of(header.orientation), **options)
    except Exception:  # Pillow may not fit this system, and its decoders raise errors of many kinds.
        return b""
    return file.getvalue()


def _middle(width: int, height: int, in_whole_pixels: bool) -> tuple[float, float, float, float]:
    """Return the central square of a photo as left, top, right and bottom, where the server cuts it out.

    Half a pixel to the side would blur a photo that is not scaled, so its part is longer by a pixel if need be.
    """
    shorter = min(width, height)
    kept = [shorter + (side - shorter) % 2 if in_whole_pixels else shorter for side in (width, height)]
    left, top = (width - kept[0]) / 2, (height - kept[1]) / 2
    return left, top, left + kept[0], top + kept[1]


@cache
def _has_pillow() -> bool:
    """Whether this runtime has Pillow; that of Python 3.11 on AWS has not, see functions/requirements.in."""
    return find_spec("PIL") is not None


def _price(item: str, quantity: float) -> float:
    """Return a price in this region, or in that of the documents if the book does not have it."""
    amount = prices.dollars(item, quantity)
    return prices.known(item, quantity, prices.HOME_REGION) if amount is None else amount
