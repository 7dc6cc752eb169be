"""Forged photos are what they are meant to be: decoders take them, and few bytes hold much."""

import io

import pytest
from PIL import Image

from benchmarks import forged_photos as forged


def opened(photo: bytes) -> Image.Image:
    return Image.open(io.BytesIO(photo))


@pytest.mark.parametrize(
    ("color_type", "bits", "mode"),
    [(0, 1, "1"), (0, 16, "I;16"), (2, 8, "RGB"), (3, 8, "P"), (4, 8, "LA"), (6, 8, "RGBA"), (6, 16, "RGBA")],
)
@pytest.mark.parametrize("laced", [0, 1])
def test_flat_png_decodes_in_every_kind(color_type: int, bits: int, mode: str, laced: int) -> None:
    for row_filter in range(0 if laced else 5):
        image = opened(forged.flat_png(30, 20, color_type, bits, laced, row_filter))
        assert (image.size, image.mode) == ((30, 20), mode)
        assert not any(image.tobytes())


def test_flat_png_has_many_megapixels_in_few_bytes() -> None:
    for color_type in (2, 6):
        photo = forged.flat_png(7071, 7071, color_type)
        assert opened(photo).size == (7071, 7071)
        assert len(photo) < 300_000


def test_flat_webp_has_fifty_megapixels_in_38_bytes() -> None:
    assert opened(forged.flat_webp(7071)).size == (7071, 7071)
    assert len(forged.flat_webp(7071)) <= 38


@pytest.mark.parametrize("components", [3, 4])
@pytest.mark.parametrize("scans", [1, 9])
@pytest.mark.parametrize(
    "frame", [forged.BASELINE, forged.PROGRESSIVE, forged.ARITHMETIC, forged.ARITHMETIC_PROGRESSIVE]
)
def test_jpeg_of_next_to_no_data_is_decoded(frame: int, scans: int, components: int) -> None:
    if scans > 1 and frame in (forged.BASELINE, forged.ARITHMETIC):
        scans = 1
    image = opened(forged.jpeg(300, 200, frame, scans, components))
    assert image.convert("RGB").size == (300, 200)


def test_repeated_scans_still_decode() -> None:
    few, many = (forged.repeated_scans(64, times) for times in (0, 10))
    assert many.count(b"\xff\xda") == few.count(b"\xff\xda") + 10
    assert opened(many).convert("RGB").tobytes() == opened(few).convert("RGB").tobytes()


@pytest.mark.parametrize("hidden", [False, True])
def test_jpeg_with_an_index_is_of_another_format_to_pillow(hidden: bool) -> None:
    photo = forged.repeated_scans(64, 3)
    assert opened(photo).format == "JPEG"
    assert opened(forged.as_mpo(photo, hidden)).format == "MPO"
    assert opened(forged.as_mpo(photo, hidden)).tobytes() == opened(photo).tobytes()


def test_webp_of_many_tables_is_read() -> None:
    image = opened(forged.webp_of_many_tables(128))
    image.load()
    assert image.size == (128, 128)


def test_animated_webp_has_its_frames() -> None:
    assert opened(forged.animated_webp(50, 3)).n_frames == 3


def test_png_of_tiny_chunks_is_a_png() -> None:
    assert not any(opened(forged.png_of_tiny_chunks(8, 1000)).tobytes())


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\xfe\0\2", b"\xff\xdd\0\4\0\0"])
def test_jpeg_is_read_whatever_is_between_its_segments(filling: bytes) -> None:
    assert opened(forged.between_segments(filling, 50)).convert("RGB").size == (16, 16)


def test_text_png_has_its_text() -> None:
    assert opened(forged.text_png(b"zTXt", forged.hundred_megabytes()[:200])).size == (8, 8)
