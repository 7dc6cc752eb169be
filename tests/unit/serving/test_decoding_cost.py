"""Where photos are decoded: usual ones at once, and those on which a decoder may work long elsewhere."""

import io
from collections.abc import Callable

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


# Photos are made by the tests that use them, because each of pytest's workers imports this module.
USUAL: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: noise(500, 375, "JPEG", quality=90),
    "larger": lambda: noise(640, 480, "JPEG", quality=75),
    "progressive": lambda: noise(500, 375, "JPEG", quality=60, progressive=True),
    "png": lambda: noise(300, 200, "PNG"),
    "webp": lambda: forged.flat_image((400, 300), "WEBP"),
    "decoded-small": lambda: forged.flat_image((1400, 1100), "JPEG"),  # A JPEG is decoded small.
}


@pytest.mark.parametrize("name", USUAL)
def test_usual_photo_is_quick(name: str) -> None:
    opened = open_photo(USUAL[name](), SPEC)
    assert (opened.is_quick, opened.is_large) == (True, False)


COSTLY: dict[str, Callable[[], bytes]] = {
    "page": lambda: noise(1024, 768, "JPEG", quality=75),  # what the page sends
    "noise": lambda: noise(3000, 2000, "JPEG", quality=90),
    "progressive": lambda: noise(2000, 1500, "JPEG", quality=75, progressive=True),
    "baseline": lambda: forged.jpeg(7000, 7000),
    "png": lambda: forged.flat_png(2000, 2000),
    "webp": lambda: forged.flat_webp(2000, lossless=False),
    "webp-lossless": lambda: forged.flat_webp(400),
    "arithmetic": lambda: forged.jpeg(64, 64, forged.ARITHMETIC),
    "arithmetic-progressive": lambda: forged.jpeg(64, 64, forged.ARITHMETIC_PROGRESSIVE),
    "lossless": lambda: forged.jpeg(64, 64, forged.LOSSLESS),
}


@pytest.mark.parametrize("name", COSTLY)
def test_costly_photo_is_not_decoded_on_the_threads_of_others(name: str) -> None:
    opened = open_photo(COSTLY[name](), SPEC)
    assert (opened.is_quick, opened.is_large) == (False, False)


LARGE: dict[str, Callable[[], bytes]] = {
    "progressive": lambda: forged.jpeg(7000, 7000, forged.PROGRESSIVE),
    "scans": lambda: forged.repeated_scans(2000, 150),
    "scans-of-mpo": lambda: forged.as_mpo(forged.repeated_scans(2000, 150)),
    "strip": lambda: forged.jpeg(65_000, 760),
    "cmyk-strip": lambda: forged.jpeg(65_000, 760, components=4),
    "png": lambda: forged.flat_png(4000, 4000),
    "png-16-bits": lambda: forged.flat_png(2700, 2700, 6, 16),
    "png-laced": lambda: forged.flat_png(2900, 2900, 6, 16, 1),
    "webp": lambda: forged.flat_webp(4000, lossless=False),
    "webp-lossless": lambda: forged.flat_webp(1000),
    "webp-animated": lambda: forged.animated_webp(1000, 2),
    "webp-of-many-tables": forged.webp_of_many_tables,
}


@pytest.mark.parametrize("name", LARGE)
def test_large_photo_is_decoded_alone(name: str) -> None:
    assert open_photo(LARGE[name](), SPEC).is_large


def test_second_header_of_a_png_does_not_make_it_cheap() -> None:
    small = forged.png(16, 16, b"")
    header = forged.flat_png(3000, 3000, 6, 16)[8:33]
    hidden = small[:33] + header + small[33:]
    assert open_photo(hidden, SPEC).image.size == (16, 16)
