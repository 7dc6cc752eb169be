"""Why a photo cannot be used, by the bytes of its header and its end, and the counts of such photos.

Nothing is decoded here. Training, evaluation and the laptop's runner name photos that cannot be read in these words.
"""

import json
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, Protocol

from dataset.layout import MAX_NAMED, OTHER, SPLITS, DatasetError, Listing, check_classes, named
from dataset.photo_bytes import DATASET_FORMATS, TooManyPartsError, format_name, media_type, pixel_bytes
from dataset.photo_limits import excess

MAX_REASONS = 8  # number of reasons that a report names before it counts the rest
UNREADABLE, EMPTY, CUT, DAMAGED = "cannot be read from disk or archive", "is empty", "ends too early", "is damaged"
# The frame of a JPEG; the codes between are those of tables.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")


class Unreadable(NamedTuple):
    """A photo that cannot be used.

    Attributes:
        path: path of the photo as in the listing: ``<split>/<class>/<photo>`` or ``other/…``.
        reason: why, as the end of a sentence about it: ``is a GIF``.
    """

    path: str
    reason: str

    @property
    def split(self) -> str:
        """The split in which it is."""
        return self.path.partition("/")[0]

    @property
    def label(self) -> str:
        """The class in which it is; empty in ``other/``."""
        parts = self.path.split("/")
        return parts[1] if len(parts) == 3 and parts[0] != OTHER else ""


def fault(photo: bytes) -> str:
    """Return why a photo cannot be decoded, as far as header and end tell it; empty if they tell nothing.

    ``CUT`` is a guess: decoders take some JPEGs that lack nothing but their end mark.
    """
    if not photo:
        return EMPTY
    kind = media_type(photo)
    if not kind:
        name = format_name(photo)
        return "" if name in DATASET_FORMATS else f"is {name or 'no picture of a known kind'}"
    try:
        pixel_bytes(photo)  # It refuses photos whose parts are too many to be followed below.
        width, height, ends = {"image/jpeg": _jpeg, "image/png": _png, "image/webp": _webp}.get(kind, _unknown)(photo)
        return excess(photo, width, height) or ("" if ends else CUT)
    except TooManyPartsError as error:
        return str(error)
    except (struct.error, IndexError):
        return CUT


def _unknown(_: bytes) -> tuple[int, int, bool]:
    return 0, 0, True


def _jpeg(photo: bytes) -> tuple[int, int, bool]:
    """Return width, height, and whether an end mark follows the first scan."""
    width = height = 0
    position = 2
    while marker := _MARKER.search(photo, position):
        code, position = marker[1][0], marker.end()
        if code == 0xD9:
            return width, height, True
        if code == 0xDA:
            return width, height, photo.rfind(b"\xff\xd9", position) > 0
        if code == 0xD8:
            continue
        if code in _FRAMES:
            height, width = struct.unpack_from(">HH", photo, position + 3)
        position += struct.unpack_from(">H", photo, position)[0]
    return width, height, False


def _png(photo: bytes) -> tuple[int, int, bool]:
    width, height = struct.unpack_from(">II", photo, 16)
    position = 8
    while position + 8 <= len(photo):  # Decoders do without the last chunks, but not without a part of the image.
        (length,) = struct.unpack_from(">I", photo, position)
        if photo.startswith(b"IEND", position + 4) or position + 8 + length > len(photo):
            return width, height, photo.startswith(b"IEND", position + 4)
        position += 12 + length
    return width, height, True


def _webp(photo: bytes) -> tuple[int, int, bool]:
    size, kind = struct.unpack_from("<I4x4s", photo, 4)
    width = height = 0
    if kind == b"VP8X":
        width, height = (int.from_bytes(photo[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", photo, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", photo, 26))
    return width, height, len(photo) >= size + 8


class Left(Protocol):
    """A file or photo that is left out."""

    @property
    def reason(self) -> str:
        """Why it is left out."""

    @property
    def split(self) -> str:
        """Its split; empty outside of all."""

    @property
    def label(self) -> str:
        """Its class; empty outside of all."""


def counted(files: Iterable[Left]) -> list[dict[str, Any]]:
    """Count what is left out by reason, the most frequent first.

    Returns:
        For each reason: ``reason``; ``count``; ``splits`` and ``classes``, the number in each.
    """
    by_reason: dict[str, list[Left]] = defaultdict(list)
    for file in files:
        by_reason[str(file.reason)].append(file)
    order = (*SPLITS, OTHER)
    return [
        {
            "reason": reason,
            "count": len(group),
            "splits": {split: number for split in order if (number := sum(file.split == split for file in group))},
            "classes": dict(sorted(Counter(file.label for file in group if file.label).items())),
        }
        for reason, group in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def sentences(counts: Iterable[dict[str, Any]]) -> list[str]:
    """Return what ``counted`` returns in words, one for each reason: ``is a GIF: 3 (train 1, test 2; 002.Beta 3)``."""
    counts = list(counts)
    lines = []
    for each in counts[:MAX_REASONS]:
        classes = [f"{label} {number:,}" for label, number in list(each["classes"].items())[:MAX_NAMED]]
        if len(each["classes"]) > MAX_NAMED:
            classes.append(f"and {len(each['classes']) - MAX_NAMED} more classes")
        splits = [f"{split} {number:,}" for split, number in each["splits"].items()]
        places = "; ".join(part for part in (", ".join(splits), ", ".join(classes)) if part)
        lines.append(f"{each['reason']}: {each['count']:,}{f' ({places})' if places else ''}")
    if rest := counts[MAX_REASONS:]:
        lines.append(f"{len(rest)} other reasons: {sum(each['count'] for each in rest):,}")
    return lines


def refuse_empty_classes(listing: Listing, unreadable: Collection[Unreadable], where: str) -> None:
    """Check that every class has a photo in each split that can be read.

    Raises:
        DatasetError: a class has none; the message names the classes, and the photos' reasons.
    """
    lost = {photo.path for photo in unreadable}
    readable = [photo for photo in listing.photos if photo.path not in lost]
    try:
        check_classes(listing.classes, readable, where)
    except DatasetError as error:
        kept = {(photo.split, photo.label) for photo in readable}
        empty = sorted({photo.label for photo in unreadable if photo.label and (photo.split, photo.label) not in kept})
        field = json.dumps({"drop_breeds": empty[:MAX_NAMED]}, ensure_ascii=False)
        raise DatasetError(
            f"{error}; {len(lost)} photos could not be read: {named(sorted(lost))} "
            f"({'; '.join(sentences(counted(unreadable)))}); mend them, or leave such classes out by {field} in the "
            "execution's input"
        ) from error
