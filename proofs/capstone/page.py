"""The page of the capstone: one HTML file that needs nothing else."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from local.home import HOME, ROOT
from proofs.capstone.evidence import PICTURES, Check, Kept, is_green, judged, without_pictures
from proofs.capstone.table import Row, Words

PAGE = HOME / "capstone.html"
_TEMPLATE = Path(__file__).with_name("page.html")
_CARD = ROOT / "serving" / "card.html"  # the page's colours and tables are those of the model's card
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


@dataclass(frozen=True)
class Shown:
    """A row as the page shows it.

    Attributes:
        row: the row.
        words: what docs/capstone.md says about it.
        kept: its evidence; None if there is none yet.
        is_current: whether nothing has changed since that it depends on.
    """

    row: Row
    words: Words
    kept: Kept | None
    is_current: bool = True

    @property
    def checks(self) -> list[Check]:
        """What must be true of the evidence."""
        return judged(self.row.part.judge, self.kept) if self.kept else []

    @property
    def state(self) -> str:
        """``green``, ``red``, ``stale`` or ``missing``."""
        if self.kept is None:
            return "missing"
        if not is_green(self.checks):
            return "red"
        return "green" if self.is_current else "stale"

    @property
    def figures(self) -> list[tuple[str, str]]:
        """Names and values; none where the evidence is broken."""
        if self.kept is None or self.kept.error:
            return []
        try:
            return self.row.part.tell(self.kept.evidence)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError):
            return []

    @property
    def pictures(self) -> list[dict[str, str]]:
        """Data URIs of pictures with their captions."""
        return list(self.kept.evidence.get(PICTURES, [])) if self.kept else []

    @property
    def document(self) -> str:
        """The evidence as JSON."""
        return json.dumps(without_pictures(self.kept.evidence), indent=1, ensure_ascii=False) if self.kept else ""

    @property
    def text(self) -> Markup:
        """The explanation as HTML. Its links lead into the repository, which the page's reader may not have."""
        return markdown(self.words.text)


def markdown(text: str) -> Markup:
    """Return Markdown as HTML, with the words of its links only."""
    return Markup(MarkdownIt("commonmark").enable("table").render(_LINK.sub(r"\1", text)))  # noqa: S704


def inline(text: str) -> Markup:
    """Return one line of Markdown as HTML, with the words of its links only."""
    return Markup(MarkdownIt("commonmark").renderInline(_LINK.sub(r"\1", text)))  # noqa: S704


def render(rows: list[Shown], facts: list[tuple[str, str]]) -> str:
    """Return the page.

    Args:
        rows: all rows in their order.
        facts: names and values that say what was looked at, and when.
    """
    found = re.search(r"<style>\n(.*?)</style>", _CARD.read_text(), re.DOTALL)
    assert found
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["inline"] = inline
    template = environment.from_string(_TEMPLATE.read_text())
    states = [row.state for row in rows]
    return template.render(
        rows=rows,
        facts=facts,
        style=Markup(found[1]),  # noqa: S704
        counts={each: states.count(each) for each in dict.fromkeys(states)},
    )
