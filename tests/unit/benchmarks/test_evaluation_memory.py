from pathlib import Path

import pytest

from benchmarks import evaluation_memory
from benchmarks.evaluation_memory import MemoryGroup
from local.home import LocalError


@pytest.mark.parametrize(
    ("version", "stat"),
    [(2, "anon 1234567\nfile 99\nkernel 5\n"), (1, "cache 99\nrss 7\ntotal_cache 99\ntotal_rss 1234567\n")],
)
def test_memory_is_what_no_file_holds(tmp_path: Path, version: int, stat: str) -> None:
    (tmp_path / "memory.stat").write_text(stat)
    assert MemoryGroup(tmp_path, version).anonymous_bytes() == 1_234_567


@pytest.mark.parametrize("version", [1, 2])
def test_group_has_a_hard_limit_and_no_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    monkeypatch.setattr(evaluation_memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(evaluation_memory.os, "rmdir", lambda _: None)  # The kernel's folders need not be empty.
    (tmp_path / "memory").mkdir()
    if version == 2:
        (tmp_path / "cgroup.controllers").write_text("cpu memory")
    with evaluation_memory._memory_group(3584 * 2**20) as group:
        limits = {file.name: file.read_text() for file in group.folder.iterdir()}
    assert group.version == version
    assert limits == (
        {"memory.max": "3758096384", "memory.swap.max": "0"}
        if version == 2
        else {"memory.limit_in_bytes": "3758096384", "memory.memsw.limit_in_bytes": "3758096384"}
    )


def test_without_control_groups_it_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_memory, "_GROUPS", tmp_path / "none")
    needs = "needs Linux, root, and the memory controller"
    with pytest.raises(LocalError, match=needs), evaluation_memory._memory_group(1):
        pass
