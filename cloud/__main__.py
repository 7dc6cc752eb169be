"""Start the laptop cloud in the foreground: ``python -m cloud --port 4566 --home .kennel/cloud``."""

import argparse
import os
import socket
import sys
from pathlib import Path

from cloud import settings


def main() -> int:
    """Run the laptop cloud until a signal arrives.

    Returns:
        The exit code: 1 when the cloud cannot start, 130 when it is interrupted while it starts.
    """
    parser = argparse.ArgumentParser(prog="python -m cloud", description="The laptop cloud.")
    parser.add_argument("--port", type=int, default=4566, help="port on 127.0.0.1 (default 4566)")
    parser.add_argument("--home", type=Path, required=True, help="folder for the files of jobs and logs; emptied first")
    options = parser.parse_args()
    if not 1 <= options.port <= 65535:
        return _refuse(f"--port {options.port} must be from 1 to 65535")
    if not _is_free(options.port):
        return _refuse(f"port {options.port} is in use; stop what listens there or give another --port")
    home = options.home.resolve()
    try:
        settings.prepare(options.port, home)
        # MiniStack reads the environment when it is imported, so these imports follow prepare.
        from cloud import server
        from cloud.core import emulator
        from cloud.stepfunctions.engine import EngineError
    except ValueError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"--home {home} must be a folder that can be written ({error.strerror})")
    try:
        server.run(options.port, home)
    except (emulator.HookMissingError, EngineError, OSError) as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        return 130  # The server did not handle signals yet. The guard process ends the children.
    # Daemon threads may still run MiniStack's handlers. There is nothing to save, so the process exits at once.
    sys.stdout.flush()
    os._exit(0)


def _is_free(port: int) -> bool:
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
