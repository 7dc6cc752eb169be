"""The laptop cloud as a real process for the tests, with a small model server in a project of its own."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.validate import ParamValidator

ROOT = Path(__file__).resolve().parents[2]
ROLE = "arn:aws:iam::000000000000:role/job"
REGION = "us-east-1"
T = TypeVar("T")

# Answers as ``python -m serving serve`` does, with what model.tar.gz holds in place of a network.
MODEL_SERVER = """
import argparse, json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("command")
parser.add_argument("--host")
parser.add_argument("--port", type=int)
parser.add_argument("--model-dir", type=Path)
options = parser.parse_args()
version = (options.model_dir / "version.txt").read_text()
if version == "broken":
    sys.exit("the model is broken")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if attributes := self.headers.get("X-Amzn-SageMaker-Custom-Attributes"):
            self.send_header("X-Amzn-SageMaker-Custom-Attributes", attributes)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.answer(200, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"die":
            os._exit(9)
        if body == b"slow":
            time.sleep(0.3)
        if body == b"bad":
            self.answer(400, {"error": {"code": "UnreadableImage", "message": "not a photo"}})
        else:
            self.answer(200, {"version": version, "pid": os.getpid(), "bytes": len(body),
                              "type": self.headers["Content-Type"], "greeting": os.environ.get("GREETING")})

    def log_message(self, *args):
        pass


print("model server", version, "is up", flush=True)
ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()
"""


@dataclass
class Cloud:
    """A running laptop cloud."""

    port: int
    home: Path
    process: subprocess.Popen[str]
    seconds_to_start: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str, region: str = REGION) -> Any:
        """A boto3 client; every answer is checked against botocore's model of the output."""
        client: Any = boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 0}, max_pool_connections=20),
        )
        client.meta.events.register("after-call.*", _check_output)
        return client

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=15)


def _check_output(http_response: Any, parsed: dict[str, Any], model: Any, **kwargs: Any) -> None:
    if (
        http_response.status_code < 300
        and model.output_shape
        and model.service_model.service_name
        in (
            "sagemaker",
            "application-autoscaling",
        )
    ):
        answer = {key: value for key, value in parsed.items() if key != "ResponseMetadata"}
        report = ParamValidator().validate(answer, model.output_shape).generate_report()
        assert not report, f"{model.name}: {report}"


def start_cloud(home: Path, project_root: Path) -> Cloud:
    """Start a laptop cloud on a free port and wait until it says that it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.perf_counter()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "local.cloud", "--port", str(port)),
            *("--home", str(home), "--project-root", str(project_root)),
        ],
        cwd=ROOT,
        env={**os.environ, "AWS_SECRET_ACCESS_KEY": "must-not-leak", "AWS_PROFILE": "must-not-leak"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert f"http://localhost:{port}" in process.stdout.readline()
    return Cloud(port, home, process, time.perf_counter() - began)


def make_project(folder: Path) -> Path:
    """A project root whose ``serving`` package is the small model server."""
    (folder / "serving").mkdir(parents=True)
    (folder / "serving" / "__init__.py").touch()
    (folder / "serving" / "__main__.py").write_text(textwrap.dedent(MODEL_SERVER))
    return folder


def eventually(look: Callable[[], T], wanted: Callable[[T], bool], seconds: float = 20.0) -> T:
    """Look again and again until what is seen is wanted."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if wanted(seen):
            return seen
        assert time.monotonic() < deadline, f"still {seen}"
        time.sleep(0.05)
