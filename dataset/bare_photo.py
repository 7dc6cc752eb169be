"""A photo with nothing but its pixels and its orientation, without decoding it.

Metadata say where and when a photo was taken and by whom, and may hold other pictures. What leaves a dataset, such as
the golden photos of an artifact, must not have them.
"""

import re
import struct
import zlib

from dataset.photo_bytes import TooManyPartsError, media_type, pixel_bytes

_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")
_SOS, _EOI = 0xDA, 0xD9
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD})  # what may stand between two scans
_PICTURE = {b"VP8 ", b"VP8L", b"ALPH"}  # the chunks of a WebP's picture
_HAS_ALPHA, _HAS_EXIF = 0x10, 0x08  # flags of an extended WebP
_EXTENDED_BYTES = 10  # of a chunk VP8X: flags, and the size of the picture


def without_metadata(photo: bytes) -> bytes:
    """Return a JPEG, PNG or WebP with the same pixels, without its metadata and what follows its end.

    The orientation is kept, in an EXIF segment or chunk that has nothing else.

    Returns:
        The photo; empty bytes if it is an animation, or cannot be followed to its end.
    """
    reader = {"image/jpeg": _jpeg, "image/png": _png, "image/webp": _webp}.get(media_type(photo))
    try:
        return reader(*pixel_bytes(photo)) if reader else b""
    except (TooManyPartsError, struct.error):
        return b""


def _exif(orientation: int) -> bytes:
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)  # one number of 16 bits
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)


def _jpeg(photo: bytes, orientation: int) -> bytes:
    """Take a JPEG whose header has no metadata any more."""
    exif = b"Exif\0\0" + _exif(orientation)
    parts = [photo[:2], b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif if orientation > 1 else b""]
    position, scans = 2, 0
    while marker := _MARKER.match(photo, position):
        code, begin = marker[1][0], position
        if code == _EOI:
            return b"".join((*parts, photo[begin : begin + 2])) if scans else b""
        position += 2 + int.from_bytes(photo[begin + 2 : begin + 4], "big")
        if position > len(photo):
            break
        if code == _SOS:
            scans += 1
            # The data of a scan end at the next marker that is no restart.
            following = _MARKER.search(photo, position)
            position = following.start() if following else len(photo)
        if not scans or code == _SOS or code in _TABLES:
            parts.append(photo[begin:position])
    return b""


def _png(photo: bytes, orientation: int) -> bytes:
    """Take a PNG that has the chunks of its picture alone."""
    end = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
    if not photo.endswith(end) or photo[12:16] != b"IHDR":
        return b""
    body = b"eXIf" + _exif(orientation)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) if orientation > 1 else b""
    return photo[:33] + chunk + photo[33:]


def _webp(photo: bytes, orientation: int) -> bytes:
    chunks: dict[bytes, bytes] = {}
    position, end = 12, 8 + int.from_bytes(photo[4:8], "little")
    while position + 8 <= end:
        name, length = struct.unpack_from("<4sI", photo, position)
        if position + 8 + length > len(photo) or name in (b"ANIM", b"ANMF"):
            return b""
        if name in _PICTURE or name == b"VP8X":
            chunks.setdefault(name, photo[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    extended = chunks.pop(b"VP8X", b"")
    if not chunks:
        return b""
    if orientation > 1:
        chunks[b"EXIF"] = _exif(orientation)
    if b"ALPH" in chunks or orientation > 1:
        if len(extended) != _EXTENDED_BYTES:  # Without such a chunk, EXIF and alpha are out of place.
            return b""
        flags = extended[0] & _HAS_ALPHA | (_HAS_EXIF if orientation > 1 else 0)
        chunks = {b"VP8X": bytes((flags, 0, 0, 0)) + extended[4:], **chunks}
    content = b"".join(
        name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks.items()
    )
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content
