"""The rows of the capstone, in the order in which they are collected, and what docs/capstone.md says about each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from local.home import ROOT, LocalError
from proofs.capstone.evidence import Check, Evidence
from proofs.capstone.kennel import Kennel
from proofs.capstone.rows import (
    concurrency,
    cost,
    data,
    ec2,
    endpoint,
    function,
    notebook,
    scaling,
    security,
    training,
    tuning,
)

DOCUMENT = ROOT / "docs" / "capstone.md"


class Part(Protocol):
    """A module of ``proofs.capstone.rows``."""

    __file__: str | None

    def collect(self, kennel: Kennel) -> Evidence:
        """Do the work and return what shows it."""

    def judge(self, evidence: Evidence) -> list[Check]:
        """Return what must be true of the evidence, from the evidence alone."""

    def tell(self, evidence: Evidence) -> list[tuple[str, str]]:
        """Return figures for people: names and values."""


@dataclass(frozen=True)
class Row:
    """One thing that the course asks for.

    Attributes:
        name: of the row, of its section in docs/capstone.md and of its file of evidence.
        part: the module that does it.
        seconds: how long it took on two cores, for the forecast.
        needs: rows whose evidence it reads.
        asks_champion: whether another champion makes its evidence stale.
        sources: folders and files that decide what it finds, beside its own module and the product.
    """

    name: str
    part: Part
    seconds: int
    needs: tuple[str, ...] = ()
    asks_champion: bool = True
    sources: tuple[str, ...] = ()


ROWS = (
    Row("notebook", notebook, 10, sources=("examples",)),
    Row("data", data, 2),
    Row("tuning", tuning, 60),
    Row("training", training, 50),
    Row("endpoint", endpoint, 3),
    Row("ec2", ec2, 20, needs=("training",)),
    Row("function", function, 3),
    Row("security", security, 10, sources=("proofs/role_attack.py",)),
    Row("concurrency", concurrency, 15),
    Row("scaling", scaling, 420, asks_champion=False, sources=("proofs/drills", "traffic")),
    Row("cost", cost, 2),
)


class Words(NamedTuple):
    """What docs/capstone.md says about a row.

    Attributes:
        asked: what the course asks for.
        laptop: the command that makes the evidence on the laptop.
        aws: the same on AWS.
        evidence: what shows it.
        text: the paragraphs of its section, as Markdown.
    """

    asked: str
    laptop: str
    aws: str
    evidence: str
    text: str


def words(document: Path = DOCUMENT) -> dict[str, Words]:
    """Return what the document says about each row, in its order."""
    text = document.read_text()
    sections = dict(re.findall(r"^### (\w+)\n+(.*?)\s*(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    cells = re.findall(r"^\| ([^|]+) \| \[(\w+)\]\(#\w+\) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    return {
        name: Words(asked.strip(), laptop.strip(), aws.strip(), shown.strip(), sections.get(name, ""))
        for asked, name, laptop, aws, shown in cells
    }


def chosen(names: Sequence[str]) -> list[Row]:
    """Return the rows with these names and those that they need; all for no name.

    Raises:
        LocalError: there is no such row.
    """
    if unknown := [name for name in names if name not in {row.name for row in ROWS}]:
        listed = ", ".join(row.name for row in ROWS)
        raise LocalError(f"there is no row {', '.join(unknown)}; the rows are {listed}")
    wanted = set(names or [row.name for row in ROWS])
    for row in reversed(ROWS):
        wanted |= set(row.needs) if row.name in wanted else set()
    return [row for row in ROWS if row.name in wanted]
