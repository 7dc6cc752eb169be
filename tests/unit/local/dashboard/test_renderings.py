"""A dashboard on the terminal and as a page, with figures whose pictures were worked out by hand."""

import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from local.dashboard import chart, page, terminal, words
from local.dashboard.figures import Point, Series
from local.home import ROOT
from tests.unit.local.dashboard.looks import CHART, END, LINES, START, at, look


def printed(scale=1.0):
    output = Console(file=io.StringIO(), width=140, color_system=None)
    output.print(terminal.render(look(scale)))
    return [re.sub(r"\s+", " ", line).strip() for line in output.file.getvalue().splitlines()]


def test_terminal_shows_each_figure_and_says_what_is_missing():
    lines = printed()
    assert "kennel-us-east-1 11:30 to 12:00 UTC" in lines
    assert "rings kennel-latency for 90 s <b>2 datapoints</b> above" in lines
    assert "not there kennel-gone" in lines
    assert "no data kennel-errors for 30 min" in lines
    assert "OK kennel-model-errors for 5 h" in lines
    assert "Serves 1 of 2 instances & more" in lines
    assert "Answer times [microseconds]" in lines
    [line] = [each for each in lines if "99 of 100" in each]
    assert line.endswith("200,000 so far most 300,000 99 of 100 within")
    assert "limit 250,000: MaxP99Microseconds" in lines
    assert "no data in these 30 minutes: the network alone" in lines
    assert any("errors (docs/operations.md#alarms)" in each for each in lines)


def test_fast_clock_is_told():
    assert printed(10)[0].endswith("this cloud's clock runs 10 times as fast, so its minute is 6 s")
    assert "no data in these 300 minutes: the network alone" in printed(10)


def test_sparkline_has_a_block_a_minute_and_gaps():
    """Of 300,000 the values are a third, all and two thirds: blocks 3, 8 and 6 of eight."""
    drawn = terminal.sparkline(LINES[0], START.timestamp(), END.timestamp(), 300_000.0)
    assert drawn == "▃█" + 27 * " " + "▆"


def test_sparkline_of_zeros_is_a_low_line_and_long_periods_fill_their_cells():
    zeros = Series("x", tuple(Point(at(minute), 0.0, True) for minute in range(30)), 60)
    assert terminal.sparkline(zeros, START.timestamp(), END.timestamp(), 0.0) == 30 * "▁"
    five = Series("x", (Point(at(5), 2.0, True),), 300)
    assert terminal.sparkline(five, START.timestamp(), END.timestamp(), 2.0) == 5 * " " + 5 * "█" + 20 * " "


def test_picture_has_axes_limits_and_points_where_they_belong():
    drawn = chart.svg(CHART, LINES, look())
    # The highest value is 300,000, so the axis has marks at each 100,000; 344 of 400 are left for half an hour.
    assert re.findall(r'text-anchor="end">([^<]+)<', drawn) == ["0", "100k", "200k", "300k", "12:00"]
    assert re.findall(r">(\d\d:\d\d)<", drawn) == ["11:30", "11:37", "11:45", "11:52", "12:00"]
    # From 10 at the top to 168 at the bottom: the limit of 250,000 is at a sixth of the height.
    assert re.findall(r'class="limit" .* y1="([\d.]+)"', drawn.replace("><", ">\n<")) == [f"{10 + 158 / 6:.1f}"]
    points = re.findall(r'<circle class="s0( part)?" cx="([\d.]+)" cy="([\d.]+)"', drawn)
    across = [46 + 344 * minute / 30 for minute in (0.5, 1.5, 30)]
    down = [10 + 158 * share for share in (2 / 3, 0, 1 / 3)]
    assert points == [(" part" * (n == 2), f"{across[n]:.1f}", f"{down[n]:.1f}") for n in range(3)]
    # The first two are joined, and nothing is drawn over the gap before the third.
    joined = f"M{across[0]:.1f} {down[0]:.1f} L{across[1]:.1f} {down[1]:.1f}"
    assert re.findall(r'<path class="s0" d="([^"]+)"', drawn) == [joined]
    assert "99 of 100 within: 200,000 so far; the network alone: no data in these 30 minutes" in drawn


def test_picture_without_points_says_so_and_draws_no_limit():
    drawn = chart.svg(CHART, [Series("x", (), 60)], look())
    assert ">no data in these 30 minutes<" in drawn
    assert 'class="limit"' not in drawn


@pytest.mark.parametrize(
    ("most", "step"), [(0, 1), (1, 0.5), (4, 1), (7, 2), (390, 100), (0.03, 0.01), (250_000, 100_000)]
)
def test_marks_are_round_numbers(most, step):
    assert chart._step(most) == pytest.approx(step)


class Checked(HTMLParser):
    """Checks that every element is closed in order."""

    OPEN = ("meta", "link", "br", "line", "circle")

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.OPEN:
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag):
        if tag not in self.OPEN:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_page_is_whole_needs_nothing_else_and_shows_what_the_terminal_shows():
    html = page.page(look(), 5)
    checked = Checked()
    checked.feed(html)
    checked.close()
    assert checked.open == []
    assert checked.links == [f"{ROOT.as_uri()}/docs/operations.md#alarms"]
    assert "<script" not in html
    assert "<b>2 datapoints" not in html
    text = " ".join(checked.texts)
    for each in (
        "rings",
        "kennel-latency",
        "for 90 s",
        "not there",
        "1 of 2 instances & more",
        "200,000 so far",
        "250,000",
    ):
        assert each in text
    assert '<meta http-equiv="refresh" content="5">' in html
    assert html.count("<section") == 4


def test_last_page_does_not_ask_the_browser_to_read_it_again():
    html = page.page(look())
    assert "http-equiv" not in html
    assert "this page does not change any more" in html


def test_page_is_written_into_a_folder_that_is_made(tmp_path):
    file = tmp_path / "new" / "dashboard.html"
    page.write(file, look(), None)
    assert file.read_text().startswith("<!doctype html>")
    assert [each.name for each in file.parent.iterdir()] == ["dashboard.html"]


@pytest.mark.parametrize(
    ("value", "told"), [(0, "0"), (3.0, "3"), (2.5, "2.5"), (0.12345, "0.123"), (123.4, "123"), (250_000, "250,000")]
)
def test_numbers_have_three_digits(value, told):
    assert words.number(value) == told
