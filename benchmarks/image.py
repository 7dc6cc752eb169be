"""The server's image: its size, the seconds from its start to the first right answer, and its memory.

    python -m benchmarks image [--model model.tar.gz] [--repeats N] [--clean-root]

With a container engine, of the images ``kennel:serve`` and ``kennel:evaluate`` (the head of serving/Dockerfile says how
to build them). Without one, or with ``--clean-root``, of a folder with what the Dockerfile gives ``serve``: a fresh
environment of the hashed requirements, which pip has to reach, and the copied files, with nothing else on the path.
"""

import argparse
import http.client
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from local import laptop
from local.api import CONTENT_TYPES
from local.cloud.images import copy_into, stages_of
from local.cloud.processes import free_port
from local.home import ROOT, LocalError
from local.stack import STACK
from serving.artifact import golden_files, load_artifact, unpack

_DEADLINE_SECONDS = 60
_POLL_SECONDS = 0.005
_BUILD = "docker build -f serving/Dockerfile --target {0} -t kennel:{0} ."


@dataclass(frozen=True)
class Question:
    """A photo, its media type, and the class that the model must name."""

    photo: bytes
    content_type: str
    answer: str


@dataclass(frozen=True)
class Server:
    """A server that was just started.

    port: on loopback.
    resident_bytes: asks how much memory its process holds.
    """

    port: int
    resident_bytes: Callable[[], int]


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """The figures; bytes and seconds, ``start_seconds`` of each repeat and their median.

    Raises:
        LocalError: nothing to measure, or it does not answer.
    """
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model")
        unpack(options.model or _served_model(Path(folder, "model.tar.gz")), model)
        question = _question(model)
        if options.clean_root or not _engine_answers():
            how, root = "clean root", Path(folder, "root")
            python, workdir = _make_root(root)
            sizes: dict[str, Any] = {"serve": {"bytes": _bytes_of(root)}}
            start = partial(_process, python, workdir, model)
        else:
            how, sizes, start = "container", _image_sizes(), partial(_container, model)
        seconds, memory = zip(*(_first_answer(start, question) for _ in range(options.repeats)), strict=True)
    return {
        "how": how,
        "sizes": sizes,
        "start_seconds": [round(each, 3) for each in seconds],
        "start_seconds_median": round(statistics.median(seconds), 3),
        "resident_bytes_median": int(statistics.median(memory)),
    }


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks image", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a served artifact (default: what the laptop cloud serves)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clean-root", action="store_true", help="without the engine even where there is one")
    return parser.parse_args(arguments)


def _served_model(path: Path) -> Path:
    cloud = laptop.find()
    champion = "none"
    if cloud:
        champion = cloud.client("ssm").get_parameter(Name=f"/{STACK}/champion")["Parameter"]["Value"]
    if cloud is None or champion == "none":
        raise LocalError("there is no model to start a server with; give --model, or let `make run` promote one")
    bucket, _, key = json.loads(champion)["artifact_uri"].removeprefix("s3://").partition("/")
    cloud.client("s3").download_file(bucket, key, str(path))
    return path


def _question(model: Path) -> Question:
    golden = load_artifact(model).golden[0]
    name, photo = next(item for item in golden_files((golden,)).items() if not item[0].endswith(".json"))
    return Question(photo, CONTENT_TYPES[Path(name).suffix], golden.class_id)


def _first_answer(start: Callable[[], AbstractContextManager[Server]], question: Question) -> tuple[float, int]:
    """Seconds from the start to the first right answer, and the server's bytes of memory then."""
    began = time.perf_counter()
    with start() as server:
        while _ask(server.port, question) != question.answer:
            if time.perf_counter() - began > _DEADLINE_SECONDS:
                raise LocalError(f"the server did not name {question.answer} within {_DEADLINE_SECONDS} s of its start")
            time.sleep(_POLL_SECONDS)
        return time.perf_counter() - began, server.resident_bytes()


def _ask(port: int, question: Question) -> str:
    """The class that the server names; empty while it does not listen."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/invocations", question.photo, {"Content-Type": question.content_type})
        return str(json.load(connection.getresponse())["class"])
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


# With an engine ---------------------------------------------------------------------------------


def _engine_answers() -> bool:
    return shutil.which("docker") is not None and _docker("version", check=False).returncode == 0


def _image_sizes() -> dict[str, Any]:
    """Bytes of each image, and of what travels to an instance: its layers, compressed."""
    sizes = {}
    for target in ("serve", "evaluate"):
        found = _docker("image", "inspect", "--format", "{{.Size}}", f"kennel:{target}", check=False)
        if found.returncode:
            raise LocalError(f"there is no image kennel:{target}; build it with: {_BUILD.format(target)}")
        sizes[target] = {"bytes": int(found.stdout), "compressed_bytes": _compressed_bytes(f"kennel:{target}")}
    return sizes


def _compressed_bytes(image: str) -> int:
    packer, total = zlib.compressobj(level=1), 0
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        while chunk := saving.stdout.read(1 << 20):
            total += len(packer.compress(chunk))
    return total + len(packer.flush())


@contextmanager
def _container(model: Path) -> Iterator[Server]:
    """As SageMaker starts it: one argument, the model mounted to be read."""
    options = ("--detach", "--rm", "--publish", "127.0.0.1::8080", "--volume", f"{model}:/opt/ml/model:ro")
    name = _docker("run", *options, "kennel:serve", "serve").stdout.strip()
    try:
        address = _docker("port", name, "8080/tcp").stdout.split()[0]
        yield Server(int(address.rpartition(":")[2]), lambda: _resident_in(name))
    finally:
        _docker("stop", name)


def _resident_in(container: str) -> int:
    status = _docker("exec", container, "cat", "/proc/1/status").stdout
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


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
    _run(sys.executable, "-m", "venv", "--without-pip", str(root / "venv"))
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-cache-dir")
    exactly = ("--no-deps", "--only-binary", ":all:", "--require-hashes")
    _run(*pip, *exactly, "--requirement", str(workdir / "serving/requirements.txt"))
    _run(str(python), "-m", "compileall", "-q", str(workdir))
    return python, workdir


@contextmanager
def _process(python: Path, workdir: Path, model: Path) -> Iterator[Server]:
    port = free_port()
    place = ("--host", "127.0.0.1", "--port", str(port), "--model-dir", str(model))
    process = subprocess.Popen(
        [str(python), "-m", "serving", "serve", *place], cwd=workdir, env={}, stdout=subprocess.DEVNULL
    )
    try:
        yield Server(port, lambda: _resident_bytes(process.pid))
    finally:
        process.terminate()
        process.wait()


def _resident_bytes(pid: int) -> int:
    return 1024 * int(_run("ps", "-o", "rss=", "-p", str(pid)))


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalError(f"{' '.join(command[:4])} … failed: {done.stderr.strip()[-500:]}")
    return done.stdout
