"""Tests of the feature pass, which computes each photo once, also over several runs."""

import hashlib
import io
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dataset import Listing, Photo
from networks.backbone import Backbone
from networks.lite import ConvNorm
from training.backbones import Pretrained
from training.distributed import World
from training.features import FeaturePass, Features, InferenceChoice
from training.hyperparameters import Hyperparameters
from training.inference import supported_precisions
from training.preprocess import TrainingPreprocess
from training.workers import WorkerProgress

ALONE = World(0, 1, 0, 1, torch.device("cpu"), "none", "here")
SETTINGS = Hyperparameters(precision="fp32", checkpoint_seconds=0)
NUM_FEATURES = 16


@dataclass(frozen=True)
class Small(Pretrained):
    """A backbone for photos of 32 pixels, with seeded weights."""

    digest = "of its weights"  # type: ignore[assignment]
    preprocess = TrainingPreprocess(image_size=32, resize_to=32)  # type: ignore[assignment]

    def load(self) -> Backbone:
        torch.manual_seed(0)
        layers = (ConvNorm(3, 8, 3, stride=2), ConvNorm(8, NUM_FEATURES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return Backbone("small", nn.Sequential(*layers, nn.Linear(NUM_FEATURES, 1000)).eval())


SMALL = Small("small", Path("none"))


class Photos:
    """A source of 40 photos of noise; number 7 is no photo."""

    def __init__(self) -> None:
        self.photos = [Photo(f"train/a/{number:02}.png", "train", "a", 1) for number in range(40)]
        self.listing = Listing(("a",), tuple(self.photos), ())
        self.num_read, self.most = 0, 1_000
        self._bytes = {photo: self._drawn(number) for number, photo in enumerate(self.photos)}
        self.hashes = [hashlib.sha256(data).hexdigest()[:16] for data in self._bytes.values()]

    def read(self, photo: Photo) -> bytes:
        if self.num_read >= self.most:
            raise KeyboardInterrupt
        self.num_read += 1
        return self._bytes[photo]

    @staticmethod
    def _drawn(number: int) -> bytes:
        if number == 7:
            return b"no photo"
        file = io.BytesIO()
        noise = np.random.default_rng(number).integers(0, 256, (40, 36, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file, "PNG")
        return file.getvalue()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.features._BATCH_SIZES", (4, 4))


@pytest.fixture
def source() -> Photos:
    return Photos()


def feature_pass(folder: Path, settings: Hyperparameters = SETTINGS, chosen: Pretrained = SMALL) -> FeaturePass:
    return FeaturePass(chosen, ALONE, 2, folder, settings)


def progress() -> WorkerProgress:
    return WorkerProgress("features", 40, prints=False)


def features(folder: Path, source: Photos, some: slice = slice(None)) -> Features:
    return feature_pass(folder).features(source, source.photos[some], source.hashes[some], progress())


def test_only_photos_that_no_run_has_seen_are_computed(tmp_path: Path, source: Photos) -> None:
    whole = features(tmp_path / "whole", source)
    assert whole.num_computed == 40
    assert whole.features.shape == (40, NUM_FEATURES)
    assert whole.features.dtype == torch.float16
    assert len({tuple(row) for row in whole.features.tolist()}) == 40

    first = features(tmp_path / "parts", source, slice(0, 25))
    second = features(tmp_path / "parts", source, slice(15, 40))
    assert (first.num_computed, second.num_computed) == (25, 15)
    assert torch.equal(first.features, whole.features[:25])
    assert torch.equal(second.features, whole.features[15:])

    source.most = 0
    assert feature_pass(tmp_path / "parts").num_cached([*source.hashes, "never seen"]) == 40
    assert torch.equal(features(tmp_path / "parts", source).features, whole.features)


def test_an_interrupted_pass_loses_little_and_ends_bit_identically(tmp_path: Path, source: Photos) -> None:
    whole = features(tmp_path / "whole", source)
    source.num_read, source.most = 0, 25
    with pytest.raises(KeyboardInterrupt):
        features(tmp_path / "cut", source)
    source.most = 1_000
    resumed = features(tmp_path / "cut", source)
    assert 40 - 25 <= resumed.num_computed < 40
    assert torch.equal(resumed.features, whole.features)
    assert resumed.readable == whole.readable


def test_an_unreadable_photo_is_remembered(tmp_path: Path, source: Photos) -> None:
    for num_computed in (40, 0):
        result = features(tmp_path, source)
        assert result.num_computed == num_computed
        assert [number for number, readable in enumerate(result.readable) if not readable] == [7]
        assert not result.features[7].any()


def test_photos_without_bytes_are_not_read_again(tmp_path: Path, source: Photos) -> None:
    source.most = 0
    result = feature_pass(tmp_path).features(source, source.photos[:2], ["", ""], progress())
    assert (result.readable, result.num_computed) == ([False, False], 0)
    assert result.features.shape == (2, NUM_FEATURES)


def test_equal_photos_are_computed_once(tmp_path: Path, source: Photos) -> None:
    result = feature_pass(tmp_path).features(source, [source.photos[0]] * 9, [source.hashes[0]] * 9, progress())
    assert (result.num_computed, source.num_read) == (1, 1)
    assert (result.features == result.features[0]).all()


def test_a_damaged_file_is_ignored_with_a_sentence(
    tmp_path: Path, source: Photos, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = features(tmp_path, source)
    files = sorted(tmp_path.glob("features-*.pt"))
    assert len(files) == 10  # Each contains four photos.
    files[0].write_bytes(files[0].read_bytes()[:-100])
    data = bytearray(files[1].read_bytes())
    data[len(data) // 2] ^= 1
    files[1].write_bytes(data)
    again = features(tmp_path, source)
    assert again.num_computed == 8
    assert torch.equal(again.features, whole.features)
    output = capsys.readouterr().out
    assert all(f"{file} is damaged and is ignored" in output for file in files[:2])


def test_features_of_another_backbone_or_precision_are_not_used(tmp_path: Path, source: Photos) -> None:
    whole = features(tmp_path, source)
    choice = next(tmp_path.glob("inference-*.json"))
    other = feature_pass(tmp_path, chosen=Small("other", Path("none")))
    assert other.features(source, source.photos, source.hashes, progress()).num_computed == 40
    choice.write_text(json.dumps({"precision": "bf16", "batch_size": 4}))
    result = features(tmp_path, source)
    assert result.num_computed == 40
    assert not torch.equal(result.features, whole.features)
    torch.testing.assert_close(result.features, whole.features, rtol=0.1, atol=0.1)


def test_the_choice_is_kept_for_the_next_start(tmp_path: Path) -> None:
    auto = replace(SETTINGS, precision="auto")
    choice = feature_pass(tmp_path, auto).choice
    assert choice.precision in supported_precisions(ALONE.device)
    file = next(tmp_path.glob("inference-*.json"))
    assert json.loads(file.read_text()) == asdict(choice)
    file.write_text('{"precision": "fp32", "batch_size": 5}')
    assert feature_pass(tmp_path, auto).choice == InferenceChoice("fp32", 5)
    assert feature_pass(tmp_path, replace(SETTINGS, precision="bf16")).choice == InferenceChoice("bf16", 4)
    file.write_text("half a fi")
    assert feature_pass(tmp_path, auto).choice.batch_size == 4
