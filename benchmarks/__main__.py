"""``python -m benchmarks NAME [OPTION…]``: measure, and print the figures as one JSON object."""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

from local.home import LocalError
from serving.artifact import ArtifactError
from serving.model import device_name

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def main() -> int:
    """Run one benchmark; what it lacks is one sentence on stderr, and the exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure one thing.", add_help=False)
    parser.add_argument("name", choices=NAMES)
    chosen, options = parser.parse_known_args()
    try:
        figures = importlib.import_module(f"benchmarks.{chosen.name}").measure(options)
    except (LocalError, ArtifactError) as error:
        print(error, file=sys.stderr)
        return 1
    machine = {"cpu": device_name(), "cores": os.cpu_count()}
    print(json.dumps({"name": chosen.name, "machine": machine, **figures}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
