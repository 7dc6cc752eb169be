"""Turn a photo's bytes into the network's input, as a specification says.

The specification is part of the model artifact, as ``preprocess.json``. Serving reads it there and follows it with
code of its own. So whoever changes the preprocessing here must also change the fields of that file.
See "Preprocessing: shortest side 256" in docs/decisions/photos.md.
See "Large JPEGs are decoded small" in docs/decisions/photos.md.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dataset.other_formats import OtherFormatError, open_upright, reduced
from dataset.photo_bytes import TURNS, TooManyPartsError, media_type, pixel_bytes
from dataset.photo_limits import MAX_PIXELS, excess

# Serving accepts the same formats within the same limits; it also refuses photos with more bytes than a request may
# have. A dataset may have other formats as well, see ``dataset.other_formats``.
FORMATS = ("JPEG", "PNG", "WEBP")
# Pillow would warn above 89 megapixels and raise above 179. The limits of ``dataset.photo_limits`` replace both.
Image.MAX_IMAGE_PIXELS = None
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_MODES_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


class UnreadablePhotoError(ValueError):
    """The bytes cannot be decoded; the message says why."""


@dataclass(frozen=True)
class TrainingPreprocess:
    """How a photo becomes the network's input; the fields of ``preprocess.json``.

    image_size: side of the square input, pixels.
    resize: ``squash`` keeps the central ``image_size / resize_to`` of the width and of the height, whatever the aspect
        ratio. ``shortest_side`` keeps the central square whose side is that share of the shortest side. Both resize
        the kept part to the input in one pass (Pillow's ``box``).
    resize_to: size of the whole photo at the scale of the input, pixels.
    interpolation: Pillow's ``bilinear`` or ``bicubic``, which average over the source when they shrink.
    jpeg_oversampling: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size (libjpeg's scaled DCT) as long as width and
        height stay at least this many times ``resize_to``. 0 means that it is always decoded at full size.
    mean, std: per channel, of values in [0, 1]: input = (value - mean) / std.
    color: always ``RGB``. Grey, palette, CMYK and 16-bit photos are converted; transparent parts become white.
    exif_orientation: whether to turn the photo as its EXIF tag says, before anything else.
    """

    image_size: int = 256
    resize: str = "shortest_side"
    resize_to: int = 256
    interpolation: str = "bilinear"
    jpeg_oversampling: int = 2
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    color: str = "RGB"
    exif_orientation: bool = True


def decode(data: bytes, spec: TrainingPreprocess) -> Image.Image:
    """Decode a photo of any colour mode to an upright RGB image.

    Raises:
        UnreadablePhotoError: the photo is truncated, is not an image, or is more work than ``excess`` allows.
    """
    if not media_type(data):
        return _decode_other(data, spec)
    try:
        content, orientation = pixel_bytes(data)
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        if words := excess(content, *image.size):
            raise UnreadablePhotoError(words)
        if spec.jpeg_oversampling:
            image.draft(None, (spec.jpeg_oversampling * spec.resize_to,) * 2)
        image.load()
        # See "Turn and convert only where a photo needs it" in docs/decisions/photos.md.
        turn = TURNS.get(orientation) if spec.exif_orientation else None
        return _to_rgb(image.transpose(Image.Transpose[turn]) if turn else image)
    except UnreadablePhotoError:
        raise
    except TooManyPartsError as error:
        raise UnreadablePhotoError(str(error)) from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ValueError and others.
        raise UnreadablePhotoError("the image is damaged or incomplete") from error


def _decode_other(data: bytes, spec: TrainingPreprocess) -> Image.Image:
    try:
        image = _to_rgb(open_upright(data, MAX_PIXELS))
    except OtherFormatError as error:
        raise UnreadablePhotoError(str(error)) from error
    return reduced(image, spec.jpeg_oversampling * spec.resize_to)


def resize(image: Image.Image, spec: TrainingPreprocess) -> Image.Image:
    """Cut out the centre of a photo and resize it to ``image_size`` x ``image_size``, as the specification says.

    Cutting and resizing are one pass, so that a strip of 10000x1 pixels never becomes an image of 2,560,000x256.
    """
    share = spec.image_size / spec.resize_to
    width, height = (side * share for side in image.size)
    if spec.resize == "shortest_side":
        width = height = min(width, height)
    left, top = (image.width - width) / 2, (image.height - height) / 2
    size = (spec.image_size, spec.image_size)
    return image.resize(size, _FILTERS[spec.interpolation], box=(left, top, left + width, top + height))


def pixels(data: bytes, spec: TrainingPreprocess) -> np.ndarray:
    """Decode and resize a photo.

    Returns:
        uint8 RGB ``[image_size, image_size, 3]``.

    Raises:
        UnreadablePhotoError: see ``decode``.
    """
    return np.asarray(resize(decode(data, spec), spec))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip at 255.
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode in _MODES_WITH_ALPHA or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(opaque, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")
