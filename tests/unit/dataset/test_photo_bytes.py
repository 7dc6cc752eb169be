"""Photos with odd metadata: training and serving decode them as if they had none, but for the orientation."""

import io
import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from dataset.photo_bytes import TooManyPartsError, media_type, num_scans, pixel_bytes
from serving.preprocess import PhotoError, ServingPreprocess
from serving.preprocess import pixels as serving_pixels
from training.preprocess import TrainingPreprocess, UnreadablePhotoError
from training.preprocess import pixels as training_pixels

TRAINING = TrainingPreprocess(image_size=32, resize_to=32, resize="squash")
SERVING = ServingPreprocess(**TRAINING.__dict__)
SHORT, ASCII, RATIONAL, LONG, BYTE, UNDEFINED = 3, 2, 5, 4, 1, 7


def picture() -> Image.Image:
    """Return a picture that looks different in each orientation."""
    x, y = np.meshgrid(np.linspace(0, 255, 64), np.linspace(0, 255, 48))
    return Image.fromarray(np.stack([x, y, (x + y) / 4], 2).astype(np.uint8))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


JPEG, PNG, WEBP = (saved(picture(), kind) for kind in ("JPEG", "PNG", "WEBP"))


def tiff(*entries: tuple[int, int, int, bytes], order: str = "<", more: bytes = b"") -> bytes:
    """Return EXIF with entries of tag, type, count and the four bytes of the value or its offset."""
    table = b"".join(struct.pack(f"{order}HHI4s", *entry) for entry in entries)
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(f"{order}IH", 8, len(entries)) + table + bytes(4) + more


def turn(value: int, kind: int = SHORT, order: str = "<") -> tuple[int, int, int, bytes]:
    return 0x112, kind, 1, struct.pack(order + {SHORT: "H", LONG: "I", BYTE: "B"}[kind], value)


def jpeg(*segments: tuple[int, bytes], photo: bytes = JPEG) -> bytes:
    parts = (bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data for marker, data in segments)
    return photo[:2] + b"".join(parts) + photo[2:]


def exif(content: bytes) -> bytes:
    return jpeg((0xE1, b"Exif\0\0" + content))


def wrong_length(off: int) -> bytes:
    """Return a JPEG whose first segment names a length that is off by some bytes."""
    content = b"Exif\0\0" + tiff()
    return JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2 + off) + content + JPEG[2:]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*chunks: bytes, photo: bytes = PNG, last: bool = False) -> bytes:
    """Return a PNG with further chunks behind its header, or before its end."""
    cut = len(photo) - 12 if last else 33
    return photo[:cut] + b"".join(chunks) + photo[cut:]


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = b"".join(name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks)
    extended = struct.pack("<4sIB3x", b"VP8X", 10, 0x2C) + bytes((63, 0, 0, 47, 0, 0))
    content = b"WEBP" + extended + WEBP[12:] + parts
    return b"RIFF" + struct.pack("<I", len(content)) + content


