"""Start the laptop cloud in the foreground: ``python -m cloud --port 4566 --home .kennel/cloud``."""

import argparse
import os
import socket
import sys
from pathlib import Path

from cloud import settings


def main() -> int:
    """Run until a signal comes; exit code 1 when it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m cloud", description="The laptop cloud.")
    parser.add_argument("--port", type=int, default=4566, help="port on 127.0.0.1 (default 4566)")
    parser.add_argument("--home", type=Path, required=True, help="folder for jobs and logs; wiped first")
    options = parser.parse_args()
    if not _free(options.port):
        return _refuse(f"port {options.port} is in use; stop what listens there or give another --port")
    home = options.home.resolve()
    try:
        settings.prepare(options.port, home)
        from cloud import server  # reads the environment that was just set
        from cloud.core import emulator  # reads the environment that was just set
    except ValueError as error:
        return _refuse(str(error))
    try:
        server.run(options.port, home)
    except (emulator.HookMissingError, OSError) as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        return 130  # before the server heeded signals; the guard ends what was started
    # Daemon threads may sit in MiniStack's handlers; there is nothing left to save.
    sys.stdout.flush()
    os._exit(0)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _refuse(message: str) -> int:
    print(f"The laptop cloud cannot start: {message}.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
