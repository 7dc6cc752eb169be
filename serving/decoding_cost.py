"""How long decoding a photo takes at most, by its header and its number of bytes.

The server decides by it where a photo is decoded, so that no photo can hold up those that are cheaper. What counts is
the worst photo of a kind: the photos of `python -m benchmarks hostile`, which looks for the worst that are accepted.
See "Costly photos are decoded in processes of their own" in docs/decisions/serving.md.
"""

import re

from PIL import ImageFile

# Milliseconds of one core (EPYC, 2.x GHz), the worst that was measured of each kind.
_JPEG_MS, _JPEG_MS_PER_MB = 0.9, 10.0  # per megapixel of the whole photo, even if it is decoded small
_PROGRESSIVE_MS, _SCAN_MS = 6.0, 0.6  # likewise: a progressive JPEG is unpacked in full, once for each scan
_DECODED_MS = 5.5  # per megapixel and three channels of the size in which it is decoded, with resizing it
_PNG_MS, _PNG_MS_PER_MB, _ALPHA_MS = 8.0, 6.0, 8.0  # per megapixel, and per MB of what its data unpack to
_WEBP_MS, _WEBP_MS_PER_MB = 18.0, 45.0
# What is coded without loss, alpha included, may have tables of its own for each 4 x 4 pixels, up to 65,536 of them.
_TABLES_MS, _MOST_TABLES_MS, _READ_TABLES_MS = 480.0, 500.0, 70.0  # per megapixel; at most; for reading them
# Coding by arithmetic, of 12 bits, or without loss: a few bytes of it can mean much work.
_RARE_FRAME = re.compile(rb"\xff[\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]\0[\x0b\x0e\x11\x14]")
_UNBOUNDED = 100.0


def decoding_ms(photo: bytes, image: ImageFile.ImageFile, size: tuple[int, int]) -> float:
    """Return the milliseconds that decoding a photo takes at most on one core of our reference machine.

    Args:
        photo: The bytes that will be decoded.
        image: The photo as Pillow opened it, with the size in which it will be decoded.
        size: Width and height of the whole photo.
    """
    megabytes, megapixels = len(photo) / 1e6, size[0] * size[1] / 1e6
    if photo.startswith(b"\xff\xd8"):
        return _jpeg_ms(photo, image, megabytes, megapixels)
    if photo.startswith(b"RIFF"):
        lossy = photo[12:16] == b"VP8 "
        tables = 0.0 if lossy else min(megapixels * _TABLES_MS, _MOST_TABLES_MS) + _READ_TABLES_MS
        return megapixels * _WEBP_MS + megabytes * _WEBP_MS_PER_MB + tables
    bands, (*_, raw_mode) = len(image.getbands()), _raw_modes(image)
    unpacked = megapixels * bands * (2 if "16" in raw_mode else 1)
    alpha = _ALPHA_MS if bands in (2, 4) or "transparency" in image.info else 0.0
    return megapixels * (_PNG_MS + alpha) + unpacked * _PNG_MS_PER_MB


def _jpeg_ms(photo: bytes, image: ImageFile.ImageFile, megabytes: float, megapixels: float) -> float:
    decoded = image.width * image.height / 1e6 * len(image.getbands()) / 3
    milliseconds = megabytes * _JPEG_MS_PER_MB + decoded * _DECODED_MS
    if "progressive" in image.info:
        milliseconds += megapixels * (_PROGRESSIVE_MS + _SCAN_MS * photo.count(b"\xff\xda"))
    else:
        milliseconds += megapixels * _JPEG_MS
    assert image.fp is not None
    header = image.fp.tell()  # Pillow reads to the first scan.
    return milliseconds + (_UNBOUNDED if _RARE_FRAME.search(photo, 0, header) else 0.0)


def _raw_modes(image: ImageFile.ImageFile) -> list[str]:
    """Return how the pixels lie in the file, as Pillow's decoders name it, for example ``RGB;16B``."""
    return [str(tile.args[0] if isinstance(tile.args, tuple) else tile.args) for tile in image.tile] or [""]
