"""Model package groups, their versioned packages, and tags on the laptop cloud."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.laptop import IMAGE, ROLE, Cloud

SPECIFICATION = {
    "Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://kennel/models/a/model.tar.gz"}],
    "SupportedContentTypes": ["image/jpeg"],
    "SupportedResponseMIMETypes": ["application/json"],
}


def test_packages_are_versioned_approved_and_listed(sagemaker: Any) -> None:
    group = sagemaker.create_model_package_group(ModelPackageGroupName="breeds")["ModelPackageGroupArn"]
    assert group == "arn:aws:sagemaker:us-east-1:000000000000:model-package-group/breeds"
    arns = [
        sagemaker.create_model_package(
            ModelPackageGroupName="breeds",
            InferenceSpecification=SPECIFICATION,
            CustomerMetadataProperties={"top1": "0.9"},
        )["ModelPackageArn"]
        for _ in range(2)
    ]
    assert [arn.rpartition(":")[2] for arn in arns] == ["model-package/breeds/1", "model-package/breeds/2"]
    sagemaker.update_model_package(
        ModelPackageArn=arns[1],
        ModelApprovalStatus="Approved",
        ApprovalDescription="better",
        CustomerMetadataProperties={"by": "gate"},
    )
    package = sagemaker.describe_model_package(ModelPackageName=arns[1])
    assert (package["ModelPackageVersion"], package["ModelApprovalStatus"]) == (2, "Approved")
    assert package["CustomerMetadataProperties"] == {"top1": "0.9", "by": "gate"}

    def versions(**members: Any) -> list[int]:
        answer = sagemaker.list_model_packages(ModelPackageGroupName="breeds", **members)
        return [each["ModelPackageVersion"] for each in answer["ModelPackageSummaryList"]]

    assert versions() == [2, 1]
    assert versions(ModelApprovalStatus="Approved") == [2]
    assert versions(SortOrder="Ascending", MaxResults=1) == [1]
    with pytest.raises(sagemaker.exceptions.ConflictException):
        sagemaker.delete_model_package_group(ModelPackageGroupName="breeds")
    sagemaker.delete_model_package(ModelPackageName=arns[1])
    third = sagemaker.create_model_package(ModelPackageGroupName="breeds", InferenceSpecification=SPECIFICATION)
    assert third["ModelPackageArn"].endswith("breeds/3")  # The number of a deleted version is not used again.
    with pytest.raises(ClientError, match="does not exist"):
        sagemaker.describe_model_package(ModelPackageName=arns[1])


def test_a_package_must_be_approved_to_be_deployed(sagemaker: Any) -> None:
    sagemaker.create_model_package_group(ModelPackageGroupName="careful")
    arn = sagemaker.create_model_package(ModelPackageGroupName="careful", InferenceSpecification=SPECIFICATION)[
        "ModelPackageArn"
    ]
    request = {"ModelName": "careful", "PrimaryContainer": {"ModelPackageName": arn}, "ExecutionRoleArn": ROLE}
    for status in ("PendingManualApproval", "Rejected"):
        sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus=status)
        with pytest.raises(ClientError, match=f"careful/1 is {status}; it must be Approved to be deployed"):
            sagemaker.create_model(**request)
    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    with pytest.raises(ClientError, match="Could not find model data"):  # Only the data is missing now.
        sagemaker.create_model(**request)


def test_tags_are_kept_per_resource(sagemaker: Any) -> None:
    arn = sagemaker.create_model_package_group(ModelPackageGroupName="tagged", Tags=[{"Key": "team", "Value": "dogs"}])[
        "ModelPackageGroupArn"
    ]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "stage", "Value": "test"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["team"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "stage", "Value": "test"}]


def test_regions_do_not_see_each_other(cloud: Cloud, sagemaker: Any) -> None:
    sagemaker.create_model_package_group(ModelPackageGroupName="here")
    there = cloud.client("sagemaker", region="eu-west-1")
    assert there.list_model_package_groups(NameContains="here")["ModelPackageGroupSummaryList"] == []
    arn = there.create_model_package_group(ModelPackageGroupName="here")["ModelPackageGroupArn"]
    assert ":eu-west-1:" in arn


def test_operations_that_are_not_offered_say_so(sagemaker: Any) -> None:
    with pytest.raises(ClientError, match=r"\(UnknownOperationException\).*no operation ListDomains"):
        sagemaker.list_domains()
