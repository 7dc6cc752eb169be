"""requirements.lock pins what pyproject.toml asks for, and says nothing about where it was found."""

import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.contract.conftest import ROOT

LOCK = (ROOT / "requirements.lock").read_text()


def test_every_dependency_is_pinned_to_a_version_that_it_allows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = [Requirement(line) for line in LOCK.splitlines() if line and not line.startswith("#")]
    versions = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    for wish in map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["dev"]]):
        version = versions.get(canonicalize_name(wish.name))
        assert version, f"{wish.name} is not locked; CONTRIBUTING.md says how to refresh requirements.lock"
        assert wish.specifier.contains(version), f"{wish.name} is locked at {version}, which {wish} does not allow"


def test_the_lock_names_no_index_and_no_local_build():
    """The lock is for every index, and for every build of torch."""
    assert "://" not in LOCK
    assert "+" not in LOCK
