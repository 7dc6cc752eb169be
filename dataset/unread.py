"""What to say about files of a dataset that are not read, and which of them nobody wants to hear of."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

# What systems and editors write beside people's files.
_JUNK = re.compile(
    r"(?:^|/)(?:__macosx|thumbs\.db|ehthumbs\.db|desktop\.ini|@eadir|\$recycle\.bin|lost\+found|"
    r"system volume information|\._[^/]*|\.ds_store|\.ipynb_checkpoints|\.trash[^/]*|\.thumbnails|\.cache|\.git|\.dvc|"
    r"\.spotlight-v100|\.fseventsd|\.appledouble|\.idea|\.vscode|\.venv)(?:/|$)",
    re.IGNORECASE,
)
# What is wrong with files, by the name of its reason: to follow one, and to follow several.
_WORDS = {
    "PLACE": ("in a folder below it", "in folders below it"),
    "NAME": ("with such a name", "with such names"),
    "LINK": ("link that leads nowhere", "links that lead nowhere"),
    "EMPTY": ("empty", "empty"),
    "HIDDEN": ("hidden by a dot", "hidden by a dot"),
    "FOLDER": ("empty folder", "empty folders"),
}
_REMEDIES = {
    "PLACE": "move photos from the folders below a class right into it",
    "NAME": "rename what has control characters or is not UTF-8",
    "LINK": "put the photos themselves where links lead nowhere (cp -rL copies them)",
    "EMPTY": "fetch empty files anew",
    "HIDDEN": "take the dot off the names",
    "FOLDER": "fill empty folders",
}


def is_junk(path: str) -> bool:
    """Whether a file is not the user's, but one that a system writes. Hidden photos are the user's."""
    return bool(_JUNK.search(path)) or (is_hidden(path) and not _is_photo_name(path))


def is_hidden(path: str) -> bool:
    """Whether a name in the path begins with a dot."""
    return path.startswith(".") or "/." in path


def folder_of_junk(path: str) -> str:
    """Return the folder in which junk lies; empty for the top."""
    found = _JUNK.search(path) or re.search(r"(?:^|/)\.", path)
    return path[: found.start()] if found else ""


def empty_folders(folders: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Return the folders, of those that seem to be empty, that have no file below them."""
    filled: set[str] = set()
    waiting = {path.rpartition("/")[0] for path in paths}
    while waiting:
        filled |= waiting
        waiting = {folder.rpartition("/")[0] for folder in waiting} - filled
    return sorted({folder for folder in folders if folder} - filled)


def _is_photo_name(path: str) -> bool:
    return bool(re.search(r"\.(jpe?g|jpe|jfif|png|webp|heic|heif|avif|gif|bmp|tiff?)$", path, re.IGNORECASE))


def kinds(files: Iterable[tuple[str, str, str]]) -> str:
    """Return how many files are not read in words: ``2 .jxl in test/, 1 empty in train/``.

    Args:
        files: name of the reason, ending, and split of each.
    """
    files = list(files)
    # Texts and the like beside photos that could be read say nothing about the class.
    files = [file for file in files if file[0] in _WORDS or file[0] == "FORMAT"] or files
    counts = Counter(
        (file[0] if file[0] in _WORDS else "", "" if file[0] in _WORDS else file[1], file[2]) for file in files
    )
    words = []
    for (reason, suffix, split), number in counts.items():
        what = _WORDS[reason][number > 1] if reason else suffix or "without an ending"
        words.append(f"{number} {what} in {split}/")
    return ", ".join(sorted(words))


def remedies(reasons: Iterable[str], suffixes: Sequence[str]) -> str:
    """Return how to mend the files of some reasons.

    Args:
        reasons: names of the reasons.
        suffixes: the endings that photos have.
    """
    reasons = set(reasons)
    reasons = reasons & (_REMEDIES.keys() | {"FORMAT"}) or reasons
    words = [remedy for reason, remedy in _REMEDIES.items() if reason in reasons]
    if not reasons <= _REMEDIES.keys():
        words.append(
            f"photos are {', '.join(suffixes)}: convert the others to JPEG (magick mogrify -format jpg FILES)"
            f"{', or give files without an ending theirs' if 'NOT_A_PHOTO' in reasons else ''}"
        )
    away = "take the folder away or name the class in the input's drop_breeds"
    return f"{'; '.join(words)}{'; or' if len(words) > 1 else ', or'} {away}"


def endings(suffixes: Iterable[str]) -> str:
    """Return the numbers of files that are no photos by their endings, the most frequent first."""
    counts = Counter(suffixes).most_common(3)
    return ", ".join(f"{number} {'file' if number == 1 else 'files'} {_ending(suffix)}" for suffix, number in counts)


def _ending(suffix: str) -> str:
    return f"with the ending '{suffix}'" if suffix else "without an ending"


def layout_words(roots: Sequence[str], split_names: Iterable[str]) -> str:
    """Return what several folders with classes seem to be, and how to make one dataset of them; empty if unknown.

    Args:
        roots: the folders that hold folders of photos, each with its ``/``.
        split_names: names that splits have, in small letters.
    """
    names = set(split_names)
    doubled = [root for root in roots if root.rstrip("/").rpartition("/")[2].strip().casefold() in names]
    if len(doubled) == len(roots):
        return (
            f"{', '.join(f'{root}{root}' for root in doubled[:3])} are splits inside splits; move their folders one "
            "level up, so that train/, valid/ and test/ hold the folders of classes"
        )
    parts = [re.split(r"[_\- .]", root.rstrip("/").rpartition("/")[2].casefold()) for root in roots]
    if all(names.intersection(words) for words in parts):
        return (
            f"{', '.join(roots[:3])} seem to be splits; rename them to train/, valid/ and test/ and put them into one "
            "folder"
        )
    return ""


def class_first(folders: Iterable[str], split_names: Iterable[str]) -> str:
    """Return the sentence about splits inside the folders of classes (``Beagle/train/``); empty if there are none."""
    names = set(split_names)
    inside = sorted(f for f in folders if "/" in f and f.rpartition("/")[2].strip().casefold() in names)
    classes = {folder.rpartition("/")[0] for folder in inside}
    if len(classes) < 2:
        return ""
    above, split = inside[0].rpartition("/")[::2]
    label = above.rpartition("/")[2]
    return f"splits lie inside the folders of classes; move {inside[0]}/ to {split}/{label}/, and the others alike"


def alike(classes: Iterable[str]) -> str:
    """Return the classes that differ in capitals or spaces only, to follow what is said of classes."""
    forms: dict[str, list[str]] = defaultdict(list)
    for label in classes:
        forms[" ".join(unicodedata.normalize("NFKC", label).casefold().split())].append(f"'{label}'")
    same = [" and ".join(labels) for labels in forms.values() if len(labels) > 1]
    return f" ({', '.join(same[:3])} differ in capitals or spaces only; give them one name)" if same else ""


def form(name: str) -> str:
    """Return a breed's name without capitals and more spaces, as ``shared.breeds.form`` does for the gate."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())
