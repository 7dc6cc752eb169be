"""Whether the evaluation reads the photos that the training has read."""

import hashlib
from collections.abc import Mapping

from dataset import Photo, ReadError, Source
from dataset.layout import named
from serving.challenger import EvaluationError
from serving.progress import map_photos


def check_photos(source: Source, manifest: Mapping[str, str]) -> None:
    """Compare every photo of the dataset with the training's manifest.

    Args:
        source: The dataset.
        manifest: SHA-256 of each photo that the training could read, in hex, by its path.

    Raises:
        EvaluationError: Photos were changed, added or deleted after the training had read them; the message names some.
    """

    def digest(photo: Photo) -> str:
        try:
            return hashlib.sha256(source.read(photo)).hexdigest()
        except ReadError:
            return ""  # The training could not read it either, or the manifest has another digest.

    photos = source.listing.photos
    digests = map_photos("manifest", photos, digest)
    found = {photo.path: each for photo, each in zip(photos, digests, strict=True) if each}
    other = sorted(path for path in manifest.keys() | found.keys() if manifest.get(path) != found.get(path))
    if other:
        raise EvaluationError(
            f"the photos are others than those that the training has read: {len(other):,} ({named(other)}); start the "
            "run again"
        )
