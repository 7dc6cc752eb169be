"""A pretrained network by name, divided before its last linear layer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.overrides import TorchFunctionMode

from networks.lite import LITES, NUM_CLASSES, build_lite
from networks.torchvision_import import torchvision_models


class NetworkError(ValueError):
    """A network cannot be built by its name, or its file cannot be read; the message says why."""


class Backbone(nn.Module):
    """A pretrained network, divided into layers that compute features and a last linear layer.

    See "Every network is split at its last linear layer" in docs/decisions/backbones.md.

    Args:
        name: the network's name, for messages.
        network: a classifier that ends in a linear layer of 1000 classes.

    Attributes:
        layers: the network without its last linear layer.
        fc: that layer.

    Raises:
        NetworkError: the network does not end in a linear layer of 1000 classes.
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        path, last = list(network.named_modules())[-1]
        if not isinstance(last, nn.Linear) or last.out_features != NUM_CLASSES:
            raise NetworkError(
                f"{name} ends in {type(last).__name__} and not in a linear layer of {NUM_CLASSES} classes, from which "
                "the head must start; choose another"
            )
        if last.bias is None:  # maxvit_t has none.
            last.bias = nn.Parameter(last.weight.new_zeros(NUM_CLASSES))
        network.set_submodule(path, nn.Identity())
        self.layers, self.fc = network, last

    @property
    def num_features(self) -> int:
        """The length of a photo's feature vector."""
        return self.fc.in_features

    def features(self, x: Tensor) -> Tensor:
        """Map normalized photos ``[B, 3, H, W]`` to features ``[B, num_features]``."""
        y: Tensor = self.layers(x)
        return y

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized photos ``[B, 3, H, W]`` to the 1000 ImageNet logits ``[B, 1000]``."""
        logits: Tensor = self.fc(self.features(x))
        return logits


def fold_norms(backbone: Backbone) -> Backbone:
    """Fold batch norms into their convolutions in place, which computes the same with one pass less per layer."""
    backbone.layers = fuse(backbone.layers, inplace=True)
    return backbone


def network_names() -> list[str]:
    """Return the names of all networks: EfficientNet-Lite's and those of torchvision's classifiers."""
    models = torchvision_models()
    return [*LITES, *models.list_models(module=models)]


def build_network(name: str) -> nn.Module:
    """Build a classifier of ImageNet's 1000 classes by name, without trained weights.

    Raises:
        NetworkError: there is no network of this name.
    """
    if name in LITES:
        return build_lite(name)
    if name not in network_names():
        raise NetworkError(f"there is no network '{name}'")
    network: nn.Module = torchvision_models().get_model(name, weights=None)
    if hasattr(network, "transform_input"):
        network.transform_input = True  # type: ignore[assignment]  # The published weights of googlenet and inception_v3 require it.
    return network


class EmptyWithoutStorage(TorchFunctionMode):
    """Give parameters no storage, so that building an architecture takes no memory.

    The same for all tensors (``torch.device("meta")``) breaks the regnets, which compute with tensors while they are
    built.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch; ``torch.empty`` makes tensors without storage."""
        return func(*args, **(kwargs or {}) | ({"device": "meta"} if func is torch.empty else {}))
