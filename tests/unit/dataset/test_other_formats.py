"""Photos in formats that datasets have and the API refuses."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from dataset.other_formats import OtherFormatError, open_upright, reduced
from dataset.photo_bytes import DATASET_FORMATS, format_name, media_type
from serving.dataset_photos import as_sent, dataset_pixels
from serving.preprocess import PhotoError, ServingPreprocess, UnsupportedPhotoError
from serving.preprocess import pixels as served_pixels
from training.preprocess import TrainingPreprocess, UnreadablePhotoError, pixels

pillow_heif = pytest.importorskip("pillow_heif")
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
LIMIT = 50_000_000
FORMATS = sorted(DATASET_FORMATS)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    if kind == "HEIC":
        pillow_heif.from_pillow(image).save(buffer, format="HEIF", quality=-1, chroma=444, **options)
    else:
        image.save(buffer, kind, **({"quality": 95} if kind == "AVIF" else {}) | options)
    return buffer.getvalue()


def two_halves(width=64, height=32):
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def near(pixel, colour, tolerance=12):
    return np.abs(np.array(pixel[:3], int) - colour).max() <= tolerance


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_known_by_its_content_and_decoded(kind):
    photo = encoded(two_halves(), kind)
    assert (media_type(photo), format_name(photo)) == ("", kind)
    image = open_upright(photo, LIMIT).convert("RGB")
    assert image.size == (64, 32)
    assert near(image.getpixel((5, 16)), RED)
    assert near(image.getpixel((60, 16)), BLUE)


@pytest.mark.parametrize("kind", FORMATS)
def test_training_and_evaluation_see_the_same_pixels_and_the_server_sees_them_in_a_png(kind):
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (333, 211, 3), np.uint8))
    photo = encoded(noise, kind)
    spec = TrainingPreprocess(image_size=32, resize_to=48)
    served = ServingPreprocess(**vars(spec))
    trained = pixels(photo, spec)
    np.testing.assert_array_equal(trained, dataset_pixels(photo, served))
    sent = as_sent(photo, served)
    assert Image.open(io.BytesIO(sent)).size == (106, 167)  # half of it: still twice 48 pixels
    np.testing.assert_array_equal(trained, served_pixels(sent, served))
    with pytest.raises(UnsupportedPhotoError):
        served_pixels(photo, served)


def test_a_jpeg_is_sent_as_it_is():
    photo, spec = encoded(two_halves(), "JPEG"), ServingPreprocess(**vars(TrainingPreprocess()))
    assert as_sent(photo, spec) is photo
    np.testing.assert_array_equal(dataset_pixels(photo, spec), served_pixels(photo, spec))


@pytest.mark.parametrize("kind", ["AVIF", "HEIC", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_turns_the_photo(kind, orientation):
    """The oracle is a PNG of the same picture and orientation."""
    picture = two_halves()
    picture.paste(WHITE, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = TrainingPreprocess(32, resize_to=32, jpeg_oversampling=0)
    expected = pixels(encoded(picture, "PNG", exif=exif), upright).astype(int)
    photo = encoded(picture, kind, exif=exif.tobytes() if kind == "HEIC" else exif)
    image = open_upright(photo, LIMIT).convert("RGB")
    small = image.resize((32, 32), Image.Resampling.BILINEAR, box=_central(image))
    assert image.size == ((64, 32) if orientation < 5 else (32, 64))
    assert np.abs(np.asarray(small, int) - expected).mean() < 6


def _central(image):
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return left, top, left + side, top + side


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, BLUE)]
    for kind in ("GIF", "AVIF", "TIFF"):
        image = open_upright(encoded(frames[0], kind, save_all=True, append_images=frames[1:]), LIMIT)
        assert near(image.convert("RGB").getpixel((9, 9)), RED), kind


def test_colours_become_rgb_on_white():
    spec = TrainingPreprocess(8, resize_to=8)
    clear = Image.new("P", (9, 9), 0)
    clear.putpalette([10, 20, 30])
    cases = [
        (encoded(Image.new("RGBA", (9, 9), (255, 0, 0, 0)), "TIFF"), WHITE),
        (encoded(Image.new("RGBA", (16, 16), (0, 0, 0, 51)), "AVIF"), (204, 204, 204)),
        (encoded(Image.new("RGBA", (64, 64), (0, 0, 0, 51)), "HEIC"), (204, 204, 204)),
        (encoded(clear, "GIF", transparency=0), WHITE),
        (encoded(clear, "GIF"), (10, 20, 30)),
        (encoded(Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "TIFF"), RED),
        (encoded(Image.fromarray(np.full((9, 9), 0x8040, np.uint16)), "TIFF"), (128, 128, 128)),
        (encoded(Image.new("1", (9, 9), 1), "TIFF", compression="group4"), WHITE),
        (encoded(Image.new("L", (9, 9), 77), "BMP"), (77, 77, 77)),
    ]
    for number, (photo, expected) in enumerate(cases):
        assert near(pixels(photo, spec)[4, 4], expected, 4), number


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_meaning_in_8_bits_are_refused(mode):
    with pytest.raises(OtherFormatError, match=f"is TIFF with pixels of the kind {mode}; save it with 8 bits"):
        open_upright(encoded(Image.new(mode, (9, 9)), "TIFF"), LIMIT)


@pytest.mark.parametrize("kind", FORMATS)
def test_too_many_pixels_are_refused_before_they_are_decoded(kind, monkeypatch):
    photo = encoded(Image.new("RGB", (80, 80)), kind)
    opened = Image.open(io.BytesIO(photo)).__class__
    monkeypatch.setattr(opened, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(OtherFormatError, match=r"has 80 x 80 pixels, at most 0\.006399 megapixels are taken"):
        open_upright(photo, 6_399)


def bmp(width, height):
    return b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def gif(width, height):
    frame = struct.pack("<cHHHHB", b",", 0, 0, width, height, 0)
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame + b"\x02\x00;"


def tiff(**tags):
    """Return a TIFF of 8 x 8 grey pixels that claims other numbers."""
    plain = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: 64}
    entries = sorted((plain | {int(tag[1:]): value for tag, value in tags.items()}).items())
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + directory + bytes(4) + bytes(200)


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        (bmp(20_000, 20_000), "20000 x 20000 pixels"),
        (gif(60_000, 60_000), "60000 x 60000 pixels"),
        (tiff(t256=60_000, t257=60_000), "60000 x 60000 pixels"),
        (tiff(t259=5, t322=32_000, t323=32_000, t324=8, t325=64), "32000 x 32000 pixels, .* in a tile"),
    ],
    ids=["bmp", "gif", "tiff", "tiff-tile"],
)
def test_a_small_file_that_claims_a_huge_picture_is_refused_by_its_header(photo, words):
    with pytest.raises(OtherFormatError, match=words):
        open_upright(photo, LIMIT)


def test_a_tiff_of_our_making_is_read_if_it_claims_the_truth():
    assert open_upright(tiff(), LIMIT).size == (8, 8)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("keep", [0.3, 0.8])
def test_a_truncated_photo_is_told(kind, keep):
    photo = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)), kind)
    cut = photo[: int(len(photo) * keep)]
    with pytest.raises(UnreadablePhotoError, match=f"is {kind} and damaged or incomplete"):
        pixels(cut, TrainingPreprocess())
    with pytest.raises(PhotoError, match=f"is {kind} and damaged or incomplete"):
        dataset_pixels(cut, ServingPreprocess(**vars(TrainingPreprocess())))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", FORMATS)
def test_changed_bytes_end_in_a_picture_or_in_a_sentence(kind):
    rng = np.random.default_rng(11)
    photo = encoded(Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)), kind)
    outcomes = set()
    for _ in range(60):
        changed = bytearray(photo)
        for position in rng.integers(0, min(len(photo), 600), 4):
            changed[position] = rng.integers(256)
        try:
            open_upright(bytes(changed), 1_000_000)
            outcomes.add("picture")
        except OtherFormatError:
            outcomes.add("sentence")
    assert "sentence" in outcomes


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        (b"", "is empty"),
        (b"hello dog", "is no picture of a known kind"),
        (b"\xff\x0a" + bytes(20), "is JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "is JPEG 2000"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b'<?xml version="1.0"?>\n<svg/>', "is SVG"),
        (b"8BPS" + bytes(20), "is a picture of Photoshop"),
        (b"\0\0\0\x18ftypisom" + bytes(20), "is a video"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
    ],
)
def test_what_is_no_photo_is_called_by_its_name(photo, words):
    with pytest.raises(UnreadablePhotoError, match=words):
        pixels(photo, TrainingPreprocess())


def test_the_coding_of_a_container_is_found_among_its_brands():
    def box(*brands):
        body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
        return struct.pack(">I", len(body) + 4) + body + b"avifheic"

    assert format_name(box(b"mif1", b"miaf", b"avif")) == "AVIF"
    assert format_name(box(b"mif1", b"heic", b"avif")) == "HEIC"
    assert format_name(box(b"heix")) == "HEIC"
    assert format_name(box(b"avis", b"msf1")) == "AVIF"
    assert format_name(box(b"mp42", b"isom")) == "a video"


def test_heic_without_its_package_says_what_to_install(monkeypatch):
    from dataset import other_formats

    photo = encoded(two_halves(), "HEIC")
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    other_formats._register_heif.cache_clear()
    with pytest.raises(OtherFormatError, match="package pillow-heif is not installed here"):
        open_upright(photo, LIMIT)


def test_blocks_are_averaged_as_long_as_the_side_stays():
    image = Image.new("L", (90, 70))
    assert [reduced(image, side).size for side in (0, 100, 35, 20)] == [(90, 70), (90, 70), (45, 35), (30, 24)]


def test_a_tile_tag_exists_under_the_name_that_is_used():
    assert (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH) == (322, 323)
