"""Who may import whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNCTION_PACKAGES = {path.name for path in (ROOT / "functions").iterdir() if (path / "__init__.py").exists()}
HOUSES = {"functions", "training", "serving", "local", "dataset"}
MAY = {
    "functions": {"dataset"},
    "training": {"dataset"},
    "serving": {"dataset"},
    "dataset": set(),
    "local": HOUSES,
}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return {"functions" if name in FUNCTION_PACKAGES else name for name in found}


@pytest.mark.parametrize("house", sorted(HOUSES))
def test_house_imports_only_what_it_may(house):
    files = [path for path in (ROOT / house).rglob("*.py") if "__pycache__" not in path.parts]
    assert files
    for path in files:
        foreign = (imported(path) & HOUSES) - MAY[house] - {house}
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


def test_the_server_brings_no_torch():
    """Only exporting and evaluating may; the serving image has none."""
    reached, todo = set(), ["server", "__main__"]
    while todo:
        name = todo.pop()
        path = ROOT / "serving" / f"{name}.py"
        if name in reached or not path.exists():
            continue
        reached.add(name)
        tree = ast.parse(path.read_text())
        for node in tree.body:  # what runs at import; an import inside a function is a choice
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
            assert not any(m.split(".")[0] == "torch" for m in modules), path.name
            todo += [m.split(".")[1] for m in modules if m.startswith("serving.")]
    assert "model" in reached
