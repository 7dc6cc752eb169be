"""Write the model artifact, which rank 0 leaves for evaluation and serving; it contains data only, no code."""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from dataset import breed_name
from training.backbones import Backbone, fold_norms
from training.files import replace_file
from training.imagenet_dogs import DOG_ROWS


class ExportedClassifier(nn.Module):
    """The network as it is exported: backbone, head, and the probability that a photo shows a dog.

    P(dog) is the sum of the probabilities that the pretrained classifier of 1000 ImageNet classes gives to the dog
    classes. That classifier was trained on dogs and on much else.

    Args:
        backbone: the trained backbone, whose batch norms are folded in place.
        head: maps its features to C breeds.
    """

    def __init__(self, backbone: Backbone, head: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.head = fold_norms(backbone), head
        self.register_buffer("dog_rows", torch.tensor(DOG_ROWS))

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Map normalized photos ``[B, 3, H, W]`` to breed logits ``[B, C]`` and P(dog) ``[B]`` in [0, 1]."""
        features = self.backbone.features(photos)
        p_dog = self.backbone.fc(features).softmax(1).index_select(1, self.dog_rows).sum(1)
        return self.head(features), p_dog


def write_model(path: Path, classifier: ExportedClassifier, image_size: int) -> None:
    """Export a classifier with a variable batch size.

    Args:
        path: the file, ``model.pt2``.
        classifier: the trained network.
        image_size: side of a photo, pixels.

    Raises:
        FileWriteError: the file cannot be written.
    """
    example = torch.zeros(2, 3, image_size, image_size)
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        program = torch.export.export(classifier.eval(), (example,), dynamic_shapes=({0: batch},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    replace_file(path, buffer.getvalue())


def labels_document(classes: Sequence[str], rows: Sequence[int | None]) -> dict[str, object]:
    """Return the content of ``labels.json``, the classes in index order.

    Args:
        classes: the classes' names.
        rows: the ImageNet row of each class, None where ImageNet does not know it.
    """
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
    """Return the content of ``ddp.json``, which proves that the ranks trained one model and used each photo once.

    Args:
        hosts: each rank's host.
        backend: ``gloo``, ``nccl`` or ``none``.
        num_train: training photos over all ranks.
        samples_per_rank: photos that each rank used in the last epoch.
        steps: optimizer steps.
        checksums: each rank's checksum of its own copy of the parameters.
    """
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
