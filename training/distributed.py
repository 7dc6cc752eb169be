"""The one reader of ``RANK``, ``WORLD_SIZE`` and their kin, and what ranks say to each other."""

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d

# Longest that a rank waits for the others: to come, in one call of any kind, and in one of training's own. Most calls
# end a phase whose shares take as long as they take; a peer that died is noticed at once, by its closed connection.
_MEETING = timedelta(minutes=30)
_PATIENCE = timedelta(hours=6)
_STEP_PATIENCE = timedelta(minutes=10)
_ANSWER_SECONDS = 5.0  # to a roll call, once a patience is at its end
# What gloo, NCCL and the store say when a peer's connection closes, where torch has no type for it.
_LOST = re.compile(r"gloo|NCCL|Connection|Broken pipe|recvValue|socket", re.IGNORECASE)


class PeerLostError(RuntimeError):
    """Another rank ended before its time, or hangs; its own log says why."""


@dataclass(frozen=True)
class World:
    """This process among its peers.

    rank: 0 to world_size - 1, over all hosts.
    world_size: number of processes, over all hosts.
    local_rank, local_world_size: the same on this host.
    device: what this rank computes on.
    backend: ``gloo`` on CPU, ``nccl`` on CUDA, ``none`` for a single process.
    host: the name the platform gives this host, else its own.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    device: torch.device
    backend: str
    host: str

    @property
    def is_main(self) -> bool:
        """Whether this rank speaks and writes for all."""
        return self.rank == 0


@contextmanager
def joined() -> Iterator[World]:
    """Join the process group that torchrun or our launcher describes; alone without one.

    Raises:
        PeerLostError: another rank did not come, or was lost inside the block. Under NCCL a rank may end by SIGABRT
            instead: torch's watchdog sees the loss and ends the process, for what its GPU holds is no longer sound.
    """
    world = _described()
    if world.world_size == 1:
        yield world
        return
    hosts: list[str] = []
    try:
        dist.init_process_group(world.backend, timeout=_MEETING)
        distributed_c10d._set_pg_timeout(_PATIENCE)  # as torchtitan does; there is no public name for it
        hosts += gathered(world, world.host)
        yield world
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or (type(error) is RuntimeError and _LOST.search(str(error))):
            loss = _loss(world, hosts, is_timeout="Timed out" in str(error))
            raise PeerLostError(f"training: rank {world.rank} on {world.host} {loss}") from error
        raise
    dist.destroy_process_group()


def _described() -> World:
    rank, world_size, local_rank, local_world_size = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
    )
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    backend = "none" if world_size == 1 else "nccl" if cuda else "gloo"
    host = os.environ.get("HOST_NAME", socket.gethostname())
    return World(rank, world_size, local_rank, local_world_size, device, backend, host)


@contextmanager
def in_step(world: World) -> Iterator[None]:
    """A block in which every rank speaks every few seconds, so that one that is stuck is noticed within minutes."""
    if world.world_size == 1:
        yield
        return
    distributed_c10d._set_pg_timeout(_STEP_PATIENCE)
    yield
    distributed_c10d._set_pg_timeout(_PATIENCE)


def _loss(world: World, hosts: list[str], is_timeout: bool) -> str:
    if not hosts:
        return f"did not meet all {world.world_size} ranks"
    if not is_timeout:
        return "lost another rank; the log of the rank that ended first says why"
    silent = " and ".join(f"rank {rank} on {hosts[rank]}" for rank in _silent(world))
    return f"waited too long for {silent or 'an answer'}, stuck or cut off from here"


def _silent(world: World) -> list[int]:
    """Ranks that do not answer a roll call in the store that all joined by; all others must call it, too."""
    silent = [0]  # which keeps the store: where that does not answer, neither does the rank

    def call_the_roll() -> None:
        store = distributed_c10d._get_default_store()
        with suppress(dist.DistError):
            store.set(f"here/{world.rank}", "")
            time.sleep(_ANSWER_SECONDS + 2 * world.is_main)  # so that the store outlives the others' questions
            silent[:] = [rank for rank in range(world.world_size) if not store.check([f"here/{rank}"])]

    asking = Thread(target=call_the_roll, daemon=True)  # the store knows no time limit for a question
    asking.start()
    asking.join(_ANSWER_SECONDS + 5)
    return silent


def num_threads(world: World) -> int:
    """Cores for this rank: its share of the machine's. "Hosts" may be processes of one machine."""
    machine = socket.gethostname()
    return max(1, num_cores() // gathered(world, machine).count(machine))


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def summed(world: World, *numbers: float | Tensor) -> list[float]:
    """Each number summed over all ranks, in float64."""
    total = torch.tensor([float(number) for number in numbers], dtype=torch.float64, device=world.device)
    if world.world_size > 1:
        dist.all_reduce(total)
    return total.tolist()


def gathered(world: World, value: Any) -> list[Any]:
    """Every rank's value, in the order of ranks, on every rank."""
    if world.world_size == 1:
        return [value]
    values: list[Any] = [None] * world.world_size
    dist.all_gather_object(values, value)
    return values


def same_as_main(world: World, value: Any) -> Any:
    """Rank 0's value, on every rank."""
    if world.world_size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
