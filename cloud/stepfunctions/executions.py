"""Errors of executions, and threads that are stopped together. This module does not depend on MiniStack."""

import contextvars
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from typing import Any

_POLL_SECONDS = 0.05


class StatesError(Exception):
    """A task or a state failed.

    Attributes:
        error: Name of the error, by which ``ErrorEquals`` selects it; None where a Fail state gives none.
        cause: The reason in words; None where a Fail state gives none, and for a timeout.
        is_of_task: Whether the task itself failed, and not the state around it.
    """

    def __init__(self, error: str | None, cause: str | None, *, is_of_task: bool = False) -> None:
        super().__init__(f"{error or ''}: {cause or ''}")
        self.error = error
        self.cause = cause
        self.is_of_task = is_of_task

    @property
    def output(self) -> dict[str, str]:
        """What a catcher sees: ``$states.errorOutput``."""
        return {"Error": self.error or "", "Cause": self.cause or ""}


class ExecutionTimeoutError(Exception):
    """The execution took longer than the ``TimeoutSeconds`` of its state machine. No retrier and no catcher sees it."""


class StoppableWork:
    """Work that is stopped as a whole: an execution, the branches of a state, or one attempt of a task.

    Works are nested. When a work stops, all works inside it are stopped too.

    Args:
        is_running: Whether the work is still needed, for example by the execution's status.
    """

    _current: ContextVar["StoppableWork | None"] = ContextVar("work", default=None)

    def __init__(self, is_running: Callable[[], bool] = lambda: True) -> None:
        self._parent = self._current.get()
        self._is_running = is_running
        self._stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether this work, or one around it, has ended."""
        return self._stopped or not self._is_running() or (self._parent is not None and self._parent.is_stopped)

    def stop(self) -> None:
        """Stop the work: its threads end when they next check ``current_is_stopped``."""
        self._stopped = True

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make this the current work of this thread, and of the threads that are started meanwhile."""
        token = self._current.set(self)
        try:
            yield
        finally:
            self._current.reset(token)

    @classmethod
    @contextmanager
    def outside(cls) -> Iterator[None]:
        """Leave the current work of this thread, for what is started meanwhile and must not end with it."""
        token = cls._current.set(None)
        try:
            yield
        finally:
            cls._current.reset(token)

    @classmethod
    def current_is_stopped(cls) -> bool:
        """Whether the current work of this thread has ended, so that nothing waits for its result."""
        work = cls._current.get()
        return work is not None and work.is_stopped


def exit_if_stopped() -> None:
    """End this thread silently when its work is stopped, so that no retrier and no catcher runs.

    Raises:
        SystemExit: The work is stopped.
    """
    if StoppableWork.current_is_stopped():
        raise SystemExit


def sleep(seconds: float) -> None:
    """Wait; end this thread as soon as its work is stopped.

    Raises:
        SystemExit: The work is stopped.
    """
    deadline = time.monotonic() + seconds
    while (remaining := deadline - time.monotonic()) > 0:
        exit_if_stopped()
        time.sleep(min(remaining, _POLL_SECONDS))


def run_together(functions: Sequence[Callable[[], Any]], max_threads: int, seconds: float | None = None) -> list[Any]:
    """Call functions in parallel and return their results in order.

    The first failure stops the others and is raised at once. As on AWS, nothing waits for work that cannot be stopped,
    such as a running Lambda function.

    Args:
        functions: The functions; each runs on a thread of its own.
        max_threads: How many may run at the same time.
        seconds: How long all of them together may take; None for no limit.

    Raises:
        TimeoutError: They took longer, and were stopped.
        SystemExit: The work of the calling thread is stopped.
    """
    results: list[Any] = [None] * len(functions)
    indices, outcomes = iter(range(len(functions))), SimpleQueue[BaseException | None]()

    def run_next() -> None:
        for index in indices:
            try:
                results[index] = functions[index]()
            except BaseException as error:  # SystemExit too, because the waiting thread must learn of every end.
                outcomes.put(error)
                return
            outcomes.put(None)

    work = StoppableWork()
    with work.entered():
        for _ in range(min(max_threads, len(functions))):
            run = contextvars.copy_context().run
            threading.Thread(target=run, args=(run_next,), name="branch", daemon=True).start()
    deadline = None if seconds is None else time.monotonic() + seconds
    remaining = len(functions)
    while remaining:
        try:
            error = outcomes.get(timeout=_POLL_SECONDS)
        except Empty:
            exit_if_stopped()
            if deadline is not None and time.monotonic() > deadline:
                work.stop()
                raise TimeoutError from None
            continue
        if error is not None:
            work.stop()
            raise error
        remaining -= 1
    return results
