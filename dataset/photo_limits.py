"""How much work a photo may be. Training, evaluation, server and whoever names faults refuse the same photos.

A few bytes can announce any number of pixels, and a decoder goes over all pixels of a JPEG once for each of its scans.
The bytes' own format decides which limit holds, never the name that a decoder gives it: Pillow calls a JPEG with an
index of further pictures MPO.
See "What cannot be decoded small has at most 16 megapixels" in docs/decisions/photos.md.
"""

from dataset.photo_bytes import media_type, num_scans

MAX_PIXELS = 50_000_000  # of a JPEG, which is decoded at 1/2, 1/4 or 1/8 of its size, and of the formats of datasets
MAX_WHOLE_PIXELS = 16_000_000  # of a PNG or WebP, all of whose pixels have to be decoded
# Progressive JPEGs have about 10 scans, a forged one can have 100,000.
_MAX_SCANNED_PIXELS = 16 * MAX_PIXELS
_WHOLE = {"image/png": "PNG", "image/webp": "WebP"}


def excess(photo: bytes, width: int, height: int) -> str:
    """Return why a photo is too much work to decode, as the end of a sentence about it; empty if it is not.

    Args:
        photo: the photo's bytes, or those that ``dataset.photo_bytes.pixel_bytes`` leaves of them.
        width: pixels, as its header names them.
        height: pixels, likewise.

    Raises:
        TooManyPartsError: see ``dataset.photo_bytes.num_scans``.
    """
    kind = media_type(photo)
    if kind in _WHOLE and width * height > MAX_WHOLE_PIXELS:
        return f"has {width} x {height} pixels, at most {_megapixels(MAX_WHOLE_PIXELS)} of a {_WHOLE[kind]} are taken"
    if width * height > MAX_PIXELS:
        return too_large(width, height, MAX_PIXELS)
    # What looks like a scan may be part of a table, or of a video behind the end, so many are counted exactly.
    if kind == "image/jpeg" and width * height * photo.count(b"\xff\xda") > _MAX_SCANNED_PIXELS:
        most = _MAX_SCANNED_PIXELS // (width * height)
        if num_scans(photo, most) > most:
            return f"has more than {most:,} scans of {width} x {height} pixels, too many to decode; save it again"
    return ""


def too_large(width: int, height: int, max_pixels: int) -> str:
    """Return in words that a photo has too many pixels."""
    return f"has {width} x {height} pixels, at most {_megapixels(max_pixels)} are taken"


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1_000_000:g} megapixels"
