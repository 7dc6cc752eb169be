"""A dashboard on the terminal."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from local.dashboard import words
from local.dashboard.document import Chart, Prose, Widget
from local.dashboard.figures import ABSENT, ALARM, OK, UNKNOWN, AlarmState, Content, Fact, Look, Series

_BLOCKS = "▁▂▃▄▅▆▇█"
_CELLS = 30  # of a sparkline
_STYLES = {ALARM: "bold red", ABSENT: "bold red", UNKNOWN: "yellow", OK: "green"}
_MOODS = {"good": "green", "bad": "bold red"}


def render(look: Look) -> Group:
    """Return everything that the dashboard shows; whatever rings is in words, too, for those who see no colours."""
    parts: list[RenderableType] = [Text(f"{look.name}  {words.window(look)}", style="bold")]
    for widget, content in look.shown:
        parts += [Text(""), *_widget(widget, content, look)]
    return Group(*parts)


def _widget(widget: Widget, content: Content, look: Look) -> Iterator[RenderableType]:
    if isinstance(widget, Prose):
        yield Markdown(widget.markdown, hyperlinks=False)
        return
    unit = f" [{widget.unit}]" if isinstance(widget, Chart) and widget.unit else ""
    yield Text(widget.title + unit, style="bold")
    if isinstance(widget, Chart):
        lines = [each for each in content or () if isinstance(each, Series)]
        yield from (Padding(each, (0, 0, 0, 2)) for each in _chart(widget, lines, look))
        return
    table = _grid()
    for each in content or ():
        if isinstance(each, AlarmState):
            reason = each.reason if each.state == ALARM else ""
            style = _STYLES[each.state]
            table.add_row(Text(words.STATES[each.state], style), each.name, words.since(each, look.end), reason)
        elif isinstance(each, Fact):
            table.add_row(each.what, Text(each.words, _MOODS.get(each.mood, "")))
    yield Padding(table, (0, 0, 0, 2))


def _chart(chart: Chart, lines: list[Series], look: Look) -> Iterator[RenderableType]:
    table = _grid(right=(1, 2))
    full, silent = [each for each in lines if each.points], [each for each in lines if not each.points]
    top = max((point.value for each in full for point in each.points), default=0.0)
    for each in full:
        most = max(point.value for point in each.points)
        is_over = any(most > limit.value for limit in chart.limits)
        table.add_row(
            sparkline(each, look.start.timestamp(), look.end.timestamp(), top),
            Text(words.latest(each), "bold"),
            Text(f"most {words.number(most)}", "bold red" if is_over else ""),
            each.label,
        )
    if full:
        yield table
        for limit in chart.limits:
            yield Text(f"limit {words.number(limit.value)}: {limit.label}")
    if silent:
        yield Text(f"{words.nothing(look)}: {'; '.join(each.label for each in silent)}", "dim")


def sparkline(series: Series, start: float, end: float, top: float) -> str:
    """Return a line of blocks over the window; a gap where there is no point.

    Args:
        series: with points.
        start, end: the window in epoch seconds.
        top: the value of the highest block.
    """
    cells: list[float | None] = [None] * _CELLS
    for point in series.points:
        # A period fills all the cells that it covers.
        first = int((point.at - start) / (end - start) * _CELLS)
        last = int((min(point.at + series.seconds, end) - start) / (end - start) * _CELLS - 1e-9)
        for cell in range(max(first, 0), min(max(last, first), _CELLS - 1) + 1):
            cells[cell] = max(cells[cell] or 0.0, point.value)
    return "".join(" " if each is None else _block(each, top) for each in cells)


def _block(value: float, top: float) -> str:
    share = value / top if top > 0 else 0.0
    return _BLOCKS[min(max(int(share * len(_BLOCKS)), 0), len(_BLOCKS) - 1)]


def _grid(right: tuple[int, ...] = ()) -> Table:
    """Return a table without lines, of which some columns are aligned to the right."""
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    for number in range(4):
        table.add_column(justify="right" if number in right else "left")
    return table
