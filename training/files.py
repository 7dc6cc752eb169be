"""Write files so that no reader, and no start after a crash, ever sees half of one."""

import errno
import io
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

# Errors that tell that a file beside a folder cannot be made, or cannot be moved into it.
_NOT_BESIDE = (errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)


class FileWriteError(RuntimeError):
    """A file could not be written; the message names the file and the cause."""


def check_folder(path: Path) -> None:
    """Check that files can be written into a folder, which need not exist yet.

    Raises:
        FileWriteError: they cannot.
    """
    try:
        nearest = next(each for each in (path, *path.absolute().parents) if each.exists() or each.is_symlink())
    except OSError as error:
        raise FileWriteError(f"storage: cannot write {path} ({error.strerror})") from error
    if not nearest.is_dir():
        which = "it" if nearest == path else nearest
        what = "is a file" if nearest.exists() else "is a link to nothing"
        raise FileWriteError(f"storage: cannot write {path} ({which} {what})")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise FileWriteError(f"storage: cannot write {path} (this user may not write into {nearest})")


def to_bytes(value: Any) -> bytes:
    """Return what ``torch.save`` writes.

    When ``torch.save`` itself writes to a full disk, it raises an internal error that nobody understands.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def replace_file(path: Path, data: bytes) -> None:
    """Write a whole file, or leave the old one as it is.

    The temporary file lies beside the file's folder, not in it. SageMaker mirrors the folder of checkpoints file by
    file while the job runs, and a file that vanishes during its upload may stop that.

    Raises:
        FileWriteError: the disk is full, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = path.parent.resolve()
        try:
            if folder.stat().st_dev != folder.parent.stat().st_dev:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            _replace_by(folder.parent / f".{folder.name}.{path.name}.{os.getpid()}.tmp", path, data)
        except OSError as error:
            if error.errno not in _NOT_BESIDE:
                raise
            _replace_within(folder, path, data)
    except OSError as error:
        hint = "; give the job a larger volume" if error.errno == errno.ENOSPC else ""
        raise FileWriteError(f"storage: cannot write {path} ({error.strerror}){hint}") from error


def _replace_by(temporary: Path, path: Path, data: bytes) -> None:
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _replace_within(folder: Path, path: Path, data: bytes) -> None:
    """Write a file by means of its folder alone, which is a mount of its own or lies where nobody may write.

    On Linux the bytes go into a file without a name. A new file gets its name when it is whole. Only a file that
    replaces another has a second name, between two system calls, because Linux cannot put an unnamed file in the place
    of a named one.
    """
    temporary = folder / f".{path.name}.{os.getpid()}.tmp"
    try:
        unnamed = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o644)
    except (AttributeError, OSError):  # macOS and some file systems have no unnamed files.
        _replace_by(temporary, path, data)
        return
    within = os.open(folder, os.O_RDONLY)  # With this argument, os.link follows the link of /proc to the file.
    try:
        with open(unnamed, "wb", closefd=False) as file:
            file.write(data)
        try:
            os.link(f"/proc/self/fd/{unnamed}", path.name, dst_dir_fd=within, follow_symlinks=True)
        except FileExistsError:
            os.link(f"/proc/self/fd/{unnamed}", temporary.name, dst_dir_fd=within, follow_symlinks=True)
            os.replace(temporary, path)
    finally:
        os.close(within)
        os.close(unnamed)


def replace_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, as ``replace_file`` does.

    Raises:
        FileWriteError: the disk is full, or the folder cannot be written.
    """
    replace_file(path, (json.dumps(value, indent=1) + "\n").encode())