BOMB = zlib.compress(bytes(100_000_000), 9)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='3' "
UPRIGHT = {
    # The type of a value, or the place of its bytes, is not the one of its tag.
    "exif-resolution-as-text": exif(tiff((0x11A, ASCII, 3, b"72\0\0"))),
    "exif-resolution-out-of-reach": exif(tiff((0x11A, RATIONAL, 1, b"\xff\xff\xff\xff"))),
    "exif-division-by-zero": exif(tiff((0x11A, RATIONAL, 1, struct.pack("<I", 26)), more=bytes(8))),
    "exif-of-four-gigabytes": exif(tiff((0x927C, UNDEFINED, 0xFFFFFFFF, bytes(4)))),
    "exif-of-unknown-types": exif(tiff((0x10F, 0, 1, bytes(4)), (0x110, 99, 1, bytes(4)))),
    "exif-directory-in-itself": exif(tiff((0x8769, LONG, 1, struct.pack("<I", 8)))),
    "exif-cut-off": exif(tiff(turn(6))[:12]),
    "exif-of-nothing": exif(b""),
    "exif-without-a-byte-order": exif(b"XX*\0" + bytes(20)),
    "exif-directory-out-of-reach": exif(b"II*\0\xff\xff\xff\x7f"),
    "exif-of-many-entries": exif(b"II*\0\x08\0\0\0\xff\xff" + bytes(60_000)),
    **{f"orientation-{value}": exif(tiff(turn(value))) for value in (0, 1, 9, 255, 65535)},
    "orientation-as-text": exif(tiff((0x112, ASCII, 2, b"1\0\0\0"))),
    "orientation-as-a-fraction": exif(tiff((0x112, RATIONAL, 1, struct.pack("<I", 26)), more=struct.pack("<II", 1, 1))),
    "orientation-of-two-values": exif(tiff((0x112, SHORT, 2, struct.pack("<HH", 6, 6)))),
    "orientation-of-xmp-alone": jpeg((0xE1, XMP)),
    # Segments of a JPEG that decoders need not know.
    "icc-too-short": jpeg((0xE2, b"ICC_PROFILE\0"), (0xE2, b"ICC_PROFILE\0\1")),
    "icc-of-many-parts": jpeg(*((0xE2, b"ICC_PROFILE\0" + bytes((n, 99)) + bytes(60_000)) for n in range(9))),
    "icc-broken": saved(picture(), "JPEG", icc_profile=PROFILE[:100] + bytes(500)),
    "mpf-broken": jpeg((0xE2, b"MPF\0II*\0\x08\0\0\0\x01\0\x01\xb0\x04\0\0\0\0\0\0\0")),
    "photoshop-broken": jpeg((0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\0\0\0\x02aa")),
    "adobe-too-short": jpeg((0xEE, b"Adobe")),
    "jfif-too-short": jpeg((0xE0, b"JFIF\0")),
    "jfxx": jpeg((0xE0, b"JFXX\0\x10" + JPEG)),
    "all-app-segments": jpeg(*((0xE0 + n, bytes(range(256)) * 200) for n in range(16)), (0xFE, b"\xff\xd9\xff\xda")),
    "thumbnail": jpeg((0xE1, b"Exif\0\0" + tiff(more=JPEG))),
    # What lies between two segments, because the length of the first is wrong or something was cut out of it.
    **{f"exif-{off:+d}-bytes": wrong_length(off) for off in (-2, -1, 1, 2)},
    "zeros-behind-a-segment": JPEG[:2] + b"\xff\xe1\0\x08Exif\0\0" + bytes(5) + JPEG[2:],
    "zeros-behind-the-second-segment": JPEG[:20] + b"\xff\xe1\0\x08Exif\0\0" + bytes(5) + JPEG[20:],
    "filled-markers": JPEG[:2] + b"\xff\xff\xff" + JPEG[2:],
    "jpeg-with-a-video-behind-it": JPEG + b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 100_000,
    "jpeg-of-several-pictures": saved(picture(), "MPO", save_all=True, append_images=[picture().rotate(90)]),
    # Chunks of a PNG that decoders need not know.
    "png-long-text": png(chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000)),
    "png-text-bomb": png(chunk(b"zTXt", b"Comment\0\0" + BOMB)),
    "png-international-text-bomb": png(chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB)),
    "png-profile-bomb": png(chunk(b"iCCP", b"icc\0\0" + BOMB)),
    "png-text-bomb-at-its-end": png(chunk(b"zTXt", b"Comment\0\0" + BOMB), last=True),
    "png-many-texts": png(*[chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000)))] * 99),
    "png-short-chunks": png(*(chunk(name, b"") for name in (b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"iCCP", b"zTXt"))),
    "png-animation-broken": png(chunk(b"acTL", b"\0"), chunk(b"fcTL", b"\0"), chunk(b"fdAT", b"\0")),
    "png-exif-broken": png(chunk(b"eXIf", b"II*\0\xff")),
    "png-text-with-a-wrong-check-sum": png(struct.pack(">I", 4) + b"tEXta\0bc" + b"oops"),
    "png-transparency-of-a-wrong-length": png(chunk(b"tRNS", b"\0")),
    "png-with-data-behind-it": PNG + b"<?php ?>" * 10_000,
    "png-cut-off-in-its-last-text": PNG[:-12] + struct.pack(">I", 5000) + b"tEXtComment\0abc",
    "png-of-several-pictures": saved(picture(), "PNG", save_all=True, append_images=[picture().rotate(90)]),
    "png-raw-profile": png(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nzzzz")),
    # Chunks of a WebP that decoders need not know.
    "webp-exif-broken": webp((b"EXIF", b"II*\0\xff")),
    "webp-odd-chunks": webp((b"ICCP", b"?"), (b"XMP ", bytes(70_001)), (b"JUNK", b"abc")),
    "webp-with-data-behind-it": WEBP + bytes(1000),
}
TURNED = {
    "short": exif(tiff(turn(6))),
    "big-endian": exif(tiff(turn(6, order=">"), order=">")),
    "long": exif(tiff(turn(6, LONG))),
    "byte": exif(tiff(turn(6, BYTE))),
    "behind-a-value-out-of-reach": exif(tiff((0x10F, ASCII, 99, b"\xff\xff\xff\xff"), turn(6))),
    "before-a-text-resolution": exif(tiff(turn(6), (0x11A, ASCII, 3, b"72\0\0"))),
    "cut-off-behind-it": exif(tiff(turn(6), (0x11A, ASCII, 3, b"72\0\0"))[:24]),
    "behind-other-app1": jpeg((0xE1, XMP), (0xE1, b"Exif\0\0" + tiff(turn(6)))),
    "behind-junk": jpeg((0xE1, b"Exif\0\0junk"), (0xE1, b"Exif\0\0" + tiff(turn(6)))),
    "png": png(chunk(b"eXIf", tiff(turn(6)))),
    "png-with-the-head-of-a-jpeg": png(chunk(b"eXIf", b"Exif\0\0" + tiff(turn(6)))),
    "png-behind-its-pixels": png(chunk(b"eXIf", tiff(turn(6))), last=True),
    "webp": webp((b"EXIF", tiff(turn(6)))),
    "webp-with-the-head-of-a-jpeg": webp((b"EXIF", b"Exif\0\0" + tiff(turn(6)))),
}


