import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
IMPORT_ALL = """
import importlib
from benchmarks.__main__ import NAMES
print(sum(callable(importlib.import_module(f"benchmarks.{name}").measure) for name in NAMES) == len(NAMES) > 15)
"""


def test_every_benchmark_is_found_by_a_plain_python():
    # pytest adds folders to its own path, so that only another process shows what a user's has.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    asked = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (asked.stdout, asked.returncode) == ("True\n", 0), asked.stderr
