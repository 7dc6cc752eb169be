"""The process group: the only reader of ``RANK``, ``WORLD_SIZE`` and so on, and the calls between ranks."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d

from dataset.cores import num_cores

# The longest time that a rank waits for the others: to join, in any call between ranks, and in a call inside a training
# step. The second is long because most calls end a phase in which one rank may work much longer than another. A rank
# that dies is noticed at once, because its connections close.
_JOIN_TIMEOUT = timedelta(minutes=30)
_CALL_TIMEOUT = timedelta(hours=6)
_STEP_TIMEOUT = timedelta(minutes=10)
# After a timeout, each rank has this many seconds to answer a roll call.
_ROLL_CALL_SECONDS = 5.0
# Words in the messages of gloo, NCCL and the store when a peer's connection closes; torch has no exception type for it.
# The kernel's own id of its boot: a file on Linux, a command on macOS.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MACOS_BOOT_ID = ("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")
_CONNECTION_LOST = re.compile(r"gloo|NCCL|Connection|Broken pipe|recvValue|socket", re.IGNORECASE)


class PeerLostError(RuntimeError):
    """Another rank ended too early or hangs; that rank's own log says why."""


@dataclass(frozen=True)
class World:
    """This process among its peers.

    rank: 0 to world_size - 1, over all hosts.
    world_size: number of processes, over all hosts.
    local_rank, local_world_size: the same numbers within this host.
    device: the device that this rank computes on.
    backend: ``gloo`` on CPU, ``nccl`` on CUDA, ``none`` for a single process.
    host: the name that the platform gives this host, otherwise its hostname.
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
        """Whether this rank prints and writes files for all ranks."""
        return self.rank == 0

    @property
    def notices(self) -> list[str]:
        """What whoever starts a training should know about its device, as lines for the log."""
        if self.device.type != "cuda":
            return []
        return [f"device {self.device} is experimental: no test of this program has run on a GPU, see docs/proven.md"]

    def print_once(self, *lines: str) -> None:
        """Print lines on rank 0; do nothing on the others."""
        if self.is_main:
            for line in lines:
                print(line, flush=True)


@contextmanager
def process_group() -> Iterator[World]:
    """Join the process group that the variables of torchrun or of our launcher describe.

    Without these variables the world is this process alone.

    Yields:
        This rank among its peers.

    Raises:
        PeerLostError: another rank did not join, or was lost inside the block. Under NCCL a rank may end by SIGABRT
            instead: torch's watchdog notices the loss and aborts the process, because its GPU's results may be wrong.
    """
    world = _read_world()
    if world.world_size == 1:
        yield world
        return
    hosts: list[str] = []
    try:
        dist.init_process_group(world.backend, timeout=_JOIN_TIMEOUT)
        distributed_c10d._set_pg_timeout(_CALL_TIMEOUT)  # There is no public function; torchtitan calls this one, too.
        hosts += gather(world, world.host)
        yield world
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or (type(error) is RuntimeError and _CONNECTION_LOST.search(str(error))):
            reason = _loss_reason(world, hosts, is_timeout="Timed out" in str(error))
            raise PeerLostError(f"training: rank {world.rank} on {world.host} {reason}") from error
        raise
    dist.destroy_process_group()


def _read_world() -> World:
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
def step_timeout(world: World) -> Iterator[None]:
    """Shorten the timeout inside a block of training steps, so that a rank that hangs is noticed within minutes.

    Inside the block every rank must call the others every few seconds.
    """
    if world.world_size == 1:
        yield
        return
    distributed_c10d._set_pg_timeout(_STEP_TIMEOUT)
    yield
    distributed_c10d._set_pg_timeout(_CALL_TIMEOUT)


def _loss_reason(world: World, hosts: list[str], is_timeout: bool) -> str:
    if not hosts:
        return f"could not join the other ranks; all {world.world_size} must start"
    if not is_timeout:
        return "lost another rank; the log of the rank that ended first says why"
    silent = " and ".join(f"rank {rank} on {hosts[rank]}" for rank in _silent_ranks(world))
    return f"waited too long for {silent or 'another rank'} (hanging or unreachable)"


def _silent_ranks(world: World) -> list[int]:
    """Return the ranks that do not answer a roll call in the group's store; all other ranks must call this, too."""
    silent = [0]  # Rank 0 runs the store. If the store does not answer, rank 0 is the silent one.

    def call_the_roll() -> None:
        store = distributed_c10d._get_default_store()
        with suppress(dist.DistError):
            store.set(f"here/{world.rank}", "")
            # Rank 0 waits longer, so that its store still runs when the others read it.
            time.sleep(_ROLL_CALL_SECONDS + 2 * world.is_main)
            silent[:] = [rank for rank in range(world.world_size) if not store.check([f"here/{rank}"])]

    caller = Thread(target=call_the_roll, daemon=True)  # A thread, because calls of the store have no timeout.
    caller.start()
    caller.join(_ROLL_CALL_SECONDS + 5)
    return silent


@dataclass(frozen=True)
class Cores:
    """The cores of each rank, in the order of ranks.

    hosts: each rank's host.
    taken: the cores that each rank takes.
    usable: the cores that each rank's process may use; ranks on one machine share them.
    """

    hosts: list[str]
    taken: list[int]
    usable: list[int]

    def sentence(self) -> str:
        """Return a line for the log."""
        ranks = enumerate(zip(self.hosts, self.taken, self.usable, strict=True))
        return "; ".join(f"rank {rank} on {host}: {taken} of {usable} cores" for rank, (host, taken, usable) in ranks)


def share_cores(world: World) -> Cores:
    """Return how the ranks share the cores of their machines; all ranks must call it."""
    machines, hosts, usable = zip(*gather(world, (machine_id(), world.host, num_cores())), strict=True)
    taken = [max(1, cores // machines.count(machine)) for machine, cores in zip(machines, usable, strict=True)]
    return Cores(list(hosts), taken, list(usable))


def machine_id() -> str:
    """Return a text that is the same for all processes of a machine, and differs between machines.

    It is the id of the kernel's boot, not the hostname: training containers on different machines were seen with the
    same hostname, while several "hosts" of a laptop, or containers, may run on one machine and share its cores. macOS
    has such an id as well. Where the kernel tells none, as in some sandboxes, the hostname must do.
    """
    with suppress(OSError):
        return _BOOT_ID.read_text()
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(_MACOS_BOOT_ID, capture_output=True, text=True, check=True, timeout=10).stdout
    return socket.gethostname()


def sum_over_ranks(world: World, *numbers: float | Tensor) -> list[float]:
    """Sum each number over all ranks, in float64; all ranks must call it."""
    total = torch.tensor([float(number) for number in numbers], dtype=torch.float64, device=world.device)
    if world.world_size > 1:
        dist.all_reduce(total)
    return total.tolist()


def gather(world: World, value: Any) -> list[Any]:
    """Return every rank's value, in the order of ranks, on every rank; all must call it."""
    if world.world_size == 1:
        return [value]
    values: list[Any] = [None] * world.world_size
    dist.all_gather_object(values, value)
    return values


def broadcast_from_main(world: World, value: Any) -> Any:
    """Return rank 0's value on every rank; all must call it."""
    if world.world_size == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]
