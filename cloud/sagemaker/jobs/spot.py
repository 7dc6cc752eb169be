"""The interruption of a spot training job: a request by file that its instances be taken away.

A process that may write into the cloud's home folder leaves a file in the job's folder, and the job reads it while it
waits for its hosts. No client of the API can trigger an interruption.
See "A spot interruption is a file in the job's folder" in docs/decisions/training.md.
"""

import os
from pathlib import Path

_NAME = "interruption"


def interrupt(home: Path, job: str, host: str) -> Path:
    """Ask a training job to lose a host.

    Args:
        home: the cloud's home folder.
        job: the job's name.
        host: for example ``algo-2``.

    Returns:
        The file of the request; the job deletes it when it reads it.
    """
    file = home / "training-jobs" / job / _NAME
    temporary = file.with_suffix(".tmp")
    temporary.write_text(host)
    os.replace(temporary, file)
    return file


def take_interruption(folder: Path) -> str | None:
    """Return the host that the job in this folder must lose, and delete the request; None when there is none."""
    file = folder / _NAME
    if not file.is_file():
        return None
    host = file.read_text()
    file.unlink()
    return host
