"""What jobs and servers read is data: their code calls nothing that builds objects or runs code from bytes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What each of these reads can name a class or a function that is then called.
# https://docs.pytorch.org/docs/stable/generated/torch.load.html, https://docs.python.org/3/library/pickle.html
UNPICKLING = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open"),
    *("torch.export.load", "torch.jit.load", "torch.package.PackageImporter", "torch.hub.load"),
    *("cloudpickle.load", "cloudpickle.loads", "dill.load", "dill.loads", "joblib.load", "pandas.read_pickle"),
    *("numpy.fromregex", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec", "compile", "__import__"),
}


FOLDERS = ("dataset", "functions", "networks", "serving", "training")


def files() -> list[Path]:
    return [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]


def names_of(tree: ast.AST) -> dict[str, str]:
    """Return what the names mean that a file imports, such as {"np": "numpy", "load": "torch.load"}."""
    meaning = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                meaning[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module:
            meaning |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return meaning


def used(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield every dotted name that a file uses, by its full name, with its node."""
    meaning = names_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            first, dot, rest = ast.unparse(node).partition(".")
            yield meaning.get(first, first) + dot + rest, node


def faults(source: str) -> list[str]:
    """Return what a file does that can run what it reads."""
    tree = ast.parse(source)
    found = [name for name, _ in used(tree) if name in UNPICKLING]
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for name, node in used(tree):
        call = calls.get(id(node))
        given = {each.arg: ast.unparse(each.value) for each in call.keywords} if call else {}
        if name == "torch.load" and given.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if name == "numpy.load" and given.get("allow_pickle", "False") != "False":
            found.append("numpy.load with allow_pickle")
    return found


def test_no_file_of_the_jobs_and_the_server_reads_objects():
    assert len(files()) > 60
    assert {str(path.relative_to(ROOT)): found for path in files() if (found := faults(path.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=False)",
        "import torch as t\nt.load('x')",
        "from torch import load\nload('x')",
        "from torch import load as read\nread('x')",
        "import torch\nread = torch.load",
        "import torch\ntorch.export.load('x')",
        "from torch.export import load\nload('x')",
        "import torch.export\ntorch.export.load('x')",
        "import torch\ntorch.jit.load('x')",
        "import pickle\npickle.loads(b'')",
        "from pickle import Unpickler as U\nclass R(U): pass",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "exec(open('x').read())",
    ],
)
def test_the_rule_finds_what_runs_code(source):
    assert faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load('x', weights_only=True)",
        "import numpy as np\nnp.load('x')",
        "import pickle\ntry: pass\nexcept pickle.UnpicklingError: pass",
        "from safetensors.torch import load_file\nload_file('x')",
        "import re\nre.compile('x')",
    ],
)
def test_the_rule_lets_data_be_read(source):
    assert not faults(source)
