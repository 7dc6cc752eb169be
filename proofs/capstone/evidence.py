"""What a row of the capstone leaves: a JSON file with evidence, from which alone the row is judged."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from local.home import HOME, ROOT, write_json

FOLDER = HOME / "capstone"
PICTURES = "pictures"  # the field of evidence with data URIs
Evidence = dict[str, Any]

# Folders and files that decide what each row finds.
CODE = (
    *("dataset", "networks", "functions", "training", "serving", "layers", "statemachine", "cloud", "events"),
    *("template.yaml", "proofs/capstone/by_hand.py"),
)
_SUFFIXES = {".py", ".yaml", ".json", ".in", ".txt", ".html", ".ipynb"}


class Check(NamedTuple):
    """One thing that must be true of the evidence: in words with its figures, and whether it is."""

    words: str
    passed: bool


@dataclass(frozen=True)
class Kept:
    """The file of a row.

    Attributes:
        key: digest of what the evidence depends on. A row whose key has changed is stale.
        seconds: how long it took to collect.
        at: the moment, in ISO 8601.
        evidence: empty if it could not be collected.
        error: the sentence that says why; empty if it could.
    """

    key: str
    seconds: float
    at: str
    evidence: Evidence
    error: str = ""

    def write(self, row: str) -> None:
        """Write the file completely or not at all."""
        write_json(path_of(row), self.__dict__)


def path_of(row: str) -> Path:
    """Return the path of a row's file."""
    return FOLDER / f"{row}.json"


def read(row: str) -> Kept | None:
    """Return what a row has left; None if there is nothing, or nothing that can be read."""
    try:
        document = json.loads(path_of(row).read_text())
        return Kept(**document) if isinstance(document["evidence"], dict) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def judged(judge: Callable[[Evidence], list[Check]], kept: Kept) -> list[Check]:
    """Return the checks of a row. Evidence that lacks something is a check that failed, not an error."""
    if kept.error:
        return [Check(f"the evidence could not be collected: {kept.error}", False)]
    try:
        return judge(kept.evidence)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        return [Check(f"the evidence cannot be judged ({type(error).__name__}: {error})", False)]


def is_green(checks: Iterable[Check]) -> bool:
    """Return whether all checks have passed. Without any check nothing was shown, so this is False."""
    listed = list(checks)
    return bool(listed) and all(check.passed for check in listed)


def digest(*parts: Any) -> str:
    """Return 16 hex digits over JSON documents."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def code_digest(names: Sequence[str] = CODE, root: Path = ROOT) -> str:
    """Return 16 hex digits over files of code.

    Args:
        names: folders and files.
        root: the folder in which they are.
    """
    hashed = hashlib.sha256()
    for name in names:
        top = root / name
        files = sorted(file for file in top.rglob("*") if file.suffix in _SUFFIXES) if top.is_dir() else [top]
        for file in files:
            hashed.update(f"{file.relative_to(root)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return hashed.hexdigest()[:16]


def without_pictures(evidence: Mapping[str, Any]) -> Evidence:
    """Return evidence as people read it, without the bytes of its pictures."""
    return {name: value for name, value in evidence.items() if name != PICTURES}
