"""Read the lists of classes that datasets ship beside photos which do not lie in folders of classes.

Known are, by the names of their files:

- Caltech-UCSD Birds (https://www.vision.caltech.edu/datasets/cub_200_2011/) and what copies it: ``images.txt`` (id,
  path below ``images/``), ``image_class_labels.txt`` (id, number of the class), ``classes.txt`` (number, name) and
  ``train_test_split.txt`` (id, 1 for training), as its README describes them.
- Oxford-IIIT Pet (https://www.robots.ox.ac.uk/~vgg/data/pets/): ``annotations/trainval.txt`` and
  ``annotations/test.txt``, or ``annotations/list.txt`` (name, number of the class and more), with ``images/NAME.jpg``.
  The name is the breed and a number: ``american_bulldog_12``.
- any CSV or TSV whose first row names a column for the photo and one for the class, as ``labels.csv`` (id, breed) of
  https://www.kaggle.com/c/dog-breed-identification.

The functions are pure but for ``read``, which returns a file of the dataset.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Read = Callable[[str], bytes]
MAX_LIST_BYTES = 20_000_000  # a million rows
_TEXTS = frozenset({"images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt"})
_PETS = {"annotations/trainval.txt": "train", "annotations/test.txt": "test", "annotations/list.txt": ""}
_PHOTO_COLUMNS = (
    *("filepath", "filepaths", "path", "image_path", "file_name", "filename", "file", "image", "image_name"),
    *("image_id", "imageid", "img", "img_id", "photo", "id"),
)
_CLASS_COLUMNS = ("breed", "class_name", "label_name", "label", "labels", "class", "category", "species", "target")
_SPLIT_COLUMNS = ("split", "set", "subset", "data_set", "dataset", "partition")


class ListError(ValueError):
    """A list of classes cannot be used; the message says which, and why."""


@dataclass
class ListedPhotos:
    """What a list says.

    Attributes:
        photos: by path of a photo in the dataset, its split (empty if the list names none) and its class.
        missing: names in the list for which there is no photo.
        lists: paths of the lists.
    """

    photos: dict[str, tuple[str, str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)

    def add(self, path: str, split: str, label: str, where: str) -> None:
        """Add a row."""
        label = " ".join(label.replace("/", "-").split())
        if not label:
            raise ListError(f"{where} names no class for '{path}'; fill it in or take the row out")
        if self.photos.setdefault(path, (split, label)) != (split, label):
            known = " in ".join(filter(None, self.photos[path][::-1]))
            raise ListError(f"{where} names '{path}' twice, as {known} and as {label}; keep one of the rows")

    def moved(self) -> dict[str, str]:
        """Return the path of each photo by the path that it would have in folders of splits and classes."""
        moved: dict[str, str] = {}
        for path, (split, label) in sorted(self.photos.items()):
            name = path.rpartition("/")[2]
            stem, dot, ending = name.rpartition(".")
            inner, number = f"{split or 'train'}/{label}/{name}", 2
            while inner in moved:
                inner, number = f"{split or 'train'}/{label}/{stem}~{number}{dot}{ending}", number + 1
            moved[inner] = path
        return moved


def is_list(path: str) -> bool:
    """Whether a file may be a list of classes, by its name."""
    name = path.rpartition("/")[2].lower()
    is_text = name in _TEXTS or path.endswith(tuple(_PETS))
    return is_text or (name.endswith((".csv", ".tsv")) and "submission" not in name)  # Kaggle's guesses for test photos


def published_lists(pictures: Sequence[str], paths: Mapping[str, int], read: Read) -> ListedPhotos | None:
    """Return what the lists of a published dataset say; None if the dataset does not have them.

    Raises:
        ListError: a list cannot be used.
    """
    for path in sorted(paths):
        folder, _, name = path.rpartition("/")
        top = f"{folder}/" if folder else ""
        if name == "image_class_labels.txt" and f"{top}images.txt" in paths:
            return _birds(top, pictures, paths, read)
        if name in ("trainval.txt", "list.txt") and f"{top}{name}".endswith(tuple(_PETS)):
            return _pets(top.removesuffix("annotations/"), pictures, paths, read)
    return None


def tables(
    pictures: Sequence[str], paths: Mapping[str, int], read: Read, split_names: Mapping[str, str]
) -> ListedPhotos | None:
    """Return what the dataset's CSV files say; None if no file has columns for photo and class.

    Args:
        pictures: paths of the photos.
        paths: sizes of all files by path.
        read: returns a file's bytes.
        split_names: the split of each name that people give it, in small letters.

    Raises:
        ListError: a list cannot be used.
    """
    listed = ListedPhotos()
    for path in sorted(paths):
        if not path.lower().endswith((".csv", ".tsv")) or not is_list(path):
            continue
        text = _text(path, paths, read)
        head = text.partition("\n")[0]
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
        names = {_column(name): name for name in reversed(rows.fieldnames or ()) if name}
        photo, label, split = (
            next((names[name] for name in known if name in names), "")
            for known in (_PHOTO_COLUMNS, _CLASS_COLUMNS, _SPLIT_COLUMNS)
        )
        if not photo or not label:
            continue
        listed.lists.append(path)
        stem = path.rpartition("/")[2].rpartition(".")[0].casefold()
        find = _Finder(pictures, path.rpartition("/")[0], {stem, "train"})
        for row in rows:
            name = (row[photo] or "").strip()
            if found := find(name, path):
                of_row = split_names.get((row[split] or "").strip().casefold(), "") if split else ""
                listed.add(found, of_row or split_names.get(stem, ""), row[label] or "", path)
            elif name:
                listed.missing.append(name)
    if listed.lists and not listed.photos:
        first = f"; its first row means '{listed.missing[0]}'" if listed.missing else ""
        raise ListError(f"{', '.join(listed.lists)} names no photo of the dataset{first}")
    return listed if listed.lists else None


def _column(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def _birds(top: str, pictures: Iterable[str], paths: Mapping[str, int], read: Read) -> ListedPhotos:
    def column(name: str) -> dict[str, str]:
        return dict(_rows(f"{top}{name}", paths, read)) if f"{top}{name}" in paths else {}

    images, numbers = column("images.txt"), column("image_class_labels.txt")
    names, training = column("classes.txt"), column("train_test_split.txt")
    present, listed = set(pictures), ListedPhotos(lists=[f"{top}image_class_labels.txt"])
    for key, image in images.items():
        if (path := f"{top}images/{image}") not in present:
            listed.missing.append(image)
            continue
        number = numbers.get(key, "")
        split = {"1": "train", "0": "test"}.get(training.get(key, ""), "")
        listed.add(path, split, names.get(number, number), f"{top}image_class_labels.txt")
    return listed


def _pets(top: str, pictures: Iterable[str], paths: Mapping[str, int], read: Read) -> ListedPhotos:
    present = {path.rpartition(".")[0]: path for path in pictures if path.startswith(f"{top}images/")}
    lists = [name for name in _PETS if _PETS[name] and f"{top}{name}" in paths] or ["annotations/list.txt"]
    listed = ListedPhotos(lists=[f"{top}{name}" for name in lists])
    for name in lists:
        for image, _ in _rows(f"{top}{name}", paths, read):
            if path := present.get(f"{top}images/{image}"):
                listed.add(path, _PETS[name], image.rpartition("_")[0], f"{top}{name}")
            else:
                listed.missing.append(image)
    return listed


def _rows(path: str, paths: Mapping[str, int], read: Read) -> list[tuple[str, str]]:
    """Return the first word of each line and the rest; lines that begin with ``#`` are comments."""
    lines = (line.strip().partition(" ") for line in _text(path, paths, read).splitlines())
    return [(first, rest.strip()) for first, _, rest in lines if first and not first.startswith("#")]


