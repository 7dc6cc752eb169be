"""Tests of lost ranks: real processes over gloo that are killed, stopped or never started."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from training import distributed
from training.distributed import PeerLostError, gather, process_group, step_timeout, sum_over_ranks

REPOSITORY = Path(__file__).parents[3]
TIMEOUT = 3  # seconds


def main(mode: str) -> None:
    """Run one rank, which takes steps without end, or one step before a long phase, or waits for a missing rank."""
    distributed._STEP_TIMEOUT = timedelta(seconds=TIMEOUT)
    distributed._ROLL_CALL_SECONDS = 1.0
    if mode == "alone":
        distributed._JOIN_TIMEOUT = timedelta(seconds=TIMEOUT)
    try:
        with process_group() as world:
            with step_timeout(world):
                sum_over_ranks(world, 1.0)
                print("stepping", flush=True)
                while mode == "steps":
                    sum_over_ranks(world, 1.0)
                    time.sleep(0.01)
            if world.rank == 1:
                time.sleep(TIMEOUT + 1)
            print(sum(gather(world, world.rank)), flush=True)
    except PeerLostError as error:
        print(error, flush=True)


def start(port: int, world_size: int, mode: str, missing: int = 0) -> "list[subprocess.Popen[str]]":
    common = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, __file__, mode],
            env={**os.environ, **common, "RANK": str(rank), "HOST_NAME": f"algo-{rank + 1}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size - missing)
    ]


def stepping(port: int, world_size: int) -> "list[subprocess.Popen[str]]":
    """Start ranks and wait until each has taken a step."""
    ranks = start(port, world_size, "steps")
    for process in ranks:
        assert process.stdout is not None
        assert process.stdout.readline() == "stepping\n"
    return ranks


def last_line(process: "subprocess.Popen[str]") -> str:
    return process.communicate(timeout=300)[0].splitlines()[-1]


@pytest.mark.parametrize("stuck", [1, 0], ids=["stuck", "stuck-with-the-store"])
def test_a_rank_that_hangs_in_a_step_is_named_by_the_others(free_port: int, stuck: int) -> None:
    ranks = stepping(free_port, 3)
    try:
        ranks[stuck].send_signal(signal.SIGSTOP)
        named = f"waited too long for rank {stuck} on algo-{stuck + 1} (hanging or unreachable)"
        lost = "lost another rank; the log of the rank that ended first says why"
        others = [0, 1, 2]
        others.remove(stuck)
        said = [last_line(ranks[rank]).removeprefix(f"training: rank {rank} on algo-{rank + 1} ") for rank in others]
        # On a busy machine one of them may end so much earlier that the other notices this first.
        assert named in said
        assert set(said) <= {named, lost}
    finally:
        ranks[stuck].kill()
        ranks[stuck].communicate()


def test_a_rank_that_dies_is_noticed_by_all_others(free_port: int) -> None:
    *others, last = stepping(free_port, 4)
    last.kill()
    last.communicate()
    for rank, process in enumerate(others):  # Some of them do not exchange data with it in a step.
        words = "lost another rank; the log of the rank that ended first says why"
        assert last_line(process) == f"training: rank {rank} on algo-{rank + 1} {words}"


def test_a_rank_that_never_starts_is_reported(free_port: int) -> None:
    (process,) = start(free_port, 2, "alone", missing=1)
    assert last_line(process) == "training: rank 0 on algo-1 could not join the other ranks; all 2 must start"


def test_a_phase_without_steps_may_take_longer_than_a_step(free_port: int) -> None:
    assert [last_line(process) for process in start(free_port, 2, "phases")] == ["1", "1"]


if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)
