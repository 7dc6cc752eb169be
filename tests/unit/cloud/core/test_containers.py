"""The launcher of containers: as a user who is not root, and what it reports."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.core import containers, launcher, processes

PYTHON = "/usr/bin/python3"  # Another user may be unable to read this test's own Python.
NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that another user may use; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        (path / "root/opt/ml").mkdir(parents=True)
        (path / "stage").mkdir()
        (path / "packages/old").mkdir(parents=True)
        shutil.copy(launcher.__file__, path / "launcher.py")
        for each in (path, *path.rglob("*")):
            os.chown(each, NOBODY, NOBODY)
        yield path


def nobody_may() -> bool:
    if os.geteuid() or not os.path.exists(PYTHON) or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "-Urm", "true"], user=NOBODY, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not nobody_may(), reason="needs root, a Python for all, and user namespaces for everybody")
def test_a_user_gets_a_container_too_and_stays_who_they_are(folder: Path) -> None:
    program = (
        "id -u; echo $$; cat /opt/ml/here; touch /packages/new; ls /alias; "
        "touch /opt/ml/there /usr/x; umount /proc; exit 7"
    )
    (folder / "root/opt/ml/here").write_text("found\n")
    document = {
        "root": f"{folder}/root",
        "stage": f"{folder}/stage",
        "binds": [[f"{folder}/packages", "/packages", True]],
        "packages": ["/packages", "/alias"],
        "folder": "/opt/ml",
        "own_pids": True,
        "hostname": "aws",
        "command": ["sh", "-c", program],
    }
    report = os.open(os.devnull, os.O_WRONLY)
    command = [PYTHON, "-I", "-S", f"{folder}/launcher.py", str(report), json.dumps(document)]
    nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    ended = subprocess.run(command, pass_fds=[report], capture_output=True, text=True, check=False, **nobody)
    os.close(report)
    assert ended.stdout.splitlines() == [str(NOBODY), "1", "found", "new", "old"], ended
    assert "/usr/x" in ended.stderr
    assert "umount" in ended.stderr
    assert (folder / "root/opt/ml/there").exists()
    assert [each.name for each in (folder / "packages").iterdir()] == ["old"]
    assert ended.returncode == 7


@pytest.mark.skipif(not containers.available(), reason="this machine allows no namespaces")
def test_packages_that_a_container_installs_are_gone_with_it(tmp_path: Path) -> None:
    packages = Path(sysconfig.get_path("purelib"))
    module = f"kennel_test_{os.getpid()}"
    program = f"""
import importlib, pathlib, os
path = pathlib.Path({str(packages)!r}, "{module}.py")
assert not path.exists()
path.write_text("answer = 42")
importlib.invalidate_caches()
import {module}
print({module}.answer, [name for name in os.listdir({str(packages.parents[3])!r}) if "layer" in name])
"""
    (tmp_path / "root").mkdir()
    environment = containers.environment_of(processes.clean_environment(tmp_path / "tmp"))
    container = containers.Container(tmp_path / "root", (), "/")
    for _ in range(2):
        process = containers.spawn([sys.executable, "-c", program], environment, processes.mark_of("test"), container)
        assert process.communicate(timeout=300)[0].decode().splitlines()[-1:] == ["42 []"]
        assert not (packages / f"{module}.py").exists()


@pytest.mark.skipif(not containers.available() or os.getuid() != 0, reason="only root in a container can give it up")
def test_who_gives_up_root_may_still_use_the_containers_tmp(tmp_path: Path) -> None:
    program = f"import os; os.setuid({NOBODY}); open('/tmp/x', 'w').close(); print(os.listdir('/tmp'))"
    (tmp_path / "root/tmp").mkdir(parents=True)
    (tmp_path / "root/tmp").chmod(0o700)  # The cloud writes for its own user alone.
    environment = containers.environment_of(processes.clean_environment(tmp_path / "tmp"))
    container = containers.Container(tmp_path / "root", (), "/")
    process = containers.spawn([sys.executable, "-c", program], environment, processes.mark_of("tmp"), container)
    assert "'x'" in process.communicate(timeout=300)[0].decode()


def test_off_means_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KENNEL_NAMESPACES", "off")
    assert not containers.available.__wrapped__()


@pytest.mark.skipif(not containers.available(), reason="this machine allows no namespaces")
def test_a_container_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    environment = processes.clean_environment(tmp_path / "tmp")
    mark = processes.mark_of("broken", tmp_path.name)
    binds = [(str(tmp_path / "missing"), "/missing", True)]
    with pytest.raises(FileNotFoundError, match=r"No such file or directory \(mount .*/missing\)"):
        containers.spawn(["true"], environment, mark, containers.Container(root, binds, "/"))
    with pytest.raises(FileNotFoundError):
        containers.spawn(["true"], environment, mark, containers.Container(root, [], "/nowhere"))
    assert processes.marked(mark) == []


def test_hosts_have_addresses_of_their_own(tmp_path: Path) -> None:
    source, place, _ = containers.hosts_file([f"algo-{number}" for number in range(1, 252)], tmp_path / "hosts")
    lines = Path(source).read_text().splitlines()
    assert place == "/etc/hosts"
    assert {"127.0.0.1 localhost", "127.0.0.1 algo-1", "127.0.0.250 algo-250", "127.0.1.1 algo-251"} <= set(lines)


@pytest.mark.skipif(not containers.available(), reason="this machine allows no namespaces")
def test_a_container_has_the_umask_of_images_and_not_the_shells(tmp_path: Path) -> None:
    """The server becomes another user, who must find Python and the model."""
    (tmp_path / "root/opt").mkdir(parents=True)
    (tmp_path / "root/opt").chmod(0o755)
    environment = containers.environment_of(processes.clean_environment(tmp_path / "tmp"))
    container = containers.Container(tmp_path / "root", (), "/")
    before = os.umask(0o077)
    try:
        command = ["sh", "-c", "umask; stat -c %a / /opt /root /tmp /var/tmp"]
        process = containers.spawn(command, environment, processes.mark_of("umask"), container)
    finally:
        os.umask(before)
    assert process.communicate()[0].split() == [b"0022", b"755", b"755", b"755", b"1777", b"1777"]
