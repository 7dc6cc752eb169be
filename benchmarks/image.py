"""The server's image: its size, the seconds from its start to the first right answer, and its memory.

    python -m benchmarks image [--model model.tar.gz] [--rounds N] [--clean-root]

With a container engine, of the images ``kennel:serve`` and ``kennel:evaluate`` (the head of serving/Dockerfile says how
to build them). Without one, or with ``--clean-root``, of a folder with what the Dockerfile gives ``serve``: a fresh
environment of the hashed requirements, which pip has to reach, and the copied files, with nothing else on the path.
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
from benchmarks.servers import Question, await_answer, launched, ours, run, sizes
from cloud.ecr.images import copy_into, stages_of
from local.home import ROOT, LocalError
from serving.served_artifact import load_artifact

_Started = tuple[int, Callable[[], int]]  # the port on loopback, and what asks for the resident bytes
_BUILD = "docker build -f serving/Dockerfile --target {0} -t kennel:{0} ."


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """The figures: bytes and seconds.

    Raises:
        LocalError: nothing to measure, or it does not answer.
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
    parser.add_argument("--clean-root", action="store_true", help="without the engine even where there is one")
    return parser.parse_args(arguments)


def _first_answer(start: Callable[[], AbstractContextManager[_Started]], question: Question) -> tuple[float, int]:
    """Seconds from the start to the first right answer, and the server's bytes of memory then."""
    began = time.perf_counter()
    with start() as (port, resident_bytes):
        await_answer(port, question)
        return time.perf_counter() - began, resident_bytes()


# With an engine ---------------------------------------------------------------------------------


def _engine_answers() -> bool:
    return shutil.which("docker") is not None and _docker("version", check=False).returncode == 0


def _image_sizes() -> dict[str, dict[str, int]]:
    """Bytes of each image, and of what travels to an instance: its layers, compressed."""
    images = {}
    for target in ("serve", "evaluate"):
        found = _docker("image", "inspect", "--format", "{{.Size}}", f"kennel:{target}", check=False)
        if found.returncode:
            raise LocalError(f"there is no image kennel:{target}; build it with: {_BUILD.format(target)}")
        images[target] = {"bytes": int(found.stdout), "compressed_bytes": _compressed_bytes(f"kennel:{target}")}
    return images


def _compressed_bytes(image: str) -> int:
    packer, total = zlib.compressobj(level=1), 0
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        while chunk := saving.stdout.read(1 << 20):
            total += len(packer.compress(chunk))
    return total + len(packer.flush())


@contextmanager
def _container(model: Path) -> Iterator[_Started]:
    """As SageMaker starts it: one argument, the model mounted to be read."""
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
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise LocalError(f"docker {arguments[0]} failed: {done.stderr.strip()}")
    return done


# Without one ------------------------------------------------------------------------------------


def _make_root(root: Path) -> tuple[Path, Path]:
    """A folder with what the image holds beyond its base; returns its interpreter and its working directory."""
    stage = stages_of((ROOT / "serving/Dockerfile").read_text(), {})["serve"]
    for source, destination in stage.copies:
        copy_into(ROOT, source, root, destination)
    workdir = root / stage.workdir.lstrip("/")
    python = root / "venv/bin/python"
    run(sys.executable, "-m", "venv", "--without-pip", str(root / "venv"))
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-cache-dir")
    exactly = ("--no-deps", "--only-binary", ":all:", "--require-hashes")
    run(*pip, *exactly, "--requirement", str(workdir / "serving/requirements.txt"))
    run(str(python), "-m", "compileall", "-q", str(workdir))
    return python, workdir


@contextmanager
def _process(python: Path, workdir: Path, model: Path) -> Iterator[_Started]:
    system = ours(model)
    command = (str(python), *system.command[1:])
    with launched(replace(system, command=command, environment={}), workdir, inherited={}) as server:
        yield server.port, server.resident_bytes


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
