"""The command ``python -m local dashboard``, on a cloud that answers as it is told."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from local import cli, stack
from local.dashboard import watch
from local.home import LocalError

TEXT = {"type": "text", "x": 0, "y": 0, "width": 24, "height": 3, "properties": {"markdown": "nothing else"}}


def cloud(**outputs):
    """A cloud with a stack of these outputs, and a dashboard of one text."""
    described = {"Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]}
    answers = {
        "describe_stacks": {"Stacks": [described]},
        "get_dashboard": {"DashboardBody": json.dumps({"widgets": [TEXT]})},
    }
    client = SimpleNamespace(**{name: (lambda answer: lambda **_: answer)(each) for name, each in answers.items()})
    return SimpleNamespace(client=lambda _service: client, time_scale=10.0)


def test_one_look_is_enough_without_a_terminal(capsys):
    assert watch.watch(cloud(DashboardName="kennel-us-east-1"), 30, None, once=False) == 0
    printed = capsys.readouterr().out
    assert "kennel-us-east-1" in printed
    assert "nothing else" in printed


def test_page_is_renewed_until_ctrl_c_and_then_stays_as_it_was_last(tmp_path, monkeypatch, capsys):
    file, refreshing = tmp_path / "dashboard.html", []

    def sleep(seconds):
        assert seconds == 2  # five seconds of a clock of ten times the speed are too few
        refreshing.append('http-equiv="refresh"' in file.read_text())
        if len(refreshing) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    assert watch.watch(cloud(DashboardName="kennel-us-east-1"), 30, file, once=False) == 0
    assert refreshing == [True, True]
    assert "http-equiv" not in file.read_text()
    assert file.as_uri() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outputs", "words"),
    [({"BucketName": "b"}, "the stack kennel has no dashboard; `make up` deploys it with one (Dashboard=true)")],
)
def test_stack_without_a_dashboard_is_told_in_words(outputs, words):
    with pytest.raises(LocalError) as error:
        watch.watch(cloud(**outputs), 30, None, once=True)
    assert str(error.value) == words


def test_stack_that_is_not_there_is_told_in_words(monkeypatch):
    monkeypatch.setattr(stack, "look_up", lambda *_: {})
    with pytest.raises(LocalError, match="there is no stack kennel yet"):
        watch.watch(cloud(), 30, None, once=True)


def test_folder_in_place_of_a_file_is_told_in_words(tmp_path):
    with pytest.raises(LocalError) as error:
        watch.watch(cloud(DashboardName="d"), 30, tmp_path, once=True)
    assert (
        str(error.value) == f"{tmp_path} is a folder; give the name of a file in it: --html {tmp_path}/dashboard.html"
    )


@pytest.mark.parametrize("text", ["0", "-5", "1441", "half", "nan"])
def test_window_must_be_minutes_of_a_day(text, capsys):
    with pytest.raises(SystemExit):
        cli._parser().parse_args(["dashboard", "--minutes", text])
    assert f"'{text}' must be a number of minutes from 1 to 1440, a day" in capsys.readouterr().err


def test_drill_is_looked_at_in_its_own_folder(monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(cli.shell, "start", lambda *arguments: started.append(arguments) or exit())
    monkeypatch.setattr(cli, "HOME", tmp_path)
    arguments = cli._parser().parse_args(["dashboard", "--drill", "--once", "--html", "a.html", "--minutes", "60"])
    with pytest.raises(SystemExit):
        arguments.do(arguments)
    [(command, settings)] = started
    assert command == ["-m", "local", "dashboard", "--minutes", "60", "--once", "--html", "a.html"]
    assert settings == {"KENNEL_HOME": str(Path(tmp_path) / "drill")}
