"""Containers without a container engine: processes in namespaces of their own, where the kernel allows that.

In such a container a job sees its own files at their places, its peers by their names, the system folders of this
machine and this machine's Python, and nothing else of the machine. The network is the machine's.
"""

import functools
import json
import logging
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cloud.core import launcher, processes

log = logging.getLogger("kennel.containers")

# On SageMaker gethostname() was seen to return this on every host; programs must not take it for the host's name.
HOSTNAME = "aws"


class Container(NamedTuple):
    """What a container consists of.

    Attributes:
        root: Folder whose entries appear at ``/``, writable.
        binds: Triples of a file or folder of this machine, its path in the container, and whether it is read-only.
        folder: Path in the container where the program starts.
        own_pids: Whether the program is process 1 of the container, and sees the processes of the container only.
        scratch: MB that ``/tmp`` holds when it is the only folder that can be written; None when everything can.
    """

    root: Path
    binds: Sequence[tuple[str, str, bool]]
    folder: str
    own_pids: bool = True
    scratch: int | None = None


@functools.cache
def available() -> bool:
    """Return whether this machine's kernel lets this user make containers; ``KENNEL_NAMESPACES=off`` says no."""
    if os.environ.get("KENNEL_NAMESPACES") == "off" or not sys.platform.startswith("linux"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        root.mkdir()
        environment = processes.clean_environment(Path(folder, "tmp"))
        try:
            process = spawn(["true"], environment, processes.mark_of("probe"), Container(root, (), "/"))
            process.communicate(timeout=10)
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("jobs run without namespaces, because this machine does not allow them: %s", error)
            return False
    return process.returncode == 0


def environment_of(machine: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that a container's program starts with, before the image's and the job's variables."""
    return {**machine, "HOME": "/root", "TMPDIR": "/tmp", "HOSTNAME": HOSTNAME}  # noqa: S108


def hosts_file(names: Sequence[str], file: Path) -> tuple[str, str, bool]:
    """Write the names of a job's hosts into a file, and return it as the container's ``/etc/hosts``.

    Every host has an address of its own on the loopback interface, so that two may listen on the same port.
    """
    addresses = [f"127.0.{number // 250}.{number % 250 + 1} {name}" for number, name in enumerate(names)]
    file.write_text("\n".join(["127.0.0.1 localhost", "::1 localhost", f"127.0.0.1 {HOSTNAME}", *addresses, ""]))
    file.chmod(0o644)
    return (str(file), "/etc/hosts", True)


def spawn(
    command: Sequence[str], environment: Mapping[str, str], mark: str, container: Container
) -> subprocess.Popen[bytes]:
    """Start a program in a container, with stdout and stderr in one pipe, once it runs.

    Args:
        command: The program and its arguments, with the container's paths.
        environment: Its environment.
        mark: The mark of the process tree.
        container: The container.

    Raises:
        OSError: The container cannot be made, or the program cannot be started.
    """
    reader, writer = os.pipe()
    try:
        program = entering(command, container, writer)
        process = processes.spawn(program, environment, mark, container.root, pass_fds=(writer,))
    finally:
        os.close(writer)
    with open(reader, "rb") as pipe:
        number, _, text = pipe.read().decode().partition(" ")
    if number:
        processes.kill_marked(mark)
        process.communicate()
        raise OSError(int(number), text)
    return process


def entering(command: Sequence[str], container: Container, report: int) -> list[str]:
    """Return the command that makes a container and starts a program in it.

    Args:
        command: The program and its arguments, with the container's paths.
        container: The container.
        report: Descriptor of an open file that the process inherits. It is told there why the container cannot be made,
            and closed when the program has started.
    """
    # The container is put together on a folder that only its own namespace sees filled.
    stage = Path(f"{container.root}.mount")
    stage.mkdir(exist_ok=True)
    document = {
        "root": str(container.root),
        "binds": [*_machine_binds(), *container.binds],
        "packages": _packages(),
        "folder": container.folder,
        "own_pids": container.own_pids,
        "scratch": container.scratch,
        "stage": str(stage),
        "hostname": HOSTNAME,
        "command": list(command),
    }
    # -I and -S keep the container's variables, such as PYTHONPATH, from the launcher.
    return [sys.executable, "-I", "-S", launcher.__file__, str(report), json.dumps(document)]


@functools.cache
def _machine_binds() -> tuple[tuple[str, str, bool], ...]:
    """Return the folders of this machine's Python and packages, and the file with its name servers."""
    interpreter = os.path.realpath(sys.executable)
    folders = {sys.prefix, sys.base_prefix, os.path.dirname(os.path.dirname(interpreter))}
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    folders |= {folder for folder in libraries if os.path.isabs(folder) and os.path.isdir(folder)}
    folders |= {os.path.realpath(folder) for folder in folders}
    home = _user_home()
    shown = [folder for folder in sorted(folders, key=len) if not home.is_relative_to(folder)]
    resolver = os.path.realpath("/etc/resolv.conf")  # It often lies in /run.
    shown += [resolver] if os.path.exists(resolver) else []
    return tuple((path, path, True) for path in shown if Path(path).parts[1] not in launcher.SYSTEM)


def _user_home() -> Path:
    """Return the user's home folder; the variable HOME of the cloud is a scratch folder."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir).resolve()
    except KeyError:  # The user has a number only, as in some containers.
        return Path("/nowhere")


def open_up(folder: Path) -> None:
    """Let every user of a container read a folder that the cloud has filled, as in an image.

    A model server gives up root before it answers; what the cloud writes is for its own user alone.
    """
    for parent, _, files in os.walk(folder):
        for path in (Path(parent), *(Path(parent, name) for name in files)):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (0o055 if mode & 0o100 else 0o044))


def _packages() -> list[str]:
    """Return all paths of the folder with this Python's packages, to which ``pip install`` in a container adds more."""
    return [os.path.realpath(sys.prefix), *({sys.prefix} - {os.path.realpath(sys.prefix)})]
