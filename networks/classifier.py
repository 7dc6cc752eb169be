"""The trained network as data: a file of tensors, from which it is built again by name.

The file is one of safetensors, which holds numbers and their names only. No object in it is ever built and no code in
it is ever run. See "The training artifact is tensors and a name" in docs/decisions/training.md.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from networks.backbone import Backbone, EmptyWithoutStorage, NetworkError, build_network, fold_norms
from networks.lite import NUM_CLASSES

_DOG_ROWS = "dog_rows"


class BreedClassifier(nn.Module):
    """The whole network: backbone, head, and the probability that a photo shows a dog.

    P(dog) is the sum of the probabilities that the pretrained classifier of 1000 ImageNet classes gives to the dog
    classes. That classifier was trained on dogs and on much else.

    Args:
        backbone: the backbone.
        head: maps its features to C breeds.
        dog_rows: int64 ``[D]``, the ImageNet classes that are dogs.
    """

    def __init__(self, backbone: Backbone, head: nn.Linear, dog_rows: Tensor) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.register_buffer(_DOG_ROWS, dog_rows)

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Map normalized photos ``[B, 3, H, W]`` to breed logits ``[B, C]`` and P(dog) ``[B]`` in [0, 1]."""
        features = self.backbone.features(photos)
        p_dog = self.backbone.fc(features).softmax(1).index_select(1, self.dog_rows).sum(1)
        return self.head(features), p_dog


def to_bytes(classifier: BreedClassifier) -> bytes:
    """Return a file of safetensors with everything of a classifier that is not in its architecture."""
    # A file of safetensors takes no tensor that shares its storage with another one.
    return save({name: tensor.detach().clone().contiguous() for name, tensor in classifier.state_dict().items()})


def read_classifier(path: Path, architecture: str, num_classes: int) -> BreedClassifier:
    """Build a classifier from its file, in eval mode, with its batch norms folded.

    Args:
        path: what ``to_bytes`` returned.
        architecture: the backbone's name.
        num_classes: C, the number of breeds.

    Raises:
        NetworkError: there is no such architecture, or the file is not of safetensors or holds other tensors than the
            architecture has.
    """
    with EmptyWithoutStorage():
        backbone = Backbone(architecture, build_network(architecture))
        head = nn.Linear(backbone.num_features, num_classes)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise NetworkError(f"{path.name} is no file of safetensors, so it was not loaded ({error})") from error
    dog_rows = tensors.get(_DOG_ROWS, torch.zeros(0))
    classifier = BreedClassifier(backbone, head, torch.zeros(len(dog_rows.flatten()), dtype=torch.int64))
    _check(path.name, architecture, tensors, classifier.state_dict())
    state = classifier.state_dict()  # A mnasnet looks for the version that it keeps beside its own tensors.
    state.update(tensors)
    classifier.load_state_dict(state, assign=True)
    fold_norms(classifier.eval().backbone)
    return classifier


def _check(name: str, architecture: str, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare the tensors of a file with those of an architecture.

    Raises:
        NetworkError: they differ by name, shape or type, or a value is not finite or names no class of ImageNet.
    """
    if tensors.keys() != expected.keys():
        differing = sorted(tensors.keys() ^ expected.keys())
        raise NetworkError(f"{name} holds no {architecture}: {len(differing)} tensors differ, such as {differing[0]}")
    for key, tensor in expected.items():
        have = f"{list(tensors[key].shape)} of {tensors[key].dtype}"
        if have != (want := f"{list(tensor.shape)} of {tensor.dtype}"):
            raise NetworkError(f"{name} holds no {architecture}: {key} is {have}, not {want}")
        if not tensors[key].isfinite().all():
            raise NetworkError(f"{name}: {key} has values that are not finite; the training has diverged")
    rows = tensors[_DOG_ROWS]
    if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < NUM_CLASSES:
        raise NetworkError(f"{name}: {_DOG_ROWS} names classes that ImageNet does not have")
