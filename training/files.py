"""Writing files so that a reader, or the next start after a crash, never sees half of one."""

import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import torch


class StorageError(RuntimeError):
    """A file could not be written; the message says which and why."""


def to_bytes(value: Any) -> bytes:
    """``torch.save`` into memory: to a file, torch reports a full disk as an unreadable internal error."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        hint = "; give the job a larger volume" if error.errno == errno.ENOSPC else ""
        raise StorageError(f"storage: cannot write {path} ({error.strerror}){hint}") from error


def replace_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all; see ``replace_file``."""
    replace_file(path, (json.dumps(value, indent=1) + "\n").encode())
