"""Provide the pretrained weights for training: from the stack's layer by content hash, or the request's file.

See "Weights travel in a channel of their own" in docs/decisions/backbones.md.
"""

import hashlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from plan import contents
from plan.code import LAYER
from shared.errors import RequestError
from shared.s3 import Location
from training.hyperparameters import Hyperparameters, shortened, unquoted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DEFAULT_BACKBONE = Hyperparameters.backbone
SUFFIXES = (".pth", ".safetensors")
_NUM_DIGITS = 16  # of a digest in a key
# The classifiers of torchvision that training supports, by their names in torchvision.
# See "Plan knows torchvision's names from a list" in docs/decisions/backbones.md.
_NAMES = """
alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161 densenet169 densenet201
efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6
efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf
regnet_x_32gf regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf regnet_y_16gf regnet_y_1_6gf
regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet18 resnet34
resnet50 resnext101_32x8d resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5
shufflenet_v2_x2_0 swin_b swin_s swin_t swin_v2_b swin_v2_s swin_v2_t vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn
vgg19 vgg19_bn vit_b_16 vit_b_32 vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2
"""
TORCHVISION = frozenset(_NAMES.split())


class Weights(NamedTuple):
    """The weights file in S3, its ETag, and the SHA-256 by which the training knows it, in hex.

    For several backbones, ``uri`` is a folder, and the others are joined, in the order of the backbones' names.
    """

    uri: str
    etag: str
    sha256: str = ""


def prepare(
    s3: "S3Client",
    bucket: str,
    backbones: Sequence[str],
    file: Location | None,
    layer: Path = LAYER,
    field: str = "hyperparameters.backbone",
) -> Weights:
    """Check the request's weights file. Without one, upload the layer's weights unless the bucket has them.

    Args:
        backbones: names of the backbones; more than one if a search chooses among them.
        file: location of the weights file that the request names.
        field: the request's field that names the backbones, for messages.

    Returns:
        The weights file, or a folder with one for each of several backbones.

    Raises:
        RequestError: a backbone is unknown, there are no weights for it, or the file does not exist.
    """
    embedded = {path.stem: path for path in (layer / "weights").glob("*.pth")}
    names = [unquoted(each) for each in backbones]  # Training also accepts the quotes of JSON.
    for name in names:
        _check_name(name, embedded, file, field)
    if file:
        found = checked(s3, "weights", file, SUFFIXES)
        return found._replace(sha256=contents.digest(s3, file))
    if len(names) == 1:
        return _uploaded(s3, bucket, embedded[names[0]], "")
    names.sort()
    digests = "".join(_digest(embedded[name])[:_NUM_DIGITS] for name in names)
    folder = f"{'-'.join(names)}-{hashlib.sha256(digests.encode()).hexdigest()[:_NUM_DIGITS]}"
    files = [_uploaded(s3, bucket, embedded[name], folder) for name in names]
    _refuse_others(s3, Location(bucket, f"weights/{folder}/"), {embedded[name].name for name in names})
    return Weights(
        f"s3://{bucket}/weights/{folder}", "".join(each.etag for each in files), ",".join(each.sha256 for each in files)
    )


def _refuse_others(s3: "S3Client", folder: Location, names: set[str]) -> None:
    """Refuse a folder that has more than these files, because the job would receive all of it.

    Raises:
        RequestError: there are others.
    """
    listed = s3.list_objects_v2(Bucket=folder.bucket, Prefix=folder.key, MaxKeys=len(names) + 1).get("Contents", [])
    if others := sorted({item["Key"].removeprefix(folder.key) for item in listed} - names):
        raise RequestError(f"weights: {folder.uri} has files that no run put there: {', '.join(others)}; delete them")


def _check_name(backbone: str, embedded: Mapping[str, Path], file: Location | None, field: str) -> None:
    if backbone not in {*embedded, *TORCHVISION}:
        known = f"{', '.join(sorted(embedded))} and torchvision's classifiers are known"
        hint = closest(backbone, [*embedded, *TORCHVISION]) or known
        raise RequestError(f"{field}: '{shortened(backbone)}' is unknown ({hint})")
    if not file and backbone not in embedded and field.startswith("tune."):
        raise RequestError(
            f"{field}: the stack has no weights for {backbone}, only for {' and '.join(sorted(embedded))}; "
            "search among these"
        )
    if not file and backbone not in embedded:
        raise RequestError(
            f"weights: missing; the stack has no weights for {backbone}, only for {' and '.join(sorted(embedded))}; "
            "upload a .pth or .safetensors file to the stack's bucket and name it here"
        )


def closest(name: str, known: Sequence[str]) -> str:
    """Return a question with the known name that is most like a name; empty if none is."""
    matches = get_close_matches(name.lower(), known, n=1)
    return f"did you mean '{matches[0]}'?" if matches else ""


def checked(s3: "S3Client", field: str, file: Location, suffixes: tuple[str, ...]) -> Weights:
    """Check that a file of the request exists and that a job receives it alone.

    Args:
        field: the request's field, for messages.
        suffixes: how its key may end, or ``/`` and its whole name.

    Raises:
        RequestError: it is of another kind, does not exist, or others would come with it.
    """
    if not f"/{file.key}".endswith(suffixes):
        endings = [each for each in suffixes if not each.startswith("/")]
        names = "".join(f", or be called {each[1:]}" for each in suffixes if each.startswith("/"))
        raise RequestError(f"{field}: {file.uri} must be one file that ends in {' or '.join(endings)}{names}")
    objects = s3.list_objects_v2(Bucket=file.bucket, Prefix=file.key, MaxKeys=2).get("Contents", [])
    if not objects or objects[0]["Key"] != file.key:  # S3 sorts the keys, so the key itself comes first.
        raise RequestError(f"{field}: {file.uri} does not exist; upload it first")
    if len(objects) > 1:  # The channel of the job is a prefix, so the job would receive the other objects too.
        raise RequestError(f"{field}: other objects begin with {file.uri} too; rename the file or the others")
    return Weights(file.uri, objects[0]["ETag"])


def _uploaded(s3: "S3Client", bucket: str, file: Path, folder: str) -> Weights:
    """Upload an embedded file: by its content's digest, or by its backbone's name into a folder that has the digest."""
    sha256 = _digest(file)
    name = f"{folder}/{file.name}" if folder else f"{file.stem}-{sha256[:_NUM_DIGITS]}{file.suffix}"
    location = Location(bucket, f"weights/{name}")
    contents.ensure(s3, location, sha256, lambda: file.open("rb"))
    return checked(s3, "weights", location, SUFFIXES)._replace(sha256=sha256)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
