"""The process behind ``python -m local capstone``."""

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from local import cli, laptop, shell, stack
from local.console import Screen, plural, say
from proofs.capstone import evidence, table
from proofs.capstone.evidence import Kept, is_green, judged
from proofs.capstone.kennel import Kennel, connect
from proofs.capstone.page import PAGE, Shown, render
from proofs.capstone.table import Row

_FOUND_RED = 1


def main() -> int:
    """Collect what is missing, stale or red, write the page, and return 0 if every row is green."""
    parser = argparse.ArgumentParser(prog="python -m local capstone", description=main.__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="ROW")
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("--port", type=int, default=laptop.DEFAULT_PORT)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        rows = table.chosen(options.only)
        evidence.FOLDER.mkdir(parents=True, exist_ok=True)
        return _collect(rows, options.port, options.anew)
    except KeyboardInterrupt:
        say("\nstopped; what was collected is kept, and the same command goes on from there")
        return 130
    except Exception as error:
        print(cli.words_of(error), file=sys.stderr)
        return _FOUND_RED


def _collect(rows: list[Row], port: int, anew: bool) -> int:
    kennel = connect(port, print)
    keys = Keys(kennel)
    due = [row for row in rows if anew or not keys.is_kept(row)]
    began, total = time.monotonic(), sum(row.seconds for row in due) / 60
    say(f"{plural(len(rows), 'row')}, {len(due)} to collect, about {max(1, round(total))} minutes on two cores")
    with Screen() as screen:
        for number, row in enumerate(rows, 1):
            if not anew and keys.is_kept(row):
                screen.step(row.name, "kept", "its evidence is green, and nothing that it depends on has changed")
                continue

            def show(text: str, number: int = number, row: Row = row) -> None:
                spent = (time.monotonic() - began) / 60
                screen.passing(
                    f"  row {number} of {len(rows)}, {row.name}: {text}; {spent:.1f} of about {total:.0f} minutes"
                )

            kept = _collected(row, replace(kennel, progress=show), keys)
            checks = judged(row.part.judge, kept)
            failed = [check.words for check in checks if not check.passed]
            words = f"RED: {failed[0]}" if failed else f"green, {plural(len(checks), 'check')}"
            screen.step(row.name, f"{kept.seconds:.1f} s", words)
            _write_page(kennel, keys)
    _write_page(kennel, keys)
    green = sum(keys.is_kept(row) for row in rows)
    say(f"\n{green} of {plural(len(rows), 'row')} green; the page: {os.path.relpath(PAGE)}")
    return 0 if green == len(rows) else _FOUND_RED


class Keys:
    """What the evidence of each row depends on.

    Args:
        kennel: the kennel that is asked.

    Attributes:
        code: digest of the product's code.
    """

    def __init__(self, kennel: Kennel) -> None:
        self.code = evidence.code_digest()
        description = stack.look_up(kennel.laptop, stack.STACK)
        self._champion = evidence.digest(description["StackId"], kennel.champion)

    def of(self, row: Row) -> str:
        """Return the digest of the code, of the row's own module, of the champion and of the rows that it needs."""
        assert row.part.__file__
        needed = [kept.evidence for name in row.needs if (kept := evidence.read(name))]
        champion = self._champion if row.asks_champion else ""
        own = [Path(row.part.__file__).read_text(), evidence.code_digest(row.sources)]
        return evidence.digest(self.code, own, champion, needed)

    def is_current(self, row: Row, kept: Kept) -> bool:
        """Whether nothing has changed that the evidence of a row depends on."""
        return kept.key == self.of(row)

    def is_kept(self, row: Row) -> bool:
        """Whether the evidence of a row is there, current, and green."""
        kept = evidence.read(row.name)
        return kept is not None and self.is_current(row, kept) and is_green(judged(row.part.judge, kept))


def _collected(row: Row, kennel: Kennel, keys: Keys) -> Kept:
    """Collect a row and write its file; an error becomes the reason for which the row is red."""
    began, at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    kennel.progress("begins")
    found, problem = {}, ""
    try:
        found = row.part.collect(kennel)
    except Exception as error:
        problem = cli.words_of(error)
    kept = Kept(keys.of(row), round(time.monotonic() - began, 1), at, found, problem)
    kept.write(row.name)
    return kept


def _write_page(kennel: Kennel, keys: Keys) -> None:
    """Write the page with all rows, those that were not collected included."""
    words, rows = table.words(), []
    for row in table.ROWS:
        kept = evidence.read(row.name)
        rows.append(Shown(row, words[row.name], kept, kept is not None and keys.is_current(row, kept)))
    facts = [
        ("champion", kennel.champion["model_package_arn"]),
        ("run", kennel.champion["run"]),
        ("stack", f"{stack.STACK} on the laptop cloud, port {kennel.laptop.port}"),
        ("code", keys.code),
        ("written at", datetime.now(UTC).isoformat(timespec="seconds")),
    ]
    temporary = PAGE.with_suffix(".tmp")
    temporary.write_text(render(rows, facts), encoding="utf-8")
    os.replace(temporary, PAGE)


if __name__ == "__main__":
    shell.leave()
    sys.exit(main())
