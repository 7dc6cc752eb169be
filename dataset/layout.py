"""Check the layout of a dataset. The functions are pure: they see paths and sizes and open no file."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import NamedTuple

from dataset.split import SHARES, assign

SPLITS = ("train", "valid", "test")
# Folders that people name differently, in any capitals.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
# The folder beside the splits with photos that show none of the classes. Only the evaluation uses it.
OTHER = "other"
# The ending decides, because a prefix in S3 is judged without opening its objects, and must be judged as its copy is.
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".webp"})
# Pictures in formats that neither training nor serving decodes.
_OTHER_FORMATS = frozenset(
    {".heic", ".heif", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".jp2", ".jxl", ".svg", ".psd"}
    | {".dng", ".cr2", ".nef", ".arw", ".raw"}
)
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".rar", ".7z")
# Lists of classes that datasets carry beside photos which lie in one flat folder.
_LISTS = frozenset({"labels.csv", "list.txt", "trainval.txt", "image_class_labels.txt", "train.csv", "annotations.csv"})
MAX_NAMED = 5  # number of items that a message names before it counts the rest
# Control characters, and bytes that are not UTF-8 as Python keeps them. All other characters may be in a name.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


class Reason(StrEnum):
    """Why a file is left out; the text ends a sentence about such files."""

    NOT_A_PHOTO = "no photos"
    FORMAT = "pictures that are neither JPEG nor PNG nor WebP"
    ARCHIVE = "archives inside the dataset"
    PLACE = "photos that are not in <split>/<class>/"
    NAME = "names with control characters or bytes that are not UTF-8"
    LINK = "links inside the archive that are not followed"
    TWICE = "names that the archive has twice, of which the last counts"


class LeftOut(NamedTuple):
    """A file of the dataset that is not used.

    Attributes:
        path: path inside the dataset, below the folder around the splits.
        reason: why it is left out.
        split: the split in whose folder it lies; empty elsewhere.
        label: the class in whose folder it lies; empty elsewhere.
    """

    path: str
    reason: Reason
    split: str = ""
    label: str = ""


class DatasetError(ValueError):
    """The dataset cannot be used. The message says what is wrong, where, and how to fix it."""


class Photo(NamedTuple):
    """One photo of the dataset.

    Attributes:
        path: ``<split>/<class>/<photo>`` or ``other/…/<photo>``, with ``/``, whatever the folders are called.
        split: one of ``SPLITS``, or ``OTHER``.
        label: name of the class folder, for example ``017.English_foxhound``; empty in ``OTHER``.
        size: size in bytes.
        file: path of the file inside the dataset as it lies there; empty if it is the listing's prefix and ``path``.
    """

    path: str
    split: str
    label: str
    size: int
    file: str = ""


@dataclass(frozen=True)
class Listing:
    """The photos of a dataset in a stable order (split, class, name).

    Attributes:
        classes: names of the class folders, sorted. The position of a class is its index everywhere.
        photos: every photo of the splits and of ``OTHER``, sorted by path.
        left_out: all other files with the reason, sorted by path.
        prefix: the folder around the splits with its ``/``, or an empty string.
        made_splits: what was done about splits that the dataset does not have, as a sentence; empty if it has all.
    """

    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    left_out: tuple[LeftOut, ...]
    prefix: str = ""
    made_splits: str = ""

    @property
    def ignored(self) -> tuple[str, ...]:
        """Paths of the files that are left out."""
        return tuple(file.path for file in self.left_out)

    def file(self, photo: Photo) -> str:
        """Return the path of a photo inside the dataset as it lies there."""
        return photo.file or self.prefix + photo.path

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
    """Return the name of a class folder as people write it.

    ``005.Shih_Tzu`` becomes ``Shih Tzu`` and ``n02088364-beagle``, as ImageNet and Stanford Dogs have it, ``Beagle``.
    """
    if match := re.fullmatch(r"n\d{8}[-_. ]+(.*\w.*)", label):
        name = re.sub(r"[-_\s]+", " ", match[1]).strip()
        return name[:1].upper() + name[1:]
    return re.sub(r"^\d+\.", "", label).replace("_", " ").strip()


def named(items: Iterable[str]) -> str:
    """Return the first few items as text, and how many more there are."""
    items = list(items)
    more = f" and {len(items) - MAX_NAMED} more" if len(items) > MAX_NAMED else ""
    return ", ".join(items[:MAX_NAMED]) + more


def listing(
    files: Iterable[tuple[str, int]],
    where: str,
    left_out: Iterable[LeftOut] = (),
    shares: Sequence[int] = SHARES,
) -> Listing:
    """Sort the files of a dataset into photos and the rest, and check the layout.

    Args:
        files: path inside the dataset (with ``/``) and size in bytes of every file.
        where: name of the dataset in messages.
        left_out: files that the reader of an archive left out.
        shares: shares of train, valid and test where the dataset does not have them.

    Raises:
        DatasetError: there are no photos, a split or a class is missing, or a class has no photo in a split.
    """
    rest = list(left_out)
    paths: dict[str, int] = {}
    for path, size in files:
        if any(part.startswith(".") or part.lower() in _JUNK for part in path.split("/")):
            continue
        if _ODD.search(path):
            rest.append(LeftOut(ascii(path)[1:-1], Reason.NAME))
        else:
            paths[path] = size
    pictures = [path for path in sorted(paths) if _suffix(path) in PHOTO_SUFFIXES]
    root, splits = _root(pictures, paths, where)
    photos: list[Photo] = []
    taken: set[str] = set()
    for path, size in sorted(paths.items()):
        photo = _photo(path, size, root, splits, taken) if path.startswith(root) else None
        if photo and _suffix(path) in PHOTO_SUFFIXES:
            taken.add(photo.path)
            photos.append(photo)
        else:
            rest.append(_left_out(path, root, splits))
    rest = [file if file.label else _left_out(file.path, root, splits, file.reason) for file in rest]
    _refuse_unread(photos, rest, where)
    made = ""
    present = {photo.split for photo in photos}
    missing = [split for split in SPLITS if split not in present]
    if missing and "train" in present:
        _refuse_misspelt(photos, pictures, root, splits, missing, where)
        _refuse_few(photos, missing, where)
        photos, made = _with_splits(photos, missing, shares, root)
    photos.sort()
    classes = tuple(sorted({photo.label for photo in photos if photo.split != OTHER}))
    if not classes:
        raise DatasetError(f"dataset {where}: no photos found{_found(pictures, paths)}; {_EXPECTED}")
    check_classes(classes, photos, where)
    return Listing(classes, tuple(photos), tuple(sorted(rest)), root, made)


_EXPECTED = (
    "expected one folder per class that contains "
    f"{', '.join(sorted(PHOTO_SUFFIXES))} files, in train/, valid/ and test/ or without them"
)


def _suffix(path: str) -> str:
    """Return the ending of a name in small letters; as that of ``PurePosixPath``, in a tenth of the time."""
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


def _is_picture(path: str) -> bool:
    return _suffix(path) in PHOTO_SUFFIXES | _OTHER_FORMATS


def _reason(path: str) -> Reason:
    suffix = _suffix(path)
    if suffix in PHOTO_SUFFIXES:
        return Reason.PLACE
    if suffix in _OTHER_FORMATS:
        return Reason.FORMAT
    return Reason.ARCHIVE if suffix in _ARCHIVES else Reason.NOT_A_PHOTO


def _left_out(path: str, root: str, splits: Mapping[str, str], reason: Reason | None = None) -> LeftOut:
    """Return the record of a file that is not used, with the class and split that it would have."""
    reason, inner = reason or _reason(path), path.removeprefix(root)
    if not path.startswith(root):
        return LeftOut(inner, reason)
    folder, *below = inner.split("/")
    if splits:
        # A link may be the folder of a class itself.
        is_class = len(below) > 1 or (len(below) == 1 and reason is Reason.LINK and not _is_picture(below[0]))
        split, label = splits.get(folder, ""), below[0] if is_class else ""
    else:  # Folders of other things may lie beside those of classes, so only pictures make a class.
        split, label = ("train", folder) if len(below) == 1 and reason is Reason.FORMAT else ("", "")
    return LeftOut(inner, reason, split, unicodedata.normalize("NFC", label) if split and folder != OTHER else "")


def _refuse_unread(photos: Iterable[Photo], left_out: Iterable[LeftOut], where: str) -> None:
    """Refuse a class whose folder in some split holds files, none of which is a photo that is read.

    Raises:
        DatasetError: the message counts these files by class, split and ending.
    """
    read = {(photo.split, photo.label) for photo in photos}
    unread: dict[str, Counter[str]] = defaultdict(Counter)
    for file in left_out:
        if file.label and (file.split, file.label) not in read:
            unread[file.label][f"{_suffix(file.path) or 'without an ending'} in {file.split}/"] += 1
    if unread:
        found = (
            f"'{label}' ({', '.join(f'{number} {kind}' for kind, number in sorted(kinds.items()))})"
            for label, kinds in sorted(unread.items())
        )
        raise DatasetError(
            f"dataset {where}: classes without a photo that is read: {named(found)}; photos are "
            f"{', '.join(sorted(PHOTO_SUFFIXES))}: convert the others, or take the folder away"
        )


def _photo(path: str, size: int, root: str, splits: Mapping[str, str], taken: set[str]) -> Photo | None:
    """Return the photo that a file of the layout would be; without split folders it is one of ``train``."""
    folder, *rest = path[len(root) :].split("/")
    if folder.casefold() == OTHER and rest:
        return Photo(f"{OTHER}/{'/'.join(rest)}", OTHER, "", size, path)
    if splits:
        if folder not in splits or len(rest) != 2:
            return None
        split, (label, name) = splits[folder], rest
    elif len(rest) == 1:
        split, label, name = "train", folder, rest[0]
    else:
        return None
    # macOS writes an accent as a character of its own. Classes are compared in one form.
    label = unicodedata.normalize("NFC", label)
    inner, number = f"{split}/{label}/{name}", 2
    while inner in taken:
        stem, dot, ending = name.rpartition(".")
        inner, number = f"{split}/{label}/{stem}~{number}{dot}{ending}", number + 1
    return Photo(inner, split, label, size, "" if root + inner == path else path)


def _root(pictures: Sequence[str], paths: Iterable[str], where: str) -> tuple[str, dict[str, str]]:
    """Return the folder around the splits or classes with its ``/``, and the split of each folder's name.

    Raises:
        DatasetError: several folders could be it, or two folders are the same split.
    """
    holders: dict[str, set[str]] = defaultdict(set)
    parents: dict[str, set[str]] = defaultdict(set)
    for folder in {path.rpartition("/")[0] for path in pictures}:
        parts = folder.split("/")
        if len(parts) >= 2 and parts[-2].casefold() in SPLIT_NAMES:
            holders["".join(f"{part}/" for part in parts[:-2])].add(parts[-2])
        if folder:
            parents["".join(f"{part}/" for part in parts[:-1])].add(parts[-1])
    roots = sorted(root for root, names in holders.items() if len(_kinds(names)) > 1) or sorted(holders)
    if "" in roots:  # What lies deeper, such as a copy, is left out.
        roots = [""]
    if not roots:
        roots = sorted(root for root, names in parents.items() if len(names - {OTHER}) > 1)
    if len(roots) > 1:
        raise DatasetError(
            f"dataset {where}: several folders hold photos in folders of classes: "
            f"{named(root or 'the top' for root in roots)}; give one of them"
        )
    if not roots:
        raise DatasetError(f"dataset {where}: no photos found{_found(pictures, paths)}; {_EXPECTED}")
    # A split whose files are all of another format is a split nevertheless.
    folders = {path[len(roots[0]) :].split("/")[0] for path in paths if path.startswith(roots[0]) and _is_picture(path)}
    names = sorted({name for name in folders if name.casefold() in SPLIT_NAMES} if holders else ())
    splits = {name: SPLIT_NAMES[name.casefold()] for name in names}
    for split in SPLITS:
        if len(same := [name for name in names if splits[name] == split]) > 1:
            raise DatasetError(
                f"dataset {where}: {named(f'{name}/' for name in same)} are the same split; keep one of them"
            )
    return roots[0], splits


def _kinds(names: Iterable[str]) -> set[str]:
    return {SPLIT_NAMES[name.casefold()] for name in names}


def _found(pictures: Sequence[str], paths: Iterable[str]) -> str:
    """Return what a dataset without a usable layout holds, to follow "no photos found"."""
    reasons = Counter(_reason(path) for path in paths)
    words = []
    if pictures:
        folders = sorted({f"{PurePosixPath(path).parent}/" for path in pictures})
        words.append(f"in a layout that is known; photos lie in {named(folders)}")
    lists = sorted(path for path in paths if PurePosixPath(path).name.casefold() in _LISTS)
    if lists:
        words.append(f"{named(lists)} may name the classes: move each photo into a folder of its class")
    words += [f"{number} {reason}" for reason, number in reasons.items() if reason in (Reason.FORMAT, Reason.ARCHIVE)]
    return (" " if pictures else "; ") + "; ".join(words) if words else ""


def _refuse_misspelt(
    photos: Sequence[Photo],
    pictures: Iterable[str],
    root: str,
    splits: Mapping[str, str],
    missing: Sequence[str],
    where: str,
) -> None:
    """Refuse a folder beside the splits that has their classes and a name that is none of theirs."""
    classes = {photo.label for photo in photos}
    parts = [path[len(root) :].split("/") for path in pictures if path.startswith(root)]
    unknown = sorted({f"{p[0]}/" for p in parts if len(p) == 3 and p[0] not in splits and p[1] in classes})
    if splits and unknown:
        raise DatasetError(
            f"dataset {where}: no photos in {', '.join(f'{split}/' for split in missing)}, but in {named(unknown)}; "
            "rename the folder if it is meant, or take it away"
        )


def _refuse_few(photos: Iterable[Photo], missing: Sequence[str], where: str) -> None:
    counts = Counter(photo.label for photo in photos if photo.split == "train")
    if few := [f"class '{label}' has {number}" for label, number in sorted(counts.items()) if number <= len(missing)]:
        raise DatasetError(
            f"dataset {where}: no photos in {', '.join(f'{split}/' for split in missing)}, and too few to take them "
            f"from the others: {named(few)}; every class needs at least 1 photo in each of train/, valid/ and test/"
        )


def _with_splits(
    photos: Sequence[Photo], missing: Sequence[str], shares: Sequence[int], root: str
) -> tuple[list[Photo], str]:
    """Take the missing splits from train, class by class; return all photos and a sentence about it."""
    share = dict(zip(SPLITS, shares, strict=True))
    pool: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        if photo.split == "train":
            pool[photo.label].append(photo)
    moved = [photo for photo in photos if photo.split != "train"]
    for of_class in pool.values():
        sides = assign([(photo.path.rpartition("/")[2], photo.size) for photo in of_class], share, missing)
        for photo, split in zip(of_class, sides, strict=True):
            path = f"{split}/{photo.path.partition('/')[2]}"
            moved.append(photo._replace(path=path, split=split, file=photo.file or root + photo.path))
    counts = Counter(photo.split for photo in moved)
    numbers = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS)
    source = "there are no splits" if len(missing) == 2 else f"there is no {missing[0]}/"
    return moved, (
        f"{source}, so each class was split by a fixed rule ({'/'.join(map(str, shares))}): {numbers}; photos of equal "
        "size or with names of copies stay together. To split otherwise, make the folders train/, valid/ and test/, or "
        "give make run SPLIT=80/10/10"
    )


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
        raise DatasetError(
            f"dataset {where}: {named(empty)}{_alike(classes)}; every class needs at least 1 photo in each split"
        )


def _alike(classes: Iterable[str]) -> str:
    """Return the classes that differ in capitals or spaces only, to follow a list of classes without photos."""
    forms: dict[str, list[str]] = defaultdict(list)
    for label in classes:
        forms[" ".join(unicodedata.normalize("NFKC", label).casefold().split())].append(f"'{label}'")
    alike = [" and ".join(labels) for labels in forms.values() if len(labels) > 1]
    return f" ({named(alike)} differ in capitals or spaces only; give them one name)" if alike else ""
