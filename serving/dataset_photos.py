"""The photos of a dataset as the server would see them.

A dataset may have formats that the server refuses. The evaluation decodes those itself, and judges the model on the
very pixels that the server would see if somebody sent it the photo as a PNG.
"""

import io

import numpy as np
from PIL import Image

from dataset.bare_photo import without_metadata
from dataset.other_formats import OtherFormatError, open_upright, reduced
from dataset.photo_bytes import media_type
from dataset.photo_limits import MAX_PIXELS
from serving.preprocess import PhotoError, ServingPreprocess, crop_and_resize, open_photo, pixels, to_rgb


def dataset_pixels(photo: bytes, spec: ServingPreprocess) -> np.ndarray:
    """Return the network's input for a photo in any format that a dataset may have.

    Returns:
        uint8 RGB ``[image_size, image_size, 3]``.

    Raises:
        PhotoError: The photo is empty, damaged, too large, or in a format that is not read.
    """
    if media_type(photo) or not photo:
        return pixels(photo, spec)
    return np.asarray(crop_and_resize(_decode(photo, spec), spec))


def as_sent(photo: bytes, spec: ServingPreprocess) -> bytes:
    """Return the photo as the server takes it: as it is, or as a PNG whose ``pixels`` equal ``dataset_pixels``.

    Raises:
        PhotoError: See ``dataset_pixels``.
    """
    if media_type(photo):
        return photo
    buffer = io.BytesIO()
    _decode(photo, spec).save(buffer, "PNG")
    return buffer.getvalue()


def as_golden(photo: bytes, spec: ServingPreprocess) -> bytes:
    """Return the photo as the server takes it and as strangers may have it: without its metadata, and what follows it.

    It keeps its own coding. A photo that cannot be followed to its end, which decoders may read nevertheless, becomes a
    PNG.

    Returns:
        A photo whose ``pixels`` equal ``dataset_pixels`` of the given one.

    Raises:
        PhotoError: See ``dataset_pixels``.
    """
    expected = dataset_pixels(photo, spec)
    bare = without_metadata(as_sent(photo, spec))
    if bare and np.array_equal(pixels(bare, spec), expected):
        return bare
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(open_photo(photo, spec).decoded())).save(buffer, "PNG")
    return buffer.getvalue()


def _decode(photo: bytes, spec: ServingPreprocess) -> Image.Image:
    try:
        image = to_rgb(open_upright(photo, MAX_PIXELS))
    except OtherFormatError as error:
        raise PhotoError(f"The photo {error}.") from error
    return reduced(image, spec.jpeg_oversampling * spec.resize_to)
