"""Random crops, flips and TrivialAugment, as in torchvision's recipes.

The random numbers depend only on the seed, the epoch and the photo's position in the epoch.
See "Random numbers come from Philox and have no state" in docs/decisions/training.md.

The crop follows Szegedy et al. 2014 (arXiv:1409.4842, "Inception"): 8 to 100 % of the photo's area, sides in a ratio
of 3:4 to 4:3. TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158) applies one of 14 operations with a random
strength to each photo; the strengths are those of its "wide" space.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

_SCALE = (0.08, 1.0)  # area of the crop, as a share of the photo's
_RATIO = (3 / 4, 4 / 3)  # width divided by height
_TRIES = 10  # attempts to find a crop that fits into the photo
_BINS = 31  # strengths of an operation
# The columns of ``draws``: what each number that is drawn for a photo decides.
_AREAS, _RATIOS, _CORNER = slice(0, _TRIES), slice(_TRIES, 2 * _TRIES), slice(2 * _TRIES, 2 * _TRIES + 2)
_FLIP, _OPERATION, _STRENGTH, _SIGN = range(2 * _TRIES + 2, 2 * _TRIES + 6)
_PER_COUNT = 4  # numbers that Philox generates per value of its counter
_COUNTS = math.ceil((_SIGN + 1) / _PER_COUNT)


def draws(seed: int, epoch: int, first: int, count: int) -> np.ndarray:
    """Draw random numbers for the photos at some positions of an epoch.

    Philox computes them from a key and a counter, so they do not depend on which rank asks, nor on ``count``.

    Args:
        seed: the run's seed.
        epoch: the epoch.
        first: the first position in the epoch.
        count: number of positions.

    Returns:
        float64 ``[count, K]`` in [0, 1).
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[first * _COUNTS, 0, 0, 0]))
    return generator.random((count, _COUNTS * _PER_COUNT))


def boxes(draws: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Choose the box of each photo that the crop keeps.

    Args:
        draws: ``[N, K]``, the random numbers from ``draws``.
        sizes: ``[N, 2]``, width and height.

    Returns:
        int64 ``[N, 4]``: left, top, right and bottom in the photo's pixels.
    """
    area = sizes.prod(1, keepdims=True) * (_SCALE[0] + (_SCALE[1] - _SCALE[0]) * draws[:, _AREAS])
    low, high = np.log(_RATIO)
    ratio = np.exp(low + (high - low) * draws[:, _RATIOS])
    candidates = np.rint(np.sqrt(np.stack([area * ratio, area / ratio], 2))).astype(np.int64)  # [N, tries, 2]
    fits = ((candidates > 0) & (candidates <= sizes[:, None])).all(2)
    first_fits = candidates[np.arange(len(candidates)), fits.argmax(1)]
    box_sizes = np.where(fits.any(1)[:, None], first_fits, _central(sizes))
    margin = sizes - box_sizes
    random_corner = (draws[:, _CORNER] * (margin + 1)).astype(np.int64)
    corner = np.where(fits.any(1)[:, None], random_corner, margin // 2)
    return np.concatenate([corner, corner + box_sizes], 1)


def scale_boxes(boxes: np.ndarray, sizes: np.ndarray, side: int) -> np.ndarray:
    """Scale boxes of photos to the squares that the photos were squashed to.

    Args:
        boxes: int64 ``[N, 4]``, as ``boxes`` returns them.
        sizes: ``[N, 2]``, width and height of the photos.
        side: side of the squares, pixels.

    Returns:
        int64 ``[N, 4]``, each box at least one pixel wide and high.
    """
    scaled = np.rint(boxes * (side / np.tile(sizes, 2))).astype(np.int64)
    corner = np.minimum(scaled[:, :2], side - 1)
    return np.concatenate([corner, np.maximum(scaled[:, 2:], corner + 1)], 1)


def flips(draws: np.ndarray) -> np.ndarray:
    """Return whether each photo is mirrored, bool ``[N]``."""
    return draws[:, _FLIP] < 0.5


def crop(photos: Tensor, index: int, box: Sequence[int], flip: bool, side: int) -> Tensor:
    """Cut a box out of a photo and resize it bilinearly, with antialiasing.

    Args:
        photos: uint8 ``[N, 3, H, W]``, channels last in memory, because torch resizes that layout fast.
        index: the photo's index.
        box: left, top, right and bottom.
        flip: whether to mirror it.
        side: side of the result, pixels.

    Returns:
        uint8 ``[1, 3, side, side]``, channels last in memory.
    """
    left, top, right, bottom = box
    cut = photos[index : index + 1, :, top:bottom, left:right]
    cut = cut.flip(3) if flip else cut.contiguous(memory_format=torch.channels_last)
    return F.interpolate(cut, (side, side), mode="bilinear", antialias=True)


def trivial_augment(photo: Tensor, draws: np.ndarray) -> None:
    """Apply TrivialAugment to a photo in place.

    Args:
        photo: uint8 ``[1, 3, H, W]``, channels last in memory.
        draws: ``[K]``, the photo's random numbers.
    """
    operation = tuple(OPERATIONS.values())[int(draws[_OPERATION] * len(OPERATIONS))]
    level = int(draws[_STRENGTH] * _BINS) / (_BINS - 1) * (1 if draws[_SIGN] < 0.5 else -1)
    pixels = photo[0].permute(1, 2, 0).numpy()
    pixels[:] = np.asarray(operation(Image.fromarray(pixels), level))


def _central(sizes: np.ndarray) -> np.ndarray:
    """Return width and height of the largest crop with an allowed ratio."""
    width, height = sizes[:, 0], sizes[:, 1]
    widest, tallest = np.rint(height * _RATIO[1]), np.rint(width / _RATIO[0])
    return np.stack([np.minimum(width, widest), np.minimum(height, tallest)], 1).astype(np.int64)


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    """Transform an image by an affine matrix, two rows of three, that maps output to input; outside it is black."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


# Each takes a photo and a level in [-1, 1]. Operations without a direction use the level's absolute value.
# See "TrivialAugment is Pillow's" in docs/decisions/training.md.
OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "Identity": lambda image, _: image,
    "ShearX": lambda image, level: _affine(image, 1, 0.99 * level, 0, 0, 1, 0),
    "ShearY": lambda image, level: _affine(image, 1, 0, 0, 0.99 * level, 1, 0),
    "TranslateX": lambda image, level: _affine(image, 1, 0, -int(32 * level), 0, 1, 0),  # pixels
    "TranslateY": lambda image, level: _affine(image, 1, 0, 0, 0, 1, -int(32 * level)),
    "Rotate": lambda image, level: image.rotate(135 * level),
    "Brightness": lambda image, level: ImageEnhance.Brightness(image).enhance(1 + 0.99 * level),
    "Color": lambda image, level: ImageEnhance.Color(image).enhance(1 + 0.99 * level),
    "Contrast": lambda image, level: ImageEnhance.Contrast(image).enhance(1 + 0.99 * level),
    "Sharpness": lambda image, level: ImageEnhance.Sharpness(image).enhance(1 + 0.99 * level),
    "Posterize": lambda image, level: ImageOps.posterize(image, round(8 - 6 * abs(level))),  # bits
    "Solarize": lambda image, level: ImageOps.solarize(image, math.ceil(255 * (1 - abs(level)))),
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
}
