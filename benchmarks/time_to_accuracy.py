"""Seconds from JPEGs to the validation accuracy that the usual notebook's loop reaches at its end.

    python -m benchmarks time_to_accuracy [--data FOLDER] [--backbone NAME] [--rounds N]

Ours is the training program with its defaults; the peer is ``benchmarks/peers/student_loop.py``. Each is a new process,
and its imports and loading count. Both see the photos in folders without the breeds' names, so that neither recognizes
an ImageNet class by its name, and both heads start from nothing. A round of the peer takes a quarter of an hour on
9,000 photos.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.figures import goal, rounded, spread
from benchmarks.servers import print_progress
from dataset import SPLITS, open_source
from local.data import sketches
from local.home import ROOT, LocalError
from training.hyperparameters import Hyperparameters

_TIMES_FASTER = 15
_TOP1 = re.compile(r"valid_top1=([0-9.]+)")

AccuracyLog = list[tuple[float, float]]  # (seconds since the start, validation accuracy) of each line that has one


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure seconds.

    Raises:
        LocalError: A program failed, or ours never reached the peer's accuracy.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks time_to_accuracy", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: the sketchbook)")
    parser.add_argument("--backbone", default=Hyperparameters().backbone)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args(arguments)
    ours, peers, accuracies = [], [], []
    with _with_numbered_classes(options.data or sketches()) as data:
        common = ["--data", str(data), "--backbone", options.backbone]
        for number in range(1, options.rounds + 1):
            peer = _run_and_log("peer", [str(ROOT / "benchmarks/peers/student_loop.py"), *common])
            accuracies.append(peer[-1][1])
            peers.append(_seconds_to(peer, accuracies[-1]))
            with TemporaryDirectory() as folder:
                log = _run_and_log("ours", ["-m", "training.train", *common, "--model-dir", folder])
            ours.append(_seconds_to(log, accuracies[-1]))
            print_progress(
                f"round {number}/{options.rounds}  {accuracies[-1]:.4f} after {ours[-1]:.1f} s, peer {peers[-1]:.1f} s"
            )
    ratio = statistics.median(peer / own for peer, own in zip(peers, ours, strict=True))
    return {
        "inputs": {"backbone": options.backbone, "data": "given" if options.data else "the sketchbook"},
        "rounds": options.rounds,
        "ours": {"seconds": spread(ours)},
        "peers": {"student loop": {"seconds": spread(peers), "valid_top1": spread(accuracies)}},
        "limit": None,
        "ratio": rounded(ratio),
        "goal": {"times_faster": goal(ratio, at_least=_TIMES_FASTER)},
    }


@contextmanager
def _with_numbered_classes(data: Path) -> Iterator[Path]:
    """Make a folder of links to the photos, whose classes are numbers instead of names."""
    listing = open_source(data).listing
    with TemporaryDirectory() as folder:
        for photo in listing.photos:
            if photo.split in SPLITS:
                link = Path(folder, photo.split, f"{listing.classes.index(photo.label):03}", Path(photo.path).name)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to((data / listing.prefix / photo.path).resolve())
        yield Path(folder)


def _run_and_log(who: str, program: Sequence[str]) -> AccuracyLog:
    """Run a program, and return the validation accuracies of its log with their times.

    Raises:
        LocalError: The program failed.
    """
    log, begin = [], time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, *program], stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if match := _TOP1.search(line):
                log.append((time.monotonic() - begin, float(match[1])))
                print_progress(f"{who} {log[-1][0]:7.1f} s  {line.strip()}")
    if process.returncode:
        raise LocalError(f"time_to_accuracy: {who} ended with {process.returncode}; its last output is above")
    return log


def _seconds_to(log: AccuracyLog, accuracy: float) -> float:
    """Return the seconds until the log first has an accuracy.

    Raises:
        LocalError: The log never has it.
    """
    seconds = next((seconds for seconds, top1 in log if top1 >= accuracy), None)
    if seconds is None:
        raise LocalError(
            f"time_to_accuracy: the peer's {accuracy:.4f} was not reached, only {max(top1 for _, top1 in log):.4f}"
        )
    return seconds
