"""A trained network is tensors and a name: what was written is built again, and nothing else is taken."""

import json
import re
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from networks.backbone import Backbone, NetworkError, build_network, fold_norms
from networks.classifier import BreedClassifier, read_classifier, to_bytes
from serving.export import export
from serving.preprocess import ServingPreprocess
from training.artifact import classifier_of
from training.backbones import find_backbone

SPEC = ServingPreprocess(64, "squash", 64, "bilinear", 0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "RGB", True)


def trained(name: str, classes: int = 3) -> BreedClassifier:
    """Return a network of which every tensor has a value of its own, in eval mode."""
    torch.manual_seed(1)
    if name.startswith("efficientnet_lite"):
        backbone = find_backbone(name, None).load()
    else:
        network = build_network(name).train()
        with torch.no_grad():
            network(torch.randn(4, 3, 64, 64))  # Batch norms get statistics.
        backbone = Backbone(name, network.eval())
    return classifier_of(backbone, nn.Linear(backbone.num_features, classes)).eval()


def written(classifier: BreedClassifier, path: Path) -> Path:
    path.write_bytes(to_bytes(classifier))
    return path


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "mnasnet0_5", "regnet_y_400mf"])
def test_network_is_built_again_with_the_same_answers(name: str, tmp_path: Path) -> None:
    classifier, photos = trained(name), torch.randn(2, 3, 64, 64)
    again = read_classifier(written(classifier, tmp_path / "model.safetensors"), name, 3)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in again.modules())
    with torch.inference_mode():
        built, expected = again(photos), classifier(photos)
    for got, want in zip(built, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-4)
    fold_norms(classifier.backbone)
    folded = classifier.state_dict()
    assert again.state_dict().keys() == folded.keys()
    assert all(torch.equal(tensor, folded[key]) for key, tensor in again.state_dict().items())


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_exported_network_is_the_one_that_torch_export_gave(name: str, tmp_path: Path) -> None:
    """Earlier releases exported in the training, and the evaluation loaded that program, which held pickles."""
    classifier = trained(name)
    now = export(read_classifier(written(classifier, tmp_path / "model.safetensors"), name, 3), SPEC)
    fold_norms(classifier.backbone)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(classifier, (torch.zeros(2, 3, 64, 64),), dynamic_shapes=({0: batch},))
    before = export(program.module(check_guards=False), SPEC)
    assert now.weights == before.weights
    # Nodes are named after the modules of what was traced. Everything else is equal.
    assert re.sub(rb' names?="[^"]*"', b"", now.xml) == re.sub(rb' names?="[^"]*"', b"", before.xml)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"head.bias": None}, "holds no resnet18: 1 tensors differ, such as head.bias"),
        ({"more": torch.zeros(1)}, "holds no resnet18: 1 tensors differ, such as more"),
        ({"head.bias": torch.zeros(4)}, r"head.bias is \[4\] of torch.float32, not \[3\] of torch.float32"),
        ({"head.bias": torch.zeros(3).half()}, r"head.bias is \[3\] of torch.float16, not \[3\] of torch.float32"),
        ({"head.bias": torch.tensor([0, float("nan"), 0])}, "head.bias has values that are not finite"),
        ({"dog_rows": torch.tensor([3, 1000])}, "dog_rows names classes that ImageNet does not have"),
        ({"dog_rows": torch.tensor([-1])}, "dog_rows names classes that ImageNet does not have"),
        ({"dog_rows": torch.tensor([[1]])}, r"dog_rows is \[1, 1\] of torch.int64, not \[1\]"),
        ({"dog_rows": torch.tensor(1)}, r"dog_rows is \[\] of torch.int64, not \[1\]"),
    ],
)
def test_other_tensors_are_refused_by_name(
    tmp_path: Path, change: dict[str, torch.Tensor | None], sentence: str
) -> None:
    tensors = load_file(written(trained("resnet18"), tmp_path / "model.safetensors")) | change
    save_file({name: each for name, each in tensors.items() if each is not None}, tmp_path / "model.safetensors")
    with pytest.raises(NetworkError, match=f"^model.safetensors.*{sentence}"):
        read_classifier(tmp_path / "model.safetensors", "resnet18", 3)


@pytest.mark.parametrize("name", ["resnet", "../resnet18", "os.system", "quantized_resnet18", "maskrcnn_resnet50_fpn"])
def test_architecture_is_one_of_the_known_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(NetworkError, match="there is no network"):
        read_classifier(tmp_path / "model.safetensors", name, 3)


def test_file_with_an_impossible_header_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    for content in (b"", b"{}", struct.pack("<Q", 1 << 60), struct.pack("<Q", len(header)) + header):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(NetworkError, match=r"model.safetensors is no file of safetensors, so it was not loaded"):
            read_classifier(tmp_path / "model.safetensors", "resnet18", 3)
