"""docs/capstone.md and the program that collects the evidence have the same rows."""

import re

from proofs.capstone.table import DOCUMENT, ROWS, words
from tests.contract.conftest import ROOT

MAX_MINUTES = 20  # on two cores, as the document and the help promise


def test_table_sections_and_program_have_the_same_rows():
    names = [row.name for row in ROWS]
    assert list(words()) == names
    rows_of_table = re.findall(r"^\| .* \| \[(\w+)\]\(#(\w+)\) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert rows_of_table == [(name, name) for name in names]
    assert re.findall(r"^### (\w+)$", DOCUMENT.read_text(), re.MULTILINE) == names


def test_each_row_is_explained_and_has_both_commands():
    for name, said in words().items():
        assert len(said.text.split()) > 60, name
        assert said.laptop
        assert said.aws
        assert said.evidence


def test_rows_need_only_earlier_ones():
    seen = set()
    for row in ROWS:
        assert set(row.needs) <= seen
        seen.add(row.name)


def test_each_module_is_one_row():
    modules = {path.stem for path in (ROOT / "proofs/capstone/rows").glob("*.py")} - {"__init__"}
    assert modules == {row.name for row in ROWS}
    for row in ROWS:
        assert row.part.__file__.endswith(f"/{row.name}.py")


def test_files_that_the_document_names_exist():
    events = re.findall(r"events/[\w-]+\.json", DOCUMENT.read_text())
    assert len(events) > 3
    assert [name for name in events if not (ROOT / name).exists()] == []


def test_the_forecast_is_within_the_promise():
    assert sum(row.seconds for row in ROWS) < MAX_MINUTES * 60
