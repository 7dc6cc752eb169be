"""The environment of the programs of the laptop and of what they start: what the shell sets stays outside.

A program calls ``leave`` before it imports anything else, so this module imports the standard library only.
``python local/shell.py MODULE ARGUMENTS…`` runs another module there, such as pip or the SAM CLI.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

_ROOT = Path(__file__).resolve().parents[1]
# Variables whose names begin like this belong to an AWS account, to another Python or to a make that is running.
_FOREIGN = ("AWS_", "BOTO", "SAM_", "PYTHON", "PIP_", "UV_", "CONDA", "VIRTUAL_ENV", "MAKE", "MPL")
_FOREIGN_NAMES = ("MFLAGS", "GNUMAKEFLAGS", "BASH_ENV", "ENV", "CDPATH", "GREP_OPTIONS", "SHELLOPTS", "BASHOPTS")
# How pip reaches an index. Its other variables say where and what it installs, which is for Kennel to say.
_KEPT = {
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_TRUSTED_HOST", "PIP_CONSTRAINT"),
    *("PIP_PROXY", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_CACHE_DIR", "PIP_NO_CACHE_DIR", "PIP_CONFIG_FILE"),
    *("PIP_DEFAULT_TIMEOUT", "PIP_TIMEOUT", "PIP_RETRIES", "PIP_KEYRING_PROVIDER", "PIP_DISABLE_PIP_VERSION_CHECK"),
}
# No configuration file of the user's is read, and nobody is told that the SAM CLI was used.
_OWN = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
    "SAM_CLI_TELEMETRY": "0",
    "PYTHONUTF8": "1",
}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TERMINAL = "KENNEL_TERMINAL"  # the encoding of the terminal, for a program that starts anew in UTF-8


def leave() -> None:
    """Start this program anew in an environment of its own, in UTF-8; return where that has happened.

    Signs that the terminal's own encoding lacks are printed as question marks.
    """
    encoding = os.environ.pop(_TERMINAL, None)
    if encoding is None:
        start(sys.orig_argv[1:], {})
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding=encoding, errors="replace")  # type: ignore[union-attr]


def start(arguments: Sequence[str], settings: dict[str, str]) -> NoReturn:
    """Put another program of this Python in the place of this one.

    Args:
        arguments: what follows ``python`` on the command line.
        settings: variables that it has besides those of ``clean``.
    """
    for number in range(3):  # Where a standard stream is closed, the next file that is opened would take its place.
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    os.execve(sys.executable, [sys.executable, *arguments], clean(os.environ) | settings | {_TERMINAL: encoding})


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what belongs to an AWS account, another Python or a running make.

    Proxies stay, because pip may need them; loopback never asks them. Text is UTF-8, whatever the locale says.
    """
    kept = {name: value for name, value in environment.items() if name in _KEPT or not _is_foreign(name, value)}
    entries = environment.get("PYTHONPATH", "").split(os.pathsep)
    if any(entry and Path(entry).resolve() == _ROOT for entry in entries):
        kept["PYTHONPATH"] = str(_ROOT)
    kept.setdefault("PATH", os.defpath)
    return kept | loopback(environment) | _OWN


def loopback(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep requests to this machine from any proxy, added to the user's exceptions."""
    hosts = [host.strip() for name in ("no_proxy", "NO_PROXY") for host in environment.get(name, "").split(",")]
    # Programs differ in which of the two they read, and in which wins.
    return dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(dict.fromkeys(filter(None, (*hosts, *_LOOPBACK)))))


def has_proxy() -> bool:
    """Return whether the user's shell names a proxy."""
    return any(name.lower() in ("http_proxy", "all_proxy") and value for name, value in os.environ.items())


def _is_foreign(name: str, value: str) -> bool:
    # With a SOCKS proxy pip ends with an error, because it lacks a package for it; without one it may get through.
    is_socks = name.lower().endswith("_proxy") and value.lower().startswith("socks")
    return is_socks or name.startswith(_FOREIGN) or name in _FOREIGN_NAMES


if __name__ == "__main__":
    os.umask(0o022)  # as in venv.py: what pip installs can be read by everybody
    start(["-P", "-m", *sys.argv[1:]], {})
