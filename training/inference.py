"""The backbone as this machine computes it fastest: from decoded photos to features."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from training.backbones import Pretrained, fold_norms, turn
from training.precision import DTYPES
from training.preprocess import Preprocess

# What oneDNN computes on the way out of a convolution: its name there, and its bounds.
_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.Hardswish: ("hardswish", []),
    nn.SiLU: ("swish", []),
}
_CHECKED = 4  # photos
_TOLERANCE = {"fp32": 1e-3, "bf16": 0.03}  # of the length of the features; what is wrong differs by tenths


def supported_precisions(device: torch.device) -> tuple[str, ...]:
    """Those that the processor itself computes in: emulated, bf16 takes many times as long as fp32."""
    if device.type == "cuda":
        computes = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        computes = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "bf16"))  # x86, Arm
    return ("fp32", "bf16") if computes else ("fp32",)


class FeatureNetwork:
    """Photos to features, without gradients; may be called from several threads at once.

    On CPU a photo's features are the same to the bit whatever else is in its batch, as long as the calling thread
    computes alone (``torch.set_num_threads(1)``).

    Args:
        chosen: the backbone.
        device: what it runs on.
        precision: ``fp32`` or ``bf16``.

    Attributes:
        network: from what ``prepared`` gives to features ``[B, num_features]``.
        num_features: length of a photo's feature vector.

    Raises:
        HyperparameterError, WeightsError: the backbone cannot be loaded.
    """

    def __init__(self, chosen: Pretrained, device: torch.device, precision: str) -> None:
        self._chosen, self._device, self._dtype = chosen, device, DTYPES[precision]
        self.network = self._plain()
        if device.type == "cpu" and hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
            self._fuse(_TOLERANCE[precision])

    @torch.inference_mode()
    def __call__(self, photos: np.ndarray) -> Tensor:
        """uint8 ``[B, H, W, 3]`` to float16 ``[B, num_features]`` on the CPU."""
        features: Tensor = self.network(self.prepared(photos))
        return features.half().cpu()

    def prepared(self, photos: np.ndarray) -> Tensor:
        """uint8 ``[B, H, W, 3]`` to what the network computes with, ``[B, 3, H, W]`` on the device."""
        images = torch.from_numpy(photos).to(self._device)
        return normalized(images.flip(1, 2) if self._turned else images, self._chosen.preprocess).to(self._dtype)

    def _plain(self) -> nn.Module:
        backbone = self._chosen.load()
        self.num_features = backbone.num_features
        self._turned = turn(backbone)
        network = fold_norms(backbone).layers.to(self._device, self._dtype)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _fuse(self, tolerance: float) -> None:
        """Take the fused network, unless it answers otherwise than the plain one."""
        side = self._chosen.preprocess.image_size
        photos = np.random.default_rng(0).integers(0, 256, (_CHECKED, side, side, 3), dtype=np.uint8)
        expected = self(photos).float()
        try:
            _fuse_convolutions(self.network)
            error = float((self(photos).float() - expected).norm() / expected.norm())
        except RuntimeError:  # the operators are private: another release may want other arguments
            error = math.inf
        if not error <= tolerance:
            self.network = self._plain()


class _FusedConvolution(nn.Module):
    """A convolution and its activation in one pass over the memory, its weights in oneDNN's own layout."""

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight.detach(), convolution.bias
        self.geometry = (convolution.padding, convolution.stride, convolution.dilation, convolution.groups)
        self.activation = _ACTIVATIONS[type(activation)] if activation else ("none", [])
        self.in_layout = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.in_layout:  # which depends on the input's size
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *self.geometry, x.shape)
            self.in_layout = True
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, *self.geometry, *self.activation, ""
        )
        return y


def _fuse_convolutions(network: nn.Module) -> None:
    """Make each convolution and the activation after it one, in place."""
    assert isinstance(network, GraphModule)
    modules = dict(network.named_modules())
    calls = {node: modules[str(node.target)] for node in network.graph.nodes if node.op == "call_module"}
    for node, module in calls.items():
        if isinstance(module, nn.Identity):
            node.replace_all_uses_with(node.all_input_nodes[0])
            network.graph.erase_node(node)
        elif isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
            after = next(iter(node.users))
            activation = calls.get(after) if len(node.users) == 1 else None
            if type(activation) not in _ACTIVATIONS:
                activation = None
            network.set_submodule(str(node.target), _FusedConvolution(module, activation))
            if activation:
                after.replace_all_uses_with(node)
                network.graph.erase_node(after)
    network.recompile()


def normalized(images: Tensor, spec: Preprocess) -> Tensor:
    """uint8 ``[B, H, W, 3]`` to float32 ``[B, 3, H, W]`` (channels last in memory) as the spec says."""
    batch, height, width, channels = images.shape
    # Of a whole row at once: a loop over three channels would take five times as long.
    mean, std = (torch.tensor(v, device=images.device).repeat(width) * 255 for v in (spec.mean, spec.std))
    rows = images.reshape(batch, height, width * channels).float().sub_(mean).div_(std)
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)
