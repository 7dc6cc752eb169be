"""What the runner prints: steps with their times, progress that replaces itself, tables, and sentences.

Text is wrapped at the terminal's width; a file receives whole lines. Below ``_NARROW`` columns a step's words are
printed under its name instead of beside it.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from dataset.names import printable

_NARROW = 72  # columns
_NARROWEST = 20  # columns; a shell that says less, such as COLUMNS=0, means something else
_FILE_COLUMNS = 200  # the width of tables in a file
_QUIET_SECONDS = 5.0  # between two lines of progress in a file
_NAME_COLUMNS, _TIME_COLUMNS = 24, 9


class _PlainConsole(Console):
    """A console that shows control characters of what it prints, such as names in an archive, and never sends them."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of what is printed."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text, keep="\n"), segment.style)


def console() -> Console:
    """Return a console for the present standard output."""
    # FORCE_COLOR and the like do not turn a file into a terminal.
    terminal = sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")
    width = _columns() if sys.stdout.isatty() else _FILE_COLUMNS
    return _PlainConsole(
        width=width,
        force_terminal=terminal,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not sys.stdout.isatty(),
    )


def _columns() -> int:
    """Return the width that the shell says or the terminal has; 80 if neither can be."""
    said = shutil.get_terminal_size().columns
    if said < _NARROWEST:
        with suppress(OSError):
            said = os.get_terminal_size(sys.stdout.fileno()).columns
    return said if said >= _NARROWEST else 80


def say(text: str = "") -> None:
    """Print prose, wrapped between words on a terminal."""
    console().print(text)
    sys.stdout.flush()


def say_exactly(text: str) -> None:
    """Print text that people copy, such as a command or a URL, without breaking its lines."""
    console().print(text, soft_wrap=True)
    sys.stdout.flush()


def columns(rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> Table:
    """Return a table without lines, indented by two columns.

    Args:
        rows: of equal length; the last column takes the remaining width and is wrapped.
        right: the numbers of the columns that are aligned to the right.
    """
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    num_columns = len(rows[0]) if rows else 0
    for number in range(num_columns):
        last = number == num_columns - 1
        table.add_column(justify="right" if number in right else "left", no_wrap=not last)
    for row in rows:
        table.add_row(*row)
    return table


def show(table: RenderableType, indent: int = 2) -> None:
    """Print a table or another object of rich, without rich's spaces at the ends of lines."""
    output = console()
    with output.capture() as capture:
        output.print(Padding(table, (0, 0, 0, indent)), soft_wrap=False)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    if any(lines):
        print("\n".join(lines), flush=True)


def plural(number: int, what: str) -> str:
    """Return a number of things in words, such as ``2 instances``."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def step(name: str, took: str, words: str = "") -> None:
    """Print a step's name, how long it took, and what came of it."""
    if console().width < _NARROW:
        show(f"{name}  {took}")
        if words:
            show(words, indent=6)
        return
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(width=_NAME_COLUMNS - 2, no_wrap=True)
    table.add_column(width=_TIME_COLUMNS, justify="right", no_wrap=True)
    table.add_column()
    table.add_row(name, took, words)
    show(table)


class Screen:
    """Lines that stay, and below them one line of progress that the next one replaces.

    A file has no such line: it receives a line of progress at most every ``_QUIET_SECONDS``.
    """

    def __init__(self) -> None:
        self._console = console()
        self._live: Live | None = None
        self._last_print = time.monotonic()

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def line(self, text: str, indent: int = 0) -> None:
        """Print a line that stays."""
        self.close()
        show(text, indent)
        self._last_print = time.monotonic()

    def step(self, name: str, took: str, words: str = "") -> None:
        """Print a step that is over."""
        self.close()
        step(name, took, words)
        self._last_print = time.monotonic()

    def passing(self, text: str) -> None:
        """Print a line that the next one replaces."""
        if self._console.is_terminal:
            line = Text(text, no_wrap=True, overflow="ellipsis")
            if self._live is None:
                self._live = Live(line, console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(line, refresh=True)
        elif time.monotonic() - self._last_print >= _QUIET_SECONDS:
            say(text)
            self._last_print = time.monotonic()

    def close(self) -> None:
        """Remove the line of progress."""
        if self._live is not None:
            self._live.stop()
            self._live = None
