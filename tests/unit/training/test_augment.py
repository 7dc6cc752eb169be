"""Tests that compare the augmentation with torchvision's: distribution of boxes, pixels, and the 14 operations."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from networks.torchvision_import import torchvision_models
from training import augment

NUM_DRAWN = 4000


@pytest.fixture(scope="module")
def v2() -> Any:
    """The module ``torchvision.transforms.v2``, whose import takes seconds in each worker that needs it."""
    torchvision_models()  # Makes torchvision importable.
    from torchvision.transforms import v2

    return v2


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_photos(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).unsqueeze(0).permute(0, 3, 1, 2)


def as_pixels(photo: torch.Tensor) -> np.ndarray:
    return photo[0].permute(1, 2, 0).numpy()


def test_draws_depend_on_seed_epoch_and_position_alone() -> None:
    whole = augment.draws(7, 3, first=0, count=10)
    np.testing.assert_array_equal(augment.draws(7, 3, first=6, count=3), whole[6:9])
    others = [augment.draws(8, 3, 0, 10), augment.draws(7, 4, 0, 10), augment.draws(7, 3, 10, 10)]
    assert all(not np.isin(other, whole).any() for other in others)


def test_draws_are_uniform() -> None:
    drawn = augment.draws(0, 0, 0, NUM_DRAWN)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    # The tolerance is five standard errors of the mean of uniform numbers.
    np.testing.assert_allclose(drawn.mean(0), 0.5, atol=5 / math.sqrt(12 * NUM_DRAWN))


@pytest.mark.parametrize(("width", "height"), [(500, 375), (224, 224), (200, 640)])
def test_boxes_are_distributed_as_torchvisions(v2: Any, width: int, height: int) -> None:
    drawn = augment.boxes(augment.draws(0, 0, 0, NUM_DRAWN), np.tile([width, height], (NUM_DRAWN, 1)))
    torch.manual_seed(0)
    transform, image = v2.RandomResizedCrop(64), Image.new("RGB", (width, height))
    theirs = [transform.make_params([image]) for _ in range(NUM_DRAWN)]
    expected = np.array([(p["left"], p["top"], p["left"] + p["width"], p["top"] + p["height"]) for p in theirs])
    left, top, right, bottom = drawn.T
    for name, ours, other in (
        ("left", left, expected[:, 0]),
        ("top", top, expected[:, 1]),
        ("width", right - left, expected[:, 2] - expected[:, 0]),
        ("height", bottom - top, expected[:, 3] - expected[:, 1]),
        ("area", (right - left) * (bottom - top), np.prod(expected[:, 2:] - expected[:, :2], 1)),
    ):
        at = np.union1d(ours, other)
        shares = [np.searchsorted(np.sort(values), at, side="right") / NUM_DRAWN for values in (ours, other)]
        # The Kolmogorov-Smirnov distance of two samples of the same distribution exceeds this once in a million.
        assert np.abs(shares[0] - shares[1]).max() < math.sqrt(math.log(2e6) / NUM_DRAWN), name


@pytest.mark.parametrize(
    ("size", "box"),
    [((3000, 20), (1486, 0, 1513, 20)), ((20, 3000), (0, 1486, 20, 1513))],  # The longer side is 27 = 20 * 4 / 3.
    ids=["wide", "tall"],
)
def test_a_photo_that_no_box_fits_keeps_its_centre(size: tuple[int, int], box: tuple[int, ...]) -> None:
    boxes = augment.boxes(augment.draws(0, 0, 0, 50), np.tile(size, (50, 1)))
    assert (boxes == box).all()


def test_boxes_keep_their_share_of_the_square() -> None:
    sizes = np.array([[512, 128], [512, 128], [3000, 20], [3000, 20]])
    boxes = np.array([[0, 0, 512, 128], [128, 32, 384, 64], [1486, 0, 1513, 20], [2999, 0, 3000, 20]])
    scaled = augment.scale_boxes(boxes, sizes, 256)
    assert scaled[:2].tolist() == [[0, 0, 256, 256], [64, 64, 192, 128]]
    # One of 3000 columns is less than one of 256, and no box may be empty.
    assert (scaled[2:, 2] - scaled[2:, 0] >= 1).all()
    assert (scaled[2:, 2] <= 256).all()


@pytest.mark.parametrize("side", [64, 224])
@pytest.mark.parametrize("box", [(0, 0, 256, 256), (30, 20, 209, 131)])
def test_crop_gives_torchvisions_pixels(v2: Any, box: tuple[int, int, int, int], side: int) -> None:
    pixels = noise(256, 256)
    left, top, right, bottom = box
    expected = np.asarray(
        v2.functional.resized_crop(Image.fromarray(pixels), top, left, bottom - top, right - left, [side, side])
    ).astype(int)
    cropped = augment.crop(as_photos(pixels), 0, box, False, side)
    assert cropped.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(as_pixels(cropped), expected, atol=1)
    mirrored = augment.crop(as_photos(pixels), 0, box, True, side)
    np.testing.assert_allclose(as_pixels(mirrored), expected[:, ::-1], atol=1)


def test_half_the_photos_are_mirrored() -> None:
    mirrored = augment.flips(augment.draws(0, 0, 0, NUM_DRAWN))
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / math.sqrt(NUM_DRAWN)


def test_operations_are_torchvisions(v2: Any) -> None:
    transform = v2.TrivialAugmentWide()
    image = Image.fromarray(noise(96, 64))
    assert augment.OPERATIONS.keys() == transform._AUGMENTATION_SPACE.keys()
    for name, (magnitudes, is_signed) in transform._AUGMENTATION_SPACE.items():
        strengths = magnitudes(31, 64, 96)
        for number in (0, 1, 11, 17, 30):  # At others torchvision's float32 is just below a whole number.
            for sign in (1, -1) if is_signed else (1,):
                magnitude = sign * float(strengths[number]) if strengths is not None else 0.0
                expected = transform._apply_image_or_video_transform(
                    image, name, magnitude, transform.interpolation, transform._fill
                )
                ours = augment.OPERATIONS[name](image, sign * number / 30)
                a, b = (np.asarray(each, dtype=int) for each in (ours, expected))
                np.testing.assert_allclose(a, b, atol=1, err_msg=f"{name} {magnitude}")


def test_trivial_applies_the_drawn_operation_in_place() -> None:
    pixels = noise(16, 16)
    (drawn,) = augment.draws(0, 0, 0, 1)
    names = list(augment.OPERATIONS)
    strongest = 0.999
    for sign in (0.0, 0.9):
        drawn[augment._OPERATION] = (names.index("Solarize") + 0.5) / len(names)
        drawn[augment._STRENGTH], drawn[augment._SIGN] = strongest, sign
        photos = as_photos(pixels.copy())
        augment.trivial_augment(photos, drawn)
        np.testing.assert_array_equal(as_pixels(photos), 255 - pixels)  # The threshold is 0.
    drawn[augment._OPERATION] = (names.index("TranslateX") + 0.5) / len(names)
    drawn[augment._STRENGTH], drawn[augment._SIGN] = 3.5 / 31, 0.0  # Level 3 of 0 to 30: 3.2 pixels to the right.
    photos = as_photos(pixels.copy())
    augment.trivial_augment(photos, drawn)
    np.testing.assert_array_equal(as_pixels(photos)[:, 3:], pixels[:, :-3])
    assert not as_pixels(photos)[:, :3].any()
