"""Calls that Linux has and macOS lacks: where they stand, and that everything works without them."""

import ast
import os
import re
from types import SimpleNamespace

import mypy
import pytest

from cloud.core import processes
from cloud.sagemaker import opt_ml
from dataset import cores
from tests.contract.conftest import ROOT
from tests.contract.test_imports import MAY_IMPORT, sources

STUBS = os.path.join(os.path.dirname(mypy.__file__), "typeshed/stdlib")  # They say which system has which name.
MODULES = ("asyncio", "errno", "fcntl", "mmap", "os", "resource", "select", "shutil", "signal", "socket", "time")
# What Linux alone has, and why nobody misses it elsewhere.
LINUX_ONLY = {
    ("cloud/core/processes.py", "os.sched_getaffinity"): "test_cores_are_counted_without_affinity",
    ("dataset/cores.py", "os.sched_getaffinity"): "test_cores_are_counted_without_affinity",
    ("training/files.py", "os.O_TMPFILE"): "tests/unit/training/test_files.py",
    ("training/photos.py", "os.posix_fallocate"): "tests/unit/training/test_photos.py",
    ("training/loader.py", "mmap.MADV_HUGEPAGE"): "tests/unit/training/test_loader.py",
    ("training/launch.py", "os.waitid"): "called by process 1 of a container alone, which is a process of Linux",
    ("cloud/core/launcher.py", "signal.sigtimedwait"): "it makes namespaces; containers.available() says no elsewhere",
    ("serving/compiled.py", "os.memfd_create"): "tests/unit/serving/test_compiled.py; the function compiles without it",
    ("benchmarks/trainers.py", "os.sched_getaffinity"): "docs/benchmarks.md says: Linux",
    ("benchmarks/training_loops.py", "os.sched_setaffinity"): "likewise",
    ("benchmarks/function.py", "os.sched_getaffinity"): "likewise; measure() says so elsewhere",
    ("benchmarks/hosted.py", "os.sched_getaffinity"): "likewise",
    ("benchmarks/hosted.py", "os.sched_setaffinity"): "likewise",
    ("benchmarks/hosted.py", "os.posix_fadvise"): "likewise",
    ("benchmarks/hosted.py", "os.POSIX_FADV_DONTNEED"): "likewise",
}


def names(module: str, platform: str) -> set[str]:
    """Return the names that a module of the standard library has on a system, with any Python of ours."""
    system = {"sys": SimpleNamespace(platform=platform, version_info=(3, 11, 4))}
    found = set()

    def collect(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.If):
                holds = eval(ast.unparse(node.test), system)  # noqa: S307 - a condition on sys in a stub of typeshed
                collect(node.body if holds else node.orelse)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.AnnAssign):
                found.add(ast.unparse(node.target))
            elif isinstance(node, ast.Assign):
                found.update(ast.unparse(target) for target in node.targets)
            elif isinstance(node, ast.ImportFrom):
                found.update(alias.asname or alias.name for alias in node.names)

    path = os.path.join(STUBS, f"{module}.pyi")
    with open(path if os.path.exists(path) else os.path.join(STUBS, module, "__init__.pyi")) as file:
        collect(ast.parse(file.read()).body)
    return found


def test_names_that_macos_lacks_are_known_to_be_missing():
    assert {"sched_getaffinity", "posix_fallocate", "O_TMPFILE"} <= names("os", "linux") - names("os", "darwin")
    assert "kill" in names("os", "darwin")


def test_only_these_places_call_what_macos_lacks():
    missing = {module: names(module, "linux") - names(module, "darwin") for module in MODULES}
    used = {
        (str(path.relative_to(ROOT)), f"{node.value.id}.{node.attr}")
        for folder in MAY_IMPORT
        for path in sources(folder)
        if "peers" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.attr in missing.get(node.value.id, ())
    }
    assert used == set(LINUX_ONLY)


def test_only_these_places_read_the_kernels_files():
    used = {
        str(path.relative_to(ROOT))
        for folder in sorted(MAY_IMPORT.keys() - {"benchmarks"})
        for path in sources(folder)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value.startswith(("/proc", "/sys/", "/dev/shm"))
    }
    assert used == {
        "cloud/core/launcher.py",  # It makes namespaces.
        "cloud/lambdas/environment.py",  # Without /proc it asks ps.
        "cloud/lambdas/processor.py",  # Without /proc no time is counted, so none is limited.
        "cloud/core/processes.py",  # Without /proc it asks ps: tests/unit/cloud/core/test_processes.py
        "serving/compiled.py",  # with memfd_create
        "serving/cpu_precision.py",
        "training/distributed.py",  # machine_id asks sysctl, or takes the hostname.
        "training/files.py",  # with O_TMPFILE
    }


@pytest.mark.parametrize("module", [cores, processes])
def test_cores_are_counted_without_affinity(module, monkeypatch):
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 2, 5})
        assert module.num_cores() == 3
        monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert module.num_cores() == 8
    assert opt_ml.threads_per_host(3) == 2
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert module.num_cores() == 1


def test_makefile_keeps_to_the_make_of_macos():
    """GNU make 3.81 is what macOS has; the manual's page "Features" of later versions says what it lacks."""
    newer = r"^\.(ONESHELL|SHELLFLAGS|WAIT|EXTRA_PREREQS|NOTINTERMEDIATE)|\$\((file|let|intcmp|guile) |&:|:::?=|!=|"
    newer += r"^(define \w+ [:+?]?=|undefine |private |load |-load )|--output-sync"
    makefile = (ROOT / "Makefile").read_text()
    assert not re.search(newer, makefile, re.MULTILINE)
    assert re.search(newer, ".ONESHELL:\n")
    assert re.search(newer, "NOW != date\n")
