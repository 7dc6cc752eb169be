"""Writes a sketchbook to disk: many drawings, split as a dataset."""

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
_WORTH_A_POOL = 200  # drawings; fewer are done before a second process has started
_SEEDS_PER_BOOK = 1_000_000  # books of different seeds share no drawing


class SketchbookError(ValueError):
    """The sketchbook cannot be written; the message says why and how to mend it."""


class _Page(NamedTuple):
    path: str  # inside the book
    name: str  # of a breed or thing
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
    """Draw a dataset into a folder, which appears only when it is complete.

    Args:
        folder: where to; must not exist, or be empty.
        seed: another seed gives a book of other drawings.
        counts: drawings per breed for each split, at least 1; per thing for `OTHER`, none when it is missing.
        breeds: names in `BREEDS`; a breed keeps its number in a book of fewer.
        size: side of the drawings, pixels.
        progress: called with (drawings done, drawings in all) after each.

    Returns:
        The folder.

    Raises:
        SketchbookError: the folder is not empty, a count below 1, an unknown split or breed.
    """
    folder = Path(folder)
    pages = _pages(seed, counts, sorted(set(breeds)))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SketchbookError(f"sketchbook: {folder} is not an empty folder; give a new one, or remove it first")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        for parent in {Path(page.path).parent for page in pages}:
            (partial / parent).mkdir(parents=True)
        for done, _ in enumerate(_drawn(pages, partial, size), start=1):
            if progress:
                progress(done, len(pages))
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def contact_sheet(
    seed: int = 0, columns: int = 8, cell: int = 128, breeds: Iterable[str] = tuple(BREEDS)
) -> Image.Image:
    """A picture with one row of drawings per breed (or thing), each row with its name."""
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
    """Every drawing of the book; the seeds of a breed's drawings all differ, so no two splits share one."""
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
            for place in range(1, counts[split] + 1):
                path = f"{split}/{numbers[breed]:03d}.{breed}/{place:04d}.jpg"
                pages.append(_Page(path, breed, seed * _SEEDS_PER_BOOK + drawn))
                drawn += 1
    for thing in THINGS:
        for place in range(counts.get(OTHER, 0)):
            pages.append(_Page(f"{OTHER}/{thing}/{place + 1:04d}.jpg", thing, seed * _SEEDS_PER_BOOK + place))
    return pages


def _drawn(pages: list[_Page], folder: Path, size: int) -> Iterable[None]:
    """Draw the pages into the folder, on all cores where it pays; yields after each."""
    if len(pages) < _WORTH_A_POOL or (os.cpu_count() or 1) == 1:
        yield from map(_draw_page, pages, repeat(folder), repeat(size))
        return
    # Spawned, not forked: the caller may have threads, and a fork copies their locks as they stand.
    pool = ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(_draw_page, pages, repeat(folder), repeat(size), chunksize=10)
    finally:
        pool.shutdown(cancel_futures=True)


def _draw_page(page: _Page, folder: Path, size: int) -> None:
    draw(page.name, page.seed, size).save(folder / page.path, "JPEG", quality=_JPEG_QUALITY)
