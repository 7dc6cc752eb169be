"""SECURITY.md makes claims; each names the test, the drill or the page of AWS that proves it."""

import re

import pytest

from local.cli import DRILLS
from tests.contract.conftest import ROOT, names_in, table_rows

DOCUMENT = ROOT / "SECURITY.md"
PROVEN = ("What the usual solution got wrong", "What Kennel claims")
PROOF = re.compile(
    r"`(tests/[\w/]+\.py)::(\w+)`|`(?:python -m local )?drill ([\w-]+)`|`(make proof)`|\((https://docs\.aws[^)\s]+)\)"
)


def rows(heading: str) -> list[list[str]]:
    """Return the cells of every row below a headline, without the heads of the tables."""
    return [row for row in table_rows(DOCUMENT, heading) if row[-1] not in ("proof", "---")]


def test_there_are_many_claims_and_limits():
    assert len(rows(PROVEN[0])) > 7
    assert len(rows(PROVEN[1])) > 40
    assert len(rows("Known limits")) > 8


@pytest.mark.parametrize("row", [row for heading in PROVEN for row in rows(heading)], ids=lambda row: row[0][:60])
def test_claim_names_a_proof_that_exists(row):
    proofs = PROOF.findall(row[-1])
    assert proofs, "no test, drill or page of AWS is named"
    for path, test, drill, _, _ in proofs:
        assert not test or test in names_in(path), f"{path} has no {test}"
        assert not drill or drill in DRILLS, f"there is no drill {drill}"


@pytest.mark.parametrize("row", rows("Known limits"), ids=lambda row: row[0][:60])
def test_limit_says_what_to_do(row):
    assert len(row) == 2
    assert all(row)
