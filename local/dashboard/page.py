"""A dashboard as one HTML file that needs nothing else: no script, no font, no other file."""

import os
import re
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

from local.dashboard import words
from local.dashboard.chart import svg
from local.dashboard.document import Chart, Prose, Widget
from local.dashboard.figures import ABSENT, ALARM, OK, UNKNOWN, AlarmState, Content, Fact, Look, Series
from local.home import ROOT

_STYLE = Path(__file__).with_name("page.css")
_RELATIVE = re.compile(r'href="(?![a-z]+:|/)')
_CLASSES = {ALARM: "bad", ABSENT: "bad", UNKNOWN: "wait", OK: "good"}


def write(path: Path, look: Look, every: float | None) -> None:
    """Write the page completely or not at all, so that a browser never reads half of it.

    Args:
        path: of the file; its folder is made.
        look: what the page shows.
        every: seconds after which a browser reads the page again; None when it will not change any more.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(page(look, every), encoding="utf-8")
    os.replace(temporary, path)


def page(look: Look, every: float | None = None) -> str:
    """Return the page; see ``write``."""
    refresh = f'<meta http-equiv="refresh" content="{every:.0f}">' if every else ""
    goes_on = f"renewed every {every:.0f} s" if every else "the last look; this page does not change any more"
    sections = "\n".join(_section(widget, content, look) for widget, content in look.shown)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">{refresh}
<title>{escape(look.name)}</title>
<style>
{_STYLE.read_text()}</style>
</head>
<body>
<header><h1>{escape(look.name)}</h1><p>{escape(words.window(look))}; {goes_on}</p></header>
<main>
{sections}
</main>
</body>
</html>
"""


def _section(widget: Widget, content: Content, look: Look) -> str:
    begin = f'<section style="--width: {widget.width}">'
    if isinstance(widget, Prose):
        html = MarkdownIt("commonmark", {"html": False}).enable("table").render(widget.markdown)
        # A link without an address is one to a page of the project.
        html = _RELATIVE.sub(f'href="{ROOT.as_uri()}/', html)
        return f"{begin}{html}</section>"
    if isinstance(widget, Chart):
        lines = tuple(each for each in content or () if isinstance(each, Series))
        unit = f" <small>{escape(widget.unit)}</small>" if widget.unit else ""
        head = f"<h2>{escape(widget.title)}{unit}</h2>"
        return f"{begin}{head}{svg(widget, lines, look)}{_legend(widget, lines)}</section>"
    rows = [
        _state(each, look) if isinstance(each, AlarmState) else _fact(each)
        for each in content or ()
        if isinstance(each, AlarmState | Fact)
    ]
    kind = "states" if content and isinstance(content[0], AlarmState) else "facts"
    return f'{begin}<h2>{escape(widget.title)}</h2><table class="{kind}">{"".join(rows)}</table></section>'


def _state(alarm: AlarmState, look: Look) -> str:
    reason = f"<small>{escape(alarm.reason)}</small>" if alarm.state == ALARM else ""
    return (
        f'<tr><td class="{_CLASSES[alarm.state]}">{words.STATES[alarm.state]}</td>'
        f"<td>{escape(alarm.name)}{reason}</td><td>{words.since(alarm, look.end)}</td></tr>"
    )


def _fact(fact: Fact) -> str:
    mood = fact.mood if fact.mood in ("good", "bad") else "plain"
    return f'<tr><th>{escape(fact.what)}</th><td class="{mood}">{escape(fact.words)}</td></tr>'


def _legend(chart: Chart, lines: tuple[Series, ...]) -> str:
    """Return the names of lines and limits with the newest values."""
    items = [
        f'<li class="s{number}"><i></i>{escape(each.label)}<b>{words.latest(each)}</b></li>'
        if each.points
        else f'<li class="soft"><i></i>{escape(each.label)}<b>no data</b></li>'
        for number, each in enumerate(lines)
    ]
    if any(each.points for each in lines):
        items += [
            f'<li><i class="limit"></i>limit: {escape(limit.label)}<b>{words.number(limit.value)}</b></li>'
            for limit in chart.limits
        ]
    return f"<ul>{''.join(items)}</ul>"