def both(photo: bytes) -> np.ndarray:
    """Return the pixels of serving, which are those of training."""
    served = serving_pixels(photo, SERVING)
    np.testing.assert_array_equal(served, training_pixels(photo, TRAINING))
    return served.astype(int)


def plain(photo: bytes) -> bytes:
    return {"image/jpeg": JPEG, "image/png": PNG, "image/webp": WEBP}[media_type(photo)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", UPRIGHT)
def test_metadata_changes_no_pixel(name: str) -> None:
    assert np.abs(both(UPRIGHT[name]) - both(plain(UPRIGHT[name]))).max() <= 1  # Another encoding may round otherwise.


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", TURNED)
def test_orientation_turns_whatever_else_the_metadata_says(name: str) -> None:
    upright = picture().transpose(Image.Transpose.ROTATE_270)  # 6 means: turn it by 90 degrees clockwise.
    expected = serving_pixels(saved(upright, "PNG"), SERVING).astype(int)
    assert np.abs(both(TURNED[name]) - expected).max() <= 16  # the loss of JPEG and WebP


# How a viewer shows the letter F, row by row, for each orientation (https://www.exif.org/Exif2-2.PDF, page 18).
LETTER = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
SHOWN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.T,
    6: lambda stored: stored[::-1].T,
    7: lambda stored: stored[::-1, ::-1].T,
    8: lambda stored: stored[:, ::-1].T,
}


@pytest.mark.parametrize("orientation", SHOWN)
def test_each_orientation_shows_the_letter_as_a_viewer_does(orientation: int) -> None:
    photo = saved(Image.fromarray((255 * LETTER).astype(np.uint8)), "PNG")
    content = png(chunk(b"eXIf", tiff(turn(orientation))), photo=photo)
    shown = Image.fromarray((255 * SHOWN[orientation](LETTER)).astype(np.uint8))
    np.testing.assert_array_equal(both(content), both(saved(shown, "PNG")))


