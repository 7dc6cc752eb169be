"""Choose the precision for training the whole network: float32, or bfloat16 if this device is faster in it."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from training.distributed import World, broadcast_from_main

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Timed steps of each precision. The fastest one counts, because the first also includes planning.
_ROUNDS = 3


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that computes in float32 under any autocast and returns its input's type.

    oneDNN has no fast gradient of a depthwise convolution in bfloat16. With oneDNN's own, a step of EfficientNet-Lite
    took 1.7 times as long as with this class, on a processor with avx512_bf16.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[B, C, H, W]`` of any floating type to ``[B, C, H', W']`` of the same type."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float()).to(x.dtype)


def autocast(world: World, precision: str) -> torch.autocast:
    """Return a context in which a forward pass computes in a precision, ``fp32`` or ``bf16``."""
    return torch.autocast(world.device.type, DTYPES[precision], enabled=precision != "fp32")


def depthwise_in_float32(network: nn.Module) -> None:
    """Make all depthwise convolutions of a network compute in float32, in place; the parameters do not change."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
            module.__class__ = DepthwiseConv2d


def faster_precision(world: World, precisions: Sequence[str], step: Callable[[str], object]) -> str:
    """Return the precision in which a step is faster on rank 0; all ranks must call it.

    Args:
        world: this rank among its peers.
        precisions: those that every rank's device supports, fp32 among them.
        step: runs a forward and a backward pass in a precision, without communication.
    """
    if len(precisions) == 1:
        return precisions[0]
    seconds = {precision: min(_seconds(world, step, precision) for _ in range(_ROUNDS)) for precision in precisions}
    fastest: str = broadcast_from_main(world, min(seconds, key=seconds.__getitem__))
    if world.is_main:
        speedup = seconds["fp32"] / seconds["bf16"]
        print(f"training in {fastest}: bf16 is {speedup:.2f} times as fast as fp32 here", flush=True)
    return fastest


def _seconds(world: World, step: Callable[[str], object], precision: str) -> float:
    begin = time.monotonic()
    step(precision)
    if world.device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - begin
