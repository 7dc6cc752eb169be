"""Check the layout of a dataset. The functions are pure: they see paths and sizes and open no file."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import NamedTuple

from dataset import unread
from dataset.class_lists import ListedPhotos, ListError, Read, published_lists, tables
from dataset.names import MAX_NAMED as MAX_NAMED
from dataset.names import is_plain, printable
from dataset.names import named as named
from dataset.split import SHARES, assign
from dataset.unread import folder_of_junk, is_hidden
from dataset.unread import is_junk as is_junk
from dataset.wordnet_dogs import DOGS, WILD_DOGS

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
PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".webp"}
    | {".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".tif", ".tiff"}
)
# Pictures in formats that are not decoded.
_OTHER_FORMATS = frozenset(
    {".jp2", ".j2k", ".jxl", ".svg", ".psd", ".xcf"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw"}
)
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".rar", ".7z")
# Lists of classes that datasets carry beside photos which lie in one flat folder.
_LISTS = frozenset({"labels.csv", "list.txt", "trainval.txt", "image_class_labels.txt", "train.csv", "annotations.csv"})
MAX_PHOTO_BYTES = 100_000_000  # A file is held in memory as a whole, and an archive can unpack to any size.
_FEWEST = len(SPLITS)  # photos of a class, one for each split


class Reason(StrEnum):
    """Why a file is left out; the text ends a sentence about such files."""

    NOT_A_PHOTO = "no photos"
    FORMAT = "pictures in formats that are not read"
    ARCHIVE = "archives inside the dataset that are not unpacked"
    PLACE = "photos that are not in <split>/<class>/"
    NAME = "names with control characters or bytes that are not UTF-8"
    LINK = "links that lead nowhere or are not followed"
    UNLISTED = "photos that the list of classes does not name"
    MISSING = "photos that the list of classes names and that are not there"
    TWICE = "names that the archive has twice, of which the last counts"
    EMPTY = "empty files"
    LARGE = "photos of more than 100 MB"
    HIDDEN = "photos whose names, or those of their folders, begin with a dot"
    FOLDER = "folders without a file"
    DROPPED = "files of breeds that drop_breeds leaves out"
    LEAK = "photos of valid/ and test/ that stand in an earlier split, too"


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

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


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

    ``005.Shih_Tzu`` becomes ``Shih Tzu`` and ``n02088364-beagle``, as ImageNet and Stanford Dogs have it, ``Beagle``;
    so does ``n02088364`` alone.
    """
    if name := DOGS.get(label) or WILD_DOGS.get(label):
        return name[:1].upper() + name[1:]
    if match := re.fullmatch(r"n\d{8}[-_. ]+(.*\w.*)", label):
        name = re.sub(r"[-_\s]+", " ", match[1]).strip()
        return name[:1].upper() + name[1:]
    return re.sub(r"^\d+\.", "", label).replace("_", " ").strip()


