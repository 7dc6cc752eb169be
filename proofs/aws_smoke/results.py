"""The table of results: one row for each step."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from local.console import columns, say, show
from proofs.aws_smoke.account import NotCheckedError


@dataclass
class Row:
    """One step.

    Attributes:
        what: the step proves, in words.
        result: "proven", "failed" or "not checked here".
        seconds: that the step took.
        detail: figures, or the reason of the result.
    """

    what: str
    result: str
    seconds: float
    detail: str


@dataclass
class ResultTable:
    """The results in the order of the steps."""

    rows: list[Row] = field(default_factory=list)

    @contextmanager
    def row(self, what: str) -> Iterator[Row]:
        """Time a step and record its result.

        NotCheckedError ends the step only. Every other exception makes the step failed and is raised again.
        """
        row = Row(what, "proven", 0.0, "")
        started = time.monotonic()
        say(f"{what} …")
        try:
            yield row
        except NotCheckedError as reason:
            row.result, row.detail = "not checked here", str(reason).rstrip(" :")
        except BaseException as error:
            row.result, row.detail = "failed", str(error).splitlines()[0] if str(error) else type(error).__name__
            raise
        finally:
            row.seconds = round(time.monotonic() - started, 1)
            self.rows.append(row)
            say(f"  {row.result} after {row.seconds:.1f} s{f': {row.detail}' if row.detail else ''}")

    def print(self) -> None:
        """Print the table."""
        say()
        show(columns([(r.result, f"{r.seconds:.1f} s", r.what, r.detail) for r in self.rows], right=(1,)), indent=0)
