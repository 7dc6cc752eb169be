"""A classifier of torchvision that somebody trained elsewhere, read from the state dict that they saved.

The file contains tensors by name and nothing else, so the network is built from torchvision's architecture. Its head
may be torchvision's own with another number of outputs, or other layers in its place. Layers without parameters are not
in a state dict. See "The layers of an own head" in docs/decisions/backbones.md.

Only the evaluation imports this module, and with it torch and torchvision.
"""

import copy
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dataset import Photo, ReadError, Source, breed_name
from dataset.layout import named
from networks.backbone import EmptyWithoutStorage
from networks.torchvision_import import torchvision_models
from serving.challenger import EvaluationError, TrainedModel
from serving.own_file import WAY_OUT, Tensors, dense, load, names_of_outputs, state_dict
from serving.preprocess import ServingPreprocess
from serving.progress import map_photos
from serving.served_artifact import Label

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
    "leaky_relu": nn.LeakyReLU,
    "none": nn.Identity,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
# Batch norms count their batches. Older files do not contain the counters, and no answer depends on them.
_COUNTER = "num_batches_tracked"
# What training scripts keep beside the network in one module: losses with their weights, metrics, counters of averages.
_BESIDE = re.compile(r"n_averaged|.*(acc|auroc|confusion|confmat|criterion|f1|loss|metric|precision|recall).*", re.I)
# The side branches of googlenet and inception_v3 are used in training only.
_SIDE_BRANCHES = ("aux1.", "aux2.", "AuxLogits.")


class OwnClassifier(nn.Module):
    """The network in the form of a trained one: it returns logits and P(dog).

    The file says nothing about photos without a dog.
    See "An own model takes every photo for a dog" in docs/decisions/backbones.md.

    Args:
        network: a classifier.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Map normalized photos ``[B, 3, H, W]`` to logits ``[B, C]`` and P(dog) ``[B]``, which is 1."""
        logits = self.network(photos)
        return logits, torch.ones_like(logits[:, 0])


def as_trained(
    path: Path, backbone: str, activation: str, preprocess: Mapping[str, Any], source: Source
) -> TrainedModel:
    """Return a model that was trained elsewhere in the form of the training job's artifact.

    Args:
        path: the file, written by ``torch.save``.
        backbone: torchvision's name of the architecture.
        activation: one of ``ACTIVATIONS``, the function between the linear layers of an own head.
        preprocess: the fields of ``preprocess.json`` that a request may set.
        source: the dataset, whose class folders are the outputs in the order of their names, as ImageFolder has them.

    Raises:
        EvaluationError: the file is no state dict, one of another architecture, or one for other classes.
    """
    # A photo is decoded as for Kennel's own trainings; torchvision's transforms leave these fields open.
    spec = ServingPreprocess.from_json({**preprocess, "jpeg_oversampling": 2, "color": "RGB", "exif_orientation": True})
    network, classes = read_own_model(path, backbone, activation, source.listing.classes), source.listing.classes
    outputs = count_outputs(network, spec.image_size)
    if outputs != len(classes):
        raise EvaluationError(
            f"{path.name} has {outputs} outputs and the dataset {len(classes)} classes; the model needs one output for "
            "each class folder, in the order of their names"
        )
    train, valid = (_hashes(split, source) for split in ("train", "valid"))
    sha256 = _digest(path.read_bytes())
    return TrainedModel(
        build=[OwnClassifier(network).eval()].pop,  # So nothing keeps the network while it is quantized.
        sha256=sha256,
        labels=tuple(Label(label, breed_name(label)) for label in classes),
        preprocess=spec,
        backbone=backbone,
        training={"mode": "elsewhere", "file": path.name, "sha256": sha256},
        ddp=None,
        hashes=valid | train,
        leaked=[
            {"photo": valid[h], "also": train[h]} for h in sorted(valid.keys() & train.keys(), key=valid.__getitem__)
        ],
        unreadable=[],
        curve=b"",
        tuned=None,
    )


