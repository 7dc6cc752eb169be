"""What the bytes of a photo say: its kind, its orientation, and which of them its pixels need.

Training and serving decode only the bytes that ``pixel_bytes`` returns, so no decoder ever sees a photo's metadata.
See "A decoder sees no metadata" in docs/decisions/photos.md.
"""

import re
import struct
import zlib

_SIGNATURES = {"image/jpeg": rb"\xff\xd8\xff", "image/png": rb"\x89PNG\r\n\x1a\n", "image/webp": rb"RIFF....WEBP"}
_KINDS = {kind: re.compile(signature, re.DOTALL) for kind, signature in _SIGNATURES.items()}
# Formats that datasets have beside these, and what is called a photo by mistake, in words.
_OTHER_SIGNATURES = {
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",  # its second header's size, one of seven
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "a picture of Photoshop": rb"8BPS",
    "a PDF": rb"%PDF-",
    "a web page": rb"(?i)\s*<(!doctype html|html)",
    "SVG": rb"(?i)\s*(<\?xml.{,500})?<svg",
    "a pointer of Git LFS": rb"version https://git-lfs",
}
_OTHER_KINDS = {kind: re.compile(signature, re.DOTALL) for kind, signature in _OTHER_SIGNATURES.items()}
DATASET_FORMATS = frozenset({"AVIF", "BMP", "GIF", "HEIC", "TIFF"})  # those that ``dataset.other_formats`` decodes
# Brands of the ISO base media format. `mif1` and `msf1` say nothing of the coding.
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
# A JPEG marker: 00 stuffs a byte FF of the image, FF fills, 01 and D0 to D7 (restarts) stand inside the image's data.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")
_SOI, _EOI, _SOS, _APP0, _APP1, _APP14, _APP15, _COMMENT = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
# What follows the data of a JPEG that lacks its end mark. The decoder reads up to 8 bytes ahead. It finds no picture in
# bits of one, and no end, so that a photo which lacks more than its end mark stays incomplete.
_READ_AHEAD = b"\xff\0" * 8
_ORIENTATION = 0x0112
# What turns a photo upright, by EXIF's orientation, as Pillow's ``Image.Transpose`` names it.
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # by the number of their type in TIFF
# Walking over a segment or chunk takes microseconds of Python here and in Pillow, and 6 MB can hold a million of them.
# Photos have a few dozen. A PNG's image data comes in chunks of 8 KB or more.
_MAX_PARTS, _BYTES_PER_PART = 500, 2048
# So does walking over what is no part: fill bytes and rubbish between the segments of a JPEG.
_MAX_BETWEEN = 256_000  # bytes
_FILL_SHARE = 16  # One of so many bytes of a scan may be FF; 1 of 256 is usual.
# Cameras write a few dozen entries into the directory that holds the orientation, and one or two EXIF segments.
_MAX_EXIF_ENTRIES, _MAX_EXIFS = 1_000, 8


class TooManyPartsError(ValueError):
    """The photo consists of so many segments or chunks that reading them takes long; the message ends a sentence."""


def media_type(photo: bytes) -> str:
    """Return a photo's media type by its first bytes; empty if it is neither JPEG nor PNG nor WebP."""
    return next((kind for kind, signature in _KINDS.items() if signature.match(photo)), "")


def format_name(photo: bytes) -> str:
    """Return by its first bytes what a file is that is neither JPEG nor PNG nor WebP; empty if that is not known."""
    if photo[4:8] == b"ftyp":
        brands = [photo[at : at + 4] for at in (8, *range(16, min(int.from_bytes(photo[:4], "big"), 256), 4))]
        for brand in brands:  # the major brand, then those it is compatible with
            if brand in _HEIC_BRANDS | _AVIF_BRANDS:
                return "HEIC" if brand in _HEIC_BRANDS else "AVIF"
        return "a video" if brands[0] not in (b"mif1", b"msf1") else "HEIC"
    return next((kind for kind, signature in _OTHER_KINDS.items() if signature.match(photo)), "")


