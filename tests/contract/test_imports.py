"""Who may import whom: between the top folders, and between the rooms of the laptop cloud."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AWS_FACTS = {"prices", "quotas"}  # packages of what AWS's own lists say; they lie with the functions, for all to read
FUNCTION_PACKAGES = {path.parent.name for path in (ROOT / "functions").glob("*/__init__.py")} - AWS_FACTS
RUNNER = {"cloud", "dataset", "sketchbook"}
MAY_IMPORT = {
    "dataset": set(),
    "networks": set(),
    "functions": {"dataset", "prices", "quotas", "training"},
    "prices": set(),
    "quotas": set(),
    "training": {"dataset", "networks"},
    "serving": {"dataset", "networks"},
    "cloud": {"quotas"},
    "sketchbook": {"dataset"},
    "traffic": set(),
    "local": RUNNER | {"prices"},
    "proofs": RUNNER | {"local", "prices", "quotas", "traffic"},
    "benchmarks": RUNNER | {"functions", "local", "networks", "prices", "serving", "traffic", "training"},
    "examples": set(),
}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / (f"functions/{folder}" if folder in AWS_FACTS else folder)).rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    """Return the dotted names of all modules that a file imports, wherever in the file it does."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def imported_folders(path: Path) -> set[str]:
    names = {module.partition(".")[0] for module in imported_modules(path)}
    return {"functions" if name in FUNCTION_PACKAGES else name for name in names}


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_a_folder_imports_only_what_it_may(folder):
    assert sources(folder)
    for path in sources(folder):
        foreign = (imported_folders(path) & MAY_IMPORT.keys()) - MAY_IMPORT[folder] - {folder}
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


def test_only_plan_reads_the_rules_of_the_training_and_needs_no_package_for_them():
    """The layer of Plan has the training program's files, and none of its packages."""
    users = {
        path.relative_to(ROOT).parts[1]: {each for each in imported_modules(path) if each.startswith("training.")}
        for path in sources("functions")
        if "training" in imported_folders(path)
    }
    assert users.keys() == {"plan"}
    assert all(each.startswith("training.hyperparameters.") for modules in users.values() for each in modules)
    needed = {module.partition(".")[0] for module in imported_modules(ROOT / "training/hyperparameters.py")}
    assert needed <= sys.stdlib_module_names
    assert not imported_modules(ROOT / "training/__init__.py")


def test_every_folder_of_code_has_its_rule():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    with_code = {name for name in folders if name != "tests" and sources(name)}
    assert with_code - {"TrainedModels"} == MAY_IMPORT.keys() - AWS_FACTS


def test_rooms_of_the_laptop_cloud_import_only_downwards():
    """No two rooms need each other; what starts the cloud (its top files) may use every room."""
    rooms = {path.name for path in (ROOT / "cloud").iterdir() if (path / "__init__.py").exists()}
    needs = {room: set() for room in rooms}
    for room in rooms:
        for path in sources(f"cloud/{room}"):
            parts = [module.split(".") for module in imported_modules(path) if module.startswith("cloud.")]
            assert all(len(names) > 2 for names in parts), f"{path.relative_to(ROOT)} imports a top file of cloud/"
            needs[room] |= {names[1] for names in parts} - {room}
    order = list(TopologicalSorter(needs).static_order())  # raises CycleError, which names the rooms
    assert order[0] == "core"


def test_every_name_of_ministacks_inside_is_declared():
    """HOOKS of each hooks file lists the private names of MiniStack that the file uses. They are checked at start."""
    summed = (ROOT / "cloud/hooks.py").read_text()
    for path in sources("cloud"):
        uses_inside = {
            module for module in imported_modules(path) if module.startswith(("ministack.", "samtranslator."))
        }
        if not uses_inside:
            continue
        room = path.parent.name
        assert path.name == "hooks.py" or path == ROOT / "cloud/core/emulator.py", f"{path} plugs into MiniStack"
        assert f"cloud.{room} import" in summed, f"cloud/hooks.py does not check {path.relative_to(ROOT)}"
        tree = ast.parse(path.read_text())
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        objects = {
            (alias.asname or alias.name)
            for node in imports
            for alias in node.names
            if {alias.name, f"{getattr(node, 'module', '')}.{alias.name}"} & uses_inside
        }
        hooks = next(
            node.value for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "HOOKS"
        )
        declared = {(row.elts[0].id, name.value) for row in hooks.elts for name in row.elts[1].elts}
        used = {
            (node.value.id, node.attr)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in objects
        }
        used = {(owner, name) for owner, name in used if owner != "app" or name != "_version"}
        assert used == declared, f"{path.relative_to(ROOT)}: used and declared differ by {used ^ declared}"


def test_the_server_brings_no_torch():
    """The image that serves has no torch. Only the modules that export and evaluate may import it."""
    reached, todo = set(), ["server", "__main__", "function", "photo_function"]
    while todo:
        name = todo.pop()
        path = ROOT / "serving" / f"{name}.py"
        if name in reached or not path.exists():
            continue
        reached.add(name)
        tree = ast.parse(path.read_text())
        for node in tree.body:  # Imports inside functions do not run at start, so they are allowed.
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
            assert not any(m.split(".")[0] == "torch" for m in modules), path.name
            todo += [m.split(".")[1] for m in modules if m.startswith("serving.")]
    assert "model" in reached


def test_only_what_reads_datasets_decodes_the_formats_of_datasets():
    """What strangers send never reaches these decoders, and Plan's layer, which has the package, has no Pillow."""
    users = {
        str(path.relative_to(ROOT))
        for folder in MAY_IMPORT
        for path in sources(folder)
        if any(module.startswith("dataset.other_formats") for module in imported_modules(path))
    }
    assert users == {
        "training/preprocess.py",
        "training/samples.py",
        "serving/challenger.py",
        "serving/dataset_photos.py",
        "local/report.py",
    }
    importers = {path.stem for path in sources("serving") if "serving.dataset_photos" in str(imported_modules(path))}
    assert importers == {"card", "challenger", "judge"}
    needed = {
        module.partition(".")[0]
        for path in sources("dataset")
        if path.name != "other_formats.py"
        for module in imported_modules(path)
    }
    assert needed <= sys.stdlib_module_names | {"dataset"}
