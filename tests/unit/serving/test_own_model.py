"""Models that were trained elsewhere: state dicts that plain torch and torchvision write, and files that are none."""

import argparse
import io
import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from networks.torchvision_import import torchvision_models
from serving import evaluate
from serving.challenger import EvaluationError
from serving.own_model import count_outputs, read_own_model
from serving.preprocess import ServingPreprocess, pixels
from shared.evaluation import Evaluation

from .conftest import encoded, write_dataset

CLASSES = 7


def network(name: str, **options: Any) -> nn.Module:
    """Build a network as a training script does."""
    built: nn.Module = torchvision_models().get_model(name, weights=None, **options)
    return built


def resnet(head: nn.Module) -> nn.Module:
    built = network("resnet18")
    built.fc = head
    return built


def alexnet(place: str, head: nn.Module) -> nn.Module:
    built = network("alexnet")
    built.set_submodule(place, head)
    return built


def read(folder: Path, content: Any, backbone: str = "resnet18", activation: str = "relu") -> nn.Module:
    torch.save(content, folder / "model.pth")
    return read_own_model(folder / "model.pth", backbone, activation)


def assert_same(built: nn.Module, original: nn.Module, side: int = 64) -> None:
    """Compare the probabilities of both networks, after every norm of the original has got statistics of its own."""
    photos = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, answered = original.eval()(photos).softmax(1), built(photos).softmax(1)
    torch.testing.assert_close(answered, expected, atol=1e-6, rtol=0)
    assert len(set(expected.argmax(1).tolist())) > 0


def with_statistics(original: nn.Module) -> nn.Module:
    for module in original.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return original


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("alexnet", 64),
        ("convnext_tiny", 64),
        ("densenet121", 64),
        ("efficientnet_b0", 64),
        ("googlenet", 64),
        ("mnasnet0_5", 64),
        ("mobilenet_v2", 64),
        ("mobilenet_v3_small", 64),
        ("regnet_y_400mf", 64),
        ("resnet18", 64),
        ("shufflenet_v2_x0_5", 64),
        ("squeezenet1_1", 64),
        ("vit_b_32", 224),
    ],
)
def test_torchvisions_classifiers_answer_as_they_did(tmp_path: Path, name: str, side: int) -> None:
    options = {"init_weights": False} if name == "googlenet" else {}
    original = with_statistics(network(name, num_classes=CLASSES, **options))
    if name == "googlenet":
        original.transform_input = True  # as with torchvision's weights, from which trainings start
    built = read(tmp_path, original.state_dict(), name)
    assert not any(tensor.is_meta for tensor in [*built.parameters(), *built.buffers()])
    assert_same(built, original, side)
    assert count_outputs(built, side) == CLASSES


HEADS: dict[str, Callable[[], nn.Module]] = {
    "coursework": lambda: nn.Sequential(
        nn.Linear(512, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, CLASSES), nn.LogSoftmax(1)
    ),
    "norm before ReLU": lambda: nn.Sequential(
        nn.Linear(512, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(), nn.Linear(32, CLASSES)
    ),
    "norm after ReLU": lambda: nn.Sequential(
        nn.Linear(512, 32), nn.ReLU(), nn.BatchNorm1d(32), nn.Dropout(), nn.Linear(32, CLASSES)
    ),
    "no place for a ReLU": lambda: nn.Sequential(nn.Linear(512, 32), nn.Linear(32, CLASSES)),
    "names": lambda: nn.Sequential(
        OrderedDict(fc1=nn.Linear(512, 32), relu=nn.ReLU(), out=nn.Linear(32, CLASSES, bias=False))
    ),
    "three layers": lambda: nn.Sequential(
        nn.Dropout(),
        nn.Linear(512, 32),
        nn.ReLU(),
        nn.BatchNorm1d(32),
        nn.Linear(32, 16),
        nn.ReLU(),
        nn.Linear(16, CLASSES),
    ),
}


@pytest.mark.parametrize("head", HEADS)
def test_own_head_is_built_from_its_tensors(tmp_path: Path, head: str) -> None:
    original = with_statistics(resnet(HEADS[head]()))
    assert_same(read(tmp_path, original.state_dict()), original)


def test_activation_of_an_own_head_is_the_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = resnet(nn.Sequential(nn.Linear(512, 32), nn.GELU(), nn.Linear(32, CLASSES)))
    assert_same(read(tmp_path, original.state_dict(), activation="gelu"), original)
    assert "fc is Linear 512 to 32, GELU, Linear 32 to 7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("place", "head"),
    [
        ("classifier.6", nn.Linear(4096, CLASSES)),
        ("classifier.6", nn.Sequential(nn.Linear(4096, 16), nn.ReLU(), nn.Linear(16, CLASSES))),
        ("classifier", nn.Sequential(nn.Dropout(), nn.Linear(9216, 16), nn.ReLU(), nn.Linear(16, CLASSES))),
        ("classifier", nn.Linear(9216, CLASSES)),
    ],
)
def test_head_may_replace_the_last_layer_or_the_module_around_it(tmp_path: Path, place: str, head: nn.Module) -> None:
    original = alexnet(place, head)
    assert_same(read(tmp_path, original.state_dict(), "alexnet"), original)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"epoch": 3, "optimizer": {"state": {}, "param_groups": []}, "state_dict": state},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {f"_orig_mod.model.{name}": tensor for name, tensor in state.items()},
        lambda state: {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")},
        lambda state: {name: tensor.double() for name, tensor in state.items()},
        lambda state: {"n_averaged": torch.tensor(3)} | {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": {f"net.{n}": t for n, t in state.items()} | {"criterion.weight": torch.ones(7)}},
        lambda state: {"state_dict": {f"m.{n}": t for n, t in state.items()} | {"valid_acc.total": torch.tensor(9)}},
        lambda state: {"epoch": 1, "checkpoint": {"state_dict": state, "epoch": 1}},
        lambda state: {"model": state, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.9)},
        lambda state: {"model": state, "model_ema": {name: tensor * 2 for name, tensor in state.items()}},
        lambda state: {"state_dict": state, "class_to_idx": {name: index for index, name in enumerate("abcdefg")}},
    ],
    ids=[
        *("checkpoint", "DataParallel", "compiled", "no counters", "doubles", "AveragedModel", "loss", "metric"),
        *("nested", "arguments", "average", "classes"),
    ],
)
def test_state_dict_is_found_in_a_checkpoint_and_under_prefixes(
    tmp_path: Path, wrap: Callable[[dict[str, Tensor]], Any]
) -> None:
    original = resnet(nn.Linear(512, CLASSES))
    torch.save(wrap(original.state_dict()), tmp_path / "model.pth")
    assert_same(read_own_model(tmp_path / "model.pth", "resnet18", "relu", list("abcdefg")), original)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_taken_from_new_and_old_files(
    tmp_path: Path, dtype: torch.dtype, old: bool
) -> None:
    original = resnet(nn.Linear(512, CLASSES)).to(dtype)
    torch.save(original.state_dict(), tmp_path / "model.pth", _use_new_zipfile_serialization=not old)
    assert_same(read_own_model(tmp_path / "model.pth", "resnet18", "relu"), original.float())


@pytest.mark.parametrize("key", ["class_to_idx", "classes", "class_names"])
def test_classes_in_another_order_than_the_folders_are_refused(tmp_path: Path, key: str) -> None:
    names = list("bacdefg")
    named = dict(zip(names, range(7), strict=True)) if key == "class_to_idx" else names
    state = resnet(nn.Linear(512, CLASSES)).state_dict()
    torch.save({"state_dict": state, key: named}, tmp_path / "model.pth")
    with pytest.raises(EvaluationError, match="another order than their folders: output 0 is b, the folder a; sort"):
        read_own_model(tmp_path / "model.pth", "resnet18", "relu", list("abcdefg"))


def test_network_twice_in_one_module_is_refused(tmp_path: Path) -> None:
    state = resnet(nn.Linear(512, CLASSES)).state_dict()
    twice = {f"{place}.{name}": tensor for place in ("ema", "model") for name, tensor in state.items()}
    with pytest.raises(EvaluationError, match=r"holds the network 2 times, below ema\. and model\.; save the one"):
        read(tmp_path, twice)


