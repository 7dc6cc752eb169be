"""A model that was trained elsewhere: check its file, and say how the evaluation reads it."""

import json
from typing import TYPE_CHECKING

from plan.weights import TORCHVISION, checked, closest
from shared.contracts import OwnModel, Request
from shared.errors import RequestError
from shared.own_model import ARTIFACT, is_artifact
from shared.s3 import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", ".bin", f"/{ARTIFACT}")
# Training needs networks that end in a linear layer. Judging does not.
_ARCHITECTURES = TORCHVISION | {"squeezenet1_0", "squeezenet1_1"}


def find(s3: "S3Client", request: Request, file: Location) -> OwnModel:
    """Check the file and the architecture of a model that was trained elsewhere.

    Raises:
        RequestError: the architecture is unknown, or the file does not exist or is of an unknown kind.
    """
    if not is_artifact(file.key) and request.backbone not in _ARCHITECTURES:
        hint = closest(request.backbone, sorted(_ARCHITECTURES)) or "torchvision's classifiers are known"
        raise RequestError(f"backbone: '{request.backbone}' is unknown ({hint})")
    if file.key.endswith(".safetensors"):
        name = file.key.rpartition("/")[2]
        raise RequestError(
            f"trained_model: {file.uri} is a file of safetensors; convert it with "
            f"torch.save(safetensors.torch.load_file('{name}'), 'model.pth'), and upload that"
        )
    found = checked(s3, "trained_model", file, _SUFFIXES)
    return OwnModel(uri=found.uri, etag=found.etag, backbone=request.backbone)


def arguments(request: Request) -> list[str]:
    """Return the arguments of ``serving.evaluate`` that describe the model; none if the model describes itself."""
    if not request.backbone:
        return []
    fields = request.preprocess.model_dump() | {"resize_to": request.preprocess.whole_size}
    preprocess = json.dumps(fields, separators=(",", ":"))
    return ["--backbone", request.backbone, "--activation", request.activation, "--preprocess", preprocess]
