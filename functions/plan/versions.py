"""Look up versions in the model package group. A version that served before can be deployed again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.errors import RequestError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

_ARTIFACT = "/artifact/model.tar.gz"  # The evaluation writes the artifact here, below its run's prefix.


@dataclass(frozen=True)
class Version:
    """An approved model package.

    Attributes:
        number: version in the model package group.
        arn: ARN of the model package.
        run_uri: prefix of the run that created it, ``s3://bucket/runs/<run>``, with artifact and report.
        image: URI of the server's image.
        top1: share of test photos that it named correctly.
    """

    number: int
    arn: str
    run_uri: str
    image: str
    top1: float


def find(sagemaker: "SageMakerClient", group_arn: str, number: int) -> Version:
    """Look up a version that served before.

    Raises:
        RequestError: there is no such version, or it never served.
    """
    arn = f"{group_arn.replace(':model-package-group/', ':model-package/')}/{number}"
    try:
        package: Any = sagemaker.describe_model_package(ModelPackageName=arn)
    except sagemaker.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        raise RequestError(
            f"promote: there is no version {number}; the model package group lists all versions"
        ) from error
    if package["ModelApprovalStatus"] != "Approved":
        reason = package.get("ApprovalDescription", package["ModelApprovalStatus"])
        raise RequestError(f"promote: version {number} never served ({reason}); choose one that is Approved")
    container = package["InferenceSpecification"]["Containers"][0]
    return Version(
        number,
        arn,
        container["ModelDataUrl"].removesuffix(_ARTIFACT),
        container["Image"],
        float(package["CustomerMetadataProperties"]["top1"]),
    )
