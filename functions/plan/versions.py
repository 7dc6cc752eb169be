"""Look up versions in the model package group. A version that served before can be deployed again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from plan import artifacts
from shared.errors import RequestError
from shared.s3 import exists, parse_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

MANIFEST = "KENNEL_MANIFEST"  # The server reads this variable.
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
        manifest: SHA-256 of the manifest of its artifact, hexadecimal; empty for a version of a release that did not
            record it.
        report: SHA-256 of its evaluation's document, hexadecimal, or empty likewise.
    """

    number: int
    arn: str
    run_uri: str
    image: str
    top1: float
    manifest: str = ""
    report: str = ""


def manifest_of(container: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the manifest that a model's container must find, hexadecimal; empty if it says none.

    Args:
        container: of a model or a model package, in SageMaker's form.
    """
    return str(container.get("Environment", {}).get(MANIFEST, ""))


def check_artifact(s3: "S3Client", version: Version) -> None:
    """Check that the bucket has the model of a version and its golden photos, before anything costs.

    Raises:
        RequestError: it does not.
    """
    artifact = f"{version.run_uri}{_ARTIFACT}"
    golden = f"{version.run_uri}/report/golden/golden.json"
    wrong = [(artifact, "artifact", artifacts.problem(s3, artifact, version.report))]
    wrong += [(golden, "golden photos", "" if exists(s3, parse_uri(golden)) else "are gone")]
    for uri, what, words in wrong:
        if words:
            raise RequestError(
                f"promote: the {what} of version {version.number}, {uri}, {words}; choose another version, or put "
                "back what the run wrote"
            )


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
        raise RequestError(f"promote: {_unapproved(number, package)}")
    container = package["InferenceSpecification"]["Containers"][0]
    return Version(
        number,
        arn,
        container["ModelDataUrl"].removesuffix(_ARTIFACT),
        container["Image"],
        float(package["CustomerMetadataProperties"]["top1"]),
        manifest_of(container),
        package["CustomerMetadataProperties"].get("report", ""),
    )


def _unapproved(number: int, package: Any) -> str:
    """Say why a version cannot be deployed again. The run that promotes a version notes that it served."""
    status = package["ModelApprovalStatus"]
    if package.get("CustomerMetadataProperties", {}).get("served"):
        return (
            f"version {number} served before, and is {status} in the registry since then; approve it there first, or "
            "choose one that is Approved"
        )
    if status == "PendingManualApproval":
        return f"version {number} never served, its run is at work or was stopped; choose one that is Approved"
    reason = package.get("ApprovalDescription", f"it is {status} in the registry")
    return f"version {number} never served ({reason}); choose one that is Approved"
