"""Choose the images that train, evaluate and serve: those of the stack's parameters, or its own by content hash."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from plan import base_image, sbom
from plan.code import LAYER, content_hash, upload_context
from plan.run import PlanSettings
from shared.contracts import ImageBuild, ImagePlan
from shared.errors import RequestError
from shared.s3 import Location, exists

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_s3 import S3Client

TO_BE_BUILT = "build"  # value of a setting that names no image URI


def prepare(s3: "S3Client", ecr: "ECRClient", settings: PlanSettings) -> ImagePlan:
    """Return the images, and upload the build context if the pipeline must build one.

    An image of the stack's own is built only if its repository does not have it yet.
    See "Images are named by the hash of their content" in docs/decisions/images.md.
    """
    uris = {"train": settings.training_image, "evaluate": settings.evaluation_image, "serve": settings.serving_image}
    base = base_image.pinned(settings.base_image) if TO_BE_BUILT in uris.values() else settings.base_image
    arguments = {"train": (base, settings.training_device)}
    hashes = {
        target: content_hash(target, *arguments.get(target, (base,)))
        for target, uri in uris.items()
        if uri == TO_BE_BUILT
    }
    for target, parameter in (("train", "TrainingImage"), ("evaluate", "EvaluationImage"), ("serve", "ServingImage")):
        if target not in hashes:
            uris[target] = _pinned(ecr, settings.image_repository, parameter, uris[target])
    digests = _digests(ecr, settings.image_repository, [f"{target}-{digits}" for target, digits in hashes.items()])
    missing = []
    for target, digits in hashes.items():
        tag = f"{target}-{digits}"
        uris[target] = f"{settings.image_repository}:{tag}"
        if tag not in digests:
            missing.append(target)
        else:
            uris[target] = f"{settings.image_repository}@{digests[tag]}"
    context, version = upload_context(s3, settings.bucket) if missing else ("", "")
    if missing:
        _lay_bills(s3, settings, base, {target: hashes[target] for target in missing})
    return ImagePlan(
        **uris,
        train_content=hashes.get("train", uris["train"]),
        repository=settings.image_repository,
        base=base,
        training_build=_build([target for target in missing if target == "train"], hashes),
        serving_build=_build([target for target in missing if target != "train"], hashes),
        context=f"{settings.bucket}/{context}" if missing else "",
        context_version=version,
    )


def _pinned(ecr: "ECRClient", repository_uri: str, parameter: str, uri: str) -> str:
    """Return the URI of an image of the stack's parameters by its digest; a tag is looked up now and never again.

    Only the account's own registry in the stack's region is asked. The URI of another stays as it is.

    Raises:
        RequestError: the repository has no image with this tag.
    """
    registry, _, image = uri.partition("/")
    if registry != repository_uri.partition("/")[0] or "@" in image:
        return uri
    name, _, tag = image.partition(":")
    found = _digests(ecr, f"{registry}/{name}", [tag or "latest"])
    if not found:
        raise RequestError(f"the stack's {parameter} is {uri}, and its repository has no image with this tag")
    return f"{registry}/{name}@{found[tag or 'latest']}"


def _build(targets: list[str], hashes: dict[str, str]) -> ImageBuild | None:
    return ImageBuild(targets=targets, content_hash=hashes[targets[0]]) if targets else None


def _digests(ecr: "ECRClient", repository_uri: str, tags: list[str]) -> dict[str, str]:
    """Return the digests of the images that the repository has, by tag."""
    if not tags:
        return {}
    _, _, name = repository_uri.partition("/")
    # Unlike DescribeImages, this call reports missing images without an error.
    answer = ecr.batch_get_image(repositoryName=name, imageIds=[{"imageTag": tag} for tag in tags])
    return {image["imageId"]["imageTag"]: image["imageId"]["imageDigest"] for image in answer["images"]}


def _lay_bills(s3: "S3Client", settings: PlanSettings, base: str, hashes: Mapping[str, str]) -> None:
    """Lay bills of materials beside the build context: of the images to be built, of the functions and of the layer."""
    bills = {}
    for target, digits in hashes.items():
        names = [name.format(device=settings.training_device) for name in sbom.LISTS[target]]
        texts = [(LAYER / name).read_text() for name in names]
        bills[f"{target}-{digits}"] = json.dumps(sbom.bill(f"kennel-{target}", digits, texts, base), indent=1)
    for path in sorted((LAYER / "sbom").glob("*.cdx.json")):
        text = path.read_text()
        bills[f"{path.name.partition('.')[0]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"] = text
    for name, text in bills.items():
        location = Location(settings.bucket, f"images/{name}.cdx.json")
        if not exists(s3, location):
            kind = "application/vnd.cyclonedx+json"
            s3.put_object(Bucket=location.bucket, Key=location.key, Body=text.encode(), ContentType=kind)
