"""Photos that a dataset has more than once, byte for byte."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from dataset.layout import OTHER, SPLITS, LeftOut, Listing, Photo, Reason, check_classes


class Duplicates(NamedTuple):
    """What is wrong about equal photos; each entry is a photo with one that equals it.

    Attributes:
        splits: photos that stand in an earlier split, too (train, valid, test), whatever their class. A model that
            has seen them is not judged by them.
        classes: photos that stand in another class of the same split, too.
        repeats: number of photos that repeat another one of their split and class.
    """

    splits: tuple[tuple[Photo, Photo], ...]
    classes: tuple[tuple[Photo, Photo], ...]
    repeats: int


def duplicates(digests: Mapping[Photo, bytes]) -> Duplicates:
    """Find equal photos.

    Args:
        digests: a hash of each photo's bytes; photos of ``other/`` are left alone.
    """
    equal: dict[bytes, list[Photo]] = defaultdict(list)
    for photo, digest in digests.items():
        if photo.split != OTHER:
            equal[digest].append(photo)
    splits, classes, repeats = [], [], 0
    for photos in equal.values():
        photos.sort(key=lambda photo: (SPLITS.index(photo.split), photo.path))
        for number, photo in enumerate(photos[1:], 1):
            before = photos[:number]
            same_split = [other for other in before if other.split == photo.split]
            if before[0].split != photo.split:
                splits.append((photo, before[0]))
            elif any(other.label == photo.label for other in same_split):
                repeats += 1
            if same_split and all(other.label != photo.label for other in same_split):
                classes.append((photo, same_split[0]))
    return Duplicates(tuple(sorted(splits)), tuple(sorted(classes)), repeats)


def of_equal_size(listing: Listing) -> list[Photo]:
    """Return the photos of which another split has one of the same size, by size; no others can be in two splits."""
    splits: dict[int, set[str]] = defaultdict(set)
    for photo in listing.photos:
        if photo.split != OTHER:
            splits[photo.size].add(photo.split)
    photos = (photo for photo in listing.photos if photo.split != OTHER and len(splits[photo.size]) > 1)
    return sorted(photos, key=lambda photo: photo.size)


def without_leaks(listing: Listing, leaked: Collection[Photo], where: str) -> Listing:
    """Return the listing without some photos.

    Raises:
        DatasetError: a class then has no photo in some split.
    """
    gone = set(leaked)
    kept = tuple(photo for photo in listing.photos if photo not in gone)
    check_classes(listing.classes, kept, where)
    files = [LeftOut(photo.path, Reason.LEAK, photo.split, photo.label) for photo in gone]
    return replace(listing, photos=kept, left_out=tuple(sorted([*listing.left_out, *files])))
