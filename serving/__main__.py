"""``python -m serving [serve] --model-dir FOLDER [--host HOST] [--port PORT] [--user ID]``: start the model server.

SageMaker starts the container as ``IMAGE serve`` with the model at ``/opt/ml/model``.
"""

import argparse
import ctypes
import logging
import os
import signal
import sys
import time
from contextlib import suppress

import uvicorn

from serving.cpu_precision import cpu_kind
from serving.model import ServedModel
from serving.served_artifact import ArtifactError, load_artifact
from serving.server import make_app
from serving.telemetry import JsonLines, log, log_event

_DRAIN_SECONDS = 20  # SageMaker kills a container 30 s after SIGTERM
_KEEP_ALIVE_SECONDS = 75  # longer than callers keep theirs, who might else ask over a connection just being closed
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def main() -> int:
    """Load the model, let it answer its golden photos, then serve until SIGTERM."""
    started = time.perf_counter()
    options = _options()
    _give_large_photos_back()
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn drains on both and then raises the signal again, for which this is the answer.
        signal.signal(number, lambda *_: sys.exit(0))
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(logging.INFO)
    try:
        model = ServedModel(load_artifact(options.model_dir))
        model.check_golden()
    except ArtifactError as error:
        print(error, file=sys.stderr)
        return 1
    card = model.artifact.card
    facts = {
        "model_version": card.version,
        "classes": card.classes,
        "precision": model.precision,
        "precisions_offered": model.artifact.precisions,
        "cpu": cpu_kind(),
        "threads": model.num_threads,
        "load_seconds": round(time.perf_counter() - started, 3),
    }
    log_event("loaded", facts)
    if options.user and os.geteuid() == 0:
        _become(options.user)
    uvicorn.run(
        make_app(model),
        host=options.host,
        port=options.port,
        http="httptools",  # 0.1 ms of CPU a request less than h11; uvloop would bring nothing more
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    return 0


def _give_large_photos_back() -> None:
    """Have glibc return a large photo's memory to the system, and keep that of usual ones for the next.

    Left alone it raises both limits with the first large photo that it frees, and keeps 90 MB after a few.
    """
    with suppress(AttributeError):  # macOS and musl have no mallopt
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 16 << 20)


def _become(user: int) -> None:
    """Give up root for good, before anybody's photo is decoded."""
    try:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    except PermissionError:
        sys.exit(f"root may not become user {user} here: leave it SETUID and SETGID, or start as another user")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve an image classifier over HTTP.")
    parser.add_argument("command", nargs="?", choices=["serve"], default="serve", help="what SageMaker passes")
    parser.add_argument("--model-dir", default="/opt/ml/model", help="folder of a served artifact")
    everywhere = "0.0.0.0"  # noqa: S104 - SageMaker asks the container from outside
    parser.add_argument("--host", default=everywhere, help="address to listen on; 127.0.0.1 on a laptop")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--user", type=int, help="when started as root: user and group id to serve as")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
