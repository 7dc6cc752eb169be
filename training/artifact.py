"""Write the model artifact, which rank 0 leaves for evaluation and serving; it contains data only, no code."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import nn

from dataset import breed_name
from networks.backbone import Backbone
from networks.classifier import BreedClassifier, to_bytes
from training.files import replace_file, replace_json
from training.imagenet_dogs import DOG_ROWS
from training.weights import file_digest

MODEL = "model.safetensors"


def classifier_of(backbone: Backbone, head: nn.Linear) -> BreedClassifier:
    """Return the whole network of a trained backbone and head."""
    return BreedClassifier(backbone, head, torch.tensor(DOG_ROWS))


def write_model(path: Path, classifier: BreedClassifier) -> None:
    """Write the tensors of a classifier.

    Args:
        path: the file, ``model.safetensors``.
        classifier: the trained network.

    Raises:
        FileWriteError: the file cannot be written.
    """
    replace_file(path, to_bytes(classifier))


def write_manifest(folder: Path, names: Iterable[str]) -> None:
    """Write ``manifest.json``, the SHA-256 of each file of an artifact. The evaluation reads no other files.

    Raises:
        FileWriteError: the file cannot be written.
    """
    replace_json(folder / "manifest.json", {"sha256": {name: file_digest(folder / name) for name in sorted(names)}})


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
