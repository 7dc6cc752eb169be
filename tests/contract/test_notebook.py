"""The notebook has the cells of the script, no output, and an environment that is pinned.

``python -m tests.contract.test_notebook`` writes the notebook anew after a change of the script.
"""

import ast
import builtins
import json
import re

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from proofs.lock import entries
from tests.contract.conftest import ROOT

FOLDER = ROOT / "examples"
NOTEBOOK = FOLDER / "kennel.ipynb"
MAX_LINES = 105
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def script_cells() -> list[tuple[str, str]]:
    """Return kind and text of the script's cells, which begin with ``# %%``, as editors and jupytext read them."""
    parts = re.split(r"^# %%( \[markdown\])?\n", (FOLDER / "kennel.py").read_text(), flags=re.MULTILINE)
    assert parts[0] == ""
    pairs = zip(parts[1::2], (text.strip("\n") for text in parts[2::2]), strict=True)
    return [
        ("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE)) if mark else ("code", text) for mark, text in pairs
    ]


def notebook_of(cells: list[tuple[str, str]]) -> dict:
    """Return a notebook without outputs."""
    return {
        "cells": [
            {
                "cell_type": kind,
                "id": f"cell-{number}",
                "metadata": {},
                "source": text.splitlines(keepends=True),
                **({"execution_count": None, "outputs": []} if kind == "code" else {}),
            }
            for number, (kind, text) in enumerate(cells, 1)
        ],
        "metadata": {"kernelspec": KERNEL},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def test_the_notebook_is_the_script():
    assert json.loads(NOTEBOOK.read_text()) == notebook_of(script_cells())


def test_every_code_cell_is_explained_and_the_script_is_short():
    kinds = [kind for kind, _ in script_cells()]
    assert kinds == ["markdown", "code"] * 7
    for kind, text in script_cells():
        if kind == "code":
            ast.parse(text)
    assert len((FOLDER / "kennel.py").read_text().splitlines()) <= MAX_LINES


def test_the_last_cell_needs_the_first_alone():
    """It cleans up after a cell that failed, so it may use no name of the cells between."""
    first, *_, last = [ast.parse(text) for kind, text in script_cells() if kind == "code"]
    known = {alias.asname or alias.name for node in ast.walk(first) for alias in getattr(node, "names", [])}
    stored = {
        *(
            each.id
            for tree in (first, last)
            for each in ast.walk(tree)
            if isinstance(each, ast.Name) and is_stored(each)
        ),
        *(each.name for each in ast.walk(last) if isinstance(each, ast.FunctionDef)),
        *(each.arg for each in ast.walk(last) if isinstance(each, ast.arg)),
    }
    used = {each.id for each in ast.walk(last) if isinstance(each, ast.Name)}
    assert used - known - stored - set(dir(builtins)) == set()


def is_stored(name):
    return isinstance(name.ctx, ast.Store)


def test_the_notebook_knows_no_cloud():
    """The same cells run on AWS and on the laptop cloud, so none may name an address, an account or a region."""
    text = (FOLDER / "kennel.py").read_text()
    assert not re.search(r"endpoint_url|https?://|localhost|\d{12}|us-east-1", text)


def test_its_environment_is_pinned_and_has_no_torch():
    lock = (FOLDER / "requirements.lock").read_text()
    pins = {canonicalize_name(pin.name): pin.specifier for pin in map(Requirement, entries(lock))}
    wishes = [line.partition("#")[0] for line in (FOLDER / "requirements.in").read_text().splitlines()]
    for wish in map(Requirement, wishes):
        version = str(pins[canonicalize_name(wish.name)]).removeprefix("==")
        assert wish.specifier.contains(version), f"{wish} is locked at {version}; CONTRIBUTING.md says how to refresh"
    assert all(str(specifier).startswith("==") for specifier in pins.values())
    assert not {"torch", "torchvision", "tensorflow"} & pins.keys()
    assert "://" not in lock


if __name__ == "__main__":
    NOTEBOOK.write_text(json.dumps(notebook_of(script_cells()), indent=1, ensure_ascii=False) + "\n")
