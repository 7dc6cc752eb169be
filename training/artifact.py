"""The model artifact: what rank 0 leaves for the evaluation and for serving. Data only."""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from dataset import breed_name
from training.backbones import Backbone, fold_norms
from training.files import replace_file
from training.imagenet_dogs import DOG_ROWS


class Classifier(nn.Module):
    """Normalized photos ``[B, 3, H, W]`` to breed logits ``[B, C]`` and P(dog) ``[B]`` in [0, 1].

    P(dog) is what the pretrained 1000-way classifier, which has seen the world beside dogs, gives to
    its dog classes.
    """

    def __init__(self, backbone: Backbone, head: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.head = fold_norms(backbone), head
        self.register_buffer("dog_rows", torch.tensor(DOG_ROWS))

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone.features(photos)
        p_dog = self.backbone.fc(features).softmax(1).index_select(1, self.dog_rows).sum(1)
        return self.head(features), p_dog


def write_model(path: Path, classifier: Classifier, image_size: int) -> None:
    """Export with a free batch size to ``model.pt2``.

    Raises:
        StorageError: the file cannot be written.
    """
    example = torch.zeros(2, 3, image_size, image_size)
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        program = torch.export.export(classifier.eval(), (example,), dynamic_shapes=({0: batch},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    replace_file(path, buffer.getvalue())


def labels_document(classes: Sequence[str], rows: Sequence[int | None]) -> dict[str, object]:
    """``labels.json``: the classes in index order."""
    return {
        "classes": [
            {"id": label, "breed": breed_name(label), "imagenet_row": row}
            for label, row in zip(classes, rows, strict=True)
        ]
    }


def ddp_document(
    hosts: Sequence[str],
    backend: str,
    num_train: int,
    samples_per_rank: Sequence[int],
    steps: int,
    checksums: Sequence[str],
) -> dict[str, object]:
    """``ddp.json``: the proof that the ranks trained one model over all photos, each once."""
    return {
        "world_size": len(checksums),
        "hosts": list(dict.fromkeys(hosts)),
        "backend": backend,
        "num_train": num_train,
        "samples_per_rank": list(samples_per_rank),
        "steps": steps,
        "parameter_checksums": list(checksums),
        "in_sync": len(set(checksums)) == 1,
    }
