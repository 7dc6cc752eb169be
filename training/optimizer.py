"""How the whole network learns: each block slower than the next, decay for matrices alone, warm-up, then a cosine."""

import math

import torch
from torch import nn

from training.hyperparameters import Hyperparameters

_WARM_UP = 0.05  # of all steps: AdamW's first ones go by too few gradients to be long
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def adamw(layers: nn.Module, head: nn.Module, settings: Hyperparameters) -> torch.optim.AdamW:
    """The optimizer of all parameters that want gradients.

    The head learns at the full rate, the last block at ``layer_decay`` of it, the one before at that of the last
    block's, and so on: what the first layers know is of use for any photo (Howard and Ruder 2018, arXiv:1801.06146).
    Only tensors of more than one dimension decay: biases and norms have no direction to forget.
    """
    groups = []
    for depth, block in enumerate([list(head.parameters()), *reversed(blocks(layers))]):
        peak = settings.full_learning_rate * settings.layer_decay**depth
        for is_matrix, decay in ((True, settings.weight_decay), (False, 0.0)):
            chosen = [each for each in block if each.requires_grad and (each.ndim > 1) == is_matrix]
            groups.append({"params": chosen, "lr": peak, "peak": peak, "weight_decay": decay})
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def set_rates(optimizer: torch.optim.Optimizer, step: int, steps: int) -> None:
    """Set each group's learning rate for a step of so many; it depends on nothing else, so no checkpoint holds it."""
    share = rate(step, steps)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def rate(step: int, steps: int) -> float:
    """Share of the greatest learning rate, in (0, 1], at a step counted from 0."""
    warm_up = math.ceil(_WARM_UP * steps)
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    return (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up))) / 2


def blocks(network: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters by block, from input to output.

    A block is a module that is neither a plain container nor holds more than half of the network; those are taken
    apart. What has no matrix of its own, such as a norm, belongs to the block before it.
    """
    half = _size(network) / 2

    def parts(module: nn.Module) -> list[list[nn.Parameter]]:
        children = [child for child in module.children() if _size(child)]
        if not children or (type(module) not in _CONTAINERS and _size(module) <= half):
            return [list(module.parameters())]
        own = list(module.parameters(recurse=False))
        return [*([own] if own else []), *(block for child in children for block in parts(child))]

    found: list[list[nn.Parameter]] = []
    for block in parts(network):
        if found and all(each.ndim < 2 for each in block):
            found[-1] += block
        else:
            found.append(block)
    return found


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def averaging_rate(decay: float, step: int) -> float:
    """How far an exponential moving average goes to its new value after a step counted from 0.

    Shorter averages at first, as TensorFlow's ``num_updates`` has it: else the start would weigh in for as many
    steps as a short run has.
    """
    return 1 - min(decay, (1 + step) / (10 + step))
