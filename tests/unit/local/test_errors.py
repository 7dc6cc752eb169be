"""No library speaks for the runner: what users read of an error is a sentence of ours."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from dataset import DatasetError
from local import cli, home, run
from local.home import LocalError, file_error

ROOT = Path(__file__).resolve().parents[3]


def test_a_cloud_that_does_not_answer_is_told_without_botocores_words():
    words = cli.words_of(EndpointConnectionError(endpoint_url="http://localhost:1/"))
    assert words.startswith("the laptop cloud does not answer; `make run` or `make up` starts it")


def test_a_refusal_of_the_cloud_names_operation_and_answer():
    error = ClientError({"Error": {"Code": "ValidationException", "Message": "too long"}}, "CreateEndpoint")
    assert cli.words_of(error).startswith("the laptop cloud refused CreateEndpoint (ValidationException: too long)")


@pytest.mark.parametrize("error", [LocalError("port 1 is taken"), DatasetError("dataset x: empty")])
def test_sentences_of_ours_stay_as_they_are(error):
    assert cli.words_of(error) == str(error)


def test_a_fault_is_one_sentence_and_its_traceback_is_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "HOME", tmp_path / "home")
    try:
        {}["secret"]
    except KeyError as error:
        words = cli.words_of(error)
    assert words == f"this program has a fault (KeyError); please report it with the file {tmp_path}/home/error.log"
    assert "Traceback" in (tmp_path / "home/error.log").read_text()


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OSError, match="Not a directory") as caught:
        (file / "a" / "b").mkdir()
    assert file_error(caught.value) == (
        f"{file}/a/b: {file} is a file, and a folder is needed there; move it, or give another folder"
    )


def test_a_full_disk_and_a_folder_that_cannot_be_written_say_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(home, "HOME", tmp_path / ".kennel")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "x"))
    assert file_error(full) == (
        f"{tmp_path}/x: no space is left; free some, or set KENNEL_HOME to a folder on another disk"
    )
    assert file_error(OSError(errno.ENOSPC, "x")).startswith("no space is left on the disk; free some, or set")
    locked = OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / ".kennel/cloud.json"))
    assert file_error(locked) == (
        f"{tmp_path}/.kennel/cloud.json: Read-only file system; set KENNEL_HOME to a folder that can be written"
    )
    other = OSError(errno.EACCES, os.strerror(errno.EACCES), "/elsewhere/photo.jpg")
    assert file_error(other) == "/elsewhere/photo.jpg: Permission denied"


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", ""])
def test_a_port_that_cannot_be_is_refused(port, capsys):
    with pytest.raises(SystemExit):
        cli._parser().parse_args(["up", "--port", port])
    assert "must be a whole number from 1 to 65535, such as 4566" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b'{"a": 1,\n "b"}',
            "not JSON from line 2, column 5 on: names and texts have double quotes, and no comma follows the last of "
            "them; events/ has samples",
        ),
        (b'{"a": "\xff"}', "not JSON, because it is no text in UTF-8; events/ has samples"),
    ],
)
def test_an_event_that_is_no_json_says_where(tmp_path, content, words):
    (tmp_path / "event.json").write_bytes(content)
    with pytest.raises(LocalError) as caught:
        run._read_event(str(tmp_path / "event.json"))
    assert str(caught.value) == f"event {tmp_path / 'event.json'}: {words}"


def program(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run a program of the project, and return its exit code and what it printed on stderr."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stderr


def test_a_file_named_as_the_runners_home_is_told(tmp_path):
    file = tmp_path / ".kennel"
    file.touch()
    code, words = program("local", "down", KENNEL_HOME=str(file))
    assert (code, words.count("\n")) == (1, 1)
    assert words.endswith(f"{file} is a file, and a folder is needed there; move it, or give another folder\n")


def test_programs_refuse_a_folder_that_cannot_be_made_in_one_sentence(tmp_path):
    file = tmp_path / "file"
    file.touch()
    code, words = program("sketchbook", str(file / "book"))
    assert (code, words) == (2, f"sketchbook: cannot write {file}/book (Not a directory); give another folder\n")
    code, words = program("cloud", "--port", "5598", "--home", str(file))
    assert (code, words) == (
        1,
        f"The laptop cloud cannot start: --home {file} must be a folder that can be written (Not a directory).\n",
    )
    code, words = program("cloud", "--port", "99999", "--home", str(tmp_path / "home"))
    assert (code, words) == (1, "The laptop cloud cannot start: --port 99999 must be from 1 to 65535.\n")


def test_an_empty_name_of_the_runners_home_is_no_name():
    command = [sys.executable, "-c", "from local.home import HOME; import json; print(json.dumps(str(HOME)))"]
    printed = subprocess.check_output(command, cwd=ROOT, env=os.environ | {"KENNEL_HOME": ""})
    assert json.loads(printed) == str(ROOT / ".kennel")
