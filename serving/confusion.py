"""A picture of what a model confuses, drawn with Pillow."""

from collections import Counter
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from dataset import breed_name
from serving.metrics import Judged

_MAX_ROWS = 20
_CELL = 34
_BAR = 180
_MARGIN = 28
_INK, _FAINT, _GRID = (32, 38, 46), (120, 128, 138), (228, 231, 235)
_RIGHT, _WRONG = (38, 120, 92), (200, 80, 52)
_WHITE = (255, 255, 255)


def draw_confusion(judged: Sequence[Judged], title: str) -> Image.Image:
    """Draw breeds against answers, with each breed's recall as a bar.

    With many breeds only those with most mistakes are shown, worst first; a last column counts
    answers outside the picture.

    Args:
        judged: every test photo's answer.
        title: first line of the picture.
    """
    return _Picture(judged, title).draw()


class _Picture:
    def __init__(self, judged: Sequence[Judged], title: str) -> None:
        self._title = title
        self._totals = Counter(j.truth for j in judged)
        self._pairs = Counter((j.truth, j.answer) for j in judged)
        self._all = sorted(self._totals)
        self._shown = self._choose()
        self._font = ImageFont.load_default(15)
        self._columns = [breed_name(c) for c in self._shown] + (["other"] if self._has_other() else [])
        self._names = max(self._font.getlength(breed_name(c)) for c in self._shown)
        self._left = _MARGIN + int(self._names) + 12
        self._top = _MARGIN + 78 + int(max(self._font.getlength(name) for name in self._columns))

    def _choose(self) -> list[str]:
        """All breeds, or those that take part in most mistakes."""
        if len(self._all) <= _MAX_ROWS:
            return self._all
        mistakes: Counter[str] = Counter()
        for (truth, answer), count in self._pairs.items():
            if truth != answer:
                mistakes.update({truth: count, answer: count})
        worst = sorted(self._all, key=lambda c: (-mistakes[c], c))[:_MAX_ROWS]
        return sorted(worst)

    def _has_other(self) -> bool:
        return any(t in self._shown and a not in self._shown for t, a in self._pairs)

    def draw(self) -> Image.Image:
        """The whole picture."""
        matrix = len(self._columns) * _CELL
        size = (self._left + matrix + 24 + _BAR + 60 + _MARGIN, self._top + len(self._shown) * _CELL + 56)
        image = Image.new("RGB", size, _WHITE)
        pen = ImageDraw.Draw(image)
        pen.text((_MARGIN, _MARGIN - 8), self._title, _INK, ImageFont.load_default(22))
        pen.text((_MARGIN, _MARGIN + 26), self._subtitle(), _FAINT, self._font)
        for number, name in enumerate(self._columns):
            self._draw_column_name(image, number, name)
        bars = self._left + matrix + 24
        pen.text((bars, self._top - 24), "recall", _FAINT, self._font)
        for row, truth in enumerate(self._shown):
            self._draw_row(pen, row, truth)
            self._draw_bar(pen, row, truth, bars)
        return image

    def _subtitle(self) -> str:
        key = "Rows: what it is. Columns: what the model says."
        if len(self._shown) == len(self._all):
            return key
        return f"{key} The {_MAX_ROWS} most confused of {len(self._all)} breeds."

    def _draw_column_name(self, image: Image.Image, number: int, name: str) -> None:
        width = int(self._font.getlength(name)) + 2
        label = Image.new("RGB", (width, 20), _WHITE)
        ImageDraw.Draw(label).text((0, 0), name, _INK, self._font)
        turned = label.rotate(90, expand=True)
        image.paste(turned, (self._left + number * _CELL + 7, self._top - 8 - width))

    def _draw_row(self, pen: ImageDraw.ImageDraw, row: int, truth: str) -> None:
        y = self._top + row * _CELL
        name = breed_name(truth)
        pen.text((self._left - 10 - self._font.getlength(name), y + 8), name, _INK, self._font)
        counts = [self._pairs[truth, answer] for answer in self._shown]
        if len(self._columns) > len(self._shown):
            counts.append(self._totals[truth] - sum(counts))
        for column, count in enumerate(counts):
            x = self._left + column * _CELL
            right = column < len(self._shown) and self._shown[column] == truth
            share = count / self._totals[truth]
            colour = _mix(_RIGHT if right else _WRONG, 0.15 + 0.85 * share) if count else _WHITE
            pen.rectangle((x, y, x + _CELL, y + _CELL), fill=colour, outline=_GRID)
            if count:
                ink = _WHITE if share > 0.5 else _INK
                pen.text((x + _CELL / 2, y + _CELL / 2), str(count), ink, self._font, anchor="mm")

    def _draw_bar(self, pen: ImageDraw.ImageDraw, row: int, truth: str, left: int) -> None:
        recall = self._pairs[truth, truth] / self._totals[truth]
        y = self._top + row * _CELL + 8
        pen.rectangle((left, y, left + _BAR, y + _CELL - 16), fill=_GRID)
        if recall:
            pen.rectangle((left, y, left + _BAR * recall, y + _CELL - 16), fill=_RIGHT)
        pen.text((left + _BAR + 10, y), f"{recall:.0%}", _INK, self._font)


def _mix(colour: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    """The colour, faded towards white."""
    red, green, blue = (round(255 - (255 - part) * share) for part in colour)
    return red, green, blue
