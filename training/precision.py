"""What the whole network is trained in: float32, or bfloat16 where that is faster on this very device."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from training.distributed import World, same_as_main

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_ROUNDS = 3  # of each precision, of which the fastest counts: the first one also plans


class DepthwiseConv2d(nn.Conv2d):
    """Computes in float32 whatever autocast says, and answers in the type it was given.

    oneDNN has no fast gradient of a depthwise convolution in bfloat16: with it a step of EfficientNet-Lite took 1.7
    times as long as with this, on a processor with avx512_bf16.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float()).to(x.dtype)


def autocast(world: World, precision: str) -> torch.autocast:
    """The block in which a network's forward pass computes in a precision."""
    return torch.autocast(world.device.type, DTYPES[precision], enabled=precision != "fp32")


def depthwise_in_float32(network: nn.Module) -> None:
    """Make all depthwise convolutions of a network compute in float32, in place; its parameters stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
            module.__class__ = DepthwiseConv2d


def faster(world: World, precisions: Sequence[str], step: Callable[[str], object]) -> str:
    """The precision in which a step is faster on rank 0; all ranks must call it.

    Args:
        precisions: those that every rank's device computes in; fp32 is one.
        step: forward and backward pass in a precision, with no word to other ranks.
    """
    if len(precisions) == 1:
        return precisions[0]
    seconds = {precision: min(_seconds(world, step, precision) for _ in range(_ROUNDS)) for precision in precisions}
    chosen: str = same_as_main(world, min(seconds, key=seconds.__getitem__))
    if world.is_main:
        times = seconds["fp32"] / seconds["bf16"]
        print(f"training in {chosen}: here bf16 is {times:.2f} times as fast as fp32", flush=True)
    return chosen


def _seconds(world: World, step: Callable[[str], object], precision: str) -> float:
    begin = time.monotonic()
    step(precision)
    if world.device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - begin
