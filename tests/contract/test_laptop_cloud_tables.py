"""docs/laptop-cloud.md lists what the laptop cloud refuses as AWS does: every row has its test and AWS's page."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/laptop-cloud.md"
HEADING = "## What the laptop refuses as AWS does"


def rows():
    """The cells of every row of the section's tables: rule, error, test, source."""
    section = DOCUMENT.read_text().partition(f"{HEADING}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if row[0] != "rule" and set(row[0]) != {"-"}]


@functools.cache
def names_in(path):
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


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


def test_every_test_that_the_document_names_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", DOCUMENT.read_text())
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []
