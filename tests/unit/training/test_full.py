import copy
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from dataset import Photo
from networks.backbone import Backbone
from training import full, precision
from training.checkpoint import Checkpoint
from training.distributed import World
from training.full import FullTraining, FullTrainingData, photo_sides
from training.head import HeadStart, NonFiniteLossError
from training.hyperparameters import Hyperparameters
from training.loader import Batch, TrainLoader
from training.photos import DecodedPhotos
from training.precision import DepthwiseConv2d, autocast, depthwise_in_float32
from training.preprocess import TrainingPreprocess

WORLD = World(0, 1, 0, 1, torch.device("cpu"), "none", "here")
SIDE, NUM_PHOTOS, NUM_CLASSES = 96, 24, 3
SPEC = TrainingPreprocess(image_size=SIDE, resize_to=SIDE)
SETTINGS = Hyperparameters(full_epochs=2, global_batch_size=8, full_learning_rate=0.01, precision="fp32")


class Layers(nn.Module):
    """A small network with a branch that its output does not use, as in googlenet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.branch = nn.Linear(8, 8)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.fc = nn.Linear(8, 1000)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(self.depthwise(self.stem(x)).relu().mean((2, 3)))
        return y


Build = Callable[..., FullTraining]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build a training of a small network on noise; each class has another brightness."""

    def built(settings: Hyperparameters = SETTINGS, layers: nn.Module | None = None) -> FullTraining:
        torch.manual_seed(0)
        network, head = Backbone("small", layers or Layers()), nn.Linear(8, NUM_CLASSES)
        start = HeadStart(head.weight.detach().clone(), head.bias.detach().clone(), torch.ones(NUM_CLASSES))
        labels = torch.arange(NUM_PHOTOS) % NUM_CLASSES
        noise = np.random.default_rng(0).integers(0, 64, (NUM_PHOTOS, SIDE, SIDE, 3))
        pixels = (noise + 64 * labels.numpy()[:, None, None, None]).astype(np.uint8)
        photos = DecodedPhotos(pixels, np.full((NUM_PHOTOS, 2), SIDE, np.int32))
        named = [Photo(f"train/a/{number}.jpg", "train", "a", 1) for number in range(NUM_PHOTOS)]
        loader = TrainLoader(WORLD, photos, labels, SPEC, settings, num_threads=1)
        checkpoint = Checkpoint(WORLD, tmp_path / "full.pt", "key", settings.checkpoint_seconds)
        data = FullTrainingData(loader, named, photos, labels, SPEC)
        return FullTraining(WORLD, settings, network, head, start, data, checkpoint, num_threads=1)

    return built


def state(training: FullTraining) -> dict[str, Tensor]:
    """Return the tensors of the result."""
    backbone, head = training.result()
    return copy.deepcopy(
        {**backbone.state_dict(), **{f"head.{name}": each for name, each in head.state_dict().items()}}
    )


def batch(count: int = NUM_PHOTOS) -> Batch:
    images = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return Batch(images.contiguous(memory_format=torch.channels_last), torch.arange(count) % 3, torch.arange(count))


def test_what_it_learns_and_what_stays(build: Build) -> None:
    training = build(replace(SETTINGS, keep=0.0))
    before = state(training)
    training.run()
    after = state(training)
    assert before.keys() == after.keys()
    unchanged = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    norm = "layers.stem.1."
    assert unchanged == {
        *(norm + name for name in ("running_mean", "running_var", "num_batches_tracked")),
        *("layers.branch.weight", "layers.branch.bias"),
        *("fc.weight", "fc.bias"),
    }
    assert training.progress.epochs[-1]["train_loss"] < training.progress.epochs[0]["train_loss"]
    backbone, head = training.result()
    assert not backbone.training
    assert head.weight.dtype == torch.float32
    assert all(type(module) is not DepthwiseConv2d for module in backbone.modules())


def test_the_result_is_the_average_with_the_start(build: Build) -> None:
    results = {}
    for keep in (0.0, 0.25, 1.0):
        training = build(replace(SETTINGS, keep=keep))
        start = state(training)
        training.run()
        training._checkpoint.finish()
        results[keep] = state(training)
    assert not torch.equal(results[0.0]["head.weight"], start["head.weight"])
    for name, before in start.items():
        assert torch.equal(results[1.0][name], before)
        torch.testing.assert_close(
            results[0.25][name], torch.lerp(results[0.0][name], before, 0.25) if before.is_floating_point() else before
        )


