"""The optimizer of full training, and its learning rate.

Earlier blocks learn slower than later ones, only matrices decay, and the rate follows a warm-up and then a cosine.
"""

import math

import torch
from torch import nn

from training.hyperparameters import Hyperparameters

# Share of all steps. AdamW's first steps must be short, because they rest on few gradients.
_WARM_UP = 0.05
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def adamw(layers: nn.Module, head: nn.Module, settings: Hyperparameters) -> torch.optim.AdamW:
    """Return the optimizer of all parameters that require gradients.

    The head learns at the full rate, and each block at ``layer_decay`` times the rate of the block after it, because
    what the first layers know is useful for any photo (Howard and Ruder 2018, arXiv:1801.06146). Only tensors with
    more than one dimension decay, so biases and norms do not.
    """
    groups = []
    for depth, block in enumerate([list(head.parameters()), *reversed(parameter_blocks(layers))]):
        peak = settings.full_learning_rate * settings.layer_decay**depth
        for is_matrix, decay in ((True, settings.weight_decay), (False, 0.0)):
            parameters = [each for each in block if each.requires_grad and (each.ndim > 1) == is_matrix]
            groups.append({"params": parameters, "lr": peak, "peak": peak, "weight_decay": decay})
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def set_learning_rates(optimizer: torch.optim.Optimizer, step: int, num_steps: int) -> None:
    """Set each group's learning rate for a step.

    The rate depends on the step alone, so a checkpoint need not contain it.

    Args:
        optimizer: the optimizer that ``adamw`` returned.
        step: the step, counted from 0.
        num_steps: all steps of the training.
    """
    share = learning_rate_share(step, num_steps)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def learning_rate_share(step: int, num_steps: int) -> float:
    """Return the learning rate at a step counted from 0, as a share of the greatest one, in (0, 1]."""
    warm_up = math.ceil(_WARM_UP * num_steps)
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    return (1 + math.cos(math.pi * (step - warm_up) / (num_steps - warm_up))) / 2


def parameter_blocks(network: nn.Module) -> list[list[nn.Parameter]]:
    """Return the network's parameters by block, from input to output.

    A plain container, or a module with more than half of the network's parameters, is divided into its children. Any
    other module is a block. A module without a matrix, such as a norm, belongs to the block before it.
    """
    half = _size(network) / 2

    def parts(module: nn.Module) -> list[list[nn.Parameter]]:
        children = [child for child in module.children() if _size(child)]
        if not children or (type(module) not in _CONTAINERS and _size(module) <= half):
            return [list(module.parameters())]
        own = list(module.parameters(recurse=False))
        return [*([own] if own else []), *(block for child in children for block in parts(child))]

    blocks: list[list[nn.Parameter]] = []
    for block in parts(network):
        if blocks and all(each.ndim < 2 for each in block):
            blocks[-1] += block
        else:
            blocks.append(block)
    return blocks


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def averaging_rate(decay: float, step: int) -> float:
    """Return the weight of the new value in an exponential moving average, after a step counted from 0.

    The first averages are shorter, as with TensorFlow's ``num_updates``. Otherwise the start would still count at the
    end of a short run.
    """
    return 1 - min(decay, (1 + step) / (10 + step))
