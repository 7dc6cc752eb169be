"""The usual transfer learning: a frozen backbone in fp32 and a new last layer.

    python benchmarks/peers/student_loop.py --data FOLDER --backbone NAME [--epochs N]

It follows the tutorials: all photos pass the whole network in every epoch, torchvision's transforms v2 in a DataLoader
of two workers, ``model.train()``, Adam. After each epoch it prints ``valid_top1=``.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from networks.torchvision_import import torchvision_models
from training.backbones import find_backbone

parser = argparse.ArgumentParser()
parser.add_argument("--data", type=Path)
parser.add_argument("--backbone")
parser.add_argument("--epochs", type=int, default=5)
options = parser.parse_args()

torchvision_models()  # After this call torchvision can be imported with any build of torch.
from torchvision.datasets import ImageFolder  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

choice = find_backbone(options.backbone, None)
to_tensor = [
    v2.ToImage(),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize(choice.preprocess.mean, choice.preprocess.std),
]
photos = {
    "train": v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), *to_tensor]),
    "valid": v2.Compose([v2.Resize(256), v2.CenterCrop(224), *to_tensor]),
}
folders = {split: ImageFolder(options.data / split, transform) for split, transform in photos.items()}
loaders = {split: DataLoader(folder, 64, shuffle=split == "train", num_workers=2) for split, folder in folders.items()}


class TransferClassifier(nn.Module):
    """A frozen backbone with a new last layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = choice.load().requires_grad_(False)
        self.head = nn.Linear(self.backbone.num_features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, C]`` of normalized images ``[B, 3, S, S]``."""
        logits: Tensor = self.head(self.backbone.features(images))
        return logits


model = TransferClassifier(len(folders["train"].classes))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.head.parameters(), lr=1e-3)

for epoch in range(1, options.epochs + 1):
    model.train()
    for images, labels in loaders["train"]:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in loaders["valid"]:
            correct += int((model(images).argmax(1) == labels).sum())
    print(f"epoch={epoch}/{options.epochs} valid_top1={correct / len(folders['valid']):.4f}", flush=True)