def test_a_step_in_parts_is_the_step_at_once(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SETTINGS, global_batch_size=NUM_PHOTOS)
    checked = []
    for part in (NUM_PHOTOS, 5):
        monkeypatch.setattr(full, "_PART", part)
        training = build(settings)
        training.step(batch())
        checked.append([each.grad.clone() for each in training._trained if each.grad is not None])
    assert len(checked[0]) == len(checked[1]) == 7
    for at_once, in_parts in zip(*checked, strict=True):
        torch.testing.assert_close(in_parts, at_once, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_that_of_the_mean_smoothed_loss_and_the_pull(build: Build) -> None:
    settings = replace(SETTINGS, global_batch_size=NUM_PHOTOS, pull=0.5, label_smoothing=0.2, clip_norm=1e9)
    training = build(settings)
    with torch.no_grad():
        training._network.head.weight += 0.1
    network, step_batch = copy.deepcopy(training._network), batch()
    training.step(step_batch)
    labels = 0.8 * nn.functional.one_hot(step_batch.labels, NUM_CLASSES) + 0.2 / NUM_CLASSES
    loss = -(labels * network(step_batch.images).log_softmax(1)).sum(1).mean()
    loss.backward()
    network.head.weight.grad += 0.5 * 2 * 0.1  # The gradient of the pull, 0.5 times the squared distance.
    for ours, plain in zip(training._trained, (p for p in network.parameters() if p.requires_grad), strict=True):
        torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-3, atol=1e-6)
    epoch_state = training._epoch
    assert (epoch_state.steps, epoch_state.photos) == (1, [NUM_PHOTOS])
    assert epoch_state.loss / NUM_PHOTOS == pytest.approx(loss.item(), rel=1e-5)


def test_the_average_follows_the_weights(build: Build) -> None:
    training = build()
    before = training._average.head.weight.clone()
    training.step(batch(8))
    expected = torch.lerp(before, training._network.head.weight, 0.9)  # The averaging rate of the first step.
    torch.testing.assert_close(training._average.head.weight, expected)


def test_sides_rise_to_the_last_one() -> None:
    # 160, 184, 208 and 232 are 5, 5.75, 6.5 and 7.25 times 32; they are rounded to 5, 6, 6 (to even) and 7 times 32.
    assert photo_sides(replace(SETTINGS, full_epochs=5, start_resolution=0.625), 256) == [160, 192, 192, 224, 256]
    assert photo_sides(replace(SETTINGS, full_epochs=1), 224) == [224]
    assert photo_sides(replace(SETTINGS, full_epochs=3, start_resolution=0.1), 130) == [64, 64, 130]


def test_a_network_of_one_size_gets_photos_of_that_size(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    class OneSize(Layers):
        def forward(self, x: Tensor) -> Tensor:
            torch._assert(x.shape[2] == SIDE, "wrong height")  # type: ignore[no-untyped-call]
            return super().forward(x)

    for layers, expected in ((Layers(), [64, SIDE]), (OneSize(), [SIDE, SIDE])):
        training = build(layers=layers)
        training.run()
        assert [epoch["side"] for epoch in training.progress.epochs] == expected
        training._checkpoint.finish()
    assert f"the backbone accepts no photos of 64 pixels: all epochs use {SIDE} pixels" in capsys.readouterr().out


def test_a_gradient_that_is_no_number_stops_before_the_step(build: Build) -> None:
    training = build()
    before = training.checksum()
    training._network.backbone.layers.stem[0].weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(NonFiniteLossError, match=r"the gradient's norm became (inf|nan) in epoch 1, step 1; .*is 0.01"):
        training.step(batch(8))
    assert training.checksum() == before
    assert training.progress.steps == 0


def test_the_precision_is_measured_once_and_kept(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SETTINGS, precision="auto")
    seconds = {"fp32": 3.0, "bf16": 1.0}
    monkeypatch.setattr(full, "supported_precisions", lambda _: ("fp32", "bf16"))
    monkeypatch.setattr(precision, "_seconds", lambda *arguments: seconds[arguments[-1]])
    first = build(settings)
    assert first.precision == "bf16"
    first._save()
    seconds["fp32"] = 0.5
    assert build(settings).precision == "bf16"
    first._checkpoint.finish()
    assert build(settings).precision == "fp32"
    seconds["bf16"] = 0.1
    monkeypatch.setattr(full, "supported_precisions", lambda _: ("fp32",))
    assert build(settings).precision == "fp32"  # bf16 is not even measured.


def test_a_depthwise_convolution_keeps_float32_under_autocast() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8))
    plain, x = network[1], torch.randn(2, 8, 9, 9)
    expected = copy.deepcopy(plain)
    depthwise_in_float32(network)
    assert [type(each) for each in network] == [nn.Conv2d, DepthwiseConv2d]
    with autocast(WORLD, "bf16"):
        between = network[0](x)
        answer = network(x)
    assert between.dtype == answer.dtype == torch.bfloat16
    assert torch.equal(answer, expected(between.float()).bfloat16())


def test_the_line_of_an_epoch_contains_the_pipelines_metrics(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    build().run()
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch=2/2 "))
    pipeline = yaml.safe_load((Path(__file__).parents[3] / "statemachine/pipeline.asl.yaml").read_text())
    metrics = list(_metrics(pipeline))
    assert len(metrics) >= 4
    for metric in metrics:
        assert re.search(metric["Regex"], line), metric
    assert re.search(r" data_wait=0\.\d+ comm_wait=0\.000 peak_memory_mb=\d+ eta_s=0\.0$", line)


def _metrics(document: Any) -> Any:
    if isinstance(document, dict):
        for name, value in document.items():
            yield from value if name == "MetricDefinitions" else _metrics(value)
    elif isinstance(document, list):
        for value in document:
            yield from _metrics(value)
