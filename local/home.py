"""The project's root folder, and the ``.kennel`` folder (or ``KENNEL_HOME``) in which the runner keeps its files."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(os.environ.get("KENNEL_HOME") or ROOT / ".kennel").resolve()
LAST_RUN = HOME / "last-run.json"


class LocalError(RuntimeError):
    """Something that the user can mend; the message is the sentence that they read."""


def file_error(error: OSError) -> str:
    """Return a sentence about a file or folder that the operating system refused, and how to mend it."""
    path = str(error.filename or "")
    reason = error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        left = f"{path}: no space is left" if path else "no space is left on the disk"
        return f"{left}; free some, or set KENNEL_HOME to a folder on another disk"
    if not path:
        return f"the system refused a file or a connection ({reason})"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        file = next((part for part in (Path(path), *Path(path).parents) if part.is_file()), path)
        return f"{path}: {file} is a file, and a folder is needed there; move it, or give another folder"
    if Path(path).absolute().is_relative_to(HOME) or HOME.is_relative_to(Path(path).absolute()):
        return f"{path}: {reason}; set KENNEL_HOME to a folder that can be written"
    return f"{path}: {reason}"


def keep_private() -> None:
    """Make the runner's folder, or close it to other users of the machine: it has the user's photos and a secret key.

    A folder that the user has named and that has other things in it keeps its mode. What the laptop cloud writes into
    it is closed in any case.
    """
    if not HOME.is_dir():
        HOME.mkdir(mode=0o700, parents=True)
        return
    found = HOME.stat()
    is_own = HOME == ROOT / ".kennel" or (HOME / "cloud" / ".laptop-cloud").exists() or not any(HOME.iterdir())
    has_more = ROOT.is_relative_to(HOME) or Path(os.path.expanduser("~")).is_relative_to(HOME)
    if is_own and not has_more and not found.st_mode & stat.S_ISVTX and found.st_uid == os.geteuid():
        HOME.chmod(0o700)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=2) + "\n")
    os.replace(temporary, path)