COLOURS: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
    "cmyk": (picture().convert("CMYK"), "JPEG", {}),
    "grey-jpeg": (picture().convert("L"), "JPEG", {}),
    "progressive": (picture(), "JPEG", {"progressive": True}),
    "one-bit": (picture().convert("1"), "PNG", {}),
    "one-bit-transparent": (picture().convert("1"), "PNG", {"transparency": 1}),
    "grey-alpha": (picture().convert("LA"), "PNG", {}),
    "alpha": (picture().convert("RGBA"), "PNG", {}),
    "palette": (picture().quantize(7), "PNG", {}),
    "palette-transparent": (picture().quantize(7), "PNG", {"transparency": bytes(range(0, 210, 30))}),
    "sixteen-bit": (Image.fromarray(np.full((48, 64), 0x8000, np.uint16)), "PNG", {}),
    "sixteen-bit-transparent": (Image.fromarray(np.full((48, 64), 0x8000, np.uint16)), "PNG", {"transparency": 5}),
    "rgb-transparent": (picture(), "PNG", {"transparency": (0, 0, 0)}),
    "webp-alpha": (picture().convert("RGBA"), "WEBP", {}),
    "webp-animation": (picture(), "WEBP", {"save_all": True, "append_images": [picture().rotate(90)]}),
}


def noise(mode: str, **options: object) -> bytes:
    values = np.random.default_rng(1).integers(0, 256, (70, 90, 3), np.uint8)
    return saved(Image.fromarray(values).convert(mode), "JPEG", **options)


WITHOUT_END = {
    "plain": JPEG,
    "fine": saved(picture(), "JPEG", quality=98, subsampling=0),
    "grey": noise("L"),
    "cmyk": noise("CMYK"),
    "restarts": noise("RGB", restart_marker_blocks=1),
    "own-tables": noise("RGB", optimize=True),
    "metadata": exif(tiff()),
}


@pytest.mark.parametrize("end", [b"", b"\xff", b"\0\0", b"\n\n<html>"], ids=["cut", "half", "zeros", "page"])
@pytest.mark.parametrize("name", WITHOUT_END)
def test_jpeg_that_lacks_only_its_end_mark_is_read(name: str, end: bytes) -> None:
    content = WITHOUT_END[name]
    np.testing.assert_array_equal(both(content[:-2] + end), both(content))


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.97])
@pytest.mark.parametrize("name", ["grey", "cmyk", "restarts", "own-tables"])
def test_jpeg_that_lacks_rows_is_refused(name: str, kept: float) -> None:
    content = WITHOUT_END[name][: int(kept * len(WITHOUT_END[name]))]
    with pytest.raises(PhotoError):
        serving_pixels(content, SERVING)
    with pytest.raises(UnreadablePhotoError):
        training_pixels(content, TRAINING)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", COLOURS)
def test_colours_and_transparency_are_kept(name: str) -> None:
    image, kind, options = COLOURS[name]
    content = saved(image, kind, **options)
    data, _ = pixel_bytes(content)
    before, after = (Image.open(io.BytesIO(each)) for each in (content, data))
    assert (after.mode, after.info.get("transparency")) == (before.mode, before.info.get("transparency"))
    np.testing.assert_array_equal(np.asarray(after.convert("RGBA")), np.asarray(before.convert("RGBA")))
    assert both(content).shape == (32, 32, 3)


def test_sixteen_bit_colours_with_a_transparent_one_are_taken() -> None:
    pixels = np.full((2, 6), 0x80, np.uint8)  # two pixels of 16-bit RGB, 0x8080 each
    rows = b"".join(b"\0" + row.tobytes() * 2 for row in pixels)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
    image = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    content = b"\x89PNG\r\n\x1a\n" + head + chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3)) + image
    assert (both(content) == 128).all()


