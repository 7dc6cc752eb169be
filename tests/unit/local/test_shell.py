"""What the user's shell sets stays outside: the environment of programs, their output, and the virtual environment."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cloud.core import root_key
from local import laptop, run
from local import venv as environments
from local.home import LocalError
from local.laptop import Laptop

ROOT = Path(__file__).resolve().parents[3]
OLD = Path.home() / ".pyenv/versions/3.10.13/bin/python3"
PROGRAM = """
import json, os, sys
from local import shell
shell.leave()
print(json.dumps([sys.stdout.encoding, sys.flags.utf8_mode, dict(os.environ)]))
print("…ä", file=sys.stderr)
"""
SHELL = {
    "AWS_PROFILE": "work",
    "AWS_REGION": "eu-west-1",
    "AWS_CONFIG_FILE": "/nowhere",
    "SAM_CLI_TELEMETRY": "1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "no_proxy": ".corp",
    "PIP_USER": "1",
    "PIP_INDEX_URL": "https://mirror",
    "VIRTUAL_ENV": "/elsewhere",
    "MAKEFLAGS": "n",
    "MPLBACKEND": "TkAgg",
}


def test_a_program_leaves_the_shell(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    shells = SHELL | {"PYTHONPATH": f"/nowhere:{ROOT}", "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    command = [sys.executable, str(program)]
    done = subprocess.run(command, env=shells | {"PATH": os.environ["PATH"]}, capture_output=True, check=True)
    encoding, utf8, variables = json.loads(done.stdout)
    assert (encoding, utf8) == ("iso8859-1", 1)
    assert done.stderr == b"?\xe4\n"  # Latin-1 has the letter, but not the other sign.
    assert (
        not {"AWS_PROFILE", "AWS_REGION", "PIP_USER", "VIRTUAL_ENV", "MAKEFLAGS", "MPLBACKEND", "ALL_PROXY"}
        & variables.keys()
    )
    assert variables["AWS_CONFIG_FILE"] == os.devnull
    assert variables["SAM_CLI_TELEMETRY"] == "0"
    assert variables["PIP_INDEX_URL"] == "https://mirror"
    assert variables["PYTHONPATH"] == str(ROOT)
    assert variables["HTTP_PROXY"] == "http://127.0.0.1:9"
    assert variables["no_proxy"] == variables["NO_PROXY"] == ".corp,localhost,127.0.0.1,::1"


def test_a_program_starts_without_standard_streams(tmp_path: Path) -> None:
    command = f"exec '{sys.executable}' -m local --help <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_PROFILE", "work"),
        ("AWS_DEFAULT_PROFILE", "work"),
        ("AWS_CA_BUNDLE", "/nowhere"),
        ("AWS_USE_FIPS_ENDPOINT", "true"),
        ("AWS_ENDPOINT_URL_SSM", "http://127.0.0.1:9"),
        ("HTTP_PROXY", "http://127.0.0.1:9"),
    ],
)
def test_clients_of_the_laptop_ignore_the_account(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    root_key.make(tmp_path)
    client = Laptop(5599, 1, files=tmp_path).client("ssm")
    assert client.meta.endpoint_url == "http://localhost:5599"
    assert client.meta.config.proxies == {}


def test_programs_of_the_laptop_see_one_region_and_roots_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "x")
    key = root_key.make(tmp_path)
    variables = Laptop(5599, 1, files=tmp_path).environment()
    assert (variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"]) == key
    assert variables["AWS_REGION"] == variables["AWS_DEFAULT_REGION"] == "us-east-1"
    assert "AWS_SESSION_TOKEN" not in variables


def test_a_cloud_that_has_no_key_of_root_is_told_how_to_end(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="`make down` ends a cloud that an earlier version started"):
        Laptop(5599, 1, files=tmp_path).environment()


@pytest.mark.parametrize("error", [UnicodeEncodeError("latin-1", "…", 0, 1, "x"), LocalError("x"), ValueError("x")])
def test_an_error_of_any_kind_is_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception) -> None:
    def fail(_path: str | None) -> None:
        raise error

    monkeypatch.setattr(run, "LAST_RUN", tmp_path / "last-run.json")
    monkeypatch.setattr(run, "_read_event", fail)
    with pytest.raises(type(error)):
        run.run(None, None, 5599)
    record = json.loads((tmp_path / "last-run.json").read_text())
    assert record["status"] == "failed"
    assert record["error"] == {"name": type(error).__name__, "cause": str(error)}


def make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the Makefile's check of Python in a copy of the project; pip is not reached."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "locks", folder / "locks", dirs_exist_ok=True)
    (folder / "local").mkdir(exist_ok=True)
    shutil.copy(ROOT / "local/venv.py", folder / "local")
    return subprocess.run(["make", "up", *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not OLD.exists(), reason="needs a Python that is too old")
def test_an_old_python_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    done = make(tmp_path, f"PYTHON={OLD}")
    assert f"Kennel needs Python 3.11.4 or newer, {OLD} is 3.10.13; name another: make run PYTHON=" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_python_that_does_not_start_is_told(tmp_path: Path) -> None:
    done = make(tmp_path, "PYTHON=python3.99")
    assert "python3.99 does not start, or is far too old; name another: make run PYTHON=python3.12" in done.stderr


def test_pip_is_told_nothing_by_the_shell(tmp_path: Path) -> None:
    shells = {
        "PIP_USER": "1",
        "PIP_TARGET": "/nowhere",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_INDEX_URL": "https://mirror",
    }
    command = [sys.executable, str(ROOT / "local/shell.py"), "pip", "config", "list"]
    printed = subprocess.run(command, env=os.environ | shells, capture_output=True, text=True, check=True).stdout
    assert ":env:.index-url='https://mirror'" in printed
    assert not any(name in printed for name in ("env:.user", "env:.target", "virtualenv"))


def venv(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "local/venv.py"), str(folder), "python3"]
    return subprocess.run(command, capture_output=True, text=True, check=False, umask=0o077)


def test_an_environment_that_is_of_no_use_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "a b'c$d ä"
    folder.mkdir()
    (folder / "pyvenv.cfg").touch()
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to("/nowhere/python3")  # Its Python is gone, or the installation was interrupted.
    assert venv(folder).returncode == 0
    assert subprocess.run([folder / "bin/python", "-m", "pip", "--version"], check=False).returncode == 0
    assert (folder / "bin").stat().st_mode & 0o777 == 0o755  # The model server becomes another user, who reads here.
    made = (folder / "pyvenv.cfg").stat().st_mtime_ns
    assert venv(folder).returncode == 0
    assert (folder / "pyvenv.cfg").stat().st_mtime_ns == made  # A good one is kept.


def test_a_folder_of_the_users_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = venv(tmp_path)
    assert done.returncode == 1
    assert "is not a virtual environment; move or delete it" in done.stderr
    assert (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("writable", "free", "words"),
    [
        (False, 10, "cannot be made, because {parent} cannot be written; copy the project to a folder of yours"),
        (True, 0.9, "needs about 1 GB, and {parent} has 0.9 GB left; free some"),
    ],
)
def test_an_environment_that_cannot_be_made_is_told_before(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    writable: bool,
    free: float,
    words: str,
) -> None:
    monkeypatch.setattr(os, "access", lambda _folder, _mode: writable)  # Root may write everywhere.
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free * 1e9))
    folder = tmp_path / ".tools" / "checkov"
    assert environments.main(str(folder), "python3") == 1
    assert capsys.readouterr().err == f"{folder} {words.format(parent=tmp_path)}\n"
    assert not folder.parent.exists()


def test_a_record_that_cannot_be_written_hides_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(run, "LAST_RUN", tmp_path / "file" / "last-run.json")
    with pytest.raises(LocalError, match="No such file"):
        run.run(None, "/nowhere/event.json", 5599)


def test_a_cloud_is_the_folders_own_unless_the_folder_is_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import time; print(flush=True); time.sleep(60)"
    sleep = [sys.executable, "-c", program, "-m", "cloud", "--port", "5599"]
    with subprocess.Popen(sleep, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for name in ("kennel", "dogs"):
            (tmp_path / name).mkdir()
        state = tmp_path / "cloud.json"
        monkeypatch.setattr(laptop, "_STATE", state)
        monkeypatch.setattr(laptop, "HOME", tmp_path / "dogs")
        for home, found in (
            (tmp_path / "dogs", Laptop(5599, process.pid)),
            (tmp_path / "kennel", None),
            (tmp_path / "gone", Laptop(5599, process.pid, is_lost=True)),
        ):
            state.write_text(json.dumps({"pid": process.pid, "port": 5599, "home": str(home)}))
            assert laptop.find() == found
        state.write_text(json.dumps({"pid": process.pid, "port": 5599}))
        assert laptop.find() == Laptop(5599, process.pid)
        state.write_text(json.dumps({"pid": process.pid, "port": 5599, "time_scale": "20"}))
        assert laptop.find() == Laptop(5599, process.pid, time_scale=20.0)
        process.kill()
