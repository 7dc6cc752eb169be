import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from serving import preprocess
from serving.preprocess import PhotoError, PhotoTooLargeError, ServingPreprocess, UnsupportedPhotoError, pixels

from .conftest import SPEC, encoded

RED, BLUE = (255, 0, 0), (0, 0, 255)


def two_halves() -> Image.Image:
    image = Image.new("RGB", (64, 32), RED)
    image.paste(BLUE, (32, 0, 64, 32))
    return image


def centre(image: Image.Image, kind: str, **options: object) -> list[int]:
    red, green, blue = pixels(encoded(image, kind, **options), SPEC)[16, 16]
    return [int(red), int(green), int(blue)]


def test_pixels_are_uint8_rgb_of_the_specified_size() -> None:
    result = pixels(encoded(two_halves(), "PNG"), SPEC)
    assert result.shape == (32, 32, 3)
    assert result.dtype == np.uint8
    assert result[5, [2, 29]].tolist() == [[255, 0, 0], [0, 0, 255]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_turns_the_photo(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by 90 degrees clockwise: the left half comes to the top.
    result = pixels(encoded(two_halves(), kind, exif=exif), SPEC)
    assert result[3, 16, 0] > 200 > 50 > result[3, 16, 2]
    assert result[28, 16, 2] > 200 > 50 > result[28, 16, 0]


def test_grey_photo_has_three_equal_channels() -> None:
    assert centre(Image.new("L", (40, 40), 77), "PNG") == [77, 77, 77]


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    image = Image.fromarray(np.full((40, 40), 0x8000, dtype=np.uint16))
    assert centre(image, "PNG") == [128, 128, 128]


def test_cmyk_photo_keeps_its_colour() -> None:
    red, green, blue = centre(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG", quality=100)
    assert red > 240
    assert max(green, blue) < 15


def test_alpha_is_composited_on_white() -> None:
    assert centre(Image.new("RGBA", (40, 40), (255, 0, 0, 0)), "PNG") == [255, 255, 255]
    assert centre(Image.new("RGBA", (40, 40), (0, 0, 0, 51)), "PNG") == [204, 204, 204]
    assert centre(Image.new("LA", (40, 40), (0, 0)), "PNG") == [255, 255, 255]


def test_palette_with_a_transparent_colour_shows_white() -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert centre(image, "PNG") == [10, 20, 30]
    assert centre(image, "PNG", transparency=0) == [255, 255, 255]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, BLUE)]
    red, _, blue = centre(frames[0], kind, save_all=True, append_images=frames[1:])
    assert red > 240
    assert blue < 15


def test_too_many_pixels_are_refused_from_the_header_alone() -> None:
    header = encoded(Image.new("1", (9000, 9000)), "PNG")[:60]  # There are no pixels to decode.
    with pytest.raises(PhotoTooLargeError, match="9000 x 9000"):
        pixels(header, SPEC)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_truncated_photo_is_unreadable(kind: str) -> None:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)), kind)
    with pytest.raises(PhotoError) as caught:
        pixels(whole[: len(whole) // 2], SPEC)
    assert (caught.value.code, caught.value.status) == ("UnreadableImage", 400)


def test_empty_body_is_unreadable() -> None:
    with pytest.raises(PhotoError, match="no body"):
        pixels(b"", SPEC)


@pytest.mark.parametrize("body", [b"hello dog", encoded(Image.new("RGB", (9, 9)), "GIF"), b"\x00" * 100])
def test_other_kinds_are_unsupported(body: bytes) -> None:
    with pytest.raises(UnsupportedPhotoError):
        pixels(body, SPEC)


def test_large_photos_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    concurrency = []
    decode, inside = preprocess._decode, threading.Semaphore(0)

    def observed(image: Image.Image, spec: ServingPreprocess) -> Image.Image:
        inside.release()
        time.sleep(0.02)  # Another thread can enter in this time.
        concurrency.append(inside._value)
        inside.acquire()
        return decode(image, spec)

    monkeypatch.setattr(preprocess, "_decode", observed)
    small, large = (encoded(Image.new("RGB", size, RED)) for size in ((10, 10), (3000, 3000)))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda body: pixels(body, SPEC), [large] * 4))
        assert concurrency == [1] * 4
        list(threads.map(lambda body: pixels(body, SPEC), [small] * 4))
        assert max(concurrency) > 1


