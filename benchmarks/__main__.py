"""``python -m benchmarks NAME [OPTION…]``: measure one thing, and print its figures as one JSON object."""

import argparse
import importlib
import json
import sys
from contextlib import redirect_stdout

from botocore.exceptions import BotoCoreError, ClientError

from dataset import DatasetError
from dataset.cores import num_cores
from local.cli import words_of
from local.home import LocalError
from serving.model import device_name
from serving.served_artifact import ArtifactError

NAMES = (
    "accuracy",
    "cost",
    "ddp",
    "evaluation_memory",
    "expressions",
    "feature_pass",
    "function",
    "hostile",
    "image",
    "lambda_cold",
    "lambda_handler",
    "load",
    "loader",
    "serving",
    "serving_start",
    "shrinking",
    "time_to_accuracy",
    "train_step",
    "tuning",
)


def main() -> int:
    """Run one benchmark.

    Returns:
        The exit code: 0 if every goal is met; 1 if one is not, or if the benchmark could not run. stderr says why.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure one thing.", add_help=False)
    parser.add_argument("name", choices=NAMES)
    benchmark, options = parser.parse_known_args()
    try:
        with redirect_stdout(sys.stderr):  # Only the figures may be on stdout.
            figures = importlib.import_module(f"benchmarks.{benchmark.name}").measure(options)
    except ArtifactError as error:
        print(error, file=sys.stderr)
        return 1
    except (LocalError, DatasetError, ClientError, BotoCoreError, OSError) as error:
        print(words_of(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    machine = {"cpu": device_name(), "cores": num_cores()}
    print(json.dumps({"name": benchmark.name, "machine": machine, **figures}, indent=1))
    return 0 if all(goal["met"] for goal in figures["goal"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