def test_layer_after_the_network_is_refused(tmp_path: Path) -> None:
    state = resnet(nn.Linear(512, CLASSES)).state_dict()
    more = {f"body.{name}": tensor for name, tensor in state.items()} | {"last.weight": torch.eye(CLASSES)}
    with pytest.raises(EvaluationError, match=r"below body\. and beside it last\.weight, which no layer"):
        read(tmp_path, more)


class Hostile:
    """Pickled, it asks whoever loads it to make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("kind", ["module", "code in a checkpoint", "old pickle with code"])
def test_pickle_with_code_is_refused_with_the_way_out_and_runs_nothing(tmp_path: Path, kind: str) -> None:
    original, path = resnet(nn.Linear(512, CLASSES)), tmp_path / "model.pth"
    if kind == "module":
        torch.save(original, path)
    elif kind == "code in a checkpoint":
        torch.save({"state_dict": original.state_dict(), "more": Hostile(tmp_path / "ran")}, path)
    else:
        path.write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    with pytest.raises(EvaluationError, match=r"torch.save\(model.state_dict\(\), 'model.pth'\)") as error:
        read_own_model(path, "resnet18", "relu")
    assert "could run code" in str(error.value)
    assert not (tmp_path / "ran").exists()
    if kind == "module":
        assert "asks for torchvision.models.resnet.ResNet" in str(error.value)


def saved(old: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(resnet(nn.Linear(512, CLASSES)).state_dict(), buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


def flipped(data: bytes) -> bytes:
    """Return a file with one other bit in the middle of a tensor."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (lambda: b"", "damaged: it is empty; upload it again"),
        (lambda: b"no model" * 100, "no file of tensors"),
        (lambda: saved()[:-1000], "damaged: its end is missing"),
        (lambda: saved()[:1000], "damaged: its end is missing"),
        (lambda: saved(old=True)[:-1000], "damaged, or not written by torch.save"),
        (lambda: flipped(saved()), "damaged: the checksum of .* is wrong; upload it again"),
        (lambda: b"\x40" + bytes(7) + b'{"fc.weight":{}}' + bytes(64), "a file of safetensors; convert it: torch.save"),
        (lambda: b"<!DOCTYPE html>", "a web page, not the file that it links to"),
        (lambda: b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
        (lambda: b"\x1f\x8b" + bytes(99), r"an archive \(.gz\); unpack it"),
        (lambda: b"\x89HDF\r\n\x1a\n", "a file of Keras"),
    ],
)
def test_damaged_or_other_file_is_refused(tmp_path: Path, content: Callable[[], bytes], sentence: str) -> None:
    (tmp_path / "model.pth").write_bytes(content())
    with pytest.raises(EvaluationError, match=f"model.pth is {sentence}"):
        read_own_model(tmp_path / "model.pth", "resnet18", "relu")


def test_program_of_torchscript_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    (tmp_path / "model.pth").write_bytes(buffer.getvalue())
    with pytest.raises(EvaluationError, match="is a program of TorchScript"):
        read_own_model(tmp_path / "model.pth", "resnet18", "relu")


