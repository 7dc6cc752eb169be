"""The way from an uploaded photo's bytes to the pixels that the network takes.

``preprocess.json`` in the artifact is the specification. Training writes it, and follows it with a copy of this code
(``training/preprocess.py``); a test holds the pixels of both equal. Both decode what ``dataset.photo_bytes`` leaves of
a photo: no metadata, but for the orientation.

Normalization is part of the network (``serving.export``), so a photo is only decoded and resized here. Pillow's resize
is the reference, because other libraries' results differ by whole grey levels.
See "Large JPEGs are decoded small" in docs/decisions/photos.md.
"""

import io
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dataset.photo_bytes import media_type, num_scans, pixel_bytes

MAX_BYTES = 6_000_000  # limit of SageMaker's InvokeEndpoint
MAX_PIXELS = 50_000_000
# The decoder processes all pixels of a JPEG once per scan. Progressive JPEGs have about 10 scans, a forged one 10,000.
_MAX_SCANNED_PIXELS = 16 * MAX_PIXELS
# A photo of 50 megapixels with alpha takes 0.6 GB while it is decoded, so large photos are decoded one at a time.
_LARGE_PIXELS = 8_000_000
_large_photo_lock = threading.Lock()
_FORMATS = ("JPEG", "PNG", "WEBP")
_MODES_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_TURNS = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RESIZES = ("squash", "shortest_side")
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# Pillow would warn at 89 and raise at 179 megapixels. Our limit is lower, and its message is clearer.
Image.MAX_IMAGE_PIXELS = None


class PhotoError(ValueError):
    """The photo cannot be used; the message is one sentence for the person who sent it.

    Attributes:
        code: The error's name for programs, part of the answer.
        status: HTTP status of the answer.
    """

    code = "UnreadableImage"
    status = 400


class PhotoTooLargeError(PhotoError):
    """The photo has more bytes or pixels than a request may have."""

    code = "ImageTooLarge"
    status = 413


class UnsupportedPhotoError(PhotoError):
    """The photo is neither JPEG nor PNG nor WebP."""

    code = "UnsupportedImage"
    status = 415


@dataclass(frozen=True)
class ServingPreprocess:
    """The specification in ``preprocess.json``.

    Attributes:
        image_size: Side of the square input, pixels.
        resize: ``squash`` keeps the central ``image_size / resize_to`` of the width and of the height, whatever the
            aspect ratio. ``shortest_side`` keeps the central square whose side is that share of the shortest side.
        resize_to: Size, in pixels, that the whole photo would have at the scale of the input.
        interpolation: ``bilinear`` or ``bicubic``, as Pillow computes them.
        jpeg_oversampling: A JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as the whole photo keeps at least
            this many times ``resize_to`` in height and width. 0: it is always decoded in full.
        mean: Mean per channel, of values in [0, 1]: input = (value - mean) / std.
        std: Standard deviation per channel, of values in [0, 1].
        color: ``RGB``.
        exif_orientation: Whether the photo is first turned upright, as its EXIF orientation tag says.
    """

    image_size: int
    resize: str
    resize_to: int
    interpolation: str
    jpeg_oversampling: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    color: str
    exif_orientation: bool

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "ServingPreprocess":
        """Read the specification.

        Raises:
            ValueError: A field is missing or unknown, or has a value that this server does not support.
        """
        names = set(cls.__dataclass_fields__)
        if set(document) != names:
            raise ValueError(f"preprocess.json: fields {sorted(set(document) ^ names)} are missing or unknown")
        spec = cls(**{**document, "mean": tuple(document["mean"]), "std": tuple(document["std"])})
        if spec.resize not in _RESIZES or spec.interpolation not in _FILTERS or spec.color != "RGB":
            raise ValueError(
                f"preprocess.json: resize '{spec.resize}', interpolation '{spec.interpolation}' or color "
                f"'{spec.color}' is not one of {_RESIZES}, {tuple(_FILTERS)}, RGB"
            )
        if not 1 <= spec.image_size <= spec.resize_to or spec.jpeg_oversampling < 0:
            raise ValueError(
                "preprocess.json: image_size must be at least 1 and at most resize_to, jpeg_oversampling at least 0"
            )
        return spec


def pixels(photo: bytes, spec: ServingPreprocess) -> np.ndarray:
    """Decode a photo's bytes and resize it to the network's input.

    Returns:
        uint8 RGB ``[image_size, image_size, 3]``.

    Raises:
        PhotoError: The photo is empty, damaged, too large, or neither JPEG nor PNG nor WebP.
    """
    if not photo:
        raise PhotoError("The request has no body; send the bytes of one photo.")
    if not media_type(photo):
        raise UnsupportedPhotoError("The bytes are not a JPEG, PNG or WebP image; send a photo as its own bytes.")
    try:
        image, orientation = _open(photo, spec)
        with _large_photo_lock if image.width * image.height > _LARGE_PIXELS else nullcontext():
            return np.asarray(_crop_and_resize(_decode(image, orientation), spec))
    except PhotoError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ValueError and others.
        raise PhotoError("The image is damaged or incomplete and cannot be decoded.") from error


def _open(photo: bytes, spec: ServingPreprocess) -> tuple[Image.Image, int]:
    """Read the image's header and orientation, and choose the size in which it will be decoded."""
    data, orientation = pixel_bytes(photo)
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
    _check_size(*image.size, data if image.format == "JPEG" else b"")
    if spec.jpeg_oversampling:
        image.draft(None, (spec.jpeg_oversampling * spec.resize_to,) * 2)
    return image, orientation if spec.exif_orientation else 1


def _decode(image: Image.Image, orientation: int) -> Image.Image:
    """Decode the image, turn it upright, and convert it to RGB."""
    image.load()
    # See "Turn and convert only where a photo needs it" in docs/decisions/photos.md.
    return _to_rgb(image.transpose(_TURNS[orientation]) if orientation in _TURNS else image)


def _check_size(width: int, height: int, jpeg: bytes) -> None:
    if width * height > MAX_PIXELS:
        raise PhotoTooLargeError(
            f"The image has {width} x {height} pixels; at most {MAX_PIXELS // 1_000_000} megapixels are allowed."
        )
    # What looks like a scan may be part of a table, or of a video behind the end, so many are counted exactly.
    if width * height * jpeg.count(b"\xff\xda") > _MAX_SCANNED_PIXELS:
        scans = num_scans(jpeg)
        if width * height * scans > _MAX_SCANNED_PIXELS:
            raise PhotoTooLargeError(
                f"The image has {scans} scans of {width} x {height} pixels, too many to decode; save it again."
            )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow's own conversion of 16-bit grey would clip at 255.
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode in _MODES_WITH_ALPHA or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(opaque, image if image.mode == "RGBA" else image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _crop_and_resize(image: Image.Image, spec: ServingPreprocess) -> Image.Image:
    """Resize the central part in one pass, so that a strip of 10000 x 1 pixels never becomes 256 pixels high."""
    kept = spec.image_size / spec.resize_to
    width, height = image.width * kept, image.height * kept
    if spec.resize == "shortest_side":
        width = height = min(width, height)
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, left + width, top + height)
    return image.resize((spec.image_size, spec.image_size), _FILTERS[spec.interpolation], box=box)
