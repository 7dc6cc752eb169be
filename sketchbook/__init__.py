"""The sketchbook: an embedded dataset of ten cartoon dog breeds, drawn when it is needed.

It replaces photos on a fresh machine: it needs no download and no licence, and takes a few seconds. Its layout is that
of every dataset here (``train/001.Beagle/0001.jpg``, and ``other/cat/0001.jpg`` for things that are not dogs). The same
seed gives the same bytes.

    python -m sketchbook FOLDER [--seed N] [--train N] [--valid N] [--test N] [--other N]
"""

from sketchbook.book import COUNTS, SketchbookError, contact_sheet, write
from sketchbook.breeds import BREEDS, Breed
from sketchbook.drawing import draw
from sketchbook.things import THINGS

__all__ = ["BREEDS", "COUNTS", "THINGS", "Breed", "SketchbookError", "contact_sheet", "draw", "write"]
