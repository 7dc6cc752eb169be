"""The documents that the contract tests hold against each other."""

import ast
import functools
import re
from pathlib import Path

import pytest
import yaml
from samcli.yamlhelper import yaml_parse

from cloud.stepfunctions import asl, expressions

ROOT = Path(__file__).resolve().parents[2]


def states_of(machine):
    """Every state by its name, those of branches and items included."""
    return [named for each in asl.machines_of(machine) for named in each["States"].items()]


def evaluated(value, **variables):
    """Evaluate a field of a definition: every expression in it, with these variables and at the time 0."""
    if isinstance(value, dict):
        return {key: evaluated(item, **variables) for key, item in value.items()}
    if isinstance(value, list):
        return [evaluated(item, **variables) for item in value]
    if not isinstance(value, str) or not value.startswith("{%"):
        return value
    expression = value[2:-2].strip().replace("$millis()", "0")
    return expressions.evaluate(expression, variables, variables.get("states", {}))


@pytest.fixture(scope="session")
def template():
    return yaml_parse((ROOT / "template.yaml").read_text())


@pytest.fixture(scope="session")
def machines():
    return {
        path.name.split(".")[0]: yaml.safe_load(path.read_text()) for path in (ROOT / "statemachine").glob("*.asl.yaml")
    }


def table_rows(document: Path, heading: str) -> list[list[str]]:
    """Return the cells of every row of the tables below a headline of second level, the tables' heads included."""
    section = document.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@functools.cache
def names_in(path: str) -> set[str]:
    """Return the names of the tests of a file, relative to the project's root; none if there is no such file."""
    if not (ROOT / path).is_file():
        return set()
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
