"""Communication between ranks in a training step, which overlaps with computing, and the time spent waiting for it."""

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

# MB of gradients that are sent together. For networks of 20 MB this overlaps more than DDP's default of 25.
_BUCKET_MB = 4


class ParallelNetwork:
    """A network whose gradients are averaged over all ranks while the backward pass still computes.

    Args:
        world: this rank among its peers.
        network: the network; a single rank uses it as it is.

    Attributes:
        waited: total seconds between handing over the last gradients of a step and the arrival of all of them.
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
            self._ddp.register_comm_hook(self, _hook)

    def __call__(self, photos: Tensor) -> Tensor:
        """Run the forward pass."""
        logits: Tensor = (self._ddp or self._network)(photos)
        return logits

    def no_sync(self) -> AbstractContextManager[None]:
        """Return a context in which gradients stay on this rank, until the next backward pass outside of it."""
        return self._ddp.no_sync() if self._ddp else nullcontext()

    def begin_sum(self, figures: Tensor) -> None:
        """Begin to sum a tensor over all ranks, in place; ``wait`` finishes it."""
        if self._ddp:
            self._summing = dist.all_reduce(figures, async_op=True)

    def wait(self) -> None:
        """Wait after the backward pass until gradients and figures of all ranks have arrived."""
        if self._summing:
            self._summing.wait()
            self.waited += _seconds(self._handed_over, self._now())
            self._summing = None

    def hand_over(self, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
        """Begin to average a bucket of gradients over all ranks; DDP calls it."""
        if bucket.is_last():
            self._handed_over = self._now()
        assert dist.group.WORLD
        return allreduce_hook(dist.group.WORLD, bucket)

    def _now(self) -> Any:
        """Return the time in seconds; on CUDA an event, because kernels run later than they are launched."""
        if self._world.device.type != "cuda":
            return time.monotonic()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def _hook(parallel: ParallelNetwork, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
    return parallel.hand_over(bucket)


def _seconds(begin: Any, end: Any) -> float:
    if isinstance(end, float):
        return float(end - begin)
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3
