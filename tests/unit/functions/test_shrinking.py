"""Photos are shrunk before the endpoint only if that pays, and the model sees what it would have seen."""

import io
import random
import struct
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

import prices
from benchmarks import forged_photos as forged
from classify import jpeg, shrinking
from classify.jpeg import read_plain
from classify.shrinking import Estimate, shrunk
from classify.view import View
from dataset.photo_bytes import pixel_bytes
from serving.preprocess import ServingPreprocess, pixels

SIDE, MEGABYTES = 256, 512
WHOLE, SQUARE = View(SIDE), View(SIDE, central_square=True)
SPEC = ServingPreprocess(256, "shortest_side", 256, "bilinear", 2, (0.5,) * 3, (0.5,) * 3, "RGB", True)
ORIENTATIONS = range(1, 9)


@cache
def drawing(size=(1000, 750), mode="RGB"):
    """Return a picture whose parts all differ: a slope of colours with shapes on it."""
    width, height = size
    slope = Image.merge("RGB", [Image.linear_gradient("L").rotate(turn).resize(size) for turn in (0, 90, 180)])
    pen = ImageDraw.Draw(slope)
    pen.ellipse((width * 0.1, height * 0.1, width * 0.4, height * 0.5), fill="red")
    pen.rectangle((width * 0.6, height * 0.2, width * 0.7, height * 0.9), fill="blue")
    # Grain, so that the file is as large as a photo's.
    grain = Image.frombytes("L", size, random.Random(0).randbytes(width * height)).convert("RGB")
    return Image.blend(slope, grain, 0.15).convert(mode)


def saved(image, kind="JPEG", orientation=1, **options):
    if orientation > 1:
        exif = Image.Exif()
        exif[0x0112], exif[0x010F], exif[0x0132] = orientation, "somebody's camera", "2026:11:30 00:00:00"
        options["exif"] = exif
    return forged.saved(image, kind, **{"quality": 90, **options})


def segments(photo):
    """Return the codes of a JPEG's segments before its first scan."""
    codes, position = [], 2
    while photo[position + 1] != 0xDA:
        codes.append(photo[position + 1])
        position += 2 + int.from_bytes(photo[position + 2 : position + 4], "big")
    return codes


def with_exif(tiff, photo=None):
    photo = photo or saved(drawing())
    return photo[:2] + forged.segment(0xE1, b"Exif\0\0" + tiff) + photo[2:]


KINDS = {
    "RGB": {},
    "progressive": {"progressive": True},
    "4:4:4": {"subsampling": 0},
    "profile and comment": {"icc_profile": b"p" * 70_000, "comment": b"hello"},
    "RGB without YCbCr": {"keep_rgb": True},
    "restarts": {"restart_marker_rows": 1},
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", [*KINDS, "L"])
@pytest.mark.parametrize("view", [WHOLE, SQUARE])
def test_model_sees_what_it_would_have_seen_of_the_original(kind, orientation, view):
    photo = saved(drawing(mode="L" if kind == "L" else "RGB"), orientation=orientation, **KINDS.get(kind, {}))
    sent = shrunk(photo, view, MEGABYTES)
    assert len(sent) < len(photo) / 2
    difference = np.abs(pixels(sent, SPEC).astype(int) - pixels(photo, SPEC).astype(int))
    assert difference.mean() < 4
    # A photo that is turned in another way would differ by far more.
    assert np.abs(pixels(sent, SPEC).astype(int) - pixels(photo, SPEC)[::-1, ::-1].astype(int)).mean() > 25


def test_model_sees_the_same_half_of_a_photo_that_lacks_the_other():
    """The decoder fills it with grey, here as in the server."""
    photo = PLAIN[: len(PLAIN) // 2] + b"\xff\xd9"
    sent = shrunk(photo, SQUARE, MEGABYTES)
    assert sent is not photo
    assert np.abs(pixels(sent, SPEC).astype(int) - pixels(photo, SPEC).astype(int)).mean() < 4


@pytest.mark.parametrize(
    "size", [(512, 512), (513, 700), (1024, 768), (2048, 1536), (700, 3000), (4000, 3000), (300, 300), (257, 256)]
)
def test_shorter_side_has_the_pixels_that_the_model_uses(size):
    photo = saved(drawing(size), quality=98)
    header = read_plain(photo)
    image = Image.open(io.BytesIO(shrinking.encoded(header, WHOLE)))
    assert min(image.size) == SIDE
    assert max(image.size) == pytest.approx(max(size) * SIDE / min(size), abs=0.51)
    assert Image.open(io.BytesIO(shrinking.encoded(header, SQUARE))).size == (
        (SIDE, SIDE) if min(size) > SIDE else size
    )


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(900, 600), (601, 900), (2051, 1100), (300, 257), (301, 200), (40, 31), (1000, 1)])
def test_square_has_the_pixels_that_the_server_would_have_cut_out(size, orientation):
    """Also of a photo that has not enough of them, and to half a pixel of one whose sides differ by an odd number."""
    header = read_plain(saved(drawing(size), quality=98, orientation=orientation))
    finest = replace(shrinking.CHOSEN, quality=100, subsampling="4:4:4")
    sent = shrinking.encoded(header, SQUARE, finest)
    image = Image.open(io.BytesIO(sent))
    assert min(image.size) == min(SIDE, *size)
    assert max(image.size) - min(image.size) == (abs(size[0] - size[1]) % 2 if min(size) < SIDE else 0)
    assert np.abs(pixels(sent, SPEC).astype(int) - pixels(header.bare(), SPEC).astype(int)).mean() < 1.5


