"""Starting training loops as processes, and timing their steps. It needs Linux."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import print_progress
from cloud.core.processes import free_port
from local.data import sketches
from local.home import ROOT, LocalError

SOURCES = ("photos", "synthetic")


@dataclass(frozen=True)
class TrainingWork:
    """The work of a training loop.

    Attributes:
        data: Folder of photos.
        backbone: Name of the backbone.
        batch: Number of photos per step and rank.
        side: Side of the photos, pixels.
    """

    data: Path
    backbone: str
    batch: int
    side: int


class Trainer:
    """The processes of a training loop, one for each rank."""

    def __init__(self, ranks: "Sequence[subprocess.Popen[str]]", batch: int) -> None:
        self._ranks, self._batch = ranks, batch

    def ask(self, source: str, steps: int) -> None:
        """Let all ranks begin a number of steps."""
        for rank in self._ranks:
            assert rank.stdin
            print(source, steps, file=rank.stdin, flush=True)
        self._steps = steps

    def rate(self) -> float:
        """Wait for the steps, and return the photos per second of all ranks together.

        Raises:
            LocalError: A rank has ended. Its log on stderr says why.
        """
        seconds = max(float(_line(rank)) for rank in self._ranks)
        return self._steps * self._batch * len(self._ranks) / seconds

    def measure(self, source: str, steps: int) -> float:
        """Run a number of steps, and return the photos per second."""
        self.ask(source, steps)
        return self.rate()


def parser(name: str, description: str, steps: int) -> argparse.ArgumentParser:
    """Make the parser of the options that the benchmarks of the training loop share."""
    options = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=description.splitlines()[0])
    options.add_argument("--data", type=Path, help="folder of photos (default: the sketchbook)")
    options.add_argument("--backbone", default="efficientnet_lite2")
    options.add_argument("--batch", type=int, default=32, help="photos per step and rank")
    options.add_argument("--side", type=int, default=224, help="side of the photos, pixels")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--steps", type=int, default=steps, help="number of steps of each measurement")
    return options


def training_work(options: argparse.Namespace) -> TrainingWork:
    """Return the work that ``parser``'s options describe."""
    return TrainingWork((options.data or sketches()).resolve(), options.backbone, options.batch, options.side)


def own_cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


@contextmanager
def trainer(loop: str, work: TrainingWork, cores: Sequence[Sequence[int]]) -> Iterator[Trainer]:
    """Start the loop ``ours`` or ``peer``, with a rank on each of the groups of cores.

    Raises:
        LocalError: The loop does not start.
    """
    options = {"data": work.data, "backbone": work.backbone, "batch": work.batch, "side": work.side}
    port = free_port()
    with ExitStack() as stack:
        ranks = []
        for rank, rank_cores in enumerate(cores):
            variables = {
                **dict.fromkeys(("RANK", "LOCAL_RANK"), rank),
                **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), len(cores)),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "PYTHONPATH": ROOT,
                "OMP_NUM_THREADS": len(rank_cores),
            }
            command = [sys.executable, "-m", "benchmarks.training_loops", loop, "--cores", *map(str, rank_cores)]
            process = subprocess.Popen(
                [*command, *(word for name, value in options.items() for word in (f"--{name}", str(value)))],
                env={**os.environ, **{name: str(value) for name, value in variables.items()}},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            ranks.append(stack.enter_context(process))
            stack.callback(process.kill)
        for process in ranks:
            while (line := _line(process)) != "ready":
                print_progress(line)
        yield Trainer(ranks, work.batch)


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise LocalError("a training loop ended too early; its last output is above")
    return line.strip()