def _hashes(split: str, source: Source) -> dict[str, str]:
    """Return the paths of a split's photos by the first 16 hex digits of their SHA-256, as training's data.json has."""

    def digest(photo: Photo) -> str:
        try:
            return _digest(source.read(photo))[:16]
        except ReadError:
            return ""

    photos = source.listing.of(split)
    hashed = zip(map_photos(f"hashes of {split}", photos, digest), photos, strict=True)
    return {each: photo.path for each, photo in hashed if each}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_own_model(path: Path, backbone: str, activation: str, classes: Sequence[str] = ()) -> nn.Module:
    """Build the classifier whose state dict a file contains, in eval mode and fp32.

    Args:
        path: the file, written by ``torch.save``.
        backbone: torchvision's name of the architecture.
        activation: one of ``ACTIVATIONS``, the function between the linear layers of an own head.
        classes: the dataset's classes in their order, if the file may name other ones.

    Raises:
        EvaluationError: the file is no state dict, one of another architecture, or it names other classes.
    """
    network, loaded = _architecture(backbone), load(path)
    if classes:
        _check_names(path.name, names_of_outputs(loaded), classes)
    tensors = {key: each for key, each in state_dict(path.name, loaded).items() if not key.endswith(_COUNTER)}
    tensors = _without_prefix(_of_network(path.name, dense(path.name, tensors), network), network)
    place = _head_place(network, tensors)
    if place is None:
        difference = _difference(network, tensors)
        if not difference:
            raise EvaluationError(f"{path.name} has no tensors below {_head_places(network)[-1]}; save the whole model")
        raise EvaluationError(f"{path.name} holds no {backbone}, {_fitting(tensors)}; {difference}")
    # The indices of windows in a swin are computed when it is built, and the same for every training.
    computed = {name for name, tensor in network.state_dict().items() if not tensor.is_floating_point()}
    tensors = _floats(path.name, {name: tensor for name, tensor in tensors.items() if name not in computed})
    parts = {name[len(place) + 1 :]: tensor for name, tensor in tensors.items() if _is_in(place, name)}
    head = _same_head(network.get_submodule(place), parts)
    if head is None:
        head = _new_head(f"{path.name}: {place}", parts, network.get_submodule(place), ACTIVATIONS[activation])
    network.set_submodule(place, head)
    body = {name: tensor for name, tensor in tensors.items() if not _is_in(place, name)}
    counters = {name: torch.tensor(0) for name in network.state_dict() if name.endswith(_COUNTER)}
    own = network.state_dict()  # A mnasnet looks for the version that it keeps there.
    own.update(counters | body)
    # The tensors take the place of the architecture's own, which have no storage.
    network.load_state_dict(own, strict=False, assign=True)
    return network.eval()


def _check_names(name: str, given: Sequence[str], classes: Sequence[str]) -> None:
    """Compare the names that a checkpoint gives its outputs with the class folders.

    Raises:
        EvaluationError: the same names stand in another order.
    """
    if sorted(given) == sorted(classes) and list(given) != list(classes):
        first = next(index for index, (one, two) in enumerate(zip(given, classes, strict=True)) if one != two)
        raise EvaluationError(
            f"{name} has the classes in another order than their folders: output {first} is {given[first]}, the folder "
            f"{classes[first]}; sort the rows of the last layer by the classes' names, and save the model again"
        )


def _of_network(name: str, tensors: Tensors, network: nn.Module) -> Tensors:
    """Return the tensors of the network alone, where a module that holds it has others too.

    Raises:
        EvaluationError: the module holds the architecture twice.
    """
    first = next(iter(network.state_dict()))
    prefixes = {key.removesuffix(first) for key in tensors if key == first or key.endswith(f".{first}")}
    fitting: dict[str, Tensors] = {}
    for prefix in sorted(prefixes):
        inner = {key.removeprefix(prefix): each for key, each in tensors.items() if key.startswith(prefix)}
        if _head_place(network, _without_branches(inner)) is not None:
            fitting[prefix] = inner
    if not fitting:
        return tensors
    if len(fitting) > 1:
        raise EvaluationError(
            f"{name} holds the network {len(fitting)} times, below {' and '.join(fitting)}; save the one that is to "
            "serve alone: torch.save(model.state_dict(), 'model.pth')"
        )
    [(prefix, inner)] = fitting.items()
    beside = [key for key in tensors if not key.startswith(prefix) and not any(map(_BESIDE.fullmatch, key.split(".")))]
    if beside:
        raise EvaluationError(
            f"{name} holds the network below {prefix} and beside it {named(sorted(beside))}, which no layer of "
            "the network takes; give it its new head in the last layer's place, and save it alone"
        )
    return inner


