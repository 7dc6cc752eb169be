"""The fields of a request that name a model which was trained elsewhere."""

from collections.abc import Set
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.base import Document

# The artifact of Kennel's own training program. It contains what the fields below say.
ARTIFACT = "model.tar.gz"
_DESCRIPTION = {"backbone", "activation", "preprocess"}
_OF_TRAINING = {
    "hyperparameters",
    "weights",
    "reuse",
    "training_instance_type",
    "training_instance_count",
    "spot",
    "train_on",
    "tune",
}

Activation = Literal["relu", "gelu", "hardswish", "leaky_relu", "none", "silu", "tanh"]
_SCALE = "values of photos are in 0 to 1, so divide figures for 0 to 255 by 255"
_Channels = Annotated[list[float], Field(min_length=3, max_length=3)]


class OwnPreprocess(Document):
    """How the model takes its photos: as torchvision's usual transforms for ImageNet do, unless a field says otherwise.

    Attributes:
        image_size: side of the square input, pixels.
        resize: ``shortest_side`` keeps a photo's aspect ratio, ``squash`` does not.
        resize_to: size of the whole photo at the scale of the input, pixels; the input is its centre. None for 8/7 of
            ``image_size`` (256 for 224), and with ``squash`` for ``image_size`` itself.
        interpolation: Pillow's filter.
        mean: per channel, in [0, 1], of values in [0, 1]: input = (value - mean) / std.
        std: per channel, above 0 and at most 1.
    """

    image_size: Annotated[int, Field(ge=16, le=1024)] = 224
    resize: Literal["shortest_side", "squash"] = "shortest_side"
    resize_to: Annotated[int, Field(ge=16, le=2048)] | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: _Channels = Field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: _Channels = Field(default_factory=lambda: [0.229, 0.224, 0.225])

    @model_validator(mode="after")
    def _values_agree(self) -> "OwnPreprocess":
        if self.resize_to is not None and self.resize_to < self.image_size:
            raise ValueError(f"resize_to ({self.resize_to}) is below image_size ({self.image_size})")
        # Every comparison with NaN is false, so it is refused too.
        if not all(0 <= each <= 1 for each in self.mean):
            raise ValueError(f"mean must be in 0 to 1, got {self.mean}; {_SCALE}")
        if not all(0 < each <= 1 for each in self.std):
            raise ValueError(f"std must be above 0 and at most 1, got {self.std}; {_SCALE}")
        return self

    @property
    def whole_size(self) -> int:
        """The value of ``resize_to``, or what stands for None."""
        if self.resize_to is not None:
            return self.resize_to
        return self.image_size if self.resize == "squash" else round(self.image_size * 256 / 224)


def is_artifact(trained_model: str) -> bool:
    """Whether a location is that of an artifact of Kennel's own training program."""
    return trained_model.rpartition("/")[2] == ARTIFACT


def check_fields(trained_model: str, backbone: str, given: Set[str]) -> None:
    """Check that a request has the fields that its kind needs, and no others.

    Args:
        trained_model: the field's value, empty for a request that trains.
        backbone: the field's value.
        given: names of the fields that the request sets.

    Raises:
        ValueError: it has not; the message says which.
    """
    description = ", ".join(sorted(given & _DESCRIPTION))
    if not trained_model:
        if description:
            raise ValueError(
                f"{description}: of a trained_model, which is missing; a training takes hyperparameters.backbone"
            )
        return
    if unused := given & _OF_TRAINING:
        raise ValueError(f"trained_model: nothing is trained; leave out {', '.join(sorted(unused))}")
    if is_artifact(trained_model) and description:
        raise ValueError(f"trained_model: {ARTIFACT} says it itself; leave out {description}")
    if not is_artifact(trained_model) and not backbone:
        raise ValueError("backbone: missing; name the architecture of trained_model, such as resnet50")
