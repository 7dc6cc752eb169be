"""Ringing alarms: which are rung, what counts as heard, and why one was not heard."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local import alarms, cli
from local.home import LocalError

STACK = {name: f"dogs-{name}" for name in ("model-errors", "errors", "latency")} | {
    "pipeline-failed": "kennel-pipeline-failed"
}
TOPIC = "arn:aws:sns:us-east-1:000000000000:news"
ALARM: dict[str, Any] = {"AlarmName": "dogs-errors", "ActionsEnabled": True, "AlarmActions": [TOPIC]}


def test_names_are_taken_whole_and_without_their_beginning_once_each() -> None:
    assert alarms._chosen(STACK, [], "dogs") == list(STACK.values())
    names = ["errors", "dogs-errors", "kennel-pipeline-failed", "model-errors"]
    assert alarms._chosen(STACK, names, "dogs") == ["dogs-errors", "kennel-pipeline-failed", "dogs-model-errors"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("latenzy", r"the stack has no alarm latenzy; it has errors, latency, model-errors, pipeline-failed$"),
        ("meter-silent", r"the stack has no alarm meter-silent; .* with MonthlyDollars alone it has meter-failed"),
        ("dogs-burst", r"alarm dogs-burst only scales and tells nobody"),
        ("canary", r"alarm canary exists only while a new version .* rings pipeline-failed"),
    ],
)
def test_other_names_are_refused_with_the_reason(name: str, words: str) -> None:
    with pytest.raises(LocalError, match=words):
        alarms._chosen(STACK, ["latency", name], "dogs")


def test_only_the_message_of_this_ring_is_heard() -> None:
    def tells(**members: str) -> bool:
        message = {"AlarmName": "dogs-errors", "NewStateReason": "rung by hand (1)"} | members
        return alarms._tells({"Subject": "s", "Message": json.dumps(message)}, "dogs-errors", "rung by hand (1)")

    assert tells()
    assert not tells(AlarmName="dogs-model-errors")
    assert not tells(NewStateReason="Threshold Crossed")
    for other in ({"Token": "t"}, {"Message": "kennel: a run failed"}, {"Message": "[1]"}):
        assert not alarms._tells(other, "dogs-errors", "rung by hand (1)")


@pytest.mark.parametrize(
    ("alarm", "words"),
    [
        ({}, "it was deleted by hand"),
        (ALARM | {"ActionsEnabled": False}, "aws cloudwatch enable-alarm-actions --alarm-names dogs-errors"),
        (ALARM | {"AlarmActions": []}, "its actions do not name the topic"),
        (ALARM, "the topic's policy must allow cloudwatch.amazonaws.com"),
    ],
)
def test_why_an_alarm_was_not_heard_is_told_with_what_mends_it(alarm: dict[str, Any], words: str) -> None:
    assert words in alarms._why(alarm, TOPIC)


@pytest.fixture
def handler() -> Iterator[Callable[..., Any]]:
    """The handler of both signals: a background job of a shell begins with one of them ignored."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    yield signal.default_int_handler
    for number, each in before.items():
        signal.signal(number, each)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_put_back_is_not_interrupted(number: signal.Signals, handler: Callable[..., Any]) -> None:
    done = []

    def put_back() -> None:
        with alarms._undisturbed():
            os.kill(os.getpid(), number)
            done.append("put back")

    with pytest.raises(KeyboardInterrupt):
        put_back()
    assert done == ["put back"]
    assert signal.getsignal(number) == handler


@pytest.mark.parametrize("text", ["0", "-1", "ten", "nan", "1e9"])
def test_seconds_that_are_none_are_refused_with_a_sentence(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli._parser().parse_args(["alarm-test", "--wait", text])
    assert f"'{text}' must be seconds between 0 and 3600, such as 10" in capsys.readouterr().err
