"""Choose the images that train, evaluate and serve: those of the stack's parameters, or its own by content hash."""

from typing import TYPE_CHECKING

from plan.code import content_hash, upload_context
from plan.run import PlanSettings
from shared.contracts import ImageBuild, ImagePlan

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
    arguments = {"train": (settings.base_image, settings.training_device)}
    hashes = {
        target: content_hash(target, *arguments.get(target, (settings.base_image,)))
        for target, uri in uris.items()
        if uri == TO_BE_BUILT
    }
    digests = _digests(ecr, settings.image_repository, [f"{target}-{digits}" for target, digits in hashes.items()])
    missing = []
    for target, digits in hashes.items():
        tag = f"{target}-{digits}"
        uris[target] = f"{settings.image_repository}:{tag}"
        if tag not in digests:
            missing.append(target)
        elif target == "train":
            uris[target] = f"{settings.image_repository}@{digests[tag]}"
    return ImagePlan(
        **uris,
        train_content=hashes.get("train", settings.training_image),
        repository=settings.image_repository,
        training_build=_build([target for target in missing if target == "train"], hashes),
        serving_build=_build([target for target in missing if target != "train"], hashes),
        context=f"{settings.bucket}/{upload_context(s3, settings.bucket)}" if missing else "",
    )


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