def test_photo_made_for_a_view_serves_another_that_uses_no_more():
    assert SQUARE.has_all_of(SQUARE)
    assert SQUARE.has_all_of(View(128, central_square=True))
    assert WHOLE.has_all_of(SQUARE)
    assert not SQUARE.has_all_of(WHOLE)
    assert not WHOLE.has_all_of(View(300))
    assert not WHOLE.has_all_of(View())


@pytest.mark.parametrize("size", [(32, 32), (224, 224), (320, 240), (640, 480), (1600, 1200), (40, 1500)])
@pytest.mark.parametrize("quality", [5, 40, 75, 95, 100])
def test_bytes_never_grow(size, quality):
    photo = saved(drawing(size), quality=quality, orientation=6)
    sent = shrunk(photo, SQUARE, MEGABYTES)
    assert sent is photo or len(sent) < len(photo)


def test_nothing_but_pixels_and_orientation_is_sent():
    photo = saved(drawing(), orientation=6, icc_profile=b"p" * 3000, comment=b"made by somebody")
    sent = shrunk(photo, SQUARE, MEGABYTES)
    assert dict(Image.open(io.BytesIO(sent)).getexif()) == {0x0112: 6}
    for secret in (b"somebody", b"2026:11:30", b"pppp"):
        assert secret in photo
        assert secret not in sent
    assert 0xE1 not in segments(shrunk(saved(drawing()), SQUARE, MEGABYTES))


def test_crop_of_the_size_of_the_input_is_left_alone():
    photo = saved(drawing((224, 224)), quality=60)
    assert shrunk(photo, SQUARE, MEGABYTES) is photo


def test_without_the_models_size_nothing_is_shrunk():
    photo = saved(drawing())
    assert shrunk(photo, View(), MEGABYTES) is photo
    assert shrunk(photo, SQUARE, MEGABYTES) is not photo


def test_without_pillow_nothing_is_shrunk(monkeypatch):
    monkeypatch.setattr(shrinking, "_has_pillow", lambda: False)
    photo = saved(drawing())
    assert shrunk(photo, SQUARE, MEGABYTES) is photo


def test_it_pays_when_the_fee_saved_is_twice_what_the_time_costs():
    """80 KB save $0.00000128; 5 ms of a core are 8.64 ms at 1,024 MB, $0.000000144. 18 KB save exactly twice that."""
    assert prices.known("invoke/in", 1, "us-east-1") == 0.016
    assert prices.known("lambda/gb-second", 1, "us-east-1") == 1.66667e-5
    assert Estimate(5, 80_000, 9).pays(1024)
    assert Estimate(5, 18_200, 9).pays(1024)
    assert not Estimate(5, 17_800, 9).pays(1024)
    assert not Estimate(5, 18_200, 9).pays(3008)  # One core is all that a decoder uses of 1.7.
    assert not Estimate(5, -1, 9).pays(1024)


def test_region_whose_prices_are_unknown_decides_by_those_of_the_documents(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "xx-nowhere-1")
    assert Estimate(5, 18_200, 9).pays(1024)
    assert not Estimate(5, 17_800, 9).pays(1024)


