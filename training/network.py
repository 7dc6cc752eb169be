"""The network that full training trains: backbone and head together."""

import torch
from torch import Tensor, nn

from networks.backbone import Backbone


class Network(nn.Module):
    """Backbone and head in one module.

    Args:
        backbone: the pretrained backbone.
        head: maps its features to C classes.
    """

    def __init__(self, backbone: Backbone, head: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, photos: Tensor) -> Tensor:
        """Map normalized photos ``[B, 3, H, W]`` to logits ``[B, C]``, float32 under any autocast."""
        features = self.backbone.features(photos)
        with torch.autocast(photos.device.type, enabled=False):
            logits: Tensor = self.head(features.float())
        return logits

    @torch.no_grad()
    def accepts_side(self, side: int) -> bool:
        """Whether the network computes photos of this side, in pixels.

        Vision transformers accept one size only, and some networks shrink a small photo to nothing.
        """
        try:
            self(torch.zeros(1, 3, side, side, device=self.head.weight.device))
        except (AssertionError, RuntimeError):
            return False
        return True

    def enable_dropout(self) -> None:
        """Switch dropout and stochastic depth to training mode; norms stay in eval mode and keep their statistics."""
        self.eval()
        for module in self.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ == "StochasticDepth":
                module.train()

    def freeze_unused(self) -> None:
        """Freeze the parameters that the last backward pass did not reach: ``fc``, and googlenet's side branches."""
        for parameter in self.parameters():
            parameter.requires_grad_(parameter.grad is not None)
