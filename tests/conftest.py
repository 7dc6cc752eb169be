"""How the tests are shared out among pytest-xdist's workers.

Tests that share a laptop cloud run on one worker, which starts that cloud once. Any other file is a group of its own.
"""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Files that share a cloud, by the name of the group; the longest group comes first, so that it does not end last.
GROUPS = {
    "kennel": ("integration/pipeline/",),
    "bare": ("integration/pipeline/test_teardown.py", "integration/pipeline/test_ranks_apart.py"),
    "cloud": ("integration/cloud/", "integration/test_lost_hosts.py", "integration/test_interrupt.py"),
    "account": ("integration/test_aws_smoke.py",),
}


def group_of(path: str) -> str:
    """Return the group of a test file, given below tests/; the most specific entry counts, else the file is one."""
    matches = [(len(start), name) for name, starts in GROUPS.items() for start in starts if path.startswith(start)]
    return max(matches)[1] if matches else path


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put each test into its group; those that share a cloud come first, then the other integration tests."""
    order = [*GROUPS, "integration/", ""]
    groups = {item: group_of(item.path.relative_to(TESTS).as_posix()) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: next(place for place, start in enumerate(order) if groups[item].startswith(start)))
