"""What ranks say to each other in a training step, while they compute, and how long they wait for it beside."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from training.distributed import World

_BUCKET_MB = 4  # of gradients that travel together: more overlap than DDP's 25 for networks of 20 MB


class Parallel:
    """A network whose gradients are averaged over all ranks while backward still computes.

    Attributes:
        waited: seconds, in all, from when the last gradients were handed over to when all had arrived.
    """

    def __init__(self, world: World, network: nn.Module) -> None:
        self.waited = 0.0
        self._world, self._network, self._ddp = world, network, None
        self._handed_over: Any = None
        self._summing: dist.Work | None = None
        if world.world_size > 1:
            self._ddp = DistributedDataParallel(
                network, bucket_cap_mb=_BUCKET_MB, forward_sync_buffers=False, gradient_as_bucket_view=True
            )
            self._ddp.register_comm_hook(self, _timed)

    def __call__(self, photos: Tensor) -> Tensor:
        logits: Tensor = (self._ddp or self._network)(photos)
        return logits

    def silent(self) -> AbstractContextManager[None]:
        """A block whose gradients stay with this rank until the next backward pass outside of one."""
        return self._ddp.no_sync() if self._ddp else nullcontext()

    def begin_sum(self, figures: Tensor) -> None:
        """Begin to sum a tensor over all ranks, in place."""
        if self._ddp:
            self._summing = dist.all_reduce(figures, async_op=True)

    def wait(self) -> None:
        """Until gradients and figures of all ranks have arrived, after backward."""
        if self._summing:
            self._summing.wait()
            self.waited += _seconds(self._handed_over, self._now())
            self._summing = None

    def hand_over(self, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
        """Begin to average some gradients."""
        if bucket.is_last():
            self._handed_over = self._now()
        assert dist.group.WORLD
        return allreduce_hook(dist.group.WORLD, bucket)

    def _now(self) -> Any:
        """Seconds; on CUDA, which computes later than it is told to, a mark among what it was told."""
        if self._world.device.type != "cuda":
            return time.monotonic()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def _timed(parallel: Parallel, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
    return parallel.hand_over(bucket)


def _seconds(begin: Any, end: Any) -> float:
    if isinstance(end, float):
        return float(end - begin)
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3