def pixel_bytes(photo: bytes) -> tuple[bytes, int]:
    """Return the photo without its metadata, and its orientation.

    A JPEG keeps its tables, frame and scans, a PNG its header, palette, transparency and image data. Texts, profiles,
    EXIF, thumbnails, further frames and what follows the end are left out unread. A WebP keeps all, because its decoder
    reads no metadata. What cannot be followed stays as it is: the decoder judges it. A JPEG that does not end with its
    end mark gets some bytes, so that one which lacks nothing else is read; a photo that lacks rows stays incomplete.

    Returns:
        The bytes to decode, and the orientation of EXIF, 1 to 8; 1 is upright, also if no valid one is named.

    Raises:
        TooManyPartsError: the photo has far more segments or chunks than photos of its size have.
    """
    reader = {"image/jpeg": _jpeg, "image/png": _png, "image/webp": _webp}.get(media_type(photo))
    return reader(photo) if reader else (photo, 1)


def num_scans(jpeg: bytes, most: int = 1 << 62) -> int:
    """Count the scans of a JPEG before its end, at most one more than ``most``.

    Raises:
        TooManyPartsError: so many other segments lie between the scans that counting takes long.
    """
    if len(jpeg) - len(jpeg.translate(None, b"\xff")) > _MAX_BETWEEN + len(jpeg) // _FILL_SHARE:
        raise TooManyPartsError("consists mostly of fill bytes, too many to read; save it again")
    scans = others = 0
    position, max_others = 2, _max_parts(jpeg)
    while scans <= most and (marker := _MARKER.search(jpeg, position)) and (code := marker[1][0]) != _EOI:
        position = marker.end() + (0 if code == _SOI else int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big"))
        scans += code == _SOS
        others += code != _SOS
        _refuse_many(others, max_others)
    return scans


def _max_parts(photo: bytes) -> int:
    return _MAX_PARTS + len(photo) // _BYTES_PER_PART


def _refuse_many(parts: int, most: int) -> None:
    if parts > most:
        raise TooManyPartsError(f"consists of more than {most:,} parts, too many to read; save it again")


class _Kept:
    """The bytes of a photo, some of which are left out. They are copied once, or not at all."""

    def __init__(self, photo: bytes) -> None:
        self._photo, self._parts, self._start = photo, list[memoryview](), 0

    def leave_out(self, begin: int, end: int) -> None:
        """Leave out a range behind the last one; nothing if it is empty."""
        if begin == end:
            return
        if begin > self._start:
            self._parts.append(memoryview(self._photo)[self._start : begin])
        self._start = end

    def joined(self, end: bytes = b"") -> bytes:
        """Return the bytes that were not left out, and some that follow them."""
        if not self._start and not end:
            return self._photo
        return b"".join((*self._parts, memoryview(self._photo)[self._start :], end))


def _jpeg(photo: bytes) -> tuple[bytes, int]:
    kept, orientation = _Kept(photo), _Orientation()
    parts, max_parts, between = 0, _max_parts(photo), 0
    marker, position = _next_marker(photo, 2, 0), 2
    while True:
        # What lies between two segments goes too: Pillow would read it byte by byte.
        kept.leave_out(position, marker.start() if marker else position)
        if not marker or (code := marker[1][0]) in (_SOS, _EOI):
            break
        between += marker.start() - position
        parts += 1
        _refuse_many(parts, max_parts)
        begin = position = marker.end()
        if code != _SOI:
            # Decoders take a length below 2, which is its own, for one of nothing.
            position = begin + max(2, int.from_bytes(photo[begin : begin + 2], "big"))
            if position > len(photo):
                break
        if code == _APP1 and photo.startswith(b"Exif\0", begin + 2):
            orientation.look(photo, begin + 2, position)
        if _is_left_out(photo, code, begin, position - begin):
            kept.leave_out(marker.start(), position)
        # A segment ends where the next one begins: some cameras and editors write a wrong length, or zeros behind it.
        marker = _next_marker(photo, position, between)
    return kept.joined(b"" if photo.endswith(b"\xff\xd9") else _READ_AHEAD), orientation.value or 1


def _next_marker(photo: bytes, position: int, between: int) -> re.Match[bytes] | None:
    """Return the next marker of a JPEG's header; None if there is none.

    Raises:
        TooManyPartsError: it is too far away, together with the bytes that already lay between segments.
    """
    end = position + _MAX_BETWEEN - between
    marker = _MARKER.search(photo, position, max(position, end))
    if marker is None and end < len(photo):
        raise TooManyPartsError(f"has more than {_MAX_BETWEEN:,} bytes between its parts; save it again")
    return marker


def _is_left_out(photo: bytes, code: int, begin: int, length: int) -> bool:
    """Whether a segment of a JPEG is metadata. libjpeg finds the colours by JFIF and Adobe, from these lengths on."""
    is_jfif = code == _APP0 and length >= 16 and photo.startswith(b"JFIF\0", begin + 2)
    is_adobe = code == _APP14 and length >= 14 and photo.startswith(b"Adobe", begin + 2)
    return code == _COMMENT or (_APP0 <= code <= _APP15 and not is_jfif and not is_adobe)


def _png(photo: bytes) -> tuple[bytes, int]:
    kept, orientation, position = _Kept(photo), _Orientation(), 8
    parts, max_parts = 0, _max_parts(photo)
    while position + 8 <= len(photo):
        parts += 1
        _refuse_many(parts, max_parts)
        length, name = struct.unpack_from(">I4s", photo, position)
        begin, position = position, position + 12 + length
        if name == b"eXIf":
            orientation.look(photo, begin + 8, position - 4)
        # Pillow takes the last header, libpng none but the first.
        is_kept = name in _PNG_CHUNKS and not (name == b"IHDR" and begin > 8)
        if not is_kept and not (name == b"tRNS" and _is_transparency(photo, begin, position)):
            kept.leave_out(begin, min(position, len(photo)))
        if name == b"IEND":
            if position < len(photo):
                kept.leave_out(position, len(photo))
            break
    return kept.joined(), orientation.value or 1


def _is_transparency(photo: bytes, begin: int, end: int) -> bool:
    """Whether a chunk tRNS is whole, fits the colour type, and has the right check sum."""
    length = end - begin - 12
    fits = {0: length == 2, 2: length == 6, 3: 1 <= length <= 256}.get(photo[25], False)
    return fits and zlib.crc32(photo[begin + 4 : end - 4]) == int.from_bytes(photo[end - 4 : end], "big")


def _webp(photo: bytes) -> tuple[bytes, int]:
    orientation, position = _Orientation(), 12
    parts, max_parts = 0, _max_parts(photo)
    while position + 8 <= len(photo):
        parts += 1
        _refuse_many(parts, max_parts)
        name, length = struct.unpack_from("<4sI", photo, position)
        if name == b"EXIF":
            orientation.look(photo, position + 8, position + 8 + length)
        position += 8 + length + length % 2
    return photo, orientation.value or 1


class _Orientation:
    """The orientation in the first EXIF that has one; 0 until it is found. Only a few are looked at."""

    def __init__(self) -> None:
        self.value, self._looks = 0, 0

    def look(self, photo: bytes, begin: int, end: int) -> None:
        """Look at the EXIF in a part of the photo, unless an earlier one had the orientation."""
        self._looks += 1
        if not self.value and self._looks <= _MAX_EXIFS:
            self.value = exif_orientation(photo[begin:end])


def exif_orientation(exif: bytes) -> int:
    """Return the orientation in the first directory of EXIF; 0 if it has none, or a value that does not exist."""
    tiff = exif[6:] if exif.startswith(b"Exif\0") else exif
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    try:
        (begin,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, begin)
        for entry in range(begin + 2, begin + 2 + 12 * min(count, _MAX_EXIF_ENTRIES), 12):
            tag, kind, length = struct.unpack_from(f"{order}HHI", tiff, entry)
            if tag == _ORIENTATION and length == 1 and kind in _INTEGERS:
                (value,) = struct.unpack_from(order + _INTEGERS[kind], tiff, entry + 8)
                return value if 1 <= value <= 8 else 0
    except struct.error:  # The EXIF ends before its directory does.
        pass
    return 0
