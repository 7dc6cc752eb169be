"""How a spot training job is told that its instances are taken away.

AWS has no operation for it, so this cloud has none either: whoever may write into its home asks by a file in the
job's folder, which the job takes up while it waits for its hosts. That needs no port and no rights, cannot be met
by a client of the API, and a request that comes too late lies there without effect.
"""

import os
from pathlib import Path

_NAME = "interruption"


def request(home: Path, job: str, host: str) -> Path:
    """Ask for a host's loss; the file that is returned is gone once the job has taken it up."""
    file = home / "training-jobs" / job / _NAME
    temporary = file.with_suffix(".tmp")
    temporary.write_text(host)
    os.replace(temporary, file)
    return file


def taken(folder: Path) -> str | None:
    """The host that the job in this folder is to lose, told once; None most of the time."""
    file = folder / _NAME
    if not file.is_file():
        return None
    host = file.read_text()
    file.unlink()
    return host