def test_usual_photo_is_judged_by_what_it_takes_and_not_by_the_worst_of_its_kind():
    """A progressive one of 12 megapixels, 432 KB and ten scans took 56 ms; the worst of that size takes thrice as much.

    12 megapixels take 36.0 ms, 432 KB 12.8, 0.188 that are decoded 1.3, 0.087 that are sent 1.4, and any photo 0.2.
    """
    header = jpeg.PlainJpeg(4000, 3000, True, 10, 1, bytes(432_000))
    estimated = shrinking.estimate(header, WHOLE)
    assert estimated.milliseconds == pytest.approx(56, rel=0.15)
    assert estimated.most_milliseconds == pytest.approx(12 * (6 + 0.6 * 10) + 4.3 + 5, rel=0.1)
    assert estimated.pays(MEGABYTES)


def frame(photo, code=None, bits=None):
    """Return a JPEG with another kind of frame or another depth in its header."""
    begin = next(photo.index(bytes((0xFF, each))) for each in (0xC0, 0xC2) if bytes((0xFF, each)) in photo)
    return (
        photo[: begin + 1]
        + bytes((code or photo[begin + 1],))
        + photo[begin + 2 : begin + 4]
        + bytes((bits or photo[begin + 4],))
        + photo[begin + 5 :]
    )


PLAIN = saved(drawing())
ODD = {
    "PNG": saved(drawing(), "PNG"),
    "WebP": saved(drawing(), "WEBP"),
    "16 bits of grey": saved(drawing((400, 400), "I;16"), "PNG"),
    "CMYK": saved(drawing(mode="CMYK")),
    "cut off": PLAIN[: len(PLAIN) // 2],
    "without its end mark": PLAIN[:-2],
    "header alone": PLAIN[:200],
    "12 bits": frame(PLAIN, bits=12),
    "lossless": frame(PLAIN, 0xC3),
    "arithmetic": frame(PLAIN, 0xC9),
    "no frame": PLAIN.replace(b"\xff\xc0", b"\xff\xe9", 1),
    "two frames": PLAIN[:2] + forged.segment(0xC0, b"\x08\0\x09\0\x09\1\1\x11\0") + PLAIN[2:],
    "fill bytes": PLAIN[:2] + b"\xff" * 9 + PLAIN[2:],
    "rubbish between segments": PLAIN[:2] + b"rubbish" + PLAIN[2:],
    "a thousand comments": PLAIN[:2] + forged.segment(0xFE, b"") * 1000 + PLAIN[2:],
    "orientation of 32 bits": with_exif(b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x0112, 4, 1, 6) + bytes(4)),
    "mostly fill bytes behind the end": PLAIN + b"\xff\xda" * 100_000,
    "empty": b"",
    "two bytes": b"\xff\xd8",
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_not_plain_goes_on_as_it_came(kind):
    photo = ODD[kind]
    assert shrunk(photo, SQUARE, MEGABYTES) is photo


HOSTILE = {
    "baseline of 49 megapixels": forged.jpeg(7000, 7000),
    "progressive of 49 megapixels": forged.jpeg(7000, 7000, forged.PROGRESSIVE),
    "a hundred scans of 25 megapixels": forged.jpeg(5000, 5000, forged.PROGRESSIVE, 100),
    "baseline of a hundred scans": forged.jpeg(5000, 5000, forged.BASELINE, 100),
    "a thousand scans of a real photo": forged.repeated_scans(1024, 1000),
    "arithmetic": forged.jpeg(4000, 4000, forged.ARITHMETIC),
    "arithmetic and progressive": forged.jpeg(4000, 4000, forged.ARITHMETIC_PROGRESSIVE),
    "fill bytes": forged.between_segments(b"\xff", 4_000_000),
    "fill bytes behind the end of 49 megapixels": forged.jpeg(7000, 7000) + b"\xff\xda" * 700_000,
    "comments": forged.between_segments(forged.segment(0xFE, b""), 500_000),
    "orientations": forged.worst_orientations(400),
    "PNG of 16 megapixels": forged.flat_png(4000, 4000),
    "WebP of 16 megapixels": forged.flat_webp(4000),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_photo_is_not_decoded_but_goes_on_as_it_came(kind, monkeypatch):
    monkeypatch.setattr(shrinking, "encoded", lambda *_: pytest.fail("it was decoded"))
    photo = HOSTILE[kind]
    assert shrunk(photo, SQUARE, MEGABYTES) is photo


@pytest.mark.parametrize(
    ("size", "scans", "is_decoded"),
    [((4000, 3000), 10, True), ((4900, 3900), 10, False), ((7000, 7000), 0, True), ((7100, 7100), 0, False),
     ((7000, 7000), 10, False), ((4000, 3000), 30, False)],
)  # fmt: skip
def test_work_is_bounded_by_the_header_although_it_would_pay(size, scans, is_decoded, monkeypatch):
    """250 ms of a core: 12 megapixels in ten scans take 144 and 45 for 4.5 MB; 49 megapixels in ten take 588."""
    header = jpeg.PlainJpeg(*size, bool(scans), max(scans, 1), 1, bytes(4_500_000))
    monkeypatch.setattr(shrinking, "read_plain", lambda _: header)
    monkeypatch.setattr(shrinking, "encoded", lambda *_: b"smaller")
    assert (shrunk(bytes(4_500_000), SQUARE, MEGABYTES) == b"smaller") == is_decoded


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(10))
@pytest.mark.parametrize("before", [0, 3])
def test_orientation_is_that_which_training_and_server_read(order, value, before):
    entries = [(0x0100 + number, 4, 1, 7 << 16) for number in range(before)]
    tiff = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, before + 1)
    tiff += b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    tiff += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, value, 0) + bytes(4)
    photo = with_exif(tiff)
    assert read_plain(photo).orientation == pixel_bytes(photo)[1]
    twice = with_exif(tiff, saved(drawing(), orientation=3))
    assert read_plain(twice).orientation == pixel_bytes(twice)[1]