def _text(path: str, paths: Mapping[str, int], read: Read) -> str:
    if paths[path] > MAX_LIST_BYTES:
        raise ListError(f"{path} has more than {MAX_LIST_BYTES:,} bytes; move each photo into a folder of its class")
    try:
        return read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ListError(f"{path} is not written in UTF-8; save it as CSV UTF-8") from error


class _Finder:
    """Finds the photo that a list means by a path, a file's name, or a name without its ending.

    Args:
        pictures: paths of all photos.
        folder: the list's folder; only photos below it are meant.
        preferred: names of folders, in small letters, that decide if several photos fit.
    """

    def __init__(self, pictures: Iterable[str], folder: str, preferred: set[str]) -> None:
        self._preferred = preferred
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in pictures:
            if folder and not path.startswith(f"{folder}/"):
                continue
            inner = path.removeprefix(f"{folder}/") if folder else path
            while inner:
                for name in (inner, inner.rpartition(".")[0]):
                    self._by_name[name].append(path)
                inner = inner.partition("/")[2]

    def __call__(self, name: str, where: str) -> str:
        """Return the path of the photo, or an empty string.

        Raises:
            ListError: several photos fit.
        """
        found = self._by_name.get(name.replace("\\", "/").removeprefix("./").lstrip("/"), [])
        if len(found) > 1:
            found = [p for p in found if p.casefold().split("/")[-2:][0] in self._preferred] or found
        if len(found) > 1:
            raise ListError(f"{where} names '{name}', which may be {found[0]} or {found[1]}; write their folders, too")
        return found[0] if found else ""
