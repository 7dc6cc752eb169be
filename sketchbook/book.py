"""Writes a sketchbook to disk: many drawings, laid out as a dataset with splits."""

import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

from dataset import OTHER, SPLITS, breed_name
from sketchbook.breeds import BREEDS
from sketchbook.drawing import draw
from sketchbook.things import THINGS

COUNTS: Mapping[str, int] = {"train": 60, "valid": 15, "test": 20, OTHER: 8}  # drawings per breed, or per thing
_JPEG_QUALITY = 88
_MIN_DRAWINGS_FOR_POOL = 200  # One process draws fewer than these before a second process has started.
_SEEDS_PER_BOOK = 1_000_000  # Books of different seeds share no drawing.


class SketchbookError(ValueError):
    """The sketchbook cannot be written; the message says why and how to mend it."""


class _Page(NamedTuple):
    """A drawing of the book: its path in the book, the name of the breed or thing, and the seed."""

    path: str
    name: str
    seed: int


def write(
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    counts: Mapping[str, int] = COUNTS,
    breeds: Iterable[str] = tuple(BREEDS),
    size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw a dataset into a folder. The folder appears only when it is complete.

    Args:
        folder: a new or an empty folder.
        seed: another seed gives a book of other drawings.
        counts: drawings per breed for each split, at least 1; and drawings per thing for `OTHER`, 0 by default.
        breeds: names in `BREEDS`. A breed has the same number in every book, also when others are missing.
        size: side of the drawings in pixels.
        progress: called after each drawing with the number of drawings done and the number of all drawings.

    Returns:
        The folder.

    Raises:
        SketchbookError: the folder is not empty, a count is too small, or a split or breed is unknown.
    """
    folder = Path(folder)
    pages = _pages(seed, counts, sorted(set(breeds)))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SketchbookError(f"sketchbook: {folder} is not an empty folder; give a new one, or remove it first")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        for parent in {Path(page.path).parent for page in pages}:
            (partial / parent).mkdir(parents=True)
        for done, _ in enumerate(_draw_pages(pages, partial, size), start=1):
            if progress:
                progress(done, len(pages))
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def contact_sheet(
    seed: int = 0, columns: int = 8, cell: int = 128, breeds: Iterable[str] = tuple(BREEDS)
) -> Image.Image:
    """Return a picture with one row of drawings for each breed or thing, below its name."""
    names, margin = list(breeds), 16
    sheet = Image.new("RGB", (columns * cell, len(names) * (cell + margin)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, breed in enumerate(names):
        top = row * (cell + margin)
        pen.text((4, top + 2), breed_name(breed), fill="black")
        for column in range(columns):
            drawing = draw(breed, seed * _SEEDS_PER_BOOK + column).resize((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(drawing, (column * cell, top + margin))
    return sheet


def _pages(seed: int, counts: Mapping[str, int], breeds: list[str]) -> list[_Page]:
    """Return all drawings of the book. A breed's drawings have different seeds, so no two splits share a drawing."""
    if unknown := [breed for breed in breeds if breed not in BREEDS]:
        raise SketchbookError(f"sketchbook: no breed '{unknown[0]}'; it has {', '.join(BREEDS)}")
    if set(counts) - {OTHER} != set(SPLITS) or min(counts[split] for split in SPLITS) < 1 or counts.get(OTHER, 0) < 0:
        raise SketchbookError(
            f"sketchbook: counts must give at least 1 drawing for each of {', '.join(SPLITS)}, 0 or more for {OTHER}"
        )
    numbers = {breed: number for number, breed in enumerate(sorted(BREEDS), start=1)}
    pages = []
    for breed in breeds:
        drawn = 0
        for split in SPLITS:
            for number in range(1, counts[split] + 1):
                path = f"{split}/{numbers[breed]:03d}.{breed}/{number:04d}.jpg"
                pages.append(_Page(path, breed, seed * _SEEDS_PER_BOOK + drawn))
                drawn += 1
    for thing in THINGS:
        for index in range(counts.get(OTHER, 0)):
            pages.append(_Page(f"{OTHER}/{thing}/{index + 1:04d}.jpg", thing, seed * _SEEDS_PER_BOOK + index))
    return pages


def _draw_pages(pages: list[_Page], folder: Path, size: int) -> Iterable[None]:
    """Draw the pages into the folder, with several processes if there are many; yield after each page."""
    if len(pages) < _MIN_DRAWINGS_FOR_POOL or (os.cpu_count() or 1) == 1:
        yield from map(_draw_page, pages, repeat(folder), repeat(size))
        return
    # Processes are spawned because a fork would copy the locks that the caller's threads hold.
    pool = ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(_draw_page, pages, repeat(folder), repeat(size), chunksize=10)
    finally:
        pool.shutdown(cancel_futures=True)


def _draw_page(page: _Page, folder: Path, size: int) -> None:
    draw(page.name, page.seed, size).save(folder / page.path, "JPEG", quality=_JPEG_QUALITY)
