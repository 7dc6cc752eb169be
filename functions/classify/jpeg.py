"""Read the header of a JPEG that is of the plain form which cameras and browsers write, and of no other.

A photo that this reader does not follow to its end is not shrunk: it goes to the endpoint as it came, whose decoder
judges it. So the reader takes little for granted and returns None at the first thing that it does not know.
See "The function shrinks plain JPEGs alone" in docs/decisions/photos.md.
"""

import struct
from typing import NamedTuple

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_BASELINE, _PROGRESSIVE = 0xC0, 0xC2
_APP0, _APP1, _APP14, _APP15, _COMMENT = 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_TABLES = frozenset({0xC4, 0xDB, 0xDD})  # Huffman codes, quantization, restart interval
_MAX_SEGMENTS = 300  # A photo has a few dozen; a profile or a depth map comes in some more.
_SHORTEST = 14  # bytes of the data of JFIF and Adobe, from which on libjpeg heeds them
_ORIENTATION, _SHORT = 0x0112, 3  # EXIF's tag, and its type of 16 bits
_MAX_ENTRIES = 1_000  # of EXIF's first directory
_MAX_EXIFS = 8  # In so many training and server look for the orientation.
_MAX_FILL_BYTES = 100_000  # A photo of 4.5 MB has 18,000 bytes FF. The server refuses what consists mostly of them.
_UNUSUAL = -1


class PlainJpeg(NamedTuple):
    """A JPEG of 8 bits with one or three components, baseline or progressive.

    Attributes:
        width: pixels, as it is stored.
        height: pixels, likewise.
        is_progressive: whether its pixels come in several scans.
        num_scans: how many scans it has.
        orientation: of EXIF, 1 to 8.
        pixels: the JPEG without its metadata and without what follows its end.
    """

    width: int
    height: int
    is_progressive: bool
    num_scans: int
    orientation: int
    pixels: bytes

    def bare(self) -> bytes:
        """Return the JPEG with its pixels as they are coded, and of all metadata the orientation alone."""
        return self.pixels[:2] + exif_segment(self.orientation) + self.pixels[2:]


def read_plain(photo: bytes) -> PlainJpeg | None:
    """Return what the header of a plain JPEG says; None for all else. Nothing is decoded."""
    if photo[:2] != b"\xff\xd8" or photo.count(b"\xff") > _MAX_FILL_BYTES:
        return None
    kept, frame, orientation, num_exifs, position = [photo[:2]], None, 0, 0, 2
    for _ in range(_MAX_SEGMENTS):
        if position + 4 > len(photo) or photo[position] != 0xFF:
            return None
        code = photo[position + 1]
        end = position + 2 + int.from_bytes(photo[position + 2 : position + 4], "big")
        data = photo[position + 4 : end]
        if end < position + 4 or end > len(photo):
            return None
        if code == _SOS:
            return _plain(kept, frame, orientation or 1, photo, position)
        if code in (_BASELINE, _PROGRESSIVE):
            if frame:
                return None
            frame = code, data
        elif code == _APP1 and data.startswith(b"Exif\0"):
            num_exifs += 1
            orientation = orientation or (exif_orientation(data[6:]) if num_exifs <= _MAX_EXIFS else 0)
            if orientation == _UNUSUAL:
                return None
        elif not (code in _TABLES or code == _COMMENT or _APP0 <= code <= _APP15):
            return None
        if code in _TABLES or code in (_BASELINE, _PROGRESSIVE) or _tells_colours(code, data):
            kept.append(photo[position:end])
        position = end
    return None


def exif_orientation(tiff: bytes) -> int:
    """Return the orientation in the first directory of EXIF's TIFF.

    Returns:
        1 to 8; 0 if there is none, or a number that means nothing; -1 if it is written in another way than as the one
        number of 16 bits that EXIF asks for.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    try:
        (begin,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, begin)
        for entry in range(begin + 2, begin + 2 + 12 * min(count, _MAX_ENTRIES), 12):
            tag, kind, length, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION:
                if (kind, length) != (_SHORT, 1):
                    return _UNUSUAL
                return value if 1 <= value <= 8 else 0
    except struct.error:  # The EXIF ends before its directory does.
        pass
    return 0


def exif_of(orientation: int) -> bytes:
    """Return EXIF that has an orientation and nothing else; empty for an upright photo."""
    if orientation == 1:
        return b""
    return b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, _ORIENTATION, _SHORT, 1, orientation, 0, 0)


def exif_segment(orientation: int) -> bytes:
    """Return a JPEG's segment with EXIF that has an orientation and nothing else; empty for an upright photo."""
    exif = exif_of(orientation)
    return b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif if exif else b""


def _tells_colours(code: int, data: bytes) -> bool:
    jfif = code == _APP0 and data.startswith(b"JFIF\0") and len(data) >= _SHORTEST
    return jfif or (code == _APP14 and data.startswith(b"Adobe") and len(data) >= _SHORTEST - 2)


def _plain(
    kept: list[bytes], frame: tuple[int, bytes] | None, orientation: int, photo: bytes, scans: int
) -> PlainJpeg | None:
    """Judge the frame and the scans, which begin at ``scans``."""
    # A byte FF of the image is stuffed, so this is the end mark. If it is a part of a table, what is left is no photo.
    end = photo.find(b"\xff\xd9", scans)
    if frame is None or end < 0:
        return None
    code, data = frame
    if len(data) < 6:
        return None
    bits, height, width, components = struct.unpack_from(">BHHB", data)
    if bits != 8 or components not in (1, 3) or len(data) != 6 + 3 * components or not width or not height:
        return None
    pixels = b"".join((*kept, memoryview(photo)[scans : end + 2]))
    num_scans = pixels.count(b"\xff\xda")
    if num_scans > 1 and code == _BASELINE:
        return None
    return PlainJpeg(width, height, code == _PROGRESSIVE, num_scans, orientation, pixels)
