"""How much processor time an execution environment may use: a share of the cores that follows its memory.

At 1,769 MB a function has the equivalent of one vCPU, one second of credits a second:
https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

MEGABYTES_PER_CORE = 1769
_BURST = 0.1  # seconds whose credits are kept at most, so that a short request is not stopped; assumed


class Credits:
    """The processor time that an environment has left; what it uses too much, it has to wait for."""

    def __init__(self, memory: int, now: float) -> None:
        """Start with the credits of a burst.

        Args:
            memory: MB of the function.
            now: The time in seconds.
        """
        self.cores = memory / MEGABYTES_PER_CORE
        self._left = self._most = self.cores * _BURST
        self._used, self._at = 0.0, now

    def has_some(self, used: float, now: float) -> bool:
        """Return whether the processes may run.

        Args:
            used: Seconds of processor time that they have used in all. When it falls, because some have ended, the
                difference is not given back.
            now: The time in seconds.
        """
        earned, spent = self.cores * (now - self._at), max(0.0, used - self._used)
        self._left = min(self._most, self._left + earned - spent)
        self._used, self._at = used, now
        return self._left > 0

    def start(self, used: float, now: float) -> None:
        """Begin a request: what was used before does not count."""
        self._left, self._used, self._at = self._most, used, now


def seconds_used(pids: Sequence[int]) -> float:
    """Return the processor time of processes and of their children that have ended; 0 where there is no /proc."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):
            # The name of the program, in parentheses, may contain anything; the state follows.
            fields = Path("/proc", str(pid), "stat").read_bytes().rpartition(b")")[2].split()
            ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    return ticks / os.sysconf("SC_CLK_TCK")
