"""``python -m serving [serve] --model-dir FOLDER [--host HOST] [--port PORT] [--user ID]``: start the model server.

SageMaker starts the container as ``IMAGE serve``, with the model at ``/opt/ml/model``. The variable KENNEL_MANIFEST
of a model that a run has judged names the only artifact that the server then serves.
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

_DRAIN_SECONDS = 20  # SageMaker kills a container 30 s after SIGTERM.
# See "Connections are kept for 75 s" in docs/decisions/serving.md.
_KEEP_ALIVE_SECONDS = 75
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt, from glibc's malloc.h


def main() -> int:
    """Load the model, check its answers to the golden photos, then serve until SIGTERM.

    Returns:
        The exit code: 0, or 1 for a model that must not be served.
    """
    started = time.perf_counter()
    options = _options()
    _limit_retained_memory()
    for number in (signal.SIGTERM, signal.SIGINT):
        # On either signal uvicorn finishes its requests and then raises the signal again. This handler receives it.
        signal.signal(number, lambda *_: sys.exit(0))
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(logging.INFO)
    try:
        model = ServedModel(load_artifact(options.model_dir, options.manifest))
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
        _drop_root(options.user)
    uvicorn.run(
        make_app(model),
        host=options.host,
        port=options.port,
        http="httptools",  # See "httptools instead of h11" in docs/decisions/serving.md.
        loop="asyncio",  # See "uvloop: dropped" in docs/decisions/serving.md.
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    return 0


def _limit_retained_memory() -> None:
    """Let glibc return the memory of large photos to the system, and keep that of usual photos for the next ones.

    By default glibc raises both thresholds when it first frees a large photo.
    See "malloc thresholds are fixed" in docs/decisions/serving.md.
    """
    with suppress(AttributeError):  # macOS and musl have no mallopt.
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 16 << 20)


def _drop_root(user: int) -> None:
    """Give up root for good, before any caller's photo is decoded.

    See "No USER in the Dockerfile" in docs/decisions/images.md.
    """
    try:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    except PermissionError:
        sys.exit(
            f"root may not become user {user} here: give the container the capabilities SETUID and SETGID, "
            "or start it as another user"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve an image classifier over HTTP.")
    parser.add_argument("command", nargs="?", choices=["serve"], default="serve", help="SageMaker passes this word")
    parser.add_argument("--model-dir", default="/opt/ml/model", help="folder of a served artifact")
    parser.add_argument(
        "--manifest",
        default=os.environ.get("KENNEL_MANIFEST", ""),
        help="SHA-256 of manifest.json of the artifact that was judged; another one is refused "
        "(default: the variable KENNEL_MANIFEST)",
    )
    all_interfaces = "0.0.0.0"  # noqa: S104 - SageMaker calls the container from outside
    parser.add_argument("--host", default=all_interfaces, help="address to listen on; 127.0.0.1 on a laptop")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (%(default)s)")
    parser.add_argument("--user", type=int, help="user and group id to serve as when the server is started as root")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
