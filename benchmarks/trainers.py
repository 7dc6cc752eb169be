"""Training loops that wait to be asked: starting them, and timing their steps together. Linux only."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import say
from cloud.core.processes import free_port
from local.data import sketches
from local.home import ROOT, LocalError

SOURCES = ("photos", "synthetic")


@dataclass(frozen=True)
class Work:
    """What a loop trains on; batch: photos per rank, side: pixels."""

    data: Path
    backbone: str
    batch: int
    side: int


class Trainer:
    """A loop's processes, one for each rank."""

    def __init__(self, ranks: "Sequence[subprocess.Popen[str]]", batch: int) -> None:
        self._ranks, self._batch = ranks, batch

    def ask(self, source: str, steps: int) -> None:
        """Let all ranks begin."""
        for rank in self._ranks:
            assert rank.stdin
            print(source, steps, file=rank.stdin, flush=True)
        self._asked = steps

    def rate(self) -> float:
        """Photos per second that the ranks trained on since they were asked, together.

        Raises:
            LocalError: one has ended; its log, on stderr, says why.
        """
        seconds = max(float(_line(rank)) for rank in self._ranks)
        return self._asked * self._batch * len(self._ranks) / seconds

    def measure(self, source: str, steps: int) -> float:
        """Ask, and wait for the rate."""
        self.ask(source, steps)
        return self.rate()


def parser(name: str, description: str, steps: int) -> argparse.ArgumentParser:
    """The options that the benchmarks of the training loop share."""
    options = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=description.splitlines()[0])
    options.add_argument("--data", type=Path, help="folder of photos (default: the sketchbook)")
    options.add_argument("--backbone", default="efficientnet_lite0")
    options.add_argument("--batch", type=int, default=32, help="photos per step and rank")
    options.add_argument("--side", type=int, default=224, help="of the photos, pixels")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--steps", type=int, default=steps, help="of each measurement")
    return options


def work(options: argparse.Namespace) -> Work:
    """What ``parser``'s options say."""
    return Work((options.data or sketches()).resolve(), options.backbone, options.batch, options.side)


def own_cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


@contextmanager
def trainer(loop: str, work: Work, cores: Sequence[Sequence[int]]) -> Iterator[Trainer]:
    """Start ``ours`` or ``peer`` with a rank on each of these groups of cores.

    Raises:
        LocalError: it does not start.
    """
    options = {"data": work.data, "backbone": work.backbone, "batch": work.batch, "side": work.side}
    port = free_port()
    with ExitStack() as stack:
        ranks = []
        for rank, own in enumerate(cores):
            variables = {
                **dict.fromkeys(("RANK", "LOCAL_RANK"), rank),
                **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), len(cores)),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "PYTHONPATH": ROOT,
                "OMP_NUM_THREADS": len(own),
            }
            command = [sys.executable, "-m", "benchmarks.training_loops", loop, "--cores", *map(str, own)]
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
            while (said := _line(process)) != "ready":
                say(said)
        yield Trainer(ranks, work.batch)


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise LocalError("a training loop ended before it was asked to; its last words are above")
    return line.strip()
