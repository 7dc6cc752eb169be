"""The trained network in eager PyTorch, fp32: an export of it, run operation by operation."""

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers.answers import FOLDER, SPEC


def load() -> nn.Module:
    """Load the network, which maps normalized photos ``[B, 3, S, S]`` to logits ``[B, C]`` and P(dog) ``[B]``."""
    return torch.export.load(FOLDER / "model.pt2").module(check_guards=False)


def normalized(pixels: np.ndarray) -> Tensor:
    """Normalize pixels ``[S, S, 3]`` to the network's input ``[3, S, S]``."""
    image = torch.tensor(pixels).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (SPEC.mean, SPEC.std))
    return (image - mean) / std
