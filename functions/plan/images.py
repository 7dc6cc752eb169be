"""Choose the images that evaluate and serve: those of the stack's parameters, or its own by content hash."""

from typing import TYPE_CHECKING

from plan.code import upload_context
from plan.run import PlanSettings
from shared.contracts import ImagePlan

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TO_BE_BUILT = "build"  # value of a setting that names no image URI


def prepare(s3: "S3Client", settings: PlanSettings) -> ImagePlan:
    """Return the images, and upload the build context if the pipeline must build one."""
    configured = {"evaluate": settings.evaluation_image, "serve": settings.serving_image}
    targets = [target for target, image in configured.items() if image == TO_BE_BUILT]
    content_hash, context = upload_context(s3, settings.bucket, settings.base_image) if targets else ("", "")
    uris = {
        target: f"{settings.image_repository}:{target}-{content_hash}" if target in targets else image
        for target, image in configured.items()
    }
    return ImagePlan(
        **uris,
        repository=settings.image_repository,
        targets=targets,
        content_hash=content_hash,
        context=context,
    )
