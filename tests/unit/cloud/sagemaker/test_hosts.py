"""Hosts of a job as real processes, in containers and without: what they see, and how they are ended."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.core import containers, processes
from cloud.ecr.images import ContainerImage
from cloud.sagemaker.jobs import host as host_module
from cloud.sagemaker.jobs.host import JobError, JobHost, wait_for_hosts

NEEDS_CONTAINERS = pytest.mark.skipif(not containers.available(), reason="this machine allows no namespaces")
NO_HOME = f"find: '{Path.home()}': No such file or directory"
SECONDS = 20.0  # longer than any of these programs needs


class Log:
    """A log in memory in place of CloudWatch's."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line)

    def flush(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(params=[pytest.param("containers", marks=NEEDS_CONTAINERS), "processes"])
def anywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test in containers, and as on machines that allow none."""
    if request.param == "processes":
        monkeypatch.setattr(containers, "available", lambda: False)
    return str(request.param)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[JobHost, Any]]]:
    """Return a function that starts a command on a host of its own, and returns the host and its log."""
    hosts: list[JobHost] = []

    def start_one(*command: str, image: ContainerImage | None = None, **variables: str) -> tuple[JobHost, Any]:
        name, log = f"algo-{len(hosts) + 1}", Log()
        mark = processes.mark_of("test", tmp_path.name, name)
        host = JobHost(name, tmp_path, log, mark, image)  # type: ignore[arg-type]
        hosts.append(host)
        (host.opt_ml.root / "model").mkdir()
        host.start(command, {}, variables, ["algo-1", "algo-2"])
        return host, log

    yield start_one
    for host in hosts:
        host.close()


def run(start: Callable[..., tuple[JobHost, Any]], *command: str, **variables: Any) -> tuple[int | None, list[str]]:
    """Run a command to its end and return its exit code and lines."""
    host, log = start(*command, **variables)
    wait_for_hosts([host], SECONDS, threading.Event())
    return host.exit_code, log.lines


@NEEDS_CONTAINERS
def test_a_path_in_the_code_is_the_hosts_own(start: Any) -> None:
    before = os.path.exists("/opt/ml"), sorted(os.listdir("/opt")), Path("/proc/self/mountinfo").read_text()
    host, _ = start("python", "-c", "open('/opt/ml/model/x', 'w').write('weights')")
    wait_for_hosts([host], SECONDS, threading.Event())
    assert (host.opt_ml.root / "model/x").read_text() == "weights"
    assert before == (os.path.exists("/opt/ml"), sorted(os.listdir("/opt")), Path("/proc/self/mountinfo").read_text())


@NEEDS_CONTAINERS
def test_peers_have_names_and_the_network_is_the_machines(start: Any) -> None:
    program = "import socket; print(*[socket.gethostbyname(n) for n in ('algo-1', 'algo-2', 'localhost')])"
    assert run(start, "python3", "-c", program) == (0, ["127.0.0.1 127.0.0.2 127.0.0.1"])
    assert run(start, "readlink", "/proc/self/ns/net")[1] == [os.readlink("/proc/self/ns/net")]
    # No program may rely on gethostname() being its host's name, or on different names of different hosts.
    assert run(start, "sh", "-c", "echo $(hostname) $HOSTNAME") == (0, ["aws aws"])
    assert run(start, "cat", "/proc/sys/kernel/random/boot_id")[1] == [
        Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    ]


@NEEDS_CONTAINERS
def test_nothing_else_of_the_machine_is_visible(start: Any, tmp_path: Path) -> None:
    secret = tmp_path / "credentials"
    secret.write_text("secret")
    code, lines = run(
        start, "sh", "-c", f"cat {secret}; ls -A /home /mnt /srv; touch /usr/x; echo $HOME; ls /root/.aws"
    )
    assert code
    text = "\n".join(lines)
    assert f"{secret}: No such file or directory" in text
    assert "Read-only file system" in text
    assert "\n/root\n" in text
    assert "'/root/.aws': No such file or directory" in text
    # Of the home folder only this Python's folders are there, if they lie there.
    assert run(start, "sh", "-c", f"find {Path.home()} -maxdepth 1 -type f")[1] in ([], [NO_HOME])


@NEEDS_CONTAINERS
def test_the_process_is_number_1_and_its_children_end_with_it(start: Any) -> None:
    assert run(start, "sh", "-c", "echo $$") == (0, ["1"])
    host, log = start("sh", "-c", "setsid sleep 60 & echo up")
    wait_for_hosts([host], SECONDS, threading.Event())
    assert (host.exit_code, log.lines) == (0, ["up"])
    assert processes.marked(host._mark) == []


@NEEDS_CONTAINERS
def test_a_container_ends_with_its_outer_process(start: Any) -> None:
    host, log = start("sh", "-c", "echo up; exec sleep 60")
    await_line(log, "up")
    host._process.kill()
    deadline = time.monotonic() + SECONDS
    while processes.marked(host._mark):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_image_is_at_its_place(start: Any, anywhere: str, tmp_path: Path) -> None:
    root = tmp_path / "image"
    (root / "opt/app").mkdir(parents=True)
    (root / "opt/app/main.py").write_text("import os, sys; print(os.getcwd(), os.environ['WHO'], *sys.argv[1:])")
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "usr/local/bin/tool-of-the-image").write_text("#!/bin/sh\necho tool\n")
    (root / "usr/local/bin/tool-of-the-image").chmod(0o755)
    image = ContainerImage(root, "/opt/app", {"WHO": "me", "PATH": "/opt/app/bin:$PATH"}, ("python", "main.py"), ())
    code, lines = run(start, *image.entrypoint, "/opt/ml/model", image=image)
    place = "" if anywhere == "containers" else f"{tmp_path}/algo-1"
    assert (code, lines) == (0, [f"{place}/opt/app me {place}/opt/ml/model"])
    assert run(start, "/usr/local/bin/tool-of-the-image", image=image) == (0, ["tool"])
    assert run(start, "sh", "-c", "echo changed > main.py", image=image)[0] == 0
    assert "changed" not in (root / "opt/app/main.py").read_text()
    if anywhere == "containers":
        assert run(start, "tool-of-the-image", image=image) == (0, ["tool"])
        assert run(start, "sh", "-c", "command -v sh ls env >/dev/null; touch /usr/x", image=image)[0] == 1


def test_a_program_that_is_missing_cannot_be_started(start: Any, anywhere: str) -> None:
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        start("no-such-program")


TREE = """
import signal, subprocess, sys, time
if len(sys.argv) == 1:
    child = subprocess.Popen([sys.executable, __file__, "child"])
    def stop(*_):
        time.sleep(0.3)  # A SIGTERM to the child would have arrived by then.
        print("child runs" if child.poll() is None else "child ended", flush=True)
        sys.exit(3)
    signal.signal(signal.SIGTERM, stop)
    print("up", flush=True)
time.sleep(60)
"""


def await_line(log: Log, line: str) -> None:
    deadline = time.monotonic() + SECONDS
    while line not in log.lines:
        assert time.monotonic() < deadline, log.lines
        time.sleep(0.02)


def stopped(host: JobHost) -> float:
    """Stop a host and return how long that took."""
    stop = threading.Event()
    stop.set()
    began = time.monotonic()
    wait_for_hosts([host], SECONDS, stop)
    return time.monotonic() - began


def image_of(tmp_path: Path, program: str) -> ContainerImage:
    root = tmp_path / "image"
    root.mkdir()
    (root / "main.py").write_text(program)
    return ContainerImage(root, "/", {}, (), ())


def test_process_1_alone_gets_sigterm(start: Any, anywhere: str, tmp_path: Path) -> None:
    host, log = start("python", "/main.py", image=image_of(tmp_path, TREE))
    await_line(log, "up")
    assert stopped(host) < host_module.STOP_SECONDS
    assert (host.exit_code, log.lines) == (3, ["up", "child runs"])
    assert processes.marked(host._mark) == []


@NEEDS_CONTAINERS
def test_a_sigterm_before_the_handler_is_not_lost(start: Any) -> None:
    late = "import signal, sys, time; time.sleep(0.3); signal.signal(15, lambda *_: sys.exit(5)); time.sleep(60)"
    host, _ = start(sys.executable, "-c", late)
    assert stopped(host) < 10
    assert host.exit_code == 5


def test_who_ignores_sigterm_is_killed_after_the_grace(
    start: Any, anywhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert host_module.STOP_SECONDS == 120
    monkeypatch.setattr(host_module, "STOP_SECONDS", 0.5)
    ignores = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    host, log = start(sys.executable, "-c", ignores)
    await_line(log, "up")
    assert 0.5 <= stopped(host) < 10
    assert host.exit_code in (137, -9)
    if anywhere == "containers":  # Without a handler, process 1 does not even notice.
        host, log = start("sh", "-c", "echo up; exec sleep 60")
        await_line(log, "up")
        assert 0.5 <= stopped(host) < 10


def test_paths_that_cannot_be_replaced_are_refused(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "available", lambda: False)
    with pytest.raises(
        JobError, match=r"^ClientError: the command names /opt/ml where .* This machine allows no names"
    ):
        start("sh", "-c", "cp /etc/hostname /opt/ml/model/x")


def test_a_vanished_host_leaves_nothing(start: Any, anywhere: str) -> None:
    host, log = start("sh", "-c", "sleep 60 & echo up; wait")
    await_line(log, "up")
    host.vanish()
    assert processes.marked(host._mark) == []
    assert not host.opt_ml.root.exists()


def test_a_program_ignores_no_signal_that_python_ignores(start: Any, anywhere: str) -> None:
    code, [line] = run(start, "sh", "-c", "grep SigIgn /proc/self/status")
    ignored = int(line.split()[1], 16)  # Others may be ignored, because the shell that runs the tests ignores them.
    assert code == 0
    assert not any(ignored >> (number - 1) & 1 for number in (signal.SIGPIPE, signal.SIGXFSZ))
