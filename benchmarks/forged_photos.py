"""Photos as an attacker forges them: a few bytes that decoders work long on, in every format that the server takes.

Each function returns the bytes of one photo. Most of them are accepted; the server has to bound what they cost.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from PIL import Image

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's colour types
BASELINE, PROGRESSIVE, ARITHMETIC, ARITHMETIC_PROGRESSIVE = 0xC0, 0xC2, 0xC9, 0xCA  # frames of a JPEG
TWELVE_BITS, LOSSLESS = 0xC1, 0xC3


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return an image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, data: bytes, *extra: bytes, color_type: int = 2, bits: int = 8, laced: int = 0
) -> bytes:
    """Return a PNG with some compressed image data, and further chunks before it."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, laced))
    palette = chunk(b"PLTE", bytes(768)) if color_type == 3 else b""
    body = b"".join((*extra, chunk(b"IDAT", data)))
    return b"\x89PNG\r\n\x1a\n" + head + palette + body + chunk(b"IEND", b"")


@cache
def flat_png(width: int, height: int, color_type: int = 2, bits: int = 8, laced: int = 0, row_filter: int = 0) -> bytes:
    """Return a PNG of one colour whose rows are filtered, by 4 in the slowest way, and compressed a thousandfold."""
    row = bytes((row_filter,)) + bytes((_CHANNELS[color_type] * bits * width + 7) // 8)
    # An interlaced picture has seven passes over fewer pixels, which together have some more rows.
    squeezed, rows = zlib.compressobj(9), height if not laced else 2 * height + 64
    data = b"".join((*(squeezed.compress(row) for _ in range(rows)), squeezed.flush()))
    return png(width, height, data, color_type=color_type, bits=bits, laced=laced)


def png_of_tiny_chunks(side: int, count: int) -> bytes:
    """Return a PNG whose image data come in chunks of one byte."""
    data = zlib.compress(bytes((3 * side + 1) * side), 0)
    return png(side, side, b"", *(chunk(b"IDAT", data[i : i + 1]) for i in range(min(count, len(data)))))


def text_png(name: bytes, data: bytes) -> bytes:
    """Return a small PNG with a compressed text (zTXt, iTXt) or colour profile (iCCP)."""
    between = b"Comment\0" + (b"\1\0\0\0" if name == b"iTXt" else b"\0")
    return png(8, 8, zlib.compress(bytes(8 * 25)), chunk(name, between + data))


@cache
def hundred_megabytes() -> bytes:
    """Return compressed zeros."""
    return zlib.compress(bytes(100_000_000), 9)


def segment(marker: int, data: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def jpeg(
    width: int,
    height: int,
    frame: int = BASELINE,
    num_scans: int = 1,
    components: int = 3,
    data: bytes = b"",
    before: bytes = b"",
) -> bytes:
    """Return a JPEG of any frame and number of scans that have next to no data: what is missing is grey.

    Args:
        width: Pixels.
        height: Pixels.
        frame: The frame's marker.
        num_scans: Number of scans.
        components: 3, or 4 for CMYK.
        data: Data of each scan.
        before: Bytes between the start mark and the first table.
    """
    numbers, bits = range(1, components + 1), 12 if frame == TWELVE_BITS else 8
    adobe = segment(0xEE, b"Adobe\0d\0\0\0\0\0") if components == 4 else b""
    declared = struct.pack(">BHHB", bits, height, width, components) + b"".join(bytes((n, 0x11, 0)) for n in numbers)
    table = bytes((1, 1, *[0] * 14))  # a code of one bit and a code of two
    tables = segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC4, b"\0" + table + b"\0\1\x10" + table + b"\0\xf0")
    all_of_them = bytes((components, *(byte for n in numbers for byte in (n, 0))))
    first, rest = (0, 0, 0) if frame in (PROGRESSIVE, ARITHMETIC_PROGRESSIVE) else (0, 63, 0), (1, 63, 0)
    if frame == LOSSLESS:
        first = (1, 0, 0)
    scans = [segment(0xDA, all_of_them + bytes(first)) + data]
    scans += [segment(0xDA, b"\1\1\0" + bytes(rest)) + data] * (num_scans - 1)
    return b"".join((b"\xff\xd8", before, adobe, tables, segment(frame, declared), *scans, b"\xff\xd9"))


@cache
def repeated_scans(side: int, times: int) -> bytes:
    """Return a progressive JPEG that repeats its last scan. The decoder passes over all blocks for each repetition."""
    photo = saved(Image.new("RGB", (side, side), "brown"), "JPEG", progressive=True)
    return photo[:-2] + photo[photo.rindex(b"\xff\xda") : -2] * times + photo[-2:]


def as_mpo(jpeg: bytes, hidden: bool = False) -> bytes:
    """Return a JPEG with an index of two pictures, which Pillow gives another format's name.

    Args:
        jpeg: The JPEG.
        hidden: Whether a segment of no length comes before the index, behind which some readers do not look.
    """
    two = [Image.new("RGB", (9, 9))] * 2
    mpo = saved(two[0], "MPO", save_all=True, append_images=two[1:])
    begin = mpo.index(b"MPF\0") - 4
    index = mpo[begin : begin + 2 + int.from_bytes(mpo[begin + 2 : begin + 4], "big")]
    return jpeg[:2] + (b"\xff\xe1\0\0" if hidden else b"") + index + jpeg[2:]


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a WebP of chunks."""
    content = b"".join(name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content


@cache
def flat_webp(side: int, lossless: bool = True) -> bytes:
    """Return a WebP of one colour: 38 bytes hold 50 megapixels."""
    return saved(Image.new("RGB", (side, side)), "WEBP", lossless=lossless, quality=0, method=0)


@cache
def animated_webp(side: int, frames: int) -> bytes:
    """Return a WebP of several frames."""
    images = [Image.new("RGBA", (side, side), (n, 0, 0, 255 - n)) for n in range(frames)]
    return saved(images[0], "WEBP", save_all=True, append_images=images[1:], lossless=True, quality=0, method=0)


@cache
def webp_of_many_tables(side: int = 1024) -> bytes:
    """Return a lossless WebP with Huffman tables of its own for each 4 x 4 pixels, up to 65,536 of them.

    https://developers.google.com/speed/webp/docs/webp_lossless_bitstream_specification#62_details
    """
    bits, size = 0, 0

    def put(value: int, length: int) -> None:
        nonlocal bits, size
        bits |= value << size
        size += length

    one_symbol = (0b0001, 4)  # a simple code of one symbol, which is 0
    pieces = [b""]

    def flush() -> None:
        nonlocal bits, size
        pieces.append((bits & ((1 << (size & ~7)) - 1)).to_bytes(size >> 3, "little"))
        bits, size = bits >> (size & ~7), size & 7

    put(0x2F, 8)
    put(side - 1, 14)
    put(side - 1, 14)
    put(0, 1 + 3 + 1 + 1)  # no alpha, version 0, no transform, no colour cache
    put(1, 1)  # There is an entropy image,
    put(0, 3)  # with a pixel for each 4 x 4 pixels,
    put(0, 1)  # without a colour cache. Green and red have 256 symbols of 8 bits each, the others one of none.
    for _ in range(2):
        put(0, 1)
        put(12 - 4, 4)  # the lengths of the first 12 codes of lengths; the last of them, for 8, is the only one used
        for _ in range(11):
            put(0, 3)
        put(1, 3)
        put(1, 1)  # Not all symbols have a length,
        put(3, 3)
        put(256 - 2, 8)  # but the first 256.
    for _ in range(3):
        put(*one_symbol)
    blocks = (side + 3) // 4
    groups = min(blocks * blocks, 1 << 16)
    for block in range(blocks * blocks):
        put(block % groups, 16)
        flush()
    for _ in range(1 << 16):
        for _ in range(5):
            put(*one_symbol)
        flush()
    put(0, 16)
    flush()
    return webp((b"VP8L", b"".join(pieces)))


def worst_orientations(count: int) -> bytes:
    """Return a JPEG with many EXIF segments of many entries, none of which is the orientation."""
    entries = 5400
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", entries) + bytes(12 * entries)
    return jpeg(16, 16, before=segment(0xE1, exif) * count)


def between_segments(filling: bytes, count: int) -> bytes:
    """Return a small JPEG with something many times before its frame, such as comments or fill bytes."""
    return jpeg(16, 16, before=segment(0xDB, b"\0" + b"\1" * 64) + filling * count)


def flat_image(size: Sequence[int], form: str, **options: Any) -> bytes:
    """Return a picture of one colour."""
    return saved(Image.new("RGB", (size[0], size[1]), "brown"), form, **options)
