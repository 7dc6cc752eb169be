"""What the laptop cloud takes over from the shell that starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import json, os, sys
from pathlib import Path
from cloud import settings
os.umask(0)
settings.prepare(5597, Path(sys.argv[1]))
print(json.dumps([oct(os.umask(0)), dict(os.environ)]))
"""


def prepared(home: Path) -> tuple[str, dict[str, str]]:
    """Return umask and environment of a process that has prepared itself to be a cloud."""
    command = [sys.executable, "-c", PROGRAM, str(home)]
    shells = os.environ | {"AWS_PROFILE": "work", "AWS_CONFIG_FILE": "/nowhere", "HTTP_PROXY": "http://127.0.0.1:9"}
    umask, variables = json.loads(subprocess.check_output(command, cwd=ROOT, env=shells))
    return umask, variables


@pytest.mark.parametrize("was_there", [False, True])
def test_other_users_see_nothing_of_the_clouds_files(tmp_path: Path, was_there: bool) -> None:
    home = tmp_path / "home"
    if was_there:
        home.mkdir()
        home.chmod(0o755)
    umask, _ = prepared(home)
    assert umask == "0o77"
    assert {path.stat().st_mode & 0o077 for path in (home, *home.rglob("*"))} == {0}


def test_the_cloud_takes_over_little_of_the_shell(tmp_path: Path) -> None:
    _, variables = prepared(tmp_path / "home")
    assert not {"AWS_PROFILE", "AWS_CONFIG_FILE", "HTTP_PROXY"} & variables.keys()


@pytest.mark.parametrize("name", ["HOME", "TMPDIR", "STATE_DIR"])
def test_folders_that_programs_write_to_are_the_clouds(tmp_path: Path, name: str) -> None:
    _, variables = prepared(tmp_path / "home")
    assert Path(variables[name]).is_relative_to(tmp_path / "home")
