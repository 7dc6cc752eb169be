"""Kept measurements, and whether one is what a run has measured.

A measurement lies in the bucket. Its SHA-256 is in the registry, in the metadata of the versions whose scaling, or
whose memory, follows from it, so whoever can write objects alone cannot bring a measurement of his own.
"""

import hashlib
from itertools import islice
from typing import TYPE_CHECKING, Literal, TypeVar

from shared.base import Document
from shared.s3 import Location, exists, read_bytes

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

Kept = TypeVar("Kept", bound=Document)
Entry = Literal["measurement", "function_measurement"]  # of the metadata

_MOST_VERSIONS = 50  # newest ones that are asked; a measurement that is still used is in the metadata of one of them


def digest(body: bytes) -> str:
    """Return the SHA-256 by which the registry knows a measurement, in hex."""
    return hashlib.sha256(body).hexdigest()


def find(
    s3: "S3Client", sagemaker: "SageMakerClient", group: str, location: Location, kind: type[Kept], entry: Entry
) -> tuple[Kept, str] | None:
    """Return a kept measurement with its digest; None if there is none, or one that the registry does not know.

    Args:
        group: the group of the registry whose versions know measurements.
        location: where the measurement lies.
        kind: what is kept there.
        entry: the entry of the metadata that has its digest.
    """
    if not exists(s3, location):
        return None
    body = read_bytes(s3, location.uri)
    found = digest(body)
    return (kind.model_validate_json(body), found) if _is_known(sagemaker, group, entry, found) else None


def keep(s3: "S3Client", location: Location, measurement: Document) -> str:
    """Keep a measurement, and return its digest."""
    body = measurement.model_dump_json(by_alias=True).encode()
    s3.put_object(Bucket=location.bucket, Key=location.key, Body=body)
    return digest(body)


def _is_known(sagemaker: "SageMakerClient", group: str, entry: Entry, sha256: str) -> bool:
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, ModelApprovalStatus="Approved", SortBy="CreationTime", SortOrder="Descending"
    )
    arns = (each["ModelPackageArn"] for page in pages for each in page["ModelPackageSummaryList"])
    for arn in islice(arns, _MOST_VERSIONS):
        package = sagemaker.describe_model_package(ModelPackageName=arn)
        if package.get("CustomerMetadataProperties", {}).get(entry) == sha256:
            return True
    return False
