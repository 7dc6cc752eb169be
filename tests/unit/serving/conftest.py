"""Networks that classify three colours, a dataset of coloured photos, and an evaluation of them."""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dataset import breed_name, open_source
from networks import classifier
from serving import evaluate
from serving.model import ServedModel
from serving.preprocess import ServingPreprocess
from serving.served_artifact import ServedArtifact, load_artifact, pack, unpack
from training.artifact import ddp_document, write_manifest

COLOURS = {
    "001.Red_setter": (220, 40, 40),
    "002.Green_hound": (40, 220, 40),
    "003.Blue_terrier": (40, 40, 220),
}
SPEC = ServingPreprocess(32, "squash", 32, "bilinear", 0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "RGB", True)

CURVE = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
DDP = ddp_document(["here"], "none", num_train=15, samples_per_rank=[15], steps=1, checksums=["0123456789abcdef"])


class ColourNet(torch.nn.Module):
    """Its logits are 4 times the mean of each channel; P(dog) grows with the brightness."""

    def forward(self, photos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = photos.mean((2, 3))
        return 4 * means, torch.sigmoid(means.sum(1))


class ConvNet(torch.nn.Module):
    """Gives the same answers by convolutions whose sums of large 8-bit products do not fit into 16 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.split = torch.nn.Conv2d(3, 24, 1, bias=False)  # Each channel's positive and negative part, four times.
        self.blur = torch.nn.Conv2d(24, 3, 3, bias=False)
        signs = torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0])
        with torch.no_grad():
            self.split.weight.copy_(torch.kron(torch.eye(3), signs[:, None])[..., None, None])
            self.blur.weight.copy_(torch.kron(torch.eye(3), signs[None])[..., None, None].expand(3, 24, 3, 3) / 9)

    def forward(self, photos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = self.blur(torch.relu(self.split(photos))).mean((2, 3)) / 4
        return 4 * means, torch.sigmoid(means.sum(1))


class BrittleNet(torch.nn.Module):
    """Gives the same answers by small weights, which int8 rounds to 0 because a weight of a dark channel is large."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = torch.nn.Conv2d(4, 3, 1, bias=False)
        with torch.no_grad():
            self.answer.weight.copy_(torch.cat([4 * torch.eye(3), torch.full((3, 1), 4000.0)], 1)[..., None, None])

    def forward(self, photos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = photos.mean((2, 3), keepdim=True)
        dark = torch.relu(means[:, :1] - 2)
        return self.answer(torch.cat([means, dark], 1)).flatten(1), torch.sigmoid(means.sum((1, 2, 3)))


NETS: dict[str, type[torch.nn.Module]] = {"colours": ColourNet, "convolutions": ConvNet, "brittle": BrittleNet}


@pytest.fixture(scope="session", autouse=True)
def _small_networks() -> Iterator[None]:
    """Let the evaluation know the networks above by name, because the real ones take a minute each."""
    real = classifier.read_classifier

    def read(path: Path, architecture: str, num_classes: int) -> torch.nn.Module:
        if architecture not in NETS:
            return real(path, architecture, num_classes)
        net = NETS[architecture]()
        net.load_state_dict(load_file(path))
        return net.eval()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "read_classifier", read)
        yield


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """Return an image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(colour: tuple[int, int, int], seed: int, kind: str = "JPEG") -> bytes:
    """Return a noisy photo of one colour, different for every seed."""
    noise = np.random.default_rng(seed).integers(-30, 31, (40, 48, 3))
    return encoded(Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)), kind)


def write_dataset(folder: Path) -> Path:
    """Write 4 train, 6 valid and 5 test photos of each of the three colours."""
    seed = 0
    for split, count in {"train": 4, "valid": 6, "test": 5}.items():
        for label, colour in COLOURS.items():
            for number in range(count):
                seed += 1
                path = folder / split / label / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(photo(colour, seed))
    return folder


def write_trained(folder: Path, data: Path, classes: list[str] | None = None, net: str = "colours") -> Path:
    """Write and pack the artifact that the training job would write for a network of colours."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(NETS[net]().state_dict(), folder / "model.safetensors")
    source = open_source(data)
    hashes = {
        split: {hashlib.sha256(source.read(p)).hexdigest()[:16]: p.path for p in source.listing.of(split)}
        for split in ("train", "valid")
    }
    labels = [{"id": c, "breed": breed_name(c), "imagenet_row": None} for c in classes or COLOURS]
    documents: dict[str, Any] = {
        "labels": {"classes": labels},
        "preprocess": asdict(SPEC),
        "training": {"backbone": net},
        "ddp": DDP,
        "data": {"hashes": hashes, "leaked": []},
    }
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    (folder / "history.svg").write_bytes(CURVE)
    return sealed(folder)


def sealed(folder: Path) -> Path:
    """Write the manifest of a training job's artifact and pack it."""
    (folder / "manifest.json").unlink(missing_ok=True)
    write_manifest(folder, [path.name for path in folder.iterdir()])
    pack(folder, folder.parent / "model.tar.gz")
    return folder.parent / "model.tar.gz"


def make_root(folder: Path, net: str = "colours") -> Path:
    """Make a processing job's folder with the dataset and the trained model in it."""
    root = folder / "processing"
    data = write_dataset(root / "input" / "dataset")
    archive = write_trained(folder / "trained", data, net=net)
    (root / "input" / "model").mkdir()
    archive.replace(root / "input" / "model" / "model.tar.gz")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A processing job's folder. The test may change it."""
    return make_root(tmp_path)


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A processing job's folder after a run. Tests must not change it."""
    root = make_root(tmp_path_factory.mktemp("evaluated"))
    assert evaluate.main(["--root", str(root), "--version", "colours-1"]) == 0
    return root


@pytest.fixture(scope="session")
def served(evaluated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The served artifact's folder. Tests must not change it."""
    folder = tmp_path_factory.mktemp("served")
    unpack(evaluated / "output" / "artifact" / "model.tar.gz", folder)
    return folder


@pytest.fixture(scope="session")
def artifact(served: Path) -> ServedArtifact:
    """The served artifact in memory."""
    return load_artifact(served)


@pytest.fixture(scope="session")
def model(artifact: ServedArtifact) -> ServedModel:
    """The served model."""
    return ServedModel(artifact)