def count_outputs(network: nn.Module, side: int) -> int:
    """Return the number of a classifier's outputs for a photo of this side, in pixels.

    Raises:
        EvaluationError: the network cannot compute such a photo.
    """
    try:
        with torch.inference_mode():
            shape = network(torch.zeros(1, 3, side, side)).shape
    except (AssertionError, RuntimeError, TypeError) as error:
        raise EvaluationError(
            f"the model cannot compute photos of {side} x {side} pixels ({last_line(error)}); give the side that it "
            "was trained with in preprocess.image_size"
        ) from error
    if len(shape) != 2:
        raise EvaluationError(f"the model answers one photo with numbers of shape {list(shape)}, not one per class")
    return int(shape[1])


def last_line(error: Exception) -> str:
    """Return the last line of an error's message, or the error's name if it has none."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def _floats(name: str, tensors: Tensors) -> Tensors:
    """Return the tensors in fp32."""
    other = [
        f"{key} ({str(each.dtype).removeprefix('torch.')})" for key, each in tensors.items() if not _is_float(each)
    ]
    if other:
        raise EvaluationError(f"{name}: {named(other)} are not in fp16, bf16, fp32 or fp64; save the model in floats")
    kept = {key: each.float() for key, each in tensors.items()}
    broken = [key for key, each in kept.items() if not each.isfinite().all()]
    if broken:
        raise EvaluationError(f"{name}: {named(broken)} contain values that are not finite; the training has diverged")
    return kept


def _is_float(tensor: Tensor) -> bool:
    return tensor.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _architecture(backbone: str) -> nn.Module:
    """Return an architecture of torchvision without storage for most of its parameters, and without side branches."""
    models = torchvision_models()
    more = {"aux_logits": False, "init_weights": False} if backbone in ("googlenet", "inception_v3") else {}
    with EmptyWithoutStorage():
        network: nn.Module = models.get_model(backbone, weights=None, **more)
    if hasattr(network, "transform_input"):
        # torchvision sets it together with its own weights, from which trainings start.
        network.transform_input = True  # type: ignore[assignment]
    return network


def _without_prefix(tensors: Tensors, network: nn.Module) -> Tensors:
    """Remove what DataParallel, torch.compile and modules around the network put before every name."""
    own = {name.partition(".")[0] for name in network.state_dict()}
    while len(first := {name.partition(".")[0] for name in tensors}) == 1 and not first & own:
        inner = {name.partition(".")[2]: tensor for name, tensor in tensors.items()}
        if "" in inner:
            break
        tensors = inner
    return _without_branches(tensors)


def _without_branches(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_SIDE_BRANCHES)}


def _head_place(network: nn.Module, tensors: Tensors) -> str | None:
    """Return the path of the module that another head may have replaced; None if the rest is of another architecture.

    Trainings replace the last layer with parameters, or a module around it.
    """
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    for place in _head_places(network):
        if _body(place, _shapes(network)) == _body(place, shapes) and any(_is_in(place, name) for name in shapes):
            return place
    return None


def _head_places(network: nn.Module) -> list[str]:
    """Return the path of the last layer with parameters, and those of the modules around it: ``a.b``, ``a``."""
    last = [name for name, module in network.named_modules() if [*module.parameters(recurse=False)]][-1]
    names = last.split(".")
    return [".".join(names[:count]) for count in range(len(names), 0, -1)]


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items() if not name.endswith(_COUNTER)}


def _body(place: str, shapes: Mapping[str, torch.Size]) -> dict[str, torch.Size]:
    return {name: shape for name, shape in shapes.items() if not _is_in(place, name)}


def _is_in(place: str, name: str) -> bool:
    return name.startswith(f"{place}.")


def _difference(network: nn.Module, tensors: Tensors) -> str:
    """Say which tensors beside the head are missing, superfluous or of another shape; empty if none are."""
    place = _head_places(network)[-1]
    expected = _body(place, _shapes(network))
    given = _body(place, {name: tensor.shape for name, tensor in tensors.items()})
    other = [
        f"{name} is {list(given[name])}, not {list(shape)}"
        for name, shape in expected.items()
        if given.get(name, shape) != shape
    ]
    missing, more = [list(one.keys() - two.keys()) for one, two in ((expected, given), (given, expected))]
    words = [
        f"{named(sorted(names))} {'is' if len(names) == 1 else 'are'} {what}"
        for names, what in ((missing, "missing"), (more, "unknown to it"))
        if names
    ]
    return "; ".join([*words, *([named(other)] if other else [])])


def _fitting(tensors: Tensors) -> str:
    """Say which architectures of torchvision the tensors would fit."""
    models = torchvision_models()
    fitting = []
    for name in models.list_models(module=models):
        network = _architecture(name)
        if _head_place(network, _without_prefix(tensors, network)) is not None:
            fitting.append(name)
    if fitting:
        return f"but it fits {' or '.join(fitting)}"
    return f"and it fits no other classifier of torchvision ({WAY_OUT}, of the network alone)"


def _same_head(original: nn.Module, tensors: Tensors) -> nn.Module | None:
    """Return the architecture's own head with the tensors; None if they are of other layers.

    The last layer may have another number of outputs.
    """
    place = _head_places(original)[0]
    last = original.get_submodule(place)
    key = f"{place}.weight".removeprefix(".")
    if key not in tensors or not tensors[key].dim() or not isinstance(last, nn.Linear | nn.Conv2d):
        return None
    outputs, bias = len(tensors[key]), last.bias is not None
    with torch.device("meta"):
        resized: nn.Module = (
            nn.Linear(last.in_features, outputs, bias)
            if isinstance(last, nn.Linear)
            else nn.Conv2d(last.in_channels, outputs, last.kernel_size, last.stride, last.padding, bias=bias)  # type: ignore[arg-type]
        )
    head = resized if original is last else copy.deepcopy(original)
    if original is not last:
        head.set_submodule(place, resized)
    if _shapes(head) != {name: tensor.shape for name, tensor in tensors.items()}:
        return None
    head.load_state_dict(tensors, strict=False, assign=True)
    return head


def _new_head(where: str, tensors: Tensors, original: nn.Module, activation: type[nn.Module]) -> nn.Sequential:
    """Build a head of linear layers and norms from its tensors, with the activation between two linear layers.

    Args:
        where: the head's name in messages.
        tensors: its tensors, in the order of its layers, or in any order if their names differ by numbers alone.
        original: the architecture's own head.
        activation: the activation.

    Raises:
        EvaluationError: it has other layers, or layers that do not fit together.
    """
    grouped: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        path, _, parameter = name.rpartition(".")
        grouped.setdefault(path, {})[parameter] = tensor
    norms = {path: module for path, module in original.named_modules() if isinstance(module, nn.LayerNorm)}
    layers = {
        path: _layer(f"{where}.{path}".rstrip("."), grouped[path], norms.get(path)) for path in _in_order([*grouped])
    }
    _check_features(where, layers, original)
    after = set(_activated([*layers], [isinstance(layer, nn.Linear) for layer in layers.values()]))
    modules: list[nn.Module] = [nn.Flatten()]
    for path, layer in layers.items():
        modules += [layer, activation()] if path in after else [layer]
    print(f"{where} is {', '.join(_described(modules[1:]))}", flush=True)
    return nn.Sequential(*modules)


def _in_order(paths: list[str]) -> list[str]:
    """Sort paths that differ by numbers alone (``0``, ``3``, ``10``); some programs write tensors alphabetically."""
    split = [path.split(".") for path in paths]
    if len({tuple("0" if part.isdecimal() else part for part in parts) for parts in split}) > 1:
        return paths
    return sorted(paths, key=lambda path: [int(part) for part in path.split(".") if part.isdecimal()])


def _check_features(where: str, layers: Mapping[str, nn.Module], original: nn.Module) -> None:
    """Check that every layer takes as many features as the one before gives.

    Raises:
        EvaluationError: one does not, or the architecture's own head takes no vector.
    """
    first = next(module for module in original.modules() if [*module.parameters(recurse=False)])
    if any(isinstance(module, nn.Conv2d | nn.AdaptiveAvgPool2d) for module in original.modules()):
        raise EvaluationError(
            f"{where} replaces a head that pools maps of features, and the file does not say how the new one does it; "
            "change the number of outputs of torchvision's own head instead"
        )
    features, source = _sizes(first)[0], "the network before the head"
    for path, layer in layers.items():
        takes, gives = _sizes(layer)
        if takes != features:
            raise EvaluationError(
                f"{where}: {path or 'the layer'} takes {takes} features, but {source} gives {features}; the layers of "
                "a head must follow each other in the order in which the file names them"
            )
        features, source = gives, path


def _sizes(layer: nn.Module) -> tuple[int, int]:
    """Return the numbers of features that a linear layer or a norm takes and gives."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    size = layer.num_features if isinstance(layer, nn.BatchNorm1d) else layer.normalized_shape[0]  # type: ignore[index]
    return int(size), int(size)


