"""The evaluation's memory, under the hard limit that an instance of 4 GiB leaves to its container.

    python -m benchmarks evaluation_memory --dataset dogImages [--trained trained.tar.gz] [--limit-mib MIB]

It evaluates a model twice, without a champion and then with one, each time in a fresh process inside a control group
of its own (version 2 or 1) without swap. A process that needs more than the limit is killed, as the container would be.
Files that the kernel keeps in memory count against the limit as well, but make room when it is reached; what is
reported is the memory that no file holds. Making control groups needs root on Linux.
"""

import argparse
import math
import os
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.home import ROOT, LocalError

_MIB = 2**20
_LIMIT_MIB = 3584  # of the 4,096 of an ml.c7i.large; the rest is for the kernel and SageMaker's own programs
_GROUPS = Path("/sys/fs/cgroup")
_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class MemoryGroup:
    """A control group with a limit of memory.

    Attributes:
        folder: the group's files.
        version: of control groups, 1 or 2.
    """

    folder: Path
    version: int

    def anonymous_bytes(self) -> int:
        """Return the bytes of the group that no file holds, so that the kernel cannot free them."""
        name = "anon" if self.version == 2 else "total_rss"
        pairs = (line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
        return next(int(value) for key, value in pairs if key == name)


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure the evaluation's memory.

    Raises:
        LocalError: there is no control group, or a training fails.
    """
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained = options.trained or _train(options.dataset, folder)
        first = _evaluate(options, trained, None, folder / "first")
        cases = {"without_champion": first}
        if not first["exit_code"]:
            champion = folder / "first" / "output" / "artifact" / "model.tar.gz"
            cases["with_champion"] = _evaluate(options, trained, champion, folder / "second")
    fits = len(cases) == 2 and not any(case["exit_code"] for case in cases.values())
    peak = max(case["anonymous_mib"] for case in cases.values())
    return {
        "inputs": {"dataset": str(options.dataset), "limit_mib": options.limit_mib},
        "rounds": 1,
        "ours": cases,
        "peers": {},
        "limit": None,
        "ratio": None,
        "goal": {"fits": {"bound": options.limit_mib, "measured": peak, "met": fits}},
    }


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks evaluation_memory", description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True, help="folder with train/, valid/ and test/")
    parser.add_argument("--trained", type=Path, help="the training's model.tar.gz (default: it is trained first)")
    parser.add_argument("--limit-mib", type=int, default=_LIMIT_MIB)
    return parser.parse_args(arguments)


def _train(dataset: Path, folder: Path) -> Path:
    model, archive = folder / "trained", folder / "trained.tar.gz"
    command = [sys.executable, "-m", "training.train", "--data", str(dataset), "--model-dir", str(model)]
    if subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode:
        raise LocalError("the training failed; its last line says why")
    shutil.rmtree(model / "checkpoints")
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for file in sorted(model.iterdir()):
            tar.add(file, file.name)
    return archive


def _evaluate(options: argparse.Namespace, trained: Path, champion: Path | None, root: Path) -> dict[str, Any]:
    (root / "input" / "model").mkdir(parents=True)
    (root / "input" / "dataset").symlink_to(options.dataset.resolve())
    shutil.copy(trained, root / "input" / "model" / "model.tar.gz")
    if champion:
        (root / "input" / "champion").mkdir()
        shutil.copy(champion, root / "input" / "champion" / "model.tar.gz")
    evaluation = [sys.executable, "-m", "serving.evaluate", "--root", str(root), "--version", "measured"]
    began, peak = time.monotonic(), 0
    with _memory_group(options.limit_mib * _MIB) as group:
        enter = ["sh", "-c", f'echo $$ > {group.folder}/cgroup.procs && exec "$@"', "sh"]
        process = subprocess.Popen([*enter, *evaluation], cwd=ROOT, stdout=sys.stderr)
        while process.poll() is None:
            peak = max(peak, group.anonymous_bytes())
            time.sleep(_SAMPLE_SECONDS)
    return {
        "exit_code": process.returncode,
        "anonymous_mib": math.ceil(peak / _MIB),
        "seconds": round(time.monotonic() - began, 1),
    }


@contextmanager
def _memory_group(limit: int) -> Iterator[MemoryGroup]:
    """Make a control group that has so many bytes of memory and no swap.

    Raises:
        LocalError: this machine or user cannot make one.
    """
    version = 2 if (_GROUPS / "cgroup.controllers").exists() else 1
    folder = (_GROUPS if version == 2 else _GROUPS / "memory") / f"kennel-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
        if version == 2:
            (folder / "memory.max").write_text(str(limit))
            (folder / "memory.swap.max").write_text("0")
        else:
            (folder / "memory.limit_in_bytes").write_text(str(limit))
            (folder / "memory.memsw.limit_in_bytes").write_text(str(limit))
    except OSError as error:
        raise LocalError(
            f"cannot make a control group in {folder.parent} ({error.strerror}); "
            "this benchmark needs Linux, root, and the memory controller of control groups"
        ) from error
    try:
        yield MemoryGroup(folder, version)
    finally:
        os.rmdir(folder)
