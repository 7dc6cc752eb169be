"""``python -m sketchbook FOLDER``: draw the sketchbook into a folder."""

import argparse
import sys

from dataset import OTHER
from sketchbook.book import COUNTS, SketchbookError, write
from sketchbook.breeds import BREEDS
from sketchbook.things import THINGS


def main(arguments: list[str] | None = None) -> int:
    """Draw the sketchbook and return the exit code: 0 on success, 2 for a mistake that the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m sketchbook", description="Draw a dataset of ten dog breeds.")
    parser.add_argument("folder", help="a new or empty folder")
    parser.add_argument("--seed", type=int, default=0, help="another number draws another book (default 0)")
    for split, count in COUNTS.items():
        unit = "drawings of each thing that is not a dog" if split == OTHER else "drawings per breed"
        parser.add_argument(f"--{split}", type=int, default=count, metavar="N", help=f"{unit} (default {count})")
    options = parser.parse_args(arguments)
    try:
        counts = {split: getattr(options, split) for split in COUNTS}
        folder = write(
            options.folder, seed=options.seed, counts=counts, progress=_show_progress if sys.stderr.isatty() else None
        )
    except SketchbookError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"sketchbook: cannot write {options.folder} ({error.strerror}); give another folder", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    num_other = counts.pop(OTHER) * len(THINGS)
    num_dogs = sum(counts.values()) * len(BREEDS)
    print(f"sketchbook: {num_dogs} drawings of {len(BREEDS)} breeds and {num_other} of other things in {folder}")
    return 0


def _show_progress(done: int, total: int) -> None:
    print(f"\rdrawing {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
