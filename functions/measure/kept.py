"""Kept measurements, and whether one is what a run has measured.

A measurement lies in the bucket. Its SHA-256 is in the registry, in the metadata of the versions whose scaling follows
from it, so whoever can write objects alone cannot bring a measurement of his own.
"""

import hashlib
from itertools import islice
from typing import TYPE_CHECKING

from shared.s3 import Location, exists, read_bytes
from shared.scaling import Measurement

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

_MOST_VERSIONS = 50  # newest ones that are asked; a measurement that is still used is in the metadata of one of them


def digest(body: bytes) -> str:
    """Return the SHA-256 by which the registry knows a measurement, in hex."""
    return hashlib.sha256(body).hexdigest()


def find(
    s3: "S3Client", sagemaker: "SageMakerClient", group: str, location: Location
) -> tuple[Measurement, str] | None:
    """Return a kept measurement with its digest; None if there is none, or one that the registry does not know."""
    if not exists(s3, location):
        return None
    body = read_bytes(s3, location.uri)
    found = digest(body)
    return (Measurement.model_validate_json(body), found) if _is_known(sagemaker, group, found) else None


def _is_known(sagemaker: "SageMakerClient", group: str, sha256: str) -> bool:
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, ModelApprovalStatus="Approved", SortBy="CreationTime", SortOrder="Descending"
    )
    arns = (each["ModelPackageArn"] for page in pages for each in page["ModelPackageSummaryList"])
    for arn in islice(arns, _MOST_VERSIONS):
        package = sagemaker.describe_model_package(ModelPackageName=arn)
        if package.get("CustomerMetadataProperties", {}).get("measurement") == sha256:
            return True
    return False
