"""The server's image: its size, the seconds from its start to the first correct answer, and its memory.

    python -m benchmarks image [--model model.tar.gz] [--rounds N] [--clean-root]

With a container engine it measures the images ``kennel:serve`` and ``kennel:evaluate``; serving/Dockerfile begins with
the commands that build them. Without one, or with ``--clean-root``, it measures a folder that contains what the
Dockerfile puts into ``serve``: a fresh environment of the hashed requirements, which pip must be able to download, and
the copied files, with nothing else on the path.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.figures import spread
from benchmarks.inputs import questions, served_model
from benchmarks.servers import Question, await_answer, launched, our_server, run, sizes
from cloud.ecr.images import copy_into, stages_of
from local.home import ROOT, LocalError
from serving.served_artifact import load_artifact

_StartedServer = tuple[int, Callable[[], int]]  # its port on loopback, and a function that returns its resident bytes
_BUILD = "docker build -f serving/Dockerfile --target {0} -t kennel:{0} ."


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure bytes and seconds.

    Raises:
        LocalError: There is nothing to measure, or the server does not answer.
    """
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as folder:
        model = served_model(options.model, Path(folder, "model"))
        question = questions(load_artifact(model))[0]
        if options.clean_root or not _engine_answers():
            how, root = "clean root", Path(folder, "root")
            python, workdir = _make_root(root)
            images: dict[str, dict[str, int]] = {"serve": {"bytes": _bytes_of(root)}}
            start = partial(_process, python, workdir, model)
        else:
            how, images, start = "container", _image_sizes(), partial(_container, model)
        seconds, memory = zip(*(_first_answer(start, question) for _ in range(options.rounds)), strict=True)
    return {
        "inputs": {"how": how},
        "rounds": options.rounds,
        "ours": {"images": images, "start_seconds": spread(seconds), "resident_bytes": spread(memory)},
        "peers": {},
        "limit": None,
        "ratio": None,
        "goal": {},
    }


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks image", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a served artifact (default: what the laptop cloud serves)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--clean-root", action="store_true", help="do not use the container engine, even if there is one"
    )
    return parser.parse_args(arguments)


def _first_answer(start: Callable[[], AbstractContextManager[_StartedServer]], question: Question) -> tuple[float, int]:
    """Return the seconds from the start to the first correct answer, and the server's bytes of memory then."""
    began = time.perf_counter()
    with start() as (port, resident_bytes):
        await_answer(port, question)
        return time.perf_counter() - began, resident_bytes()


# With a container engine ----------------------------------------------------------------------


def _engine_answers() -> bool:
    return shutil.which("docker") is not None and _docker("version", check=False).returncode == 0


def _image_sizes() -> dict[str, dict[str, int]]:
    """Return the bytes of each image, and of its compressed layers, which travel to an instance."""
    images = {}
    for target in ("serve", "evaluate"):
        inspection = _docker("image", "inspect", "--format", "{{.Size}}", f"kennel:{target}", check=False)
        if inspection.returncode:
            raise LocalError(f"there is no image kennel:{target}; build it with: {_BUILD.format(target)}")
        images[target] = {"bytes": int(inspection.stdout), "compressed_bytes": _compressed_bytes(f"kennel:{target}")}
    return images


def _compressed_bytes(image: str) -> int:
    packer, total = zlib.compressobj(level=1), 0
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        while chunk := saving.stdout.read(1 << 20):
            total += len(packer.compress(chunk))
    return total + len(packer.flush())


@contextmanager
def _container(model: Path) -> Iterator[_StartedServer]:
    """Start the container as SageMaker does: with one argument, and the model mounted read-only."""
    options = ("--detach", "--rm", "--publish", "127.0.0.1::8080", "--volume", f"{model}:/opt/ml/model:ro")
    name = _docker("run", *options, "kennel:serve", "serve").stdout.strip()
    try:
        address = _docker("port", name, "8080/tcp").stdout.split()[0]
        yield int(address.rpartition(":")[2]), lambda: _resident_in(name)
    finally:
        _docker("stop", name)


def _resident_in(container: str) -> int:
    return sizes(_docker("exec", container, "cat", "/proc/1/status").stdout)["VmRSS"]


def _docker(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    process = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if check and process.returncode:
        raise LocalError(f"docker {arguments[0]} failed: {process.stderr.strip()}")
    return process


# Without a container engine -------------------------------------------------------------------


def _make_root(root: Path) -> tuple[Path, Path]:
    """Make a folder with what the image adds to its base; return its interpreter and working directory."""
    stage = stages_of((ROOT / "serving/Dockerfile").read_text(), {})["serve"]
    for source, destination in stage.copies:
        copy_into(ROOT, source, root, destination)
    workdir = root / stage.workdir.lstrip("/")
    python = root / "venv/bin/python"
    run(sys.executable, "-m", "venv", "--without-pip", str(root / "venv"))
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-cache-dir")
    hashed_only = ("--no-deps", "--only-binary", ":all:", "--require-hashes")
    run(*pip, *hashed_only, "--requirement", str(workdir / "serving/requirements.txt"))
    run(str(python), "-m", "compileall", "-q", str(workdir))
    return python, workdir


@contextmanager
def _process(python: Path, workdir: Path, model: Path) -> Iterator[_StartedServer]:
    system = our_server(model)
    command = (str(python), *system.command[1:])
    with launched(replace(system, command=command, environment={}), workdir, inherited={}) as server:
        yield server.port, server.resident_bytes


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
