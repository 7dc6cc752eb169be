"""The interruption of a spot job: a request by file that its instances be taken away.

A process that may write into the cloud's home folder leaves a file in the job's folder, and the job reads it while it
waits for its hosts. No client of the API can trigger an interruption.
See "A spot interruption is a file in the job's folder" in docs/decisions/training.md.
"""

import os
from pathlib import Path

_NAME = "interruption"


TRAINING_JOBS = "training-jobs"  # folder of SageMaker's training jobs in the cloud's home folder
BATCH_JOBS = "batch-jobs"  # folder of Batch's jobs


def interrupt(home: Path, job: str, host: str, kind: str = TRAINING_JOBS) -> Path:
    """Ask a job to lose a host.

    Args:
        home: the cloud's home folder.
        job: the training job's name, or the id of Batch's job.
        host: for example ``algo-2``; a job of Batch has one host, whatever is given.
        kind: folder of the jobs of that kind.

    Returns:
        The file of the request; the job deletes it when it reads it.
    """
    file = home / kind / job / _NAME
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
