"""docs/laptop-cloud.md lists what the laptop cloud refuses as AWS does: every row has its test and AWS's page."""

import re

import pytest

from tests.contract.conftest import ROOT, names_in, table_rows

DOCUMENT = ROOT / "docs/laptop-cloud.md"
HEADING = "What the laptop refuses as AWS does"


def rows():
    """The cells of every row of the section's tables: rule, error, test, source."""
    return [row for row in table_rows(DOCUMENT, HEADING) if row[0] != "rule" and set(row[0]) != {"-"}]


def test_table_is_there():
    assert len(rows()) > 40


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_rule_has_its_error_its_test_and_its_source(row):
    assert len(row) == 4, row
    _, error, proof, source = row
    assert re.match(r"`[\w.]+`", error), "the error begins with its code"
    assert re.search(r"\]\(https://[^)\s]+\)", source)
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", proof)
    assert named, "no test is named"
    for path, name in named:
        assert name in names_in(path), f"{path} has no {name}"


@pytest.mark.parametrize("page", ["laptop-cloud.md", "operations.md"])
def test_every_test_that_the_document_names_exists(page):
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (DOCUMENT.parent / page).read_text())
    assert named
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []
