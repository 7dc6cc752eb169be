"""How many cores this process may use, for all programs that read photos."""

import os


def num_cores() -> int:
    """Return the number of cores that this process may use; macOS tells only how many the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