@pytest.mark.parametrize("content", [JPEG, PNG, WEBP])
def test_photo_that_has_no_metadata_is_not_copied(content: bytes) -> None:
    assert pixel_bytes(content)[0] is content


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt ", b"GIF89a", b"\x89PNG\n\x1a\n", b"\xff\xd8"])
def test_other_bytes_have_no_media_type(content: bytes) -> None:
    assert (media_type(content), pixel_bytes(content)) == ("", (content, 1))


def test_scans_are_counted_up_to_the_end_alone() -> None:
    progressive = saved(picture(), "JPEG", progressive=True)
    scans = progressive.count(b"\xff\xda")
    last = progressive[progressive.rindex(b"\xff\xda") : -2]
    assert num_scans(progressive) == scans > 5
    assert num_scans(jpeg((0xE1, JPEG), photo=progressive) + progressive) == scans
    hidden = b"\xff\xe1\0\x06\xff\xd9\xff\xd9"  # An end inside of a segment between two scans is none.
    assert num_scans(progressive[:-2] + hidden + last * 700 + progressive[-2:]) == scans + 700


@pytest.mark.parametrize(
    "content",
    [
        JPEG[:2] + b"\xff\xe1\0\2" * 1_100_000 + JPEG[2:],
        JPEG[:2] + b"\xff" * 4_400_000 + JPEG[2:],
        JPEG[:20] + b"\0" * 4_400_000 + JPEG[20:],
        PNG[:33] + chunk(b"tEXt", b"") * 360_000 + PNG[33:],
        b"RIFF\0\0\0\0WEBP" + b"EXIF\0\0\0\0" * 550_000,
    ],
    ids=["jpeg-segments", "jpeg-fill", "jpeg-junk", "png-chunks", "webp-chunks"],
)
def test_many_pieces_are_refused_before_they_take_long(content: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(TooManyPartsError):
        pixel_bytes(content)
    assert time.process_time() - begun < 0.3  # seconds; it is a few milliseconds, and all of them would take 0.5 s


def test_png_of_thousands_of_usual_chunks_is_read() -> None:
    data = zlib.compress(np.random.default_rng(0).integers(0, 256, (2000, 3001), np.uint8).tobytes(), 1)
    pieces = [chunk(b"IDAT", data[at : at + 4096]) for at in range(0, len(data), 4096)]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1000, 2000, 8, 2, 0, 0, 0))
    photo = b"\x89PNG\r\n\x1a\n" + head + b"".join(pieces) + chunk(b"IEND", b"")
    assert len(pieces) > 1400
    assert pixel_bytes(photo) == (photo, 1)


def test_only_the_first_header_of_a_png_counts() -> None:
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 3900, 4000, 16, 6, 0, 0, 0))
    assert pixel_bytes(png(second))[0] == PNG


@pytest.mark.parametrize(
    "content", [b"\xff" * 5000, b"\0" * 5000, b"\xff\xd0" * 2500], ids=["fill", "zeros", "restarts"]
)
def test_what_lies_between_two_segments_of_a_jpeg_reaches_no_decoder(content: bytes) -> None:
    table = JPEG.index(b"\xff\xdb")
    assert pixel_bytes(JPEG[:table] + content + JPEG[table:])[0] == pixel_bytes(JPEG)[0]


def test_segment_of_no_length_hides_nothing_behind_it() -> None:
    assert pixel_bytes(JPEG[:2] + b"\xff\xe1\0\0" + jpeg((0xE2, b"MPF\0"))[2:])[0] == pixel_bytes(JPEG)[0]


def test_exif_of_many_parts_is_not_read_to_its_end() -> None:
    entries = b"II*\0\x08\0\0\0" + struct.pack("<H", 5400) + bytes(5400 * 12)
    begun = time.process_time()
    for _ in range(10):
        pixel_bytes(jpeg(*((0xE1, b"Exif\0\0" + entries) for _ in range(68))))
    assert time.process_time() - begun < 0.3  # It is 0.04 s; all entries would take 0.6 s.


def test_png_of_pillows_own_with_a_long_compressed_text() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "x" * 2_000_000, zip=True)
    np.testing.assert_array_equal(both(saved(picture(), "PNG", pnginfo=text)), both(PNG))
