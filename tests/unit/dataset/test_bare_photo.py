"""A photo without its metadata has the same pixels, and says nothing of place, time and author."""

import io

import numpy as np
import pytest
from PIL import Image

from dataset.bare_photo import without_metadata
from dataset.photo_bytes import media_type, pixel_bytes
from serving.dataset_photos import as_golden, dataset_pixels
from serving.preprocess import pixels
from tests.unit.dataset.test_photo_bytes import (
    COLOURS,
    JPEG,
    PNG,
    SERVING,
    TURNED,
    UPRIGHT,
    chunk,
    jpeg,
    picture,
    png,
    saved,
    tiff,
    turn,
    webp,
)

PLACE = b"48.8584 N, 2.2945 E"
GPS = tiff(turn(6), (0x10E, 2, len(PLACE), b"\x26\0\0\0"), more=PLACE)
TELLING = {
    "jpeg-exif": jpeg((0xE1, b"Exif\0\0" + GPS)),
    "jpeg-xmp": jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PLACE)),
    "jpeg-others": jpeg((0xE2, b"ICC_PROFILE\0\1\1" + PLACE), (0xED, b"Photoshop 3.0\0" + PLACE), (0xFE, PLACE)),
    "jpeg-between-scans": saved(picture(), "JPEG", progressive=True).replace(
        b"\xff\xda", b"\xff\xfe\0\x15" + PLACE + b"\xff\xda"
    ),
    "jpeg-behind-its-end": JPEG + jpeg((0xE1, b"Exif\0\0" + GPS)) + b"Samsung" + PLACE,
    "mpo": saved(picture(), "MPO", save_all=True, append_images=[picture()], exif=b"Exif\0\0" + GPS),
    "png-exif": png(chunk(b"eXIf", GPS)),
    "png-texts": png(*(chunk(name, b"Comment\0" + PLACE) for name in (b"tEXt", b"prIv")), last=True),
    "png-behind-its-end": PNG + PLACE,
    "webp-exif": webp((b"EXIF", GPS)),
    "webp-xmp": webp((b"XMP ", PLACE), (b"ICCP", PLACE), (b"PRIV", PLACE)),
    "webp-behind-its-end": webp((b"EXIF", GPS)) + PLACE,
}


def oriented(photo: bytes) -> int:
    return pixel_bytes(photo)[1]


@pytest.mark.parametrize("name", TELLING)
def test_nothing_but_pixels_and_orientation_is_left(name: str) -> None:
    photo = TELLING[name]
    assert PLACE in photo
    bare = without_metadata(photo)
    assert PLACE not in bare
    assert (media_type(bare), oriented(bare)) == (media_type(photo), oriented(photo))
    np.testing.assert_array_equal(pixels(bare, SERVING), pixels(photo, SERVING))
    np.testing.assert_array_equal(raw(bare), raw(photo))
    info = Image.open(io.BytesIO(bare)).info
    assert not info.keys() & {"comment", "icc_profile", "xmp", "photoshop", "mp", "Comment"}
    # A directory of one entry, and for a JPEG the word that says what it is.
    assert len(info.get("exif", b"").removeprefix(b"Exif\0\0")) in (0, 8 + 2 + 12 + 4)


def raw(photo: bytes) -> np.ndarray:
    """Return the pixels as they are coded, with an own look at the orientation."""
    return np.asarray(Image.open(io.BytesIO(photo)))


@pytest.mark.parametrize("name", [*UPRIGHT, *TURNED, *COLOURS])
def test_golden_photo_has_the_pixels_of_its_original(name: str) -> None:
    if name in COLOURS:
        image, kind, options = COLOURS[name]
        photo = saved(image, kind, **options)
    else:
        photo = (UPRIGHT | TURNED)[name]
    golden = as_golden(photo, SERVING)
    np.testing.assert_array_equal(pixels(golden, SERVING), pixels(photo, SERVING))
    assert without_metadata(golden) == golden


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_kept(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, PLACE.decode()
    photo = saved(picture(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    bare = without_metadata(photo)
    assert PLACE in photo
    assert PLACE not in bare
    assert oriented(bare) == orientation
    np.testing.assert_array_equal(pixels(bare, SERVING), pixels(photo, SERVING))
    with Image.open(io.BytesIO(bare)) as image:  # Other readers find it too.
        assert image.getexif().get(0x0112, 1) == orientation


def test_webp_with_alpha_keeps_it() -> None:
    image = picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    for options in ({"quality": 60}, {"lossless": True}):
        photo = saved(image, "WEBP", exif=b"Exif\0\0" + GPS, **options)
        bare = without_metadata(photo)
        assert PLACE not in bare
        np.testing.assert_array_equal(raw(bare), raw(photo))


@pytest.mark.parametrize(
    "photo",
    [
        b"",
        b"GIF89a",
        JPEG[:-2],
        PNG[:-1],
        saved(picture(), "WEBP", save_all=True, append_images=[picture().rotate(90)]),
        webp()[:-9],
    ],
    ids=["empty", "gif", "jpeg-without-its-end", "png-without-its-end", "animation", "webp-cut-off"],
)
def test_photo_that_cannot_be_followed_is_not_guessed_at(photo: bytes) -> None:
    assert without_metadata(photo) == b""


def test_golden_photo_that_cannot_be_followed_becomes_a_png() -> None:
    photo = jpeg((0xE1, b"Exif\0\0" + GPS))[:-2]
    golden = as_golden(photo, SERVING)
    assert golden.startswith(b"\x89PNG")
    assert PLACE not in golden
    np.testing.assert_array_equal(pixels(golden, SERVING), pixels(photo, SERVING))


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "BMP"])
def test_golden_photo_of_another_format_has_no_metadata_either(kind: str) -> None:
    options = {"icc_profile": PLACE, "description": PLACE.decode()} if kind == "TIFF" else {}
    photo = saved(picture().quantize(200) if kind == "GIF" else picture(), kind, **options)
    golden = as_golden(photo, SERVING)
    assert PLACE not in golden
    np.testing.assert_array_equal(pixels(golden, SERVING), dataset_pixels(photo, SERVING))
