"""Photos that are too much work are refused by training, evaluation, server and the names of faults alike."""

import time
from collections.abc import Callable

import pytest

from benchmarks import forged_photos as forged
from dataset.faults import fault
from dataset.photo_limits import excess
from serving.dataset_photos import dataset_pixels
from serving.preprocess import PhotoTooLargeError, ServingPreprocess, pixels
from training.preprocess import TrainingPreprocess, UnreadablePhotoError, decode

TRAINING = TrainingPreprocess(image_size=32, resize_to=32)
SERVING = ServingPreprocess(**TRAINING.__dict__)
SCANS = forged.repeated_scans(2000, 500)
FRAME = b"\xff\xc2"  # of a progressive JPEG
REFUSED: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: forged.jpeg(7100, 7100),
    "jpeg-scans": lambda: SCANS,
    "jpeg-scans-of-arithmetic": lambda: forged.jpeg(2000, 2000, forged.ARITHMETIC_PROGRESSIVE, 500),
    # Pillow takes both for a format of its own, the second one also behind a segment that it cannot follow.
    "mpo-scans": lambda: forged.as_mpo(SCANS),
    "mpo-scans-hidden": lambda: forged.as_mpo(SCANS, hidden=True),
    "mpo-scans-behind-a-table": lambda: (
        SCANS[: SCANS.index(FRAME)] + forged.as_mpo(SCANS[: SCANS.index(FRAME)])[2:] + SCANS[SCANS.index(FRAME) :]
    ),
    "png": lambda: forged.flat_png(4100, 4000),
    "png-grey": lambda: forged.flat_png(4100, 4000, 0, 1),
    "webp-lossless": lambda: forged.flat_webp(4100),
    "webp-lossy": lambda: forged.flat_webp(4100, lossless=False),
    "webp-animated": lambda: forged.animated_webp(4100, 2),
    "fill-bytes": lambda: forged.between_segments(b"\xff", 1_000_000),
    "comments": lambda: forged.between_segments(b"\xff\xfe\0\2", 100_000),
    "restart-intervals": lambda: forged.between_segments(b"\xff\xdd\0\4\0\0", 100_000),
    "png-of-tiny-chunks": lambda: forged.png_of_tiny_chunks(200, 50_000),
    "fill-bytes-of-scans": lambda: forged.jpeg(4000, 3000, data=b"\xff\0" * 500_000)[:-2] + b"\xff\xda" * 100,
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_photo_that_is_too_much_work_is_refused_everywhere_before_it_is_decoded(name: str) -> None:
    photo = REFUSED[name]()
    begun = time.process_time()
    with pytest.raises(PhotoTooLargeError) as served:
        pixels(photo, SERVING)
    with pytest.raises(PhotoTooLargeError):
        dataset_pixels(photo, SERVING)
    with pytest.raises(UnreadablePhotoError) as trained:
        decode(photo, TRAINING)
    words = fault(photo)
    assert time.process_time() - begun < 0.4  # four times
    assert words == str(trained.value)
    assert str(served.value) == f"The image {words}."
    assert "damaged" not in words


@pytest.mark.parametrize(
    "photo",
    [
        forged.jpeg(7000, 7000),
        forged.repeated_scans(2000, 100),
        forged.as_mpo(forged.repeated_scans(2000, 100)),
        forged.flat_png(4000, 4000, 0, 1),
        forged.flat_webp(4000),
        forged.jpeg(16, 16, before=b"\xff\xfe\0\2" * 400),
    ],
    ids=["jpeg", "scans", "mpo", "png", "webp", "comments"],
)
def test_photo_at_the_limits_is_read_everywhere(photo: bytes) -> None:
    assert pixels(photo, SERVING).shape == (32, 32, 3)
    assert decode(photo, TRAINING).mode == "RGB"
    assert fault(photo) == ""


def test_limits_are_told_with_the_format_for_which_they_hold() -> None:
    sizes = (4100, 4000)
    assert excess(forged.flat_png(9, 9), *sizes) == "has 4100 x 4000 pixels, at most 16 megapixels of a PNG are taken"
    assert excess(forged.flat_webp(9), *sizes) == "has 4100 x 4000 pixels, at most 16 megapixels of a WebP are taken"
    assert excess(forged.jpeg(9, 9), *sizes) == ""
    assert excess(forged.jpeg(9, 9), 8000, 7000) == "has 8000 x 7000 pixels, at most 50 megapixels are taken"
