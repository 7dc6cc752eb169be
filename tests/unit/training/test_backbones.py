"""Tests of the backbones: they compute the same as their authors' networks, and unsuitable ones are refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from networks.backbone import Backbone, NetworkError, fold_norms
from networks.torchvision_import import torchvision_models
from training.backbones import Pretrained, check_digests, find_backbone
from training.hyperparameters import HyperparameterError
from training.preprocess import TrainingPreprocess
from training.train import main
from training.weights import WeightsError

LITES = ("efficientnet_lite0", "efficientnet_lite2")


def photos(size: int = 224) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


def torchvision_weights(name: str, path: Path, **settings: Any) -> torch.nn.Module:
    """Return a torchvision network with seeded weights, in eval mode, and write its state dict to a file.

    A forward pass in training mode gives its batch norms statistics.
    """
    torch.manual_seed(0)
    network: torch.nn.Module = torchvision_models().get_model(name, **settings)
    with torch.no_grad():
        network.train()(photos(64))
    torch.save(network.state_dict(), path)
    return network.eval()


@pytest.mark.parametrize("name", LITES)
def test_logits_equal_those_of_the_package_the_weights_come_from(name: str) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    chosen = find_backbone(name, None)
    layers, settings = package.get_model_params(name.replace("_", "-"), {"image_size": chosen.preprocess.image_size})
    reference = package.EfficientNet(layers, settings).eval()
    reference.load_state_dict(torch.load(chosen.weights, weights_only=True))
    with torch.inference_mode():
        batch = photos(chosen.preprocess.image_size)
        torch.testing.assert_close(chosen.load()(batch), reference(batch), rtol=0, atol=1e-5)


def test_torchvision_classifier_is_split_before_its_last_layer(tmp_path: Path) -> None:
    network = torchvision_weights("mobilenet_v3_small", tmp_path / "w.pth")
    backbone = find_backbone("mobilenet_v3_small", tmp_path / "w.pth").load()
    with torch.inference_mode():
        features = backbone.features(photos())
        assert features.shape == (3, backbone.num_features) == (3, 1024)  # The output of the classifier's hidden layer.
        torch.testing.assert_close(backbone.fc(features), network(photos()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_folding_the_norms_keeps_the_function(name: str, tmp_path: Path) -> None:
    weights = None
    if name == "resnet18":
        torchvision_weights(name, weights := tmp_path / "w.pth")
    network = find_backbone(name, weights).load()
    with torch.inference_mode():
        before = network(photos())
        after = fold_norms(network)(photos())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)


def test_torchvision_preprocessing_is_that_of_the_very_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "interpolation": "bilinear"}

    def of(name: str, digest: str) -> TrainingPreprocess:
        monkeypatch.setattr("training.backbones.file_digest", lambda _: digest)
        return Pretrained(name, Path("w.pth")).preprocess

    # The digests come from the names of torchvision's files, resnet50-0676ba61.pth and resnet50-11ad3fa6.pth.
    assert of("resnet50", "0676ba61" + 56 * "0") == TrainingPreprocess(image_size=224, resize_to=256, **imagenet)
    assert of("resnet50", "11ad3fa6" + 56 * "0") == TrainingPreprocess(image_size=224, resize_to=232, **imagenet)
    assert of("resnet50", 64 * "f") == TrainingPreprocess(image_size=224, resize_to=232, **imagenet)
    assert of("efficientnet_b1", 64 * "f").image_size == 240


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("efficientnet_lite1", "'backbone' efficientnet_lite1 is unknown .did you mean 'efficientnet_lite"),
        ("restnet50", "'backbone' restnet50 is unknown .did you mean 'resnet50'"),
        ("zzz", "'backbone' zzz is unknown .known are efficientnet_lite0, efficientnet_lite2, alexnet, "),
    ],
)
def test_unknown_backbone_is_refused_with_a_similar_name(name: str, sentence: str) -> None:
    with pytest.raises(HyperparameterError, match=sentence):
        find_backbone(name, None)


def test_backbone_without_its_weights_says_how_to_give_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="backbone resnet18: no pip package brings its weights; give --weights"):
        find_backbone("resnet18", None)
    with pytest.raises(
        WeightsError, match=r"backbone efficientnet_lite0: no such file .*none.pth; give --weights FILE"
    ):
        find_backbone("efficientnet_lite0", tmp_path / "none.pth")


def test_classifier_that_ends_in_no_linear_layer_is_refused(tmp_path: Path) -> None:
    network = torchvision_models().get_model("squeezenet1_1")
    with pytest.raises(NetworkError, match="squeezenet1_1 ends in AdaptiveAvgPool2d and not in a"):
        Backbone("squeezenet1_1", network)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    with pytest.raises(HyperparameterError, match="'backbone' squeezenet1_1 ends in AdaptiveAvgPool2d and not in a"):
        find_backbone("squeezenet1_1", tmp_path / "w.pth").load()


def test_other_weights_are_refused_with_a_sentence(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torchvision_weights("resnet18", tmp_path / "dogs.pth", num_classes=133)
    torchvision_weights("resnet34", tmp_path / "other.pth")
    torch.save({"epoch": 3, "model": {}}, tmp_path / "checkpoint.pth")
    torch.save({0: torch.zeros(1)}, tmp_path / "numbered.pth")
    state = torchvision_models().get_model("resnet18").state_dict()
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "wrapped.safetensors")
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    for file, sentence in {
        "dogs.pth": r"dogs.pth holds the weights of another network: fc.weight is \[133, 512\], not \[1000, 512\]",
        "other.pth": "other.pth holds the weights of another network: 182 tensors, not 102",
        "checkpoint.pth": "checkpoint.pth holds no state dict, a dictionary of tensors by name",
        "numbered.pth": "numbered.pth holds no state dict, a dictionary of tensors by name",
        "wrapped.safetensors": "wrapped.safetensors cannot be matched: its names are not torchvision's; give the .pth",
        "text.pth": "cannot read text.pth .UnpicklingError.; it must be a state dict written by torch.save or ",
        "text.safetensors": "cannot read text.safetensors .SafetensorError.; it must be a state dict",
    }.items():
        with pytest.raises(WeightsError, match=f"^backbone resnet18: {sentence}") as caught:
            find_backbone("resnet18", tmp_path / file).load()
        assert "\n" not in str(caught.value)


def test_weights_are_read_whatever_a_file_calls_them_and_from_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    network = torchvision_weights("resnet18", tmp_path / "plain.pth")
    state = network.state_dict()
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "wrapped.pth")
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    save_file(state, tmp_path / "same.safetensors", {"format": "pt"})
    with torch.inference_mode():
        expected = network(photos(64))
        for file in ("plain.pth", "wrapped.pth", "old.pth", "same.safetensors"):
            answer = find_backbone("resnet18", tmp_path / file).load()(photos(64))
            torch.testing.assert_close(answer, expected, rtol=0, atol=0, msg=file)


def test_weights_of_a_network_that_keeps_its_version_beside_its_tensors_are_loaded(tmp_path: Path) -> None:
    network = torchvision_weights("mnasnet0_5", tmp_path / "w.pth")
    loaded = find_backbone("mnasnet0_5", tmp_path / "w.pth").load()
    with torch.inference_mode():
        torch.testing.assert_close(loaded(photos()), network(photos()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("planned", ["own", "other,own"])
def test_training_takes_the_weights_that_its_run_was_planned_with_and_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], planned: str
) -> None:
    """The channel is filled after Plan, so the file may be another one below the same name."""
    file = tmp_path / "mine.pth"
    file.write_bytes(b"weights")
    own = hashlib.sha256(b"weights").hexdigest()
    digests = planned.replace("own", own).replace("other", "ab" * 32)
    chosen = [Pretrained("efficientnet_lite0", file)]
    check_digests(chosen, digests)
    check_digests(chosen, "")  # A training that no run has planned knows of none.
    file.write_bytes(b"foreign")
    chosen = [Pretrained("efficientnet_lite0", file)]
    with pytest.raises(WeightsError, match=r"mine\.pth was changed after the run was planned"):
        check_digests(chosen, digests)
    options = ["--data", str(tmp_path), "--model-dir", str(tmp_path / "model"), "--weights", str(file)]
    settings = {"backbone": "efficientnet_lite0", "weights_sha256": digests}
    assert main([*options, "--hyperparameters", json.dumps(settings)]) == 1
    assert "mine.pth was changed after the run was planned" in capsys.readouterr().err
