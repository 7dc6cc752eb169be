"""Stop a training on SIGTERM: every rank ends at the next point at which nothing is lost.

SageMaker sends SIGTERM to process 1 and ends the container 120 s later; the launcher hands the signal on to its ranks.
Ranks that train agree on a step, write a checkpoint and end together. A rank that computes features keeps those and
ends alone.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from training.distributed import World, gather

_requested = threading.Event()


class StopRequestedError(RuntimeError):
    """Somebody sent SIGTERM, here or to another rank; what was computed so far is kept."""

    def __init__(self) -> None:
        super().__init__("training: stopped by SIGTERM; the same command continues from here")


@contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """Let SIGTERM request a stop inside the block, instead of ending the process at once."""
    if threading.current_thread() is not threading.main_thread():  # Only the main thread may set a handler.
        yield
        return
    before = signal.signal(signal.SIGTERM, _request_stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _requested.clear()


def stop_is_requested() -> bool:
    """Whether this rank should end."""
    return _requested.is_set()


def raise_if_stop_is_requested() -> None:
    """End this rank alone if it should end.

    Raises:
        StopRequestedError: it should.
    """
    if stop_is_requested():
        raise StopRequestedError


def stop_together(world: World) -> NoReturn:
    """End all ranks, after rank 0 has written the checkpoint; all ranks must call it.

    Without waiting, the launcher of a rank that has ended would end rank 0 while it still writes.

    Raises:
        StopRequestedError: always.
    """
    gather(world, None)
    raise StopRequestedError


def _request_stop(_signum: int, _frame: FrameType | None) -> None:
    _requested.set()
