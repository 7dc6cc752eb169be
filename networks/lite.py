"""EfficientNet-Lite in two sizes: 4.65 and 6.09 M parameters, 1280 features.

Tan and Le 2019, arXiv:1905.11946; the "lite" variant has ReLU6 and no squeeze-and-excitation.
"""

import math

from torch import Tensor, nn

NUM_CLASSES = 1000  # of ImageNet
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
LITES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite2": (1.1, 1.2)}


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


def build_lite(name: str) -> nn.Module:
    """Build an EfficientNet-Lite by name, for photos whose side is a multiple of 32."""
    width, depth = LITES[name]
    layers: list[nn.Module] = [ConvNorm(3, _STEM, 3, stride=2)]
    channels = _STEM
    for kernel, stride, expansion, outputs, repeats in _STAGES:
        inputs, channels = channels, _rounded(outputs * width)
        layers.append(InvertedResidual(kernel, stride, expansion, inputs, channels))
        # The first and the last stage have a single block and are not made deeper.
        repeats = 1 if repeats == 1 else math.ceil(repeats * depth)
        layers += [InvertedResidual(kernel, 1, expansion, channels, channels) for _ in range(repeats - 1)]
    layers += [ConvNorm(channels, _NUM_FEATURES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(_NUM_FEATURES, NUM_CLASSES))


def _rounded(channels: float) -> int:
    """Round to the nearest multiple of 8, but not down by more than a tenth."""
    nearest = int(channels + 4) // 8 * 8
    return nearest if nearest >= 0.9 * channels else nearest + 8
