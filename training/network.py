"""The whole network as full training sees it: backbone and head in one."""

import torch
from torch import Tensor, nn

from training.backbones import Backbone


class Network(nn.Module):
    """Normalized photos ``[B, 3, H, W]`` to logits ``[B, C]``, these in float32 whatever autocast says."""

    def __init__(self, backbone: Backbone, head: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, photos: Tensor) -> Tensor:
        features = self.backbone.features(photos)
        with torch.autocast(photos.device.type, enabled=False):
            logits: Tensor = self.head(features.float())
        return logits

    @torch.no_grad()
    def takes(self, side: int) -> bool:
        """Whether it can answer photos of a side; vision transformers have one size, and some networks shrink much."""
        try:
            self(torch.zeros(1, 3, side, side, device=self.head.weight.device))
        except (AssertionError, RuntimeError):
            return False
        return True

    def drop_at_random(self) -> None:
        """Let what drops units or layers at random do so, and nothing else change: norms keep their statistics."""
        self.eval()
        for module in self.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ == "StochasticDepth":
                module.train()

    def freeze_unused(self) -> None:
        """Freeze what the last backward pass did not reach: ``fc``, and side branches as googlenet's."""
        for parameter in self.parameters():
            parameter.requires_grad_(parameter.grad is not None)
