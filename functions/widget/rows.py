"""The rows of the widget, and their HTML."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Literal, NamedTuple, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from shared.observability import logger

Mood = Literal["good", "bad", "plain"]
T = TypeVar("T")
# CloudWatch has a light and a dark theme; these are readable in both.
_COLOURS: dict[str, str] = {"good": "#1d8102", "bad": "#d13212"}


class Row(NamedTuple):
    """One line of the widget.

    Attributes:
        what: its first column.
        words: its second one.
        mood: whether the words are good or bad news.
    """

    what: str
    words: str
    mood: Mood = "plain"


def failing_softly(what: str, ask: Callable[[], T]) -> T | Row:
    """Return what was asked for, or a row that says why it is not known: the other rows are still worth having."""
    try:
        return ask()
    except (ClientError, BotoCoreError) as error:
        logger.warning("not known", extra={"what": what, "error": str(error)})
        return Row(what, f"not known: {error}", "bad")
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # A document of another release.
        logger.exception("not known", extra={"what": what})
        return Row(what, f"not known: a document has another form ({error!r})", "bad")


def to_html(rows: Sequence[Row]) -> str:
    """Return a table. All words are escaped: a verdict quotes names of classes, and a cause what a job has written."""
    lines = [
        f'<tr><th style="text-align:left;vertical-align:top">{escape(row.what)}</th>'
        f'<td class="{row.mood}"{_style(row.mood)}>{escape(row.words)}</td></tr>'
        for row in rows
    ]
    return f"<table>{''.join(lines)}</table>"


def _style(mood: Mood) -> str:
    return f' style="color:{_COLOURS[mood]}"' if mood in _COLOURS else ""
