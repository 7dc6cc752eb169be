"""The usual transfer learning: a frozen backbone in fp32, a new last layer, all photos through the network every epoch.

    python benchmarks/peers/student_loop.py --data FOLDER --backbone NAME [--epochs N]

As the tutorials do it: torchvision's transforms v2 in a DataLoader of two workers, ``model.train()``, Adam; after each
epoch it says ``valid_top1=``.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from training.backbones import find_backbone
from training.torchvision_import import torchvision_models

parser = argparse.ArgumentParser()
parser.add_argument("--data", type=Path)
parser.add_argument("--backbone")
parser.add_argument("--epochs", type=int, default=5)
given = parser.parse_args()

torchvision_models()  # after which torchvision can be imported beside any build of torch
from torchvision.datasets import ImageFolder  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

chosen = find_backbone(given.backbone, None)
to_tensor = [
    v2.ToImage(),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize(chosen.preprocess.mean, chosen.preprocess.std),
]
photos = {
    "train": v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), *to_tensor]),
    "valid": v2.Compose([v2.Resize(256), v2.CenterCrop(224), *to_tensor]),
}
folders = {split: ImageFolder(given.data / split, transform) for split, transform in photos.items()}
loaders = {split: DataLoader(folder, 64, shuffle=split == "train", num_workers=2) for split, folder in folders.items()}


class Classifier(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = chosen.load().requires_grad_(False)
        self.head = nn.Linear(self.backbone.num_features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone.features(images))
        return logits


model = Classifier(len(folders["train"].classes))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.head.parameters(), lr=1e-3)

for epoch in range(1, given.epochs + 1):
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
    print(f"epoch={epoch}/{given.epochs} valid_top1={correct / len(folders['valid']):.4f}", flush=True)
