"""Where photos are decoded: usual ones at once, and those on which a decoder may work long elsewhere."""

import io

import pytest
from PIL import Image

from benchmarks import forged_photos as forged
from serving.preprocess import ServingPreprocess, open_photo

SPEC = ServingPreprocess(256, "shortest_side", 256, "bilinear", 2, (0.5,) * 3, (0.5,) * 3, "RGB", True)


def noise(width: int, height: int, form: str, **options: object) -> bytes:
    """Return a photo with as many bytes as photos of that size may have."""
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 60).convert("RGB").save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "photo",
    [
        noise(500, 375, "JPEG", quality=90),
        noise(640, 480, "JPEG", quality=75),
        noise(500, 375, "JPEG", quality=60, progressive=True),
        noise(300, 200, "PNG"),
        forged.flat_image((400, 300), "WEBP"),
        forged.flat_image((1400, 1100), "JPEG"),  # A JPEG is decoded small.
    ],
    ids=["jpeg", "larger", "progressive", "png", "webp", "decoded-small"],
)
def test_usual_photo_is_quick(photo: bytes) -> None:
    opened = open_photo(photo, SPEC)
    assert (opened.is_quick, opened.is_large) == (True, False)


COSTLY = {
    "page": noise(1024, 768, "JPEG", quality=75),  # what the page sends
    "noise": noise(3000, 2000, "JPEG", quality=90),
    "progressive": noise(2000, 1500, "JPEG", quality=75, progressive=True),
    "baseline": forged.jpeg(7000, 7000),
    "png": forged.flat_png(2000, 2000),
    "webp": forged.flat_webp(2000, lossless=False),
    "webp-lossless": forged.flat_webp(400),
    "arithmetic": forged.jpeg(64, 64, forged.ARITHMETIC),
    "arithmetic-progressive": forged.jpeg(64, 64, forged.ARITHMETIC_PROGRESSIVE),
    "lossless": forged.jpeg(64, 64, forged.LOSSLESS),
}


@pytest.mark.parametrize("name", COSTLY)
def test_costly_photo_is_not_decoded_on_the_threads_of_others(name: str) -> None:
    opened = open_photo(COSTLY[name], SPEC)
    assert (opened.is_quick, opened.is_large) == (False, False)


LARGE = {
    "progressive": forged.jpeg(7000, 7000, forged.PROGRESSIVE),
    "scans": forged.repeated_scans(2000, 150),
    "scans-of-mpo": forged.as_mpo(forged.repeated_scans(2000, 150)),
    "strip": forged.jpeg(65_000, 760),
    "cmyk-strip": forged.jpeg(65_000, 760, components=4),
    "png": forged.flat_png(4000, 4000),
    "png-16-bits": forged.flat_png(2700, 2700, 6, 16),
    "png-laced": forged.flat_png(2900, 2900, 6, 16, 1),
    "webp": forged.flat_webp(4000, lossless=False),
    "webp-lossless": forged.flat_webp(1000),
    "webp-animated": forged.animated_webp(1000, 2),
    "webp-of-many-tables": forged.webp_of_many_tables(),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_photo_is_decoded_alone(name: str) -> None:
    assert open_photo(LARGE[name], SPEC).is_large


def test_second_header_of_a_png_does_not_make_it_cheap() -> None:
    small = forged.png(16, 16, b"")
    header = forged.flat_png(3000, 3000, 6, 16)[8:33]
    hidden = small[:33] + header + small[33:]
    assert open_photo(hidden, SPEC).image.size == (16, 16)
