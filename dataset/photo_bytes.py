"""What the bytes of a photo say: its kind, its orientation, and which of them its pixels need.

Training and serving decode only the bytes that ``pixel_bytes`` returns, so no decoder ever sees a photo's metadata.
See "A decoder sees no metadata" in docs/decisions/photos.md.
"""

import re
import struct
import zlib

_SIGNATURES = {"image/jpeg": rb"\xff\xd8\xff", "image/png": rb"\x89PNG\r\n\x1a\n", "image/webp": rb"RIFF....WEBP"}
_KINDS = {kind: re.compile(signature, re.DOTALL) for kind, signature in _SIGNATURES.items()}
# A JPEG marker: 00 stuffs a byte FF of the image, FF fills, 01 and D0 to D7 (restarts) stand inside the image's data.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")
_SOI, _EOI, _SOS, _APP0, _APP1, _APP14, _APP15, _COMMENT = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_ORIENTATION = 0x0112
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # by the number of their type in TIFF


def media_type(photo: bytes) -> str:
    """Return a photo's media type by its first bytes; empty if it is neither JPEG nor PNG nor WebP."""
    return next((kind for kind, signature in _KINDS.items() if signature.match(photo)), "")


def pixel_bytes(photo: bytes) -> tuple[bytes, int]:
    """Return the photo without its metadata, and its orientation.

    A JPEG keeps its tables, frame and scans, a PNG its header, palette, transparency and image data. Texts, profiles,
    EXIF, thumbnails, further frames and what follows the end are left out unread. A WebP keeps all, because its decoder
    reads no metadata. What cannot be followed stays as it is: the decoder judges it.

    Returns:
        The bytes to decode, and the orientation of EXIF, 1 to 8; 1 is upright, also if no valid one is named.
    """
    reader = {"image/jpeg": _jpeg, "image/png": _png, "image/webp": _webp}.get(media_type(photo))
    return reader(photo) if reader else (photo, 1)


def num_scans(jpeg: bytes) -> int:
    """Count the scans of a JPEG before its end."""
    scans, position = 0, 2
    while (marker := _MARKER.search(jpeg, position)) and (code := marker[1][0]) != _EOI:
        position = marker.end() + (0 if code == _SOI else int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big"))
        scans += code == _SOS
    return scans


class _Kept:
    """The bytes of a photo, some of which are left out. They are copied once, or not at all."""

    def __init__(self, photo: bytes) -> None:
        self._photo, self._parts, self._start = photo, list[memoryview](), 0

    def leave_out(self, begin: int, end: int) -> None:
        """Leave out a range behind the last one."""
        if begin > self._start:
            self._parts.append(memoryview(self._photo)[self._start : begin])
        self._start = end

    def joined(self) -> bytes:
        """Return the bytes that were not left out."""
        return b"".join((*self._parts, memoryview(self._photo)[self._start :])) if self._start else self._photo


def _jpeg(photo: bytes) -> tuple[bytes, int]:
    kept, orientation, position = _Kept(photo), 0, 2
    while (marker := _MARKER.search(photo, position)) and (code := marker[1][0]) not in (_SOS, _EOI):
        begin = position = marker.end()
        if code == _SOI:
            continue
        length = int.from_bytes(photo[begin : begin + 2], "big")
        position = begin + length
        if length < 2 or position > len(photo):
            break
        if code == _APP1 and photo.startswith(b"Exif\0", begin + 2):
            orientation = orientation or _orientation(photo[begin + 2 : position])
        # libjpeg finds the colours by these two, from these lengths on.
        is_jfif = code == _APP0 and length >= 16 and photo.startswith(b"JFIF\0", begin + 2)
        is_adobe = code == _APP14 and length >= 14 and photo.startswith(b"Adobe", begin + 2)
        if code == _COMMENT or (_APP0 <= code <= _APP15 and not is_jfif and not is_adobe):
            kept.leave_out(marker.start(), position)
    return kept.joined(), orientation or 1


def _png(photo: bytes) -> tuple[bytes, int]:
    kept, orientation, position = _Kept(photo), 0, 8
    while position + 8 <= len(photo):
        length, name = struct.unpack_from(">I4s", photo, position)
        begin, position = position, position + 12 + length
        if name == b"eXIf":
            orientation = orientation or _orientation(photo[begin + 8 : position - 4])
        if name not in _PNG_CHUNKS and not (name == b"tRNS" and _is_transparency(photo, begin, position)):
            kept.leave_out(begin, min(position, len(photo)))
        if name == b"IEND":
            if position < len(photo):
                kept.leave_out(position, len(photo))
            break
    return kept.joined(), orientation or 1


def _is_transparency(photo: bytes, begin: int, end: int) -> bool:
    """Whether a chunk tRNS is whole, fits the colour type, and has the right check sum."""
    length = end - begin - 12
    fits = {0: length == 2, 2: length == 6, 3: 1 <= length <= 256}.get(photo[25], False)
    return fits and zlib.crc32(photo[begin + 4 : end - 4]) == int.from_bytes(photo[end - 4 : end], "big")


def _webp(photo: bytes) -> tuple[bytes, int]:
    orientation, position = 0, 12
    while position + 8 <= len(photo):
        name, length = struct.unpack_from("<4sI", photo, position)
        if name == b"EXIF":
            orientation = orientation or _orientation(photo[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return photo, orientation or 1


def _orientation(exif: bytes) -> int:
    """Return the orientation in the first directory of EXIF; 0 if it has none, or a value that does not exist."""
    tiff = exif[6:] if exif.startswith(b"Exif\0") else exif
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    try:
        (begin,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, begin)
        for entry in range(begin + 2, begin + 2 + 12 * count, 12):
            tag, kind, length = struct.unpack_from(f"{order}HHI", tiff, entry)
            if tag == _ORIENTATION and length == 1 and kind in _INTEGERS:
                (value,) = struct.unpack_from(order + _INTEGERS[kind], tiff, entry + 8)
                return value if 1 <= value <= 8 else 0
    except struct.error:  # The EXIF ends before its directory does.
        pass
    return 0