def listing(
    files: Iterable[tuple[str, int]],
    where: str,
    left_out: Iterable[LeftOut] = (),
    shares: Sequence[int] = SHARES,
    read: Read | None = None,
    drop_breeds: Collection[str] = (),
) -> Listing:
    """Sort the files of a dataset into photos and the rest, and check the layout.

    Args:
        files: path inside the dataset (with ``/``) and size in bytes of every file.
        where: name of the dataset in messages.
        left_out: files that the reader of a folder or archive left out, and its empty folders.
        shares: shares of train, valid and test where the dataset does not have them.
        read: returns a file of the dataset, for lists of classes; without it, they are not read.
        drop_breeds: names of classes that are left out, whatever their folders hold.

    Raises:
        DatasetError: there are no photos, a split or a class is missing, or a class has no photo in a split.
    """
    rest = [file._replace(path=printable(file.path)) for file in left_out]
    paths: dict[str, int] = {}
    for path, size in files:
        if is_junk(path):
            rest.append(LeftOut(printable(folder_of_junk(path)), Reason.FOLDER))
        elif is_hidden(path) or not is_plain(path):
            rest.append(LeftOut(printable(path), Reason.HIDDEN if is_hidden(path) else Reason.NAME))
        elif size > MAX_PHOTO_BYTES and _suffix(path) in PHOTO_SUFFIXES:
            rest.append(LeftOut(path, Reason.LARGE))
        else:
            paths[path] = size
    pictures = [path for path in sorted(paths) if _suffix(path) in PHOTO_SUFFIXES]
    moved: dict[str, str] = {}
    listed = _class_list(pictures, paths, read, rest, where) if read else None
    if listed:
        moved, paths, unused = _as_listed(listed, pictures, paths)
        pictures, rest = sorted(paths), rest + unused
    root, splits = _root(pictures, paths, rest, where)
    rest = _with_empty_folders(rest, paths)
    photos: list[Photo] = []
    taken: set[str] = set()
    for path, size in sorted(paths.items()):
        photo = _photo(path, size, root, splits, taken) if path.startswith(root) else None
        if photo and size and _suffix(path) in PHOTO_SUFFIXES:
            taken.add(photo.path)
            photos.append(photo)
        else:
            rest.append(_left_out(path, root, splits, None if size or not photo else Reason.EMPTY))
    if not listed:  # Otherwise folders are no classes.
        rest = [file if file.label else _left_out(file.path, root, splits, file.reason) for file in rest]
    if drop_breeds:
        photos, rest = _without_breeds(photos, rest, drop_breeds, root)
    _refuse_unread(photos, rest, bool(splits), where)
    rest = [file for file in rest if file.reason is not Reason.FOLDER]
    made = ""
    present = {photo.split for photo in photos}
    missing = [split for split in SPLITS if split not in present]
    if missing and "train" in present:
        _refuse_misspelt(photos, pictures, root, splits, missing, where)
        _refuse_few(photos, missing, where)
        photos, made = _with_splits(photos, missing, shares, root)
        if not splits and _split_of(re.split(r"[/\\]", where.rstrip("/\\"))[-1]):
            made += f". {where} is called as a split is: if others lie beside it, give the folder around them"
    if listed:
        made = made and f"the classes are those of {named(listed.lists)}; {made}"
        photos = [photo._replace(file=moved[photo.file or photo.path]) for photo in photos]
    photos.sort()
    classes = tuple(sorted({photo.label for photo in photos if photo.split != OTHER}))
    if not classes:
        raise DatasetError(f"dataset {where}: no photos found{_found(pictures, paths, rest)}; {_EXPECTED}")
    if not splits:  # Only now is it known which folders are classes.
        known = {*classes, *(file.label for file in rest if file.reason is Reason.DROPPED)}
        rest = [file if file.label in known else file._replace(split="", label="") for file in rest]
    check_classes(classes, photos, where)
    return Listing(classes, tuple(photos), tuple(sorted(rest)), root, made)


_EXPECTED = (
    "expected one folder per class that contains "
    f"{', '.join(sorted(PHOTO_SUFFIXES))} files, in train/, valid/ and test/ or without them"
)


def _class_list(
    pictures: Sequence[str], paths: Mapping[str, int], read: Read, left_out: Sequence[LeftOut], where: str
) -> ListedPhotos | None:
    """Return what a list of classes says about photos that have no folders of splits, or not even of classes."""
    if any(_split_of(part) for path in pictures for part in path.split("/")[-3:-2]):
        return None
    try:
        if listed := published_lists(pictures, paths, read):
            return listed
        # A folder of photos alone may be a class, or hold photos of all.
        if len({path.rpartition("/")[0] for path in pictures}) > 1:
            with suppress(DatasetError):
                _root(pictures, paths, left_out, where)
                return None
        return tables(pictures, paths, read, SPLIT_NAMES)
    except ListError as error:
        raise DatasetError(f"dataset {where}: {error}") from error


def _as_listed(
    listed: ListedPhotos, pictures: Iterable[str], paths: Mapping[str, int]
) -> tuple[dict[str, str], dict[str, int], list[LeftOut]]:
    """Return the files by the paths that a list gives them, their sizes, and what it leaves out."""
    moved = listed.moved()
    moved |= {path: path for path in pictures if path.partition("/")[0].casefold() == OTHER}
    unused, photo_paths = paths.keys() - moved.values(), set(pictures)
    rest = [LeftOut(name, Reason.MISSING) for name in listed.missing]
    rest += [LeftOut(path, Reason.UNLISTED if path in photo_paths else _reason(path)) for path in unused]
    rest = [file._replace(path=printable(file.path)) for file in rest]
    rest += [LeftOut(printable(inner), Reason.NAME) for inner in moved if not is_plain(inner)]
    return moved, {inner: paths[path] for inner, path in moved.items() if is_plain(inner)}, rest


def _with_empty_folders(left_out: Iterable[LeftOut], paths: Iterable[str]) -> list[LeftOut]:
    """Return what is left out, of its folders those that hold no file."""
    folders, rest = [], []
    for file in left_out:
        if file.reason is Reason.FOLDER:
            folders.append(file.path.rstrip("/"))
        else:
            rest.append(file)
    if folders:
        filled = [*paths, *(file.path for file in rest)]
        rest += [LeftOut(folder, Reason.FOLDER) for folder in unread.empty_folders(folders, filled)]
    return rest


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
    split, *below = inner.split("/") if splits else ("train", *inner.split("/"))
    split = splits.get(split, "") if splits else split
    # A link or an empty folder may be the folder of a class itself.
    is_class = len(below) > 1
    if len(below) == 1:
        is_class = reason is Reason.FOLDER or (reason is Reason.LINK and not _is_picture(below[0]))
    elif below and not splits:  # Folders of other things may lie beside those of classes.
        is_class = below[0].casefold() != OTHER and _is_in_class(below, reason)
    label = unicodedata.normalize("NFC", below[0]) if split and is_class else ""
    return LeftOut(inner, reason, split if splits or label else "", label)


