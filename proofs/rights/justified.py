"""The rights that nothing here needs, and the document that says why each stands in the template nevertheless."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from local.home import ROOT, LocalError

TABLE = ROOT / "docs" / "permissions.md"


class Reason(NamedTuple):
    """A row of the table: the right, as the proof names it, why it is needed, and where that is written.

    policy and statement may be patterns, for what is alike.
    """

    policy: str
    statement: str
    grant: str
    why: str
    where: str

    def explains(self, policy: str, statement: str, grant: str) -> bool:
        """Whether it is about a right."""
        return fnmatchcase(policy, self.policy) and fnmatchcase(statement, self.statement) and grant == self.grant


def reasons(table: Path = TABLE) -> list[Reason]:
    """The table's rows.

    Raises:
        LocalError: a row that says too little, or that stands there twice.
    """
    found: list[Reason] = []
    for line in table.read_text().splitlines():
        if not line.startswith("| `"):
            continue
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if len(cells) != len(Reason._fields) or not all(cells) or not re.search(r"\]\(\S+\)", cells[-1]):
            raise LocalError(f"{table.name}: write policy, statement, grant, why and a link, not {line}")
        reason = Reason(*(cell.strip("`") for cell in cells[:3]), *cells[3:])
        if any(each.explains(*reason[:3]) for each in found):
            raise LocalError(f"{table.name}: {' · '.join(reason[:3])} stands there twice; keep one row")
        found.append(reason)
    return found