def test_other_architecture_is_named_with_the_one_that_fits(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError) as error:
        read(tmp_path, resnet(nn.Linear(512, CLASSES)).state_dict(), "resnet50")
    assert str(error.value).startswith("model.pth holds no resnet50, but it fits resnet18; layer1.0.bn3.bias, ")
    assert "are missing" in str(error.value)
    assert "layer1.0.conv1.weight is [64, 64, 3, 3], not [64, 64, 1, 1]" in str(error.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda _: [1, 2], "holds no state dict"),
        (lambda _: {"a": {"b": 1}}, "holds no state dict"),
        (lambda state: state | {"fc.bias": state["fc.bias"] * float("nan")}, "fc.bias contain values .* not finite"),
        (lambda state: {n: t for n, t in state.items() if not n.startswith("fc")}, "model.pth has no tensors below fc"),
        (lambda state: state | {"fc.weight": torch.zeros(7, 512, 1, 1)}, "fc is neither a linear layer nor a norm"),
    ],
)
def test_state_dict_that_cannot_be_used_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], sentence: str
) -> None:
    state = dict(resnet(nn.Linear(512, CLASSES)).state_dict())
    with pytest.raises(EvaluationError, match=sentence):
        read(tmp_path, change(state))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fc.weight": torch.ones(7, 512, dtype=torch.int64)}, r"fc.weight \(int64\) are not in fp16"),
        ({"fc.bias": torch.ones(7, dtype=torch.bool)}, r"fc.bias \(bool\) are not in fp16"),
        ({"bn1.running_mean": torch.ones(64, dtype=torch.int32)}, r"bn1.running_mean \(int32\) are not in fp16"),
        ({"fc.weight": torch.tensor(1.0)}, "fc is neither a linear layer nor a norm"),
        ({"fc.running_mean": torch.tensor(1.0)}, "fc is neither a linear layer nor a norm"),
        ({"fc.weight": torch.empty(7, 512, device="meta")}, "fc.weight are .* without values"),
        ({"fc.weight": torch.eye(7, 512).to_sparse_csr()}, "fc.weight are quantized, sparse"),
        ({"fc.weight": torch.zeros(1).expand(10**7, 10**7)}, "fc.weight are .* expanded"),
        ({"fc.bias": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}, "fc.bias are .* nested"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*(CSR|nested tensors).*")
def test_odd_tensors_are_refused_by_name(tmp_path: Path, change: dict[str, Tensor], sentence: str) -> None:
    with pytest.raises(EvaluationError, match=sentence):
        read(tmp_path, dict(resnet(nn.Linear(512, CLASSES)).state_dict()) | change)


def test_quantized_state_dict_is_refused(tmp_path: Path) -> None:
    state = {name: tensor.to(torch.int8) for name, tensor in resnet(nn.Linear(512, CLASSES)).state_dict().items()}
    with pytest.raises(EvaluationError, match=r"conv1.weight \(int8\)"):
        read(tmp_path, state)


@pytest.mark.parametrize(
    "layer",
    [
        nn.LayerNorm(64),
        nn.GroupNorm(8, 64),
        nn.RMSNorm(64),
        nn.BatchNorm1d(64, track_running_stats=False),
        nn.PReLU(64),
        nn.PReLU(),
    ],
    ids=lambda layer: f"{type(layer).__name__}-{len(layer.state_dict())}",
)
def test_layers_that_look_alike_in_a_file_are_refused(tmp_path: Path, layer: nn.Module) -> None:
    head = nn.Sequential(nn.Linear(512, 64), layer, nn.ReLU(), nn.Linear(64, CLASSES))
    with pytest.raises(EvaluationError, match=r"fc.1 is neither .* look alike in a file; a new head may have linear"):
        read(tmp_path, resnet(head).state_dict())


def test_norm_of_the_architectures_own_head_is_kept(tmp_path: Path) -> None:
    original = network("convnext_tiny")
    more = nn.Sequential(nn.Linear(768, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    original.classifier = nn.Sequential(*original.classifier[:2], *more)
    nn.init.normal_(original.classifier[0].weight)
    assert_same(read(tmp_path, original.state_dict(), "convnext_tiny"), original)


def test_layers_in_alphabetic_order_are_sorted_by_their_numbers(tmp_path: Path) -> None:
    filled = [nn.Dropout() for _ in range(6)]
    original = resnet(
        nn.Sequential(nn.Dropout(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 16), *filled, nn.Linear(16, CLASSES))
    )
    state = original.state_dict()
    with torch.no_grad():
        original.fc.insert(4, nn.ReLU())
    assert_same(read(tmp_path, {name: state[name] for name in sorted(state)}), original)


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (
            nn.Sequential(nn.Linear(512, 32), nn.BatchNorm1d(16), nn.Linear(32, CLASSES)),
            "fc: 1 takes 16 features, but 0 gives 32",
        ),
        (nn.Linear(256, CLASSES), "fc: the layer takes 256 features, but the network before the head gives 512"),
    ],
)
def test_layers_that_do_not_fit_are_named(tmp_path: Path, head: nn.Module, sentence: str) -> None:
    with pytest.raises(EvaluationError, match=sentence):
        read(tmp_path, resnet(head).state_dict())


def test_linear_head_of_a_network_that_pools_in_its_head_is_refused(tmp_path: Path) -> None:
    original = network("squeezenet1_1")
    original.classifier[1] = nn.Linear(512, CLASSES)
    with pytest.raises(EvaluationError, match=r"classifier.1 replaces a head that pools maps of features"):
        read(tmp_path, original.state_dict(), "squeezenet1_1")


def test_side_that_the_network_cannot_compute_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"cannot compute photos of 64 x 64 .* preprocess.image_size"):
        count_outputs(network("vit_b_32", num_classes=CLASSES).eval(), 64)


