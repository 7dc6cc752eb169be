"""The processor time that follows a function's memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloud.lambdas.processor import Credits, seconds_used


def time_of(memory, seconds, threads=1, tick=0.01):
    """Return how long work takes whose threads run whenever they may, looked at in steps."""
    credits, now, used, runs = Credits(memory, 0.0), 0.0, 0.0, True
    while used < seconds:
        used += tick * threads if runs else 0.0
        now += tick
        runs = credits.has_some(used, now)
    return now


@pytest.mark.parametrize(
    ("memory", "threads", "took"),
    [
        (1769, 1, 2.0),  # one core
        (3538, 2, 1.0),  # two cores for two threads
        (3538, 1, 2.0),  # one thread uses one core only
        (1769, 2, 2.0),
        (885, 1, 4.0),
        (256, 1, 13.8),  # 0.1447 of a core
    ],
)
def test_work_takes_as_long_as_its_share_of_the_cores_says(memory, threads, took):
    assert time_of(memory, 2.0, threads) == pytest.approx(took, rel=0.07)


def test_a_request_begins_with_the_credits_of_a_burst():
    credits = Credits(1769, 0.0)
    assert not credits.has_some(3.0, 1.0)
    credits.start(3.0, 1.0)
    assert credits.has_some(3.09, 1.0)
    assert not credits.has_some(3.11, 1.0)
    assert credits.has_some(3.11, 1.02)


def test_processes_that_end_give_nothing_back():
    credits = Credits(1769, 0.0)
    assert credits.has_some(0.05, 0.0)
    assert credits.has_some(0.0, 0.0)
    assert not credits.has_some(0.06, 0.0)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc here")
def test_the_time_of_a_child_is_counted_while_it_runs_and_when_it_has_ended():
    before = seconds_used([os.getpid()])
    code = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert seconds_used([os.getpid()]) - before >= 0.28
    assert seconds_used([1 << 30]) == 0.0
