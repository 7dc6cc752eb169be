"""Start, find and stop the laptop cloud, and make boto3 clients of it."""

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import boto3
import botocore.session
from botocore.config import Config

from cloud.core import processes, root_key
from cloud.core.clock import read_scale
from cloud.core.root_key import RootKey
from local import shell
from local.console import say
from local.home import HOME, ROOT, LocalError, write_json

REGION = "us-east-1"
DEFAULT_PORT = 4566
_STATE = HOME / "cloud.json"
_FILES = HOME / "cloud"
_LOG = HOME / "cloud.log"
_START_SECONDS = 180  # of a busy machine; one that ends at once is noticed at once
_STOP_SECONDS = 30
# What botocore else reads from the environment and from the files of the user's account.
_NO_SETTINGS = {
    **dict.fromkeys(("profile", "ca_bundle", "use_fips_endpoint", "use_dualstack_endpoint")),
    **dict.fromkeys(("config_file", "credentials_file"), os.devnull),
}
# The clouds that this program started; known here before their record is written, so that Ctrl-C can stop them.
_own: list["subprocess.Popen[bytes]"] = []


class Cloud(Protocol):
    """The laptop cloud, or an AWS account."""

    @property
    def url(self) -> str:
        """Its address; empty for AWS itself."""

    def client(self, service: str) -> Any:
        """Return a boto3 client of one of its services."""


@dataclass(frozen=True)
class Laptop:
    """A laptop cloud that is running.

    Attributes:
        port: it listens here.
        pid: the id of its process.
        is_lost: whether its folder has been moved since it was started, so that it does not find its files.
        files: the folder of its files.
        time_scale: how many times as fast as AWS its clock runs.
    """

    port: int
    pid: int
    is_lost: bool = False
    files: Path = _FILES
    time_scale: float = 1.0

    @property
    def url(self) -> str:
        """The value for AWS_ENDPOINT_URL."""
        return f"http://localhost:{self.port}"

    @property
    def root_key(self) -> RootKey:
        """The access key of the account's root, which each start makes anew.

        Raises:
            LocalError: the cloud has none, because an earlier version of Kennel started it.
        """
        try:
            return root_key.read(self.files)
        except (OSError, ValueError) as error:
            raise LocalError(
                f"the access key of the laptop cloud cannot be read ({error}); "
                "`make down` ends a cloud that an earlier version started, `make up` or `make run` starts one"
            ) from None

    def environment(self) -> dict[str, str]:
        """Return the environment of programs that talk to the laptop cloud."""
        key = self.root_key
        return shell.clean(os.environ) | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": key.id,
            "AWS_SECRET_ACCESS_KEY": key.secret,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            # Some operations, such as TestState, would be asked at sync-localhost, a name that no machine knows.
            "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
        }

    def client(self, service: str) -> Any:
        """Return a boto3 client of the laptop cloud, which ignores the user's own AWS settings."""
        return _client(service, self.url, self.root_key)


@functools.cache  # Making a client reads the service's model, which takes long for callers that poll.
def _client(service: str, url: str, key: RootKey) -> Any:
    none = {name: (None, None, default, None) for name, default in _NO_SETTINGS.items()}
    session = boto3.Session(botocore_session=botocore.session.Session(session_vars=none))
    make: Any = session.client  # Its type stubs require a literal service name.
    return make(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        config=Config(retries={"total_max_attempts": 2}, proxies={}),
    )


def find() -> Laptop | None:
    """Return this project's running laptop cloud; None if there is none."""
    try:
        state = json.loads(_STATE.read_text())
        pid, port = int(state["pid"]), int(state["port"])
        home = Path(state.get("home", HOME))  # Earlier versions did not write it, nor the clock's speed.
        time_scale = read_scale(state.get("time_scale", "1"))
    except (OSError, ValueError, KeyError):
        return None
    if home != HOME and home.exists():  # This folder is a copy; the cloud is the original's.
        return None
    return Laptop(port, pid, is_lost=home != HOME, time_scale=time_scale) if _is_ours(pid) else None


def start(port: int) -> Laptop:
    """Return the running laptop cloud, or start one on ``port``.

    Raises:
        LocalError: the port is in use, or the cloud did not start.
    """
    if running := find():
        if not running.is_lost:
            if port not in (running.port, DEFAULT_PORT):
                say(f"the laptop cloud runs on port {running.port}, so PORT={port} is not used; make down ends it")
            return running
        stop()
    if _port_is_taken(port):
        raise LocalError(
            f"port {port} is in use by another program; stop that, or choose another port: make run PORT={port + 1}"
        )
    _own.append(spawn(port, _FILES, _LOG))
    process = _own[-1]
    time_scale = os.environ.get("KENNEL_TIME_SCALE", "1")
    write_json(_STATE, {"pid": process.pid, "port": port, "home": str(HOME), "time_scale": time_scale})
    try:
        ready = await_ready(process, port, _LOG, _FILES)
        return replace(ready, time_scale=read_scale(time_scale))  # The cloud itself has refused what is no number.
    except LocalError:
        stop_own()
        raise


def spawn(port: int, home: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Start the process of a laptop cloud, without waiting until it answers."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "cloud", "--port", str(port), "--home", str(home)],
            cwd=ROOT,
            env=shell.clean(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,  # Ctrl-C reaches only the program that started it, which stops it in order.
        )


def await_ready(process: "subprocess.Popen[bytes]", port: int, log: Path, home: Path) -> Laptop:
    """Wait until a laptop cloud answers.

    Args:
        process: what ``spawn`` returned.
        port: it will listen here.
        log: the end of this file is told if it does not start.
        home: the folder of its files.

    Raises:
        LocalError: it ended, or took too long.
    """
    deadline = time.monotonic() + _START_SECONDS
    while not _is_ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise LocalError(f"the laptop cloud did not start; the end of its log {log}:\n{_tail(log)}")
        time.sleep(0.05)
    return Laptop(port, process.pid, files=home)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a laptop cloud to end, and kill it if it does not."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def stop_own() -> bool:
    """End the laptop clouds that this program started, and return whether there were any."""
    for process in _own:
        end(process)
        _STATE.unlink(missing_ok=True)
    return bool(_own)


def stop() -> bool:
    """End the project's laptop cloud and everything it started, and return whether there was one."""
    running = find()
    if running:
        os.kill(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while _is_ours(running.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        if _is_ours(running.pid):
            os.kill(running.pid, signal.SIGKILL)
    _STATE.unlink(missing_ok=True)
    return running is not None


def _is_ours(pid: int) -> bool:
    """Whether the process lives and is our cloud; another program may have received its number since."""
    return "-m cloud " in processes.command_of(pid)


def _port_is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_ready(port: int) -> bool:
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with ask.open(f"http://127.0.0.1:{port}/_ministack/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _tail(path: Path, lines: int = 10) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
