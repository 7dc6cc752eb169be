"""The one reader of ``RANK``, ``WORLD_SIZE`` and their kin, and what ranks say to each other."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# Longest that a rank waits for the others in one call. The waits are for a peer's share of the
# photos, which may take long; a peer that died is noticed at once, by its closed connection.
_PATIENCE = timedelta(hours=6)
# What gloo, NCCL and the store say when a peer's connection closes; torch has no type for it.
_LOST = re.compile(r"gloo|NCCL|Connection|Broken pipe|recvValue|socket", re.IGNORECASE)


class PeerLostError(RuntimeError):
    """Another rank ended before its time; its own log says why."""


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
        PeerLostError: another rank ended inside the block.
    """
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
    world = World(rank, world_size, local_rank, local_world_size, device, backend, host)
    if world_size > 1:
        dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield world
    except RuntimeError as error:
        if world_size > 1 and _LOST.search(str(error)):
            raise PeerLostError(
                f"training: rank {rank} lost the others; the log of the rank that ended first says why"
            ) from error
        raise
    if world_size > 1:
        dist.destroy_process_group()


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
