"""The runner's output in terminals of several widths and in a file."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import pytest
from rich.console import Console

from local import console

WORDS = "10 breeds, 600 / 150 / 200 photos and 64 without a dog; 2 instances, $0.42 an hour on AWS"


class Terminal(io.StringIO):
    """A text stream that reports to be a terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def terminal(columns: int) -> Iterator[Terminal]:
    """Replace standard output by a terminal of this width, and yield it."""
    screen = Terminal()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(screen):
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        yield screen


def test_a_step_is_one_line_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    console.step("Plan", "1.8 s", WORDS)
    assert capsys.readouterr().out == f"  Plan                        1.8 s  {WORDS}\n"


def test_a_narrow_terminal_gets_the_words_below_the_step() -> None:
    with terminal(40) as shell:
        console.step("Plan", "1.8 s", WORDS)
        lines = shell.getvalue().splitlines()
        assert lines[0] == "  Plan  1.8 s"
        assert max(map(len, lines)) <= 40
        assert " ".join(" ".join(lines[1:]).split()) == WORDS


def test_a_wide_terminal_keeps_the_words_in_their_column() -> None:
    with terminal(100) as shell:
        console.step("Plan", "1.8 s", WORDS)
        first, second = shell.getvalue().splitlines()
        assert first.startswith("  Plan                        1.8 s  10 breeds")
        assert second.startswith(" " * 37)


def test_commands_to_copy_are_never_broken() -> None:
    with terminal(40) as shell:
        command = "curl -X POST http://localhost:4566/restapis/abc/v1/_user_request_/classify"
        console.say_exactly(command)
        assert shell.getvalue() == f"{command}\n"


def test_progress_is_replaced_and_then_removed() -> None:
    with terminal(40) as shell:
        with console.Screen() as screen:
            screen.passing("Train 1/20 " + "x" * 100)
            screen.passing("Train 2/20")
            screen.line("epoch 1")
        shown = shell.getvalue()
        assert "Train 1/20" in shown
        assert "x" * 40 not in shown  # It is cut at the terminal's width.
        assert "Train 2/20" in shown
        assert "\x1b[2K" in shown  # the code that erases a line
        assert shown.rstrip().endswith("epoch 1")


def test_a_file_gets_progress_only_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.Screen() as screen:
        for number in range(20):
            screen.passing(f"photo {number}")
            now[0] += 1
    assert capsys.readouterr().out.split("\n") == ["photo 5", "photo 10", "photo 15", ""]


def test_text_with_brackets_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("[bold] s3://bucket/[1] :dog:")
    assert capsys.readouterr().out == "[bold] s3://bucket/[1] :dog:\n"
    assert isinstance(console.console(), Console)


def test_a_table_without_rows_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """After a promotion without training there are no checks of the gate to show."""
    console.show(console.columns([]))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("columns", [0, 1, -5, 19])
def test_a_width_that_cannot_be_is_not_believed(columns: int) -> None:
    with terminal(columns) as shell:
        console.say("a sentence of several words")
    assert shell.getvalue() == "a sentence of several words\n"


OBEYED = "a\x1b]0;owned\x07b\x9b2J\u202ec"


@pytest.mark.parametrize(
    "print_it",
    [
        console.say,
        console.say_exactly,
        console.show,
        lambda text: console.step("Plan", "1 s", text),
        lambda text: console.step(text, "1 s"),
        lambda text: console.show(console.columns([("x", text)])),
        lambda text: console.Screen().line(text),
        lambda text: console.Screen().step("Plan", "1 s", text),
    ],
)
def test_control_characters_are_shown_and_not_sent(print_it, capsys: pytest.CaptureFixture[str]) -> None:
    print_it(OBEYED)
    assert "a\\x1b]0;owned" in (out := capsys.readouterr().out)
    assert not set(out) & set("\x1b\x07\x9b\u202e")
    for width in (50, 200):
        with terminal(width) as shell:
            print_it(OBEYED)
            assert "\x1b]0" not in shell.getvalue()
            assert not set(shell.getvalue()) & set("\x07\x9b\u202e")


def test_control_characters_of_progress_are_shown_and_not_sent() -> None:
    with terminal(80) as shell, console.Screen() as screen:
        screen.passing(OBEYED)
        assert "owned" in shell.getvalue()
        assert "\x1b]0" not in shell.getvalue()
