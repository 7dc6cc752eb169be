"""Reads the document that gives reasons for the rights that nothing on the laptop needs."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from local.home import ROOT, LocalError

TABLE = ROOT / "docs" / "permissions.md"


class Reason(NamedTuple):
    """A row of the table.

    Attributes:
        policy: the policy's name, as the proof prints it; may be a pattern.
        statement: the statement's name; may be a pattern.
        grant: the action, resource or condition key.
        why: the reason why it is needed.
        where: a link to the document that says so.
    """

    policy: str
    statement: str
    grant: str
    why: str
    where: str

    def explains(self, policy: str, statement: str, grant: str) -> bool:
        """Whether the row is about a right."""
        return fnmatchcase(policy, self.policy) and fnmatchcase(statement, self.statement) and grant == self.grant


def read_reasons(table: Path = TABLE) -> list[Reason]:
    """Return the rows of the table.

    Raises:
        LocalError: a row is incomplete, or a right has two rows.
    """
    reasons: list[Reason] = []
    for line in table.read_text().splitlines():
        if not line.startswith("| `"):
            continue
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if len(cells) != len(Reason._fields) or not all(cells) or not re.search(r"\]\(\S+\)", cells[-1]):
            raise LocalError(f"{table.name}: write policy, statement, grant, why and a link instead of {line}")
        reason = Reason(*(cell.strip("`") for cell in cells[:3]), *cells[3:])
        if any(each.explains(*reason[:3]) for each in reasons):
            raise LocalError(f"{table.name}: {' · '.join(reason[:3])} has two rows; keep one")
        reasons.append(reason)
    return reasons
