"""Write files so that no reader, and no start after a crash, ever sees half of one."""

import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import torch


class FileWriteError(RuntimeError):
    """A file could not be written; the message names the file and the cause."""


def to_bytes(value: Any) -> bytes:
    """Return what ``torch.save`` writes.

    When ``torch.save`` itself writes to a full disk, it raises an internal error that nobody understands.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def replace_file(path: Path, data: bytes) -> None:
    """Write a whole file, or leave the old one as it is.

    Raises:
        FileWriteError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        hint = "; give the job a larger volume" if error.errno == errno.ENOSPC else ""
        raise FileWriteError(f"storage: cannot write {path} ({error.strerror}){hint}") from error


def replace_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, as ``replace_file`` does.

    Raises:
        FileWriteError: the disk is full, or the folder cannot be written.
    """
    replace_file(path, (json.dumps(value, indent=1) + "\n").encode())
