"""Versions in the model package group: what served once can serve again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.errors import RequestError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

_ARTIFACT = "/artifact/model.tar.gz"  # where an evaluation leaves it, below its run's place


@dataclass(frozen=True)
class Version:
    """An approved model package.

    place: the run that made it, as ``s3://bucket/runs/<run>``: artifact and report lie below. image: the server's URI.
    """

    number: int
    arn: str
    place: str
    image: str
    top1: float


def find(sagemaker: "SageMakerClient", group_arn: str, number: int) -> Version:
    """Look a version up.

    Raises:
        RequestError: there is none, or none that ever served.
    """
    arn = f"{group_arn.replace(':model-package-group/', ':model-package/')}/{number}"
    try:
        package: Any = sagemaker.describe_model_package(ModelPackageName=arn)
    except sagemaker.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        raise RequestError(
            f"promote: there is no version {number}; the model package group lists what there is"
        ) from error
    if package["ModelApprovalStatus"] != "Approved":
        said = package.get("ApprovalDescription", package["ModelApprovalStatus"])
        raise RequestError(f"promote: version {number} never served ({said}); take one that is Approved")
    container = package["InferenceSpecification"]["Containers"][0]
    return Version(
        number,
        arn,
        container["ModelDataUrl"].removesuffix(_ARTIFACT),
        container["Image"],
        float(package["CustomerMetadataProperties"]["top1"]),
    )
