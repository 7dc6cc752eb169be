"""Assign the tests to pytest-xdist's workers.

Tests that share a laptop cloud run on one worker, which starts that cloud once. Any other file is a group of its own.
"""

import gc
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from local import shell

# The shell of whoever starts the tests stays outside, as it does for the programs.
_clean = shell.clean(os.environ)
os.environ.clear()
os.environ.update(_clean)
TESTS = Path(__file__).parent
# Files that share a cloud, by the name of their group. The group that takes longest comes first, so that no worker
# starts it when the others are nearly done.
GROUPS = {
    "kennel": ("integration/pipeline/",),
    "cloud": ("integration/cloud/", "integration/test_lost_hosts.py", "integration/test_interrupt.py"),
    "bare": tuple(
        f"integration/pipeline/test_{name}.py"
        for name in ("alarms", "bucket", "model_function", "one_role", "ranks_apart", "spending", "teardown")
    ),
}


def group_of(path: str) -> str:
    """Return the group of a test file: of the longest entry that its path begins with, else the path itself.

    Args:
        path: relative to tests/.
    """
    matches = [(len(start), name) for name, starts in GROUPS.items() for start in starts if path.startswith(start)]
    return max(matches)[1] if matches else path


class GroupScheduling(LoadScopeScheduling):
    """Hands whole groups to workers.

    xdist's own ``loadgroup`` puts the group into the test's id, which pytest 9.2 no longer lets plugins change.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0].removeprefix("tests/"))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Replace xdist's scheduler."""
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests that share a cloud first, then the other integration tests."""
    order = [*GROUPS, "integration/", ""]
    groups = {item: group_of(item.path.relative_to(TESTS).as_posix()) for item in items}
    items.sort(key=lambda item: next(number for number, start in enumerate(order) if groups[item].startswith(start)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector rest while modules and tests come, a million objects that stay, and then look less."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(100_000)  # objects
        gc.enable()
