"""From a photo's bytes to the network's input: the specification, and the code that follows it.

The specification travels in the model artifact as ``preprocess.json``; serving reads it there and
follows it with its own code, so a change here changes the file's fields, never only the code.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

# What serving takes as well: a photo that trains must also be one that can be asked about (but for the few that
# serving alone refuses, for more bytes than a request may have or for a JPEG's endless scans).
FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 50_000_000
Image.MAX_IMAGE_PIXELS = None  # Pillow would warn at 89 and raise at 179 megapixels; ours is the lower limit
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_MODES_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


class UnreadablePhotoError(ValueError):
    """The bytes are no photo that Pillow can decode."""


@dataclass(frozen=True)
class Preprocess:
    """How a photo becomes the network's input; the fields of ``preprocess.json``.

    image_size: side of the square input, pixels.
    resize: ``squash`` keeps the central ``image_size / resize_to`` of the width and of the height,
        whatever the aspect ratio; ``shortest_side`` keeps the central square whose side is that share
        of the shortest side. Either is resized to the input in one pass (Pillow's ``box``).
    resize_to: pixels; the size that the whole photo would have at the scale of the input.
    interpolation: ``bilinear`` or ``bicubic``, Pillow's, which average over the source when shrinking.
    jpeg_oversampling: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size (libjpeg's scaled DCT) while that leaves the
        whole photo at least this many times ``resize_to`` high and wide; 0: always decoded in full.
    mean, std: per channel, of values in [0, 1]: input = (value - mean) / std.
    color: always ``RGB``; grey, palette, CMYK and 16-bit photos are converted, transparency shows white.
    exif_orientation: turn the photo as its EXIF tag says before anything else.
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


def decode(data: bytes, spec: Preprocess) -> Image.Image:
    """Decode a photo of any colour mode to RGB, upright.

    Raises:
        UnreadablePhotoError: truncated, not an image, or absurdly large.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are taken")
        if spec.jpeg_oversampling:
            image.draft(None, (spec.jpeg_oversampling * spec.resize_to,) * 2)
        image.load()
        if spec.exif_orientation:
            ImageOps.exif_transpose(image, in_place=True)  # a photo that stands upright is not copied
        return _to_rgb(image)
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ValueError, ...
        raise UnreadablePhotoError(str(error) or type(error).__name__) from error


def resize(image: Image.Image, spec: Preprocess) -> Image.Image:
    """Cut out the centre and resize it as the specification says: ``image_size`` x ``image_size``.

    In one pass over the part that is kept: a strip of 10000x1 pixels never becomes 2,560,000x256.
    """
    share = spec.image_size / spec.resize_to
    width, height = (side * share for side in image.size)
    if spec.resize == "shortest_side":
        width = height = min(width, height)
    left, top = (image.width - width) / 2, (image.height - height) / 2
    size = (spec.image_size, spec.image_size)
    return image.resize(size, _FILTERS[spec.interpolation], box=(left, top, left + width, top + height))


def pixels(data: bytes, spec: Preprocess) -> np.ndarray:
    """A photo's bytes to uint8 RGB ``[image_size, image_size, 3]``.

    Raises:
        UnreadablePhotoError: see ``decode``.
    """
    return np.asarray(resize(decode(data, spec), spec))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion clips at 255
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode in _MODES_WITH_ALPHA or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(opaque, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")
