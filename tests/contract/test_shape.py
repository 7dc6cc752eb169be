"""No file of code has above 600 lines, and no function above 80, so that each can be read at once."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES_OF_A_FILE, MAX_LINES_OF_A_FUNCTION = 600, 80
FOLDERS = (
    *("benchmarks", "cloud", "dataset", "functions", "local", "networks", "proofs", "serving", "sketchbook"),
    *("tests", "traffic", "training"),
)
FILES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]


def test_files_are_short():
    lengths = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in FILES}
    assert len(lengths) > 300
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES_OF_A_FILE} == {}


def test_functions_are_short():
    lengths = {
        f"{path.relative_to(ROOT)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES_OF_A_FUNCTION} == {}