def _without_breeds(
    photos: Iterable[Photo], left_out: Iterable[LeftOut], names: Iterable[str], root: str
) -> tuple[list[Photo], list[LeftOut]]:
    """Move the files of some classes from the photos to what is left out."""
    asked = {unread.form(name) for name in names}

    def is_dropped(label: str) -> bool:
        return bool(label) and not asked.isdisjoint({unread.form(label), unread.form(breed_name(label))})

    kept, rest = [], []
    for photo in photos:
        if is_dropped(photo.label):
            path = (photo.file or root + photo.path).removeprefix(root)
            rest.append(LeftOut(path, Reason.DROPPED, photo.split, photo.label))
        else:
            kept.append(photo)
    for file in left_out:
        path = f"{file.path}/" if file.reason is Reason.FOLDER else file.path
        rest.append(file._replace(path=path, reason=Reason.DROPPED) if is_dropped(file.label) else file)
    return kept, rest


def _is_in_class(parts: Sequence[str], reason: Reason) -> bool:
    """Whether a file that is not read, where there are no splits, says that its first folder is a class."""
    if len(parts) > 2 or reason in (Reason.PLACE, Reason.FOLDER):
        return reason is Reason.PLACE
    if reason is Reason.NOT_A_PHOTO:
        return not re.fullmatch(r"\.[a-z]\w*", _suffix(parts[1]))
    return parts[0][0] != "." and (_is_picture(parts[1]) or parts[1][0] == ".")