def _layer(where: str, tensors: Tensors, norm: nn.LayerNorm | None) -> nn.Module:
    """Build a linear layer or a norm from its tensors.

    Args:
        where: the layer's name in messages.
        tensors: its tensors.
        norm: the LayerNorm that the architecture itself has in this place.

    Raises:
        EvaluationError: the tensors are of another layer.
    """
    weight, names = tensors.get("weight"), set(tensors)
    layer: nn.Module = nn.Identity()
    with torch.device("meta"):
        if "running_mean" in names:
            layer = nn.BatchNorm1d(tensors["running_mean"].numel(), affine=weight is not None)
        elif weight is not None and weight.dim() == 2:
            layer = nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in names)
        elif norm is not None:
            layer = nn.LayerNorm(norm.normalized_shape, norm.eps)
    if _shapes(layer) != {name: tensor.shape for name, tensor in tensors.items()}:
        alike = "; LayerNorm, GroupNorm, RMSNorm and PReLU look alike in a file" if _is_vector(weight) else ""
        raise EvaluationError(
            f"{where} is neither a linear layer nor a norm with statistics ({named(sorted(names))}){alike}; a new head "
            "may have linear layers, BatchNorm1d, one activation and dropout"
        )
    layer.load_state_dict(tensors, strict=False, assign=True)
    if isinstance(layer, nn.BatchNorm1d):
        layer.num_batches_tracked = torch.tensor(0)
    return layer


