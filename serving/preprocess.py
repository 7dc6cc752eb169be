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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dataset.photo_bytes import TURNS, TooManyPartsError, media_type, pixel_bytes
from dataset.photo_limits import excess
from serving.decoding_cost import decoding_ms

MAX_BYTES = 6_000_000  # limit of SageMaker's InvokeEndpoint
# What the estimate of ``serving.decoding_cost`` may be for a photo that holds up no other; a usual one has 1 to 4.
_QUICK_MS = 5.0
# From here on photos are large: a few of them together would fill the memory, or keep all cores busy for long.
_LARGE_PIXELS, _LARGE_MS = 8_000_000, 250.0
_large_photo_lock = threading.Lock()
_FORMATS = ("JPEG", "PNG", "WEBP")
_MODES_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_RESIZES = ("squash", "shortest_side")
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# Pillow would warn at 89 and raise at 179 megapixels. Our limits are lower, and their messages are clearer.
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


@dataclass(frozen=True)
class OpenPhoto:
    """A photo whose header was read. Nothing of it is decoded yet.

    Attributes:
        image: The image, with the size in which it will be decoded.
        orientation: What ``dataset.photo_bytes.TURNS`` has to turn upright.
        spec: How it becomes the network's input.
        estimated_ms: Milliseconds that decoding takes at most, see ``serving.decoding_cost``.
    """

    image: Image.Image
    orientation: int
    spec: ServingPreprocess
    estimated_ms: float

    @property
    def is_quick(self) -> bool:
        """Whether it is decoded so fast that no other photo has to wait for it."""
        return self.estimated_ms <= _QUICK_MS

    @property
    def is_large(self) -> bool:
        """Whether only one such photo should be decoded at a time."""
        return self.estimated_ms > _LARGE_MS or self.image.width * self.image.height > _LARGE_PIXELS

    def pixels(self) -> np.ndarray:
        """Decode the photo and resize it to the network's input; only once, because the decoder keeps what it read.

        Returns:
            uint8 RGB ``[image_size, image_size, 3]``.

        Raises:
            PhotoError: The photo is damaged.
        """
        with _telling_photo_errors():
            return np.asarray(crop_and_resize(self.decoded(), self.spec))

    def decoded(self) -> Image.Image:
        """Decode the photo to an upright RGB image; it raises whatever decoders raise."""
        return _decode(self.image, self.orientation)


def pixels(photo: bytes, spec: ServingPreprocess) -> np.ndarray:
    """Decode a photo's bytes and resize it to the network's input.

    Returns:
        uint8 RGB ``[image_size, image_size, 3]``.

    Raises:
        PhotoError: The photo is empty, damaged, too large, or neither JPEG nor PNG nor WebP.
    """
    opened = open_photo(photo, spec)
    with _large_photo_lock if opened.is_large else nullcontext():
        return opened.pixels()


def open_photo(photo: bytes, spec: ServingPreprocess) -> OpenPhoto:
    """Read a photo's header and orientation, and choose the size in which it will be decoded.

    Raises:
        PhotoError: The photo is empty, has a damaged header, is too large, or neither JPEG nor PNG nor WebP.
    """
    if not photo:
        raise PhotoError("The request has no body; send the bytes of one photo.")
    if not media_type(photo):
        raise UnsupportedPhotoError("The bytes are not a JPEG, PNG or WebP image; send a photo as its own bytes.")
    with _telling_photo_errors():
        data, orientation = pixel_bytes(photo)
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        if words := excess(data, *image.size):
            raise PhotoTooLargeError(f"The image {words}.")
        size = image.size
        if spec.jpeg_oversampling:
            image.draft(None, (spec.jpeg_oversampling * spec.resize_to,) * 2)
        return OpenPhoto(image, orientation if spec.exif_orientation else 1, spec, decoding_ms(data, image, size))


@contextmanager
def _telling_photo_errors() -> Iterator[None]:
    """Turn whatever decoders raise into a PhotoError."""
    try:
        yield
    except PhotoError:
        raise
    except TooManyPartsError as error:
        raise PhotoTooLargeError(f"The image {error}.") from error
    except MemoryError as error:
        raise PhotoTooLargeError("The image takes too much memory to decode; send a smaller one.") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ValueError and others.
        raise PhotoError("The image is damaged or incomplete and cannot be decoded.") from error


def _decode(image: Image.Image, orientation: int) -> Image.Image:
    """Decode the image, turn it upright, and convert it to RGB."""
    image.load()
    # See "Turn and convert only where a photo needs it" in docs/decisions/photos.md.
    return to_rgb(image.transpose(Image.Transpose[TURNS[orientation]]) if orientation in TURNS else image)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB; transparent parts become white."""
    if image.mode.startswith("I"):  # Pillow's own conversion of 16-bit grey would clip at 255.
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode in _MODES_WITH_ALPHA or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(opaque, image if image.mode == "RGBA" else image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def crop_and_resize(image: Image.Image, spec: ServingPreprocess) -> Image.Image:
    """Resize the central part in one pass, so that a strip of 10000 x 1 pixels never becomes 256 pixels high."""
    kept = spec.image_size / spec.resize_to
    width, height = image.width * kept, image.height * kept
    if spec.resize == "shortest_side":
        width = height = min(width, height)
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, left + width, top + height)
    return image.resize((spec.image_size, spec.image_size), _FILTERS[spec.interpolation], box=box)
