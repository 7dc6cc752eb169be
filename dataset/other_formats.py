"""Decode photos of a dataset that are neither JPEG nor PNG nor WebP: AVIF, BMP, GIF, HEIC and TIFF.

Training and evaluation import it. The server does not: it decodes what strangers send, a dataset belongs to whoever
trains. It is the package's only module that needs other packages: Pillow, and pillow-heif for HEIC.
See "Datasets may have formats that the API refuses" in docs/decisions/photos.md.
"""

import functools
import io
import warnings

from PIL import AvifImagePlugin, Image, TiffImagePlugin

from dataset.faults import DAMAGED, fault
from dataset.photo_bytes import DATASET_FORMATS, TURNS, exif_orientation, format_name
from dataset.photo_limits import MAX_PIXELS, too_large

# Pillow's modes that have a meaning in 8 bits a channel. Floating point, 32-bit integers and CIELAB have none.
_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
_MODES_16_BIT = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")  # its words about metadata
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # The jobs decode one photo per core already.


class OtherFormatError(ValueError):
    """The photo cannot be decoded; the message is the end of a sentence about it: ``is a damaged GIF``."""


def open_upright(photo: bytes, max_pixels: int) -> Image.Image:
    """Decode the first picture of a file, turned upright, in whatever colour mode it has.

    Args:
        photo: the file's bytes, no JPEG, PNG or WebP.
        max_pixels: a picture whose header names more is refused before it is decoded.

    Raises:
        OtherFormatError: the format is not read, or the picture is too large, damaged or incomplete.
    """
    name = format_name(photo)
    if name not in DATASET_FORMATS:
        raise OtherFormatError(fault(photo))
    if name == "HEIC":
        _register_heif()
    try:
        image = Image.open(io.BytesIO(photo), formats=["HEIF" if name == "HEIC" else name])
        _check_size(image, max_pixels)
        if image.mode not in _MODES | _MODES_16_BIT:
            raise OtherFormatError(f"is {name} with pixels of the kind {image.mode}; save it with 8 bits a channel")
        image.load()
        _check_size(image, max_pixels)  # libheif corrects the size of some photos while it decodes them.
        # Pillow turns a TIFF, libheif a HEIC. For an AVIF, Pillow writes how the container turns it into EXIF.
        turn = TURNS.get(exif_orientation(image.info.get("exif", b""))) if name == "AVIF" else None
        return image.transpose(Image.Transpose[turn]) if turn else image
    except OtherFormatError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ValueError and others.
        raise OtherFormatError(f"is {name} and damaged or incomplete") from error


def why_unusable(photo: bytes) -> str:
    """Return why training and evaluation cannot decode a photo, as the end of a sentence about it: ``is a PDF``."""
    if format_name(photo) not in DATASET_FORMATS:
        return fault(photo) or DAMAGED
    try:
        open_upright(photo, MAX_PIXELS)
    except OtherFormatError as error:
        return str(error)
    return DAMAGED


def reduced(image: Image.Image, side: int) -> Image.Image:
    """Average whole blocks of pixels as long as width and height keep at least ``side`` pixels; 0 keeps all.

    It is for these formats what libjpeg's scaled decoding is for a JPEG.
    """
    factor = min(image.size) // side if side else 1
    return image.reduce(factor) if factor > 1 else image


def _check_size(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise OtherFormatError(too_large(image.width, image.height, max_pixels))
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # libtiff takes memory for a whole tile, however small the picture is.
        width, height = (image.tag_v2.get(tag, 0) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
        if width * height > max_pixels:
            raise OtherFormatError(f"{too_large(width, height, max_pixels)} in a tile")


@functools.cache
def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise OtherFormatError(
            "is HEIC, and the package pillow-heif is not installed here; install it, or convert the photo to JPEG"
        ) from error
    # What a photo has beside its picture is not looked at.
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
