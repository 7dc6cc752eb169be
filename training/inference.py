"""Compute features of decoded photos, as fast as this machine can.

See "The feature pass: 1.3 times faster by six steps" in docs/decisions/training.md.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from networks.backbone import fold_norms
from training.backbones import Pretrained, rotate_kernels
from training.precision import DTYPES
from training.preprocess import TrainingPreprocess

# The activations that oneDNN can compute within a convolution: oneDNN's name and the bounds.
_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.Hardswish: ("hardswish", []),
    nn.SiLU: ("swish", []),
}
_NUM_CHECKED = 4  # photos that compare the fused network with the plain one
# Allowed difference, relative to the norm of the features. A wrong network differs by tenths.
_TOLERANCE = {"fp32": 1e-3, "bf16": 0.03}


def supported_precisions(device: torch.device) -> tuple[str, ...]:
    """Return the precisions that the device computes in natively.

    Emulated bf16 takes many times as long as fp32, so it does not count.
    See "bf16 where the CPU computes in it" in docs/decisions/training.md.
    """
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # The capability's name on x86 and on Arm.
        has_bf16 = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "bf16"))
    return ("fp32", "bf16") if has_bf16 else ("fp32",)


class FeatureNetwork:
    """Maps photos to features, without gradients; several threads may call it at once.

    On CPU, with one torch thread per caller (``torch.set_num_threads(1)``), a photo's features are bit-identical in
    any batch.

    Args:
        pretrained: the backbone.
        device: the device that computes.
        precision: ``fp32`` or ``bf16``.

    Attributes:
        network: maps the result of ``prepare`` to features ``[B, num_features]``.
        num_features: the length of a photo's feature vector.

    Raises:
        HyperparameterError, WeightsError: the backbone cannot be loaded.
    """

    def __init__(self, pretrained: Pretrained, device: torch.device, precision: str) -> None:
        self._pretrained, self._device, self._dtype = pretrained, device, DTYPES[precision]
        self.network = self._plain()
        if device.type == "cpu" and hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
            self._fuse(_TOLERANCE[precision])

    @torch.inference_mode()
    def __call__(self, photos: np.ndarray) -> Tensor:
        """Map uint8 ``[B, H, W, 3]`` to float16 ``[B, num_features]`` on the CPU."""
        features: Tensor = self.network(self.prepare(photos))
        return features.half().cpu()

    def prepare(self, photos: np.ndarray) -> Tensor:
        """Turn uint8 ``[B, H, W, 3]`` into the network's input ``[B, 3, H, W]`` on the device."""
        images = torch.from_numpy(photos).to(self._device)
        return normalize(images.flip(1, 2) if self._is_rotated else images, self._pretrained.preprocess).to(self._dtype)

    def _plain(self) -> nn.Module:
        backbone = self._pretrained.load()
        self.num_features = backbone.num_features
        self._is_rotated = rotate_kernels(backbone)
        network = fold_norms(backbone).layers.to(self._device, self._dtype)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _fuse(self, tolerance: float) -> None:
        """Fuse the network's convolutions; keep the plain network if the fused one computes something else."""
        side = self._pretrained.preprocess.image_size
        photos = np.random.default_rng(0).integers(0, 256, (_NUM_CHECKED, side, side, 3), dtype=np.uint8)
        expected = self(photos).float()
        try:
            _fuse_convolutions(self.network)
            error = float((self(photos).float() - expected).norm() / expected.norm())
        except RuntimeError:  # The operators are private; another release of torch may change their arguments.
            error = math.inf
        if not error <= tolerance:
            self.network = self._plain()


class _FusedConvolution(nn.Module):
    """A convolution and its activation in one pass over the memory, with weights in oneDNN's own layout."""

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight.detach(), convolution.bias
        self.geometry = (convolution.padding, convolution.stride, convolution.dilation, convolution.groups)
        self.activation = _ACTIVATIONS[type(activation)] if activation else ("none", [])
        self.is_reordered = False

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, C', H', W']``."""
        if not self.is_reordered:  # Done at the first call, because the layout depends on the input's size.
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *self.geometry, x.shape)
            self.is_reordered = True
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, *self.geometry, *self.activation, ""
        )
        return y


def _fuse_convolutions(network: nn.Module) -> None:
    """Replace each convolution and the activation after it by one module, in place; remove identities."""
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


def normalize(images: Tensor, spec: TrainingPreprocess) -> Tensor:
    """Normalize uint8 ``[B, H, W, 3]`` to float32 ``[B, 3, H, W]`` (channels last in memory), as the spec says."""
    batch, height, width, channels = images.shape
    # Subtract and divide whole rows at once; a loop over three channels would take five times as long.
    mean, std = (torch.tensor(v, device=images.device).repeat(width) * 255 for v in (spec.mean, spec.std))
    rows = images.reshape(batch, height, width * channels).float().sub_(mean).div_(std)
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)
