"""The runner's folder is closed to other users of the machine, unless it is more than the runner's."""

import os
from pathlib import Path

import pytest

from local import home


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that KENNEL_HOME names; it does not exist yet."""
    folder = tmp_path / "deep" / "folder"
    monkeypatch.setattr(home, "HOME", folder)
    return folder


def mode_after(folder: Path) -> int:
    home.keep_private()
    return folder.stat().st_mode & 0o7777


def test_a_new_folder_is_closed_whatever_the_umask(named: Path) -> None:
    before = os.umask(0)
    try:
        assert mode_after(named) == 0o700
    finally:
        os.umask(before)


@pytest.mark.parametrize("content", ["", "cloud/.laptop-cloud"])
def test_an_empty_folder_and_one_of_an_earlier_release_are_closed(named: Path, content: str) -> None:
    (named / content).parent.mkdir(parents=True)
    named.mkdir(exist_ok=True)
    (named / content).touch()
    named.chmod(0o755)
    assert mode_after(named) == 0o700


def test_the_projects_own_folder_is_closed_whatever_is_in_it(named: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = named.parent / ".kennel"
    (own / "lint").mkdir(parents=True, mode=0o755)
    monkeypatch.setattr(home, "ROOT", named.parent)
    monkeypatch.setattr(home, "HOME", own)
    own.chmod(0o755)
    assert mode_after(own) == 0o700


@pytest.mark.parametrize("shared", ["other files", "sticky", "home", "project"])
def test_a_folder_that_is_more_than_the_runners_keeps_its_mode(
    named: Path, monkeypatch: pytest.MonkeyPatch, shared: str
) -> None:
    named.mkdir(parents=True)
    mode = 0o1777 if shared == "sticky" else 0o755
    named.chmod(mode)
    if shared == "other files":
        (named / "thesis.txt").touch()
    elif shared == "home":
        monkeypatch.setenv("HOME", str(named / "me"))
    elif shared == "project":
        monkeypatch.setattr(home, "ROOT", named / "kennel")
    assert mode_after(named) == mode
