"""The lists of packages pin what is asked for, by hash, and say nothing about where it was found."""

import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from proofs import lock
from tests.contract.conftest import ROOT

LAPTOP = [each.path for each in lock.LAPTOP]
EVERY_LIST = [*(each.path for each in lock.LOCKS), "locks/cuda.lock", "locks/torch-cpu.lock"]


def pins(path: str) -> dict[str, str]:
    """Return the versions of a list's packages; where two are listed, Python decides which is installed."""
    found = [Requirement(entry) for entry in lock.entries((ROOT / path).read_text())]
    return {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each in found
        if each.marker is None or each.marker.evaluate()
    }


def asked(path: str) -> list[Requirement]:
    if path == "pyproject.toml":
        project = tomllib.loads((ROOT / path).read_text())["project"]
        return [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["dev"])]
    lines = (line.partition("#")[0].strip() for line in (ROOT / path).read_text().splitlines())
    wishes = [Requirement(line) for line in lines if line]
    return [wish for wish in wishes if wish.marker is None or wish.marker.evaluate()]


@pytest.mark.parametrize("each", lock.LOCKS, ids=lambda each: each.path)
def test_every_dependency_is_pinned_to_a_version_that_it_allows(each):
    versions = pins(each.path)
    for wish in asked(each.sources[0]):
        version = versions.get(canonicalize_name(wish.name))
        if version is None and each.path == "locks/run.lock":
            continue  # It is for developers, so only the other list has it.
        assert version, f"{wish.name} is not locked; `python -m proofs.lock` refreshes {each.path}"
        assert wish.specifier.contains(version), f"{wish.name} is locked at {version}, which {wish} does not allow"


@pytest.mark.parametrize("path", EVERY_LIST)
def test_every_package_is_one_version_with_hashes_and_only_wheels_are_taken(path):
    text = (ROOT / path).read_text()
    assert "\n--only-binary :all:\n" in text
    for name, entry in lock.entries(text).items():
        assert re.match(r"[\w.-]+==[\w.+]+( ;.*)?$", name), f"{path}: {name} is not pinned"
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), f"{path}: {name} has no hash"


@pytest.mark.parametrize("path", EVERY_LIST)
def test_a_list_names_no_index_and_no_local_build(path):
    """The lists are for every index, and only that of torch's builds for CPUs names one of them."""
    text = (ROOT / path).read_text()
    assert "://" not in text
    assert ("+" in text) == (path == "locks/torch-cpu.lock")
    assert not re.search(r"^ *--(index|extra-index|find-links|trusted)", text, re.MULTILINE)


@pytest.mark.parametrize("path", LAPTOP)
def test_laptops_torch_brings_no_cuda_with_it(path):
    """On Linux, PyPI's torch needs the packages of CUDA; the Makefile installs them where they are needed."""
    packages = lock.entries((ROOT / path).read_text())
    assert [name for name in packages if name.startswith("torch==")]
    assert not [name for name in packages if name.startswith(("nvidia", "cuda", "triton"))]
    cuda = lock.entries((ROOT / "locks/cuda.lock").read_text())
    assert len([name for name in cuda if name.startswith("nvidia")]) >= 10
    assert all("sys_platform == 'linux'" in name for name in cuda)


def test_torchs_builds_for_cpus_are_those_of_the_laptops_version_and_the_images_is_one_of_them():
    text = (ROOT / "locks/torch-cpu.lock").read_text()
    assert text.endswith(lock.torch_cpu())
    (name,) = lock.entries(text)
    (laptop,) = [each for each in lock.entries((ROOT / "locks/run.lock").read_text()) if each.startswith("torch==")]
    assert name == f"{laptop}+cpu"
    image = (ROOT / "training/requirements-cpu.txt").read_text()
    version, digest = re.search(r"^(torch==\S+) \\\n +--hash=(sha256:\w{64})\n", image, re.MULTILINE).groups()
    assert version == name
    assert f"--hash={digest}" in text


def test_make_asks_for_a_build_of_torch_for_cpus_before_it_takes_pypis():
    recipe = (ROOT / "Makefile").read_text().partition("$(VENV)/run.stamp: ")[2].partition("\n\n")[0]
    first, second, third = (
        recipe.index(f"$(call locked,$(VENV),locks/{name}.lock)") for name in ("torch-cpu", "run", "cuda")
    )
    assert first < second < third


def test_the_functions_are_tested_with_the_packages_that_they_ship():
    shipped, tested = pins("functions/requirements.txt"), pins("locks/run.lock")
    assert {"aws-lambda-powertools", "pydantic", "jmespath", "typing-extensions"} <= shipped.keys()
    assert {name: tested.get(name) for name in shipped} == shipped


def test_this_environment_has_what_its_packages_need():
    """Pip installs the lists without looking for what they lack, so this looks."""
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_make_installs_lists_by_hash_and_nothing_else():
    commands = re.findall(r"\$\(call (pip|locked),(.*)", (ROOT / "Makefile").read_text())
    assert len(commands) >= 6
    for macro, rest in commands:
        if macro == "locked":
            path = re.search(r"([\w./-]+)\)", rest.partition(",")[2])[1]
            assert path in EVERY_LIST
        else:  # The macro itself, and the project, which is built with what was installed before.
            assert rest.startswith(
                ("$(1)) --require-hashes --only-binary :all: -r $(2)", "$(VENV)) --no-build-isolation -e .")
            )


def test_splitting_a_list_moves_cudas_packages():
    text = "".join(
        f"{name} \\\n    --hash=sha256:{digit * 64}\n"
        for name, digit in (("numpy==2", "a"), ("nvidia-x==1 ; sys_platform == 'linux'", "b"), ("torch==2", "c"))
    )
    rest, cuda = lock.split(f"--only-binary :all:\n\n{text}")
    assert list(lock.entries(rest)) == ["numpy==2", "torch==2"]
    assert list(lock.entries(cuda)) == ["nvidia-x==1 ; sys_platform == 'linux'"]
    assert rest.startswith("--only-binary :all:\n")
    assert cuda.startswith("--only-binary :all:\n")
