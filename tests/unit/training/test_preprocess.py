import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from training.inference import normalize
from training.preprocess import TrainingPreprocess, UnreadablePhotoError, decode, pixels

SPEC = TrainingPreprocess()
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def to_bytes(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def sixteen_bit() -> Image.Image:
    return Image.fromarray(np.full((4, 4), 0x8040, np.uint16))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: to_bytes(Image.new("RGB", (4, 4), RED)), RED),
        (lambda: to_bytes(Image.new("L", (4, 4), 77)), (77, 77, 77)),
        (lambda: to_bytes(Image.new("1", (4, 4), 1)), WHITE),
        (lambda: to_bytes(Image.new("RGB", (4, 4), GREEN).quantize(4)), GREEN),
        (lambda: to_bytes(Image.new("LA", (4, 4), (0, 0))), WHITE),
        (lambda: to_bytes(Image.new("RGBA", (4, 4), (255, 0, 0, 255))), RED),
        (lambda: to_bytes(Image.new("RGBA", (4, 4), (255, 0, 0, 0))), WHITE),
        (lambda: to_bytes(Image.new("RGBA", (4, 4), (0, 0, 0, 51))), (204, 204, 204)),
        (lambda: to_bytes(Image.new("P", (4, 4), 0), transparency=0), WHITE),
        (lambda: to_bytes(sixteen_bit()), (128, 128, 128)),
        (lambda: to_bytes(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100), (255, 0, 0)),
        (lambda: to_bytes(Image.new("RGB", (4, 4), BLUE), "WEBP", lossless=True), BLUE),
    ],
    ids=[
        "rgb",
        "grey",
        "bilevel",
        "palette",
        "clear-grey",
        "opaque",
        "clear",
        "veil",
        "clear-palette",
        "16-bit",
        "cmyk",
        "webp",
    ],
)
def test_every_colour_mode_becomes_rgb_on_white(make: Callable[[], bytes], expected: tuple[int, int, int]) -> None:
    image = decode(make(), SPEC)
    assert image.mode == "RGB"
    np.testing.assert_allclose(np.asarray(image)[1, 1], expected, atol=2)


def test_exif_orientation_turns_the_photo() -> None:
    image = Image.new("RGB", (20, 10), RED)
    image.paste(BLUE, (10, 0, 20, 10))  # The right half is blue.
    exif = Image.Exif()
    exif[0x0112] = 6  # Viewers must rotate it by 90 degrees clockwise, so the right side becomes the bottom.
    upright = decode(to_bytes(image, exif=exif), SPEC)
    assert upright.size == (10, 20)
    assert upright.getpixel((5, 2)) == RED
    assert upright.getpixel((5, 17)) == BLUE


def test_shortest_side_keeps_the_aspect_and_cuts_out_the_centre() -> None:
    image = Image.new("RGB", (600, 200), RED)
    image.paste(GREEN, (200, 0, 400, 200))  # The central square is green.
    spec = TrainingPreprocess(image_size=224, resize="shortest_side", resize_to=240)
    cut = pixels(to_bytes(image), spec)
    assert cut.shape == (224, 224, 3)
    assert (cut[:, 5:-5] == GREEN).all()


def test_squash_keeps_the_whole_photo() -> None:
    image = Image.new("RGB", (600, 200), RED)
    image.paste(GREEN, (300, 0, 600, 200))
    cut = pixels(to_bytes(image), TrainingPreprocess(image_size=224, resize="squash", resize_to=224))
    assert cut.shape == (224, 224, 3)
    assert (cut[:, :100] == RED).all()
    assert (cut[:, -100:] == GREEN).all()


def test_a_photo_of_one_pixel_height_is_resized() -> None:
    assert pixels(to_bytes(Image.new("RGB", (300, 1), RED)), SPEC).shape == (256, 256, 3)


@pytest.mark.parametrize("data", [b"", b"not a photo", to_bytes(Image.new("RGB", (64, 64), RED), "JPEG")[:-200]])
def test_bytes_that_are_no_photo_are_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadablePhotoError):
        pixels(data, SPEC)


def test_normalize_maps_black_and_white_to_minus_and_plus_one() -> None:
    images = torch.zeros(2, 4, 6, 3, dtype=torch.uint8)
    images[1] = 255
    inputs = normalize(images, SPEC)
    assert inputs.shape == (2, 3, 4, 6)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert (inputs[0] == -1).all()
    assert (inputs[1] == 1).all()
