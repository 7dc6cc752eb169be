"""Functions as Lambda hosts them: a process on one core, which asks a Runtime API for one event after the other.

The Runtime API is that of the laptop cloud, on the other cores. A bucket that answers at once has the models.
"""

import base64
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.servers import sizes
from cloud.lambdas.runtime_api import Event, RuntimeApi
from local.home import ROOT, LocalError

_SECONDS = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")
BUCKET = "models"
_PACKAGES = sysconfig.get_path("purelib")
PYTHON = (sys.executable, "-S")  # Without site, which an image has, but not with this environment's own hooks.


@dataclass(frozen=True)
class HostedFunction:
    """A function that can be started.

    Attributes:
        name: Name in the report.
        command: Its command line.
        variables: Its own environment variables.
        packages: Names of the packages that its process reads from the disk.
    """

    name: str
    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()


class RunningFunction:
    """A function's process, and the Runtime API that it asks."""

    def __init__(self, function: HostedFunction, environment: Mapping[str, str], log: Path) -> None:
        """Start the process on one core."""
        self._api, self._log, self._asked = RuntimeApi(), log, 0
        variables = {**environment, **function.variables, "AWS_LAMBDA_RUNTIME_API": self._api.address}
        everything = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(everything)})  # The process inherits it.
        try:
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    function.command, cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
        finally:
            os.sched_setaffinity(0, everything)

    def ask(self, photo: bytes, by_url: bool = False) -> tuple[dict[str, Any], float]:
        """Send a photo as soon as the function asks for an event; return its answer, and the milliseconds it took.

        Args:
            photo: The photo.
            by_url: Send the event of a request to the function's URL, and return the document in the answer.

        Raises:
            LocalError: The process ended, or did not answer.
        """
        self._wait(lambda: self._api.is_idle)
        self._asked += 1
        text = base64.b64encode(photo).decode()
        payload = json.dumps(_url_event(text) if by_url else {"photo": text}).encode()
        event = Event(f"request-{self._asked}", payload, "arn:aws:lambda:::function:f", time.time() + _SECONDS, "")
        began = time.perf_counter()
        self._api.send(event)
        self._wait(lambda: self._api.reply is not None)
        milliseconds = (time.perf_counter() - began) * 1e3
        reply = self._api.reply
        assert reply is not None
        if reply.error_type is not None:
            raise LocalError(f"the function failed: {reply.payload.decode()}\n{self._log.read_text()[-1000:]}")
        document: dict[str, Any] = json.loads(reply.payload)
        if not by_url:
            return document, milliseconds
        if document["statusCode"] != 200:
            raise LocalError(f"the function refuses a photo by its URL: {document}")
        return json.loads(document["body"]), milliseconds

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of the process so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / _TICKS

    def peak_bytes(self) -> int:
        """Return the most memory that the process has had."""
        return sizes(Path(f"/proc/{self._process.pid}/status").read_text())["VmHWM"]

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._api.close()

    def _wait(self, is_over: Any) -> None:
        deadline = time.monotonic() + _SECONDS
        while not self._api.wait(lambda: is_over() or self._api.init_error is not None, time.monotonic() + 0.5):
            if self._process.poll() is not None or time.monotonic() > deadline:
                break
        if not is_over():
            raise LocalError(f"the function does not answer:\n{self._log.read_text()[-1000:]}")


def _url_event(body: str) -> dict[str, Any]:
    """Return the event of a signed request to a function's URL, with the headers that Lambda adds to a client's."""
    headers = {"content-type": "image/jpeg", "content-length": str(len(body) * 3 // 4), "host": "f.lambda-url.on.aws"}
    headers |= dict.fromkeys(("x-amz-date", "x-amzn-trace-id", "authorization", "x-amz-content-sha256"), "0" * 64)
    http = {"method": "POST", "path": "/classify", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "b"}
    iam = {"accessKey": "AKIA", "accountId": "0" * 12, "userArn": "arn:aws:sts::000000000000:assumed-role/r/s"}
    context = {"http": http, "authorizer": {"iam": iam}, "domainName": "f.lambda-url.on.aws", "stage": "$default"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/classify",
        "rawQueryString": "",
        "headers": headers,
        "requestContext": context,
        "body": body,
        "isBase64Encoded": True,
    }


@contextmanager
def running(function: HostedFunction, environment: Mapping[str, str]) -> Iterator[RunningFunction]:
    """Start a function, yield it at once, and end it afterwards."""
    with tempfile.NamedTemporaryFile(prefix="kennel-", suffix=".log") as log:
        process = RunningFunction(function, environment, Path(log.name))
        try:
            yield process
        finally:
            process.end()


@contextmanager
def bucket(objects: Mapping[str, bytes]) -> Iterator[dict[str, str]]:
    """Yield the variables of functions that may read a bucket with these objects, which answers at once."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = objects.get(self.path.removeprefix(f"/{BUCKET}/").partition("?")[0])
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *values: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{_PACKAGES}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        }
    finally:
        server.shutdown()
        server.server_close()


def files_of(packages: Sequence[str]) -> list[Path]:
    """Return the files of installed packages, of the standard library, and of the folders of ours with these names."""
    folders = [Path(os.__file__).parent, *(ROOT / name for name in packages)]
    folders += [Path(_PACKAGES, name) for name in packages]
    return [
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.rglob("*")
        if path.is_file() and "site-packages" not in path.relative_to(folder).parts
    ]


def drop_from_page_cache(files: Sequence[Path]) -> None:
    """Let the kernel forget the content of files; it keeps what other processes have mapped."""
    for path in files:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