def test_too_many_scans_are_refused_before_they_are_decoded() -> None:
    body = encoded(Image.new("RGB", (1000, 1000), RED), progressive=True)
    last = body.rindex(b"\xff\xda")
    scan = body[last:-2]  # the last scan, without the end marker
    assert pixels(body[:-2] + scan + body[-2:], SPEC).shape == (32, 32, 3)
    with pytest.raises(PhotoTooLargeError, match="1000 x 1000"):
        pixels(body[:-2] + 800 * scan, SPEC)  # 810 million pixels
    with pytest.raises(
        PhotoTooLargeError, match="more than 800 scans"
    ):  # An index of further pictures does not hide them.
        pixels(_with_index_of_pictures(body[:-2] + 800 * scan), SPEC)
    assert pixels(body + 800 * scan, SPEC).shape == (32, 32, 3)  # What follows the end is no scan.


def _with_index_of_pictures(jpeg: bytes) -> bytes:
    two = [Image.new("RGB", (9, 9), RED)] * 2
    index = encoded(two[0], "MPO", save_all=True, append_images=two[1:])
    begin = index.index(b"MPF\0") - 4
    return jpeg[:2] + index[begin : begin + 2 + int.from_bytes(index[begin + 2 : begin + 4], "big")] + jpeg[2:]


def test_shortest_side_takes_the_central_square() -> None:
    spec = replace(SPEC, resize="shortest_side")
    expected = two_halves().crop((16, 0, 48, 32))  # The photo is 32 pixels high, so nothing is resampled.
    assert np.array_equal(pixels(encoded(two_halves(), "PNG"), spec), np.asarray(expected))


@pytest.mark.parametrize(("resize", "size"), [("squash", (64, 64)), ("shortest_side", (90, 64))])
def test_resize_to_twice_the_size_cuts_out_the_centre(resize: str, size: tuple[int, int]) -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8))
    left = size[0] // 2 - 16
    expected = image.crop((left, 16, left + 32, 48))
    result = pixels(encoded(image, "PNG"), replace(SPEC, resize=resize, resize_to=64))
    assert np.array_equal(result, np.asarray(expected))


def test_shortest_side_of_a_strip_does_not_fill_the_memory() -> None:
    spec = replace(SPEC, image_size=224, resize="shortest_side", resize_to=256)
    assert pixels(encoded(Image.new("RGB", (1, 40_000), RED), "PNG"), spec).shape == (224, 224, 3)


def test_a_large_jpeg_is_decoded_small_and_looks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = np.linspace(0, 255, 1200, dtype=np.uint8)
    image = Image.fromarray(
        np.stack([np.tile(ramp, (900, 1)), np.tile(ramp[:900, None], (1, 1200)), np.full((900, 1200), 99)], -1).astype(
            np.uint8
        )
    )
    body = encoded(image, quality=95)
    sizes = []
    to_rgb = preprocess.to_rgb
    monkeypatch.setattr(preprocess, "to_rgb", lambda image: sizes.append(image.size) or to_rgb(image))
    full = pixels(body, replace(SPEC, resize="shortest_side")).astype(int)
    small = pixels(body, replace(SPEC, resize="shortest_side", jpeg_oversampling=2)).astype(int)
    assert sizes == [(1200, 900), (150, 113)]  # An eighth of the size is still more than twice 32 pixels.
    assert np.abs(full - small).max() <= 3


def test_pixels_equal_those_of_training() -> None:
    training = pytest.importorskip("training.preprocess")
    rng = np.random.default_rng(2)
    exif = Image.Exif()
    exif[0x0112] = 8
    noise = Image.fromarray(rng.integers(0, 256, (150, 211, 3), np.uint8))
    photos = [
        encoded(noise),
        encoded(noise, exif=exif),
        encoded(noise.convert("CMYK")),
        encoded(noise.convert("L"), "PNG"),
        encoded(noise.convert("P"), "PNG", transparency=3),
        encoded(noise.convert("LA"), "PNG"),
        encoded(Image.fromarray(rng.integers(0, 256, (90, 60, 4), np.uint8)), "PNG"),
        encoded(Image.fromarray(rng.integers(0, 65536, (90, 60), np.uint16)), "PNG"),
        encoded(noise, "WEBP"),
    ]
    squash = replace(SPEC, image_size=100, resize_to=100)
    cropped = replace(SPEC, image_size=100, resize="shortest_side", resize_to=120, interpolation="bicubic")
    shrunk = replace(SPEC, image_size=30, resize="shortest_side", resize_to=32, jpeg_oversampling=2)
    for spec in (squash, cropped, shrunk):
        training_spec = training.TrainingPreprocess(**spec.__dict__)
        for number, body in enumerate(photos):
            assert np.array_equal(pixels(body, spec), training.pixels(body, training_spec)), f"photo {number}"


@pytest.mark.parametrize(
    "change",
    [
        {"resize": "stretch"},
        {"interpolation": "nearest"},
        {"color": "BGR"},
        {"resize_to": 8},
        {"jpeg_oversampling": -1},
        {"extra": 1},
    ],
)
def test_unknown_specification_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"preprocess\.json"):
        ServingPreprocess.from_json({**SPEC.__dict__, **change})