PREPROCESS = {
    "image_size": 32,
    "resize": "squash",
    "resize_to": 32,
    "interpolation": "bilinear",
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
}


def job(folder: Path, outputs: int = 3) -> list[str]:
    """Write the inputs of an evaluation of a network that names colours, and return the job's arguments."""
    root = folder / "processing"
    dataset = write_dataset(root / "input" / "dataset")
    for split in ("valid", "test"):
        copied = (dataset / "train" / "001.Red_setter" / "0.jpg").read_bytes()
        (dataset / split / "001.Red_setter" / "copied.jpg").write_bytes(copied)
    (root / "input" / "model").mkdir()
    torch.save(colours(outputs).state_dict(), root / "input" / "model" / "colours.pth")
    described = ["--backbone", "resnet18", "--preprocess", json.dumps(PREPROCESS)]
    return ["--root", str(root), "--version", "elsewhere", *described]


def colours(outputs: int) -> nn.Module:
    """Return a ResNet-18 with random layers and a head that least squares fit to noisy colours."""
    torch.manual_seed(0)
    net = resnet(nn.Identity()).eval()
    colour = torch.tensor([[220, 40, 40], [40, 220, 40], [40, 40, 220]]).repeat(20, 1) / 127.5 - 1
    with torch.no_grad():
        features = net(colour[:, :, None, None] + 0.13 * torch.randn(60, 3, 32, 32))
        centre, spread = features.mean(0), features.std(0).mean()
        wanted = 8 * torch.eye(outputs)[torch.arange(60) % 3]
        weights = torch.linalg.lstsq((features - centre) / spread, wanted, driver="gelsd").solution.T / spread
        net.fc = nn.Linear(512, outputs)
        net.fc.weight.copy_(weights)
        net.fc.bias.copy_(-weights @ centre)
    return net


@pytest.mark.parametrize(("size", "largest"), [((480, 320), 0), ((426, 320), 60)])
def test_photos_are_taken_as_torchvisions_transforms_take_them(size: tuple[int, int], largest: int) -> None:
    """A side that torchvision rounds after resizing moves the photo by a fraction of a pixel."""
    torchvision_models()
    from torchvision import transforms

    noise = np.random.default_rng(2).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    expected = np.asarray(transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])(image)).astype(int)
    spec = ServingPreprocess(224, "shortest_side", 256, "bilinear", 2, (0.5,) * 3, (0.5,) * 3, "RGB", True)
    difference = np.abs(expected - pixels(encoded(image, "PNG"), spec).astype(int))
    assert difference.max() <= largest
    assert difference.mean() < 3


def test_own_model_is_evaluated_like_any_other(tmp_path: Path) -> None:
    assert evaluate.main(job(tmp_path)) == 0
    output = tmp_path / "processing" / "output"
    report = json.loads((output / "report" / "evaluation.json").read_text())
    assert (report["challenger"]["top1"], report["challenger"]["num_photos"]) == (1.0, 16)
    assert (report["training"]["mode"], report["training"]["file"]) == ("elsewhere", "colours.pth")
    assert report["ddp"] is None
    assert report["parity"]["max_probability_difference"] < 0.01
    assert Evaluation.model_validate(report).ddp is None
    # Nobody has compared the splits before, so the evaluation does.
    assert [(leak["photo"], leak["also"]) for leak in report["leaked"]] == [
        (f"{split}/001.Red_setter/copied.jpg", "train/001.Red_setter/0.jpg") for split in ("valid", "test")
    ]
    assert (output / "artifact" / "model.tar.gz").exists()
    page = (output / "report" / "card.html").read_text()
    assert "elsewhere" in page
    assert "each epoch" not in page


def test_other_number_of_outputs_than_classes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(job(tmp_path, outputs=4)) == 1
    assert "colours.pth has 4 outputs and the dataset 3 classes; the model needs one output" in capsys.readouterr().err
