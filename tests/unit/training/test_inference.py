"""Tests of the fast feature network, which must compute the same as the plain backbone."""

import numpy as np
import pytest
import torch
from torch import nn

from training import inference
from training.backbones import find_backbone, rotate_kernels
from training.inference import FeatureNetwork, supported_precisions

CPU = torch.device("cpu")
LITE = find_backbone("efficientnet_lite0", None)
PHOTOS = np.random.default_rng(3).integers(0, 256, (4, 128, 128, 3), dtype=np.uint8)


def test_rotated_kernels_compute_the_same_of_rotated_photos() -> None:
    photos = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    backbone = LITE.load()
    with torch.no_grad():
        before = backbone.features(photos)
        assert rotate_kernels(backbone)
        torch.testing.assert_close(backbone.features(photos.flip(2, 3)), before, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(backbone.features(photos), before, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("precision", supported_precisions(CPU))
def test_features_are_the_backbones_own(precision: str) -> None:
    network = FeatureNetwork(LITE, CPU, precision)
    with torch.no_grad():
        expected = LITE.load().features(inference.normalize(torch.from_numpy(PHOTOS), LITE.preprocess))
    features = network(PHOTOS)
    assert features.shape == (4, network.num_features) == (4, 1280)
    assert features.dtype == torch.float16
    error = (features.float() - expected).norm() / expected.norm()
    assert error < {"fp32": 0.001, "bf16": 0.1}[precision]  # bf16 has 8 significant bits, and there are 50 layers.


@pytest.mark.parametrize("precision", supported_precisions(CPU))
def test_a_photos_features_are_the_same_to_the_bit_in_any_company(precision: str) -> None:
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            network = FeatureNetwork(LITE, CPU, precision)
            alone = np.zeros_like(PHOTOS)
            alone[0] = PHOTOS[2]
            features = network(PHOTOS)
            assert torch.equal(network(alone)[0], features[2])
            assert torch.equal(network(PHOTOS[::-1].copy()), features.flip(0))
            assert torch.equal(network(np.concatenate([PHOTOS, alone])), torch.cat([features, network(alone)]))
    finally:
        torch.set_num_threads(threads)


def fused(network: FeatureNetwork) -> bool:
    return any(isinstance(module, inference._FusedConvolution) for module in network.network.modules())


def test_convolutions_are_fused_only_where_the_answer_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        pytest.skip("this build of torch has no oneDNN")
    network = FeatureNetwork(LITE, CPU, "fp32")
    assert fused(network)
    for wrong in (("hardtanh", [0.0, 1.0]), ("no such activation", [])):
        monkeypatch.setitem(inference._ACTIVATIONS, nn.ReLU6, wrong)
        plain = FeatureNetwork(LITE, CPU, "fp32")
        assert not fused(plain)
        torch.testing.assert_close(plain(PHOTOS), network(PHOTOS), rtol=0.01, atol=0.01)
