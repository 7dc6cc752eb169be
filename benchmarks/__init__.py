"""Measurements of Kennel. ``python -m benchmarks NAME`` measures one thing and prints one JSON object."""

import sys
from pathlib import Path

# The functions' packages, such as classify, are found from their own folder, as in Lambda's archive.
sys.path.append(str(Path(__file__).resolve().parent.parent / "functions"))
