"""How executions of state machines fail, and how their parts stop together; knows nothing of MiniStack."""

import contextvars
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from typing import Any

_LOOK_SECONDS = 0.05


class StatesError(Exception):
    """A task or a state fails.

    Attributes:
        error: as ``ErrorEquals`` names it.
        cause: the reason in words.
    """

    def __init__(self, error: str, cause: str) -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


class Part:
    """What ends as a whole: an execution, the branches of a state, one attempt of a task.

    Args:
        is_running: whether somebody outside still wants it, for example by the execution's status.
    """

    _current: ContextVar["Part | None"] = ContextVar("part", default=None)

    def __init__(self, is_running: Callable[[], bool] = lambda: True) -> None:
        self._around = self._current.get()
        self._is_running = is_running
        self._stopped = False

    @property
    def is_over(self) -> bool:
        """Whether this part, or one around it, has ended."""
        return self._stopped or not self._is_running() or (self._around is not None and self._around.is_over)

    def stop(self) -> None:
        """End it: whoever works in it leaves at its next look."""
        self._stopped = True

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Work inside it, with the threads that are started meanwhile."""
        token = self._current.set(self)
        try:
            yield
        finally:
            self._current.reset(token)

    @classmethod
    def current_is_over(cls) -> bool:
        """Whether nobody waits any more for the work of this thread."""
        part = cls._current.get()
        return part is not None and part.is_over


def leave_if_over() -> None:
    """End this thread silently when nobody waits for its work: no retrier and no catcher may run.

    Raises:
        SystemExit: then.
    """
    if Part.current_is_over():
        raise SystemExit


def sleep(seconds: float) -> None:
    """Wait, or leave when nobody waits any more.

    Raises:
        SystemExit: then.
    """
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        leave_if_over()
        time.sleep(min(left, _LOOK_SECONDS))


def run_together(works: Sequence[Callable[[], Any]], at_once: int, seconds: float | None = None) -> list[Any]:
    """Results of works run side by side.

    The first that fails stops the others and is raised at once: as on AWS, nobody waits for what cannot be
    stopped, such as a function.

    Args:
        works: each runs on a thread of its own.
        at_once: how many may run at the same time.
        seconds: how long all of them may take.

    Raises:
        TimeoutError: they took longer, and were stopped.
        SystemExit: nobody waits for this thread any more.
    """
    results: list[Any] = [None] * len(works)
    todo, ends = iter(range(len(works))), SimpleQueue[BaseException | None]()

    def work_through() -> None:
        for index in todo:
            try:
                results[index] = works[index]()
            except BaseException as error:  # SystemExit too: the thread that waits has to hear of every end
                ends.put(error)
                return
            ends.put(None)

    part = Part()
    with part.entered():
        for _ in range(min(at_once, len(works))):
            run = contextvars.copy_context().run
            threading.Thread(target=run, args=(work_through,), name="branch", daemon=True).start()
    deadline = None if seconds is None else time.monotonic() + seconds
    left = len(works)
    while left:
        try:
            error = ends.get(timeout=_LOOK_SECONDS)
        except Empty:
            leave_if_over()
            if deadline is not None and time.monotonic() > deadline:
                part.stop()
                raise TimeoutError from None
            continue
        if error is not None:
            part.stop()
            raise error
        left -= 1
    return results
