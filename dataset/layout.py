"""Check the layout of a dataset. The functions are pure: they see paths and sizes and open no file."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

SPLITS = ("train", "valid", "test")
# The folder beside the splits with photos that show none of the classes. Only the evaluation uses it.
OTHER = "other"
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
MAX_NAMED = 5  # number of items that a message names before it counts the rest
_JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


class DatasetError(ValueError):
    """The dataset cannot be used. The message says what is wrong, where, and how to fix it."""


class Photo(NamedTuple):
    """One photo of the dataset.

    Attributes:
        path: path inside the dataset, ``<split>/<class>/<photo>`` or ``other/…/<photo>``, with ``/``.
        split: one of ``SPLITS``, or ``OTHER``.
        label: name of the class folder, for example ``017.English_foxhound``; empty in ``OTHER``.
        size: size in bytes.
    """

    path: str
    split: str
    label: str
    size: int


@dataclass(frozen=True)
class Listing:
    """The photos of a dataset in a stable order (split, class, name).

    Attributes:
        classes: names of the class folders, sorted. The position of a class is its index everywhere.
        photos: every photo of the splits and of ``OTHER``, sorted by path.
        ignored: paths of all other files, sorted: no photos, or photos outside the layout.
        prefix: the folder around the splits with its ``/``, or an empty string.
    """

    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    ignored: tuple[str, ...]
    prefix: str = ""

    def of(self, split: str) -> tuple[Photo, ...]:
        """Return the photos of one split, or of ``OTHER``, in the stable order."""
        return tuple(photo for photo in self.photos if photo.split == split)

    def counts(self) -> dict[str, int]:
        """Return the number of photos per split, and of ``OTHER`` when it has any."""
        splits = (*SPLITS, OTHER) if self.of(OTHER) else SPLITS
        return {split: len(self.of(split)) for split in splits}

    def fingerprint(self) -> str:
        """Return 16 hex digits over every path and size. Equal listings have equal fingerprints."""
        digest = hashlib.sha256()
        for photo in self.photos:
            digest.update(f"{photo.path}\0{photo.size}\n".encode())
        return digest.hexdigest()[:16]


def breed_name(label: str) -> str:
    """Return the name of a class folder as people write it: ``005.Shih_Tzu`` becomes ``Shih Tzu``."""
    return re.sub(r"^\d+\.", "", label).replace("_", " ").strip()


def named(items: Iterable[str]) -> str:
    """Return the first few items as text, and how many more there are."""
    items = list(items)
    more = f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else ""
    return ", ".join(items[:MAX_NAMED]) + more


def listing(files: Iterable[tuple[str, int]], where: str) -> Listing:
    """Sort the files of a dataset into photos and the rest, and check the layout.

    Args:
        files: path inside the dataset (with ``/``) and size in bytes of every file.
        where: name of the dataset in messages.

    Raises:
        DatasetError: there are no photos, a split or a class is missing, or a class has no photo in a split.
    """
    paths = {
        path: size
        for path, size in files
        if not any(part.startswith(".") or part.lower() in _JUNK for part in PurePosixPath(path).parts)
    }
    prefix = _wrapping_folder(paths)
    photos, ignored = [], []
    for path, size in sorted(paths.items()):
        inner = path[len(prefix) :]
        split, *rest = inner.split("/")
        is_photo = PurePosixPath(inner).suffix.lower() in PHOTO_SUFFIXES
        if is_photo and split in SPLITS and len(rest) == 2:
            photos.append(Photo(inner, split, rest[0], size))
        elif is_photo and split == OTHER:
            photos.append(Photo(inner, OTHER, "", size))
        else:
            ignored.append(inner)
    classes = tuple(sorted({photo.label for photo in photos if photo.split != OTHER}))
    if not classes:
        raise DatasetError(
            f"dataset {where}: no photos found; expected train/, valid/ and test/, "
            f"each with one folder per breed that contains {', '.join(sorted(PHOTO_SUFFIXES))} files"
        )
    check_classes(classes, photos, where)
    return Listing(classes, tuple(photos), tuple(ignored), prefix)


def check_classes(classes: Iterable[str], photos: Iterable[Photo], where: str) -> None:
    """Refuse a dataset in which a class has no photo in some split.

    Raises:
        DatasetError: the message names the classes and splits without photos.
    """
    classes = list(classes)
    present = Counter((photo.split, photo.label) for photo in photos)
    missing = [s for s in SPLITS if not any(present[s, label] for label in classes)]
    if missing:
        raise DatasetError(
            f"dataset {where}: no photos in {', '.join(f'{split}/' for split in missing)}; "
            "each of train/, valid/ and test/ needs at least 1 photo of every class"
        )
    if len(classes) < 2:
        raise DatasetError(f"dataset {where}: only 1 class ('{classes[0]}'); a classifier needs at least 2")
    empty = [f"class '{c}' has 0 photos in {s}/" for c in classes for s in SPLITS if not present[s, c]]
    if empty:
        raise DatasetError(f"dataset {where}: {named(empty)}; every class needs at least 1 photo in each split")


def _wrapping_folder(paths: Iterable[str]) -> str:
    """Return the one folder around the splits with its ``/`` (``dogImages/``), or an empty string."""
    top_folders = {path.split("/", 1)[0] for path in paths if "/" in path}
    if top_folders & set(SPLITS) or len(top_folders) != 1:
        return ""
    return f"{top_folders.pop()}/"