@pytest.mark.parametrize("before", [7, 8, 30])
def test_orientation_behind_many_exifs_is_that_which_training_and_server_read(before):
    """They look at eight."""
    last = jpeg.exif_segment(6)
    photo = PLAIN[:2] + forged.segment(0xE1, b"Exif\0\0" + bytes(20)) * before + last + PLAIN[2:]
    expected = 6 if before < 8 else 1
    assert pixel_bytes(photo)[1] == read_plain(photo).orientation == expected
    assert pixel_bytes(shrunk(photo, SQUARE, MEGABYTES))[1] == expected


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("has_pillow", [True, False])
@pytest.mark.parametrize(
    "extra",
    [{"icc_profile": b"p" * 300_000}, {"comment": b"made by somebody" * 3000}, {}],
    ids=["profile", "comment", "video behind the end"],
)
def test_photo_that_is_small_but_for_its_metadata_keeps_its_pixels_as_they_are_coded(
    extra, has_pillow, orientation, monkeypatch
):
    monkeypatch.setattr(shrinking, "_has_pillow", lambda: has_pillow)
    photo = saved(drawing((224, 224)), quality=60, orientation=orientation, **extra)
    photo += b"" if extra else b"\0\0\0\x18ftypmp42" + bytes(500_000)
    sent = shrunk(photo, SQUARE, MEGABYTES)
    assert len(sent) < 20_000
    assert pixel_bytes(sent) == pixel_bytes(shrunk(sent, SQUARE, MEGABYTES)) == (read_plain(photo).pixels, orientation)
    assert np.array_equal(pixels(sent, SPEC), pixels(photo, SPEC))


def test_orientation_behind_what_is_broken_is_that_which_training_and_server_read():
    whole = b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0)
    for end in range(len(whole) + 1):
        photo = with_exif(whole[:end])
        assert read_plain(photo).orientation == pixel_bytes(photo)[1]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_is_written_as_browsers_and_pillow_read_it(orientation):
    photo = saved(drawing(), orientation=orientation)
    sent = shrunk(photo, WHOLE, MEGABYTES)
    turned, original = (ImageOps.exif_transpose(Image.open(io.BytesIO(each))) for each in (sent, photo))
    assert (turned.width > turned.height) == (original.width > original.height)
    assert pixel_bytes(sent)[1] == orientation


def test_bytes_behind_the_end_are_not_looked_at():
    video = PLAIN + b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 1000
    assert read_plain(video).pixels == read_plain(PLAIN).pixels
    assert shrunk(video, SQUARE, MEGABYTES) == shrunk(PLAIN, SQUARE, MEGABYTES)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_pixels_are_those_of_the_whole_file(options):
    photo = saved(drawing(), **options)
    bare = Image.open(io.BytesIO(read_plain(photo).pixels))
    assert np.array_equal(np.asarray(bare), np.asarray(Image.open(io.BytesIO(photo))))