def _is_vector(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.dim() == 1


def _activated(paths: Sequence[str], is_linear: Sequence[bool]) -> Iterator[str]:
    """Yield the layers that an activation follows: one between each linear layer and the next.

    The numbers in an ``nn.Sequential`` show where layers without parameters stand. Where nothing can stand between two
    linear layers, there is no activation.
    """
    linear = [index for index, each in enumerate(is_linear) if each]
    for first, second in pairwise(linear):
        spaces = {paths[index]: _space(paths[index], paths[index + 1]) for index in range(first, second)}
        numbered = [path for path, space in spaces.items() if space]
        unknown = [path for path, space in spaces.items() if space is None]
        yield from numbered[:1] or unknown[-1:]


def _space(path: str, following: str) -> bool | None:
    """Whether there are layers between two layers, by their numbers; None if their names are no numbers."""
    (parent, _, name), (other, _, next_name) = path.rpartition("."), following.rpartition(".")
    if parent != other or not name.isdecimal() or not next_name.isdecimal():
        return None
    return int(next_name) - int(name) > 1


def _described(modules: Iterable[nn.Module]) -> Iterator[str]:
    for module in modules:
        sizes = f" {module.in_features} to {module.out_features}" if isinstance(module, nn.Linear) else ""
        yield f"{type(module).__name__}{sizes}"