def _refuse_unread(photos: Iterable[Photo], left_out: Iterable[LeftOut], has_splits: bool, where: str) -> None:
    """Refuse a class whose folder in some split holds files, none of which is a photo that is read.

    Raises:
        DatasetError: the message counts these files by class, split, and what is wrong with them.
    """
    read = {(photo.split, photo.label) for photo in photos}
    files: dict[str, list[LeftOut]] = defaultdict(list)
    for file in left_out:
        if file.label and file.reason is not Reason.DROPPED and (file.split, file.label) not in read:
            files[file.label].append(file)
    if not has_splits:  # Fewer files in folders below it, or without an ending, make no class.
        vague = (Reason.PLACE, Reason.NOT_A_PHOTO)
        files = {k: v for k, v in files.items() if len(v) >= _FEWEST or any(f.reason not in vague for f in v)}
    if files:
        found = []
        for label, of_class in sorted(files.items()):
            kinds = unread.kinds((file.reason.name, _suffix(file.path), file.split) for file in of_class)
            found.append(f"'{label}' ({kinds})")
        reasons = {file.reason.name for of_class in files.values() for file in of_class}
        raise DatasetError(
            f"dataset {where}: classes without a photo that is read: {named(found)}; "
            f"{unread.remedies(reasons, sorted(PHOTO_SUFFIXES))}"
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


def _root(
    pictures: Sequence[str], paths: Iterable[str], left_out: Sequence[LeftOut], where: str
) -> tuple[str, dict[str, str]]:
    """Return the folder around the splits or classes with its ``/``, and the split of each folder's name.

    Raises:
        DatasetError: several folders could be it, or two folders are the same split.
    """
    holders: dict[str, set[str]] = defaultdict(set)
    parents: dict[str, set[str]] = defaultdict(set)
    folders = {path.rpartition("/")[0] for path in pictures}
    for folder in folders:
        parts = folder.split("/")
        if len(parts) >= 2 and _split_of(parts[-2]):
            holders["".join(f"{part}/" for part in parts[:-2])].add(parts[-2])
        if folder:
            parents["".join(f"{part}/" for part in parts[:-1])].add(parts[-1])
    roots = sorted(root for root, names in holders.items() if len(_kinds(names)) > 1) or sorted(holders)
    if "" in roots:  # What lies deeper, such as a copy, is left out.
        roots = [""]
    if not roots:
        roots = sorted(root for root, names in parents.items() if len(_class_names(names)) > 1)
    if words := unread.class_first(folders, SPLIT_NAMES) if not holders else "":
        raise DatasetError(f"dataset {where}: {words}")
    if len(roots) > 1:
        if words := unread.layout_words(roots, SPLIT_NAMES):
            raise DatasetError(f"dataset {where}: {words}")
        raise DatasetError(
            f"dataset {where}: several folders hold photos in folders of classes: "
            f"{named(root or 'the top' for root in roots)}; give one of them"
        )
    if not roots:
        only = min(folders, default="")
        names_of_none = {"", OTHER, *SPLIT_NAMES}
        is_class = len(folders) == 1 and names_of_none.isdisjoint(part.casefold() for part in only.split("/"))
        if is_class and not _lists(paths):
            return only[: only.rfind("/") + 1], {}  # Other folders may be classes of which no photo is read.
        raise DatasetError(f"dataset {where}: no photos found{_found(pictures, paths, left_out)}; {_EXPECTED}")
    # A split whose files are all of another format is a split nevertheless.
    folders = {path[len(roots[0]) :].split("/")[0] for path in paths if path.startswith(roots[0]) and _is_picture(path)}
    names = sorted({name for name in folders if _split_of(name)} if holders else ())
    splits = {name: _split_of(name) for name in names}
    for link in (file.path for file in left_out if file.reason is Reason.LINK and holders):
        if link.rpartition("/")[0] == roots[0].rstrip("/") and _split_of(link.rpartition("/")[2]):
            raise DatasetError(f"dataset {where}: {link} is a link that leads nowhere or is not followed")
    for split in SPLITS:
        if len(same := [name for name in names if splits[name] == split]) > 1:
            raise DatasetError(
                f"dataset {where}: {named(f'{name}/' for name in same)} are the same split; keep one of them"
            )
    return roots[0], splits


def _class_names(names: Iterable[str]) -> list[str]:
    """Return the names of folders of photos that may be classes: photos right in train/ and test/ have no class."""
    names = [name for name in names if name != OTHER]
    return [name for name in names if not _split_of(name)] if len(_kinds(names)) < 2 else []


def _split_of(name: str) -> str:
    """Return the split that a folder's name says; empty for none."""
    return SPLIT_NAMES.get(name.strip().casefold(), "")


def _kinds(names: Iterable[str]) -> set[str]:
    return {split for name in names if (split := _split_of(name))}


def _found(pictures: Sequence[str], paths: Iterable[str], left_out: Iterable[LeftOut]) -> str:
    """Return what a dataset without a usable layout holds, to follow "no photos found"."""
    reasons = Counter(_reason(path) for path in paths)
    reasons.update(file.reason for file in left_out if file.reason in (Reason.HIDDEN, Reason.NAME, Reason.LINK))
    words = []
    if pictures:
        folders = sorted({f"{PurePosixPath(path).parent}/" for path in pictures})
        words.append(f"in a layout that is known; photos lie in {named(folders)}")
        if any(_split_of(part) for path in pictures for part in path.split("/")[-4:-3]):
            words.append("move photos from the folders below a class right into it")
    lists = _lists(paths)
    if lists:
        words.append(
            f"{named(lists)} may name the classes, but not in a form that is known: move each photo into a folder of "
            "its class"
        )
    archives = [path for path in paths if _reason(path) is Reason.ARCHIVE]
    if archives:
        words.append(f"unpack {named(archives)} there, or give one archive alone")
    others = [_suffix(path) for path in paths if _reason(path) is Reason.NOT_A_PHOTO and path not in lists]
    if others and not pictures:
        words.append(unread.endings(others))
    told = (Reason.FORMAT, Reason.HIDDEN, Reason.NAME, Reason.LINK)
    words += [f"{number} {reason}" for reason, number in reasons.items() if reason in told]
    return (" " if pictures else "; ") + "; ".join(words) if words else ""


def _lists(paths: Iterable[str]) -> list[str]:
    return sorted(path for path in paths if PurePosixPath(path).name.casefold() in _LISTS)


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
    if not_classes := [photo.file for photo in moved if photo.split == OTHER] if len(missing) == 2 else []:
        numbers += f", and {len(not_classes):,} of no class in {OTHER}/, which is no class itself"
    return moved, (
        f"{source}, so each class was split by a fixed rule ({'/'.join(map(str, shares))}): {numbers}; photos of equal "
        "size or with names of copies stay together. To split otherwise, make the folders train/, valid/ and test/, or "
        "give make run SPLIT=80/10/10"
    )


def check_classes(classes: Iterable[str], photos: Iterable[Photo], where: str) -> None:
    """Refuse a dataset in which a class has no photo in some split, or two classes have names that are alike.

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
            f"dataset {where}: {named(empty)}{unread.alike(classes)}; every class needs at least 1 photo in each split"
        )
    if alike := unread.alike(classes):
        raise DatasetError(f"dataset {where}: classes have one name{alike}")
