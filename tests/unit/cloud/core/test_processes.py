"""Process trees are found and ended by their mark."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cloud.core import processes

PARENT = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
print("up", flush=True)
if "leave" not in sys.argv:
    time.sleep(60)
"""


def start(name: str, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = processes.clean_environment(folder / "tmp")
    command = [sys.executable, "-c", PARENT, *arguments]
    process = processes.spawn(command, environment, processes.mark_of(name), folder)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def test_a_tree_is_ended_even_when_its_child_left_the_group(tmp_path: Path) -> None:
    process = start("tree", tmp_path)
    other = start("tree-2", tmp_path)
    assert len(processes.marked(processes.mark_of("tree"))) == 2
    began = time.monotonic()
    processes.end_marked(processes.mark_of("tree"), grace=0.2)
    assert time.monotonic() - began < 5
    assert process.wait(timeout=5) == -9
    assert processes.marked(processes.mark_of("tree")) == []
    assert len(processes.marked(processes.mark_of("tree-2"))) == 2
    processes.end_marked(processes.mark_of("tree-2"), grace=0.0)
    other.wait(timeout=5)


def test_an_orphan_is_found_after_its_parent_ended(tmp_path: Path) -> None:
    process = start("orphan", tmp_path, "leave")
    assert process.wait(timeout=5) == 0
    assert len(processes.marked(processes.mark_of("orphan"))) == 1
    processes.kill_marked(processes.mark_of("orphan"))
    processes.end_marked(processes.mark_of("orphan"), grace=1.0)
    assert processes.marked(processes.mark_of("orphan")) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="without /proc there is nothing to share")
def test_watchers_of_many_trees_share_a_look_at_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    list_folder = os.listdir
    monkeypatch.setattr(processes.os, "listdir", lambda folder: [looks.append(folder), list_folder(folder)][1])
    marks = [processes.mark_of("shared", name) for name in ("one", "two")]
    started = [processes.spawn(["sleep", "60"], {"PATH": os.environ["PATH"]}, mark, tmp_path) for mark in marks]
    try:
        assert [processes.marked_lately(mark, 0) for mark in marks] == [[each.pid] for each in started]
        assert looks == ["/proc", "/proc"]
        started[0].kill()
        started[0].wait()
        assert processes.marked_lately(marks[0], 3600) == [started[0].pid]
        assert looks == ["/proc", "/proc"]
        assert processes.marked_lately(marks[0], 0) == []
    finally:
        for each in started:
            each.kill()
            each.wait()


def test_ps_finds_what_proc_finds(tmp_path: Path) -> None:
    process = start("by-ps", tmp_path)
    mark = processes.mark_of("by-ps")
    variable = f"{processes.MARK}={mark}".encode()
    assert sorted(processes._marked_by_ps(variable)) == sorted(processes.marked(mark))
    processes.end_marked(mark, grace=0.0)
    process.wait(timeout=5)


def test_the_command_of_a_process_is_known_with_and_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import time; print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    for _ in ("as this machine has it", "without /proc"):
        assert processes.command_of(process.pid).endswith(f"-c {program}")
        monkeypatch.setattr(processes.os.path, "isdir", lambda _path: False)
    monkeypatch.undo()
    process.kill()
    for _ in ("as this machine has it", "without /proc"):
        deadline = time.monotonic() + 5
        while processes.command_of(process.pid):  # It has ended, but nobody has waited for it.
            assert time.monotonic() < deadline
        monkeypatch.setattr(processes.os.path, "isdir", lambda _path: False)
    process.communicate()


def test_a_clean_environment_has_no_credentials(tmp_path: Path) -> None:
    environment = processes.clean_environment(tmp_path / "tmp")
    assert not [name for name in environment if name.startswith(("AWS_", "SM_", "PYTHONPATH"))]
    assert environment["TMPDIR"] == str(tmp_path / "tmp")


def test_no_process_starts_once_the_end_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "CLOUD", "cloud-that-ends")
    monkeypatch.setattr(processes, "_ending", threading.Event())
    started: list[subprocess.Popen[bytes]] = []
    refusals: list[str] = []

    def start_many() -> None:
        try:
            while True:
                started.append(processes.spawn(["sleep", "60"], {}, processes.mark_of("job"), tmp_path))
        except OSError as error:
            refusals.append(str(error))

    thread = threading.Thread(target=start_many)
    thread.start()
    deadline = time.monotonic() + 60
    while len(started) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    processes.end_all(grace=1.0)
    thread.join(60)
    assert (refusals, processes.marked("cloud-that-ends")) == (["the cloud is ending"], [])
    for each in started:
        each.communicate(timeout=5)
