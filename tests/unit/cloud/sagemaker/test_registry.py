"""The registry keeps what it is given, and lists what it is asked for; botocore's models say what that can be."""

from typing import Any

import botocore.session
import pytest

from cloud.core.protocol import ApiError
from cloud.sagemaker import rules
from cloud.sagemaker.registry import Packages
from cloud.sagemaker.store import Store

MODEL = botocore.session.get_session().get_service_model("sagemaker")
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/models:1"
SPECIFICATION = {
    "Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://b/model.tar.gz"}],
    "SupportedContentTypes": ["image/jpeg"],
    "SupportedResponseMIMETypes": ["application/json"],
    "SupportedTransformInstanceTypes": ["ml.m5.large"],
    "SupportedRealtimeInferenceInstanceTypes": ["ml.m5.large"],
}
# What ``store.page`` reads
COMMON = {
    *("NameContains", "StatusEquals", "SortBy", "SortOrder", "MaxResults", "NextToken"),
    *("CreationTimeAfter", "CreationTimeBefore", "LastModifiedTimeAfter", "LastModifiedTimeBefore"),
}
OF_ONE_LIST = {
    "ListTrainingJobs": {"WarmPoolStatusEquals", "TrainingPlanArnEquals"},
    "ListProcessingJobs": set(),
    "ListModels": set(),
    "ListEndpoints": set(),
    "ListEndpointConfigs": set(),
    "ListModelPackageGroups": {"CrossAccountFilterOption"},
    "ListModelPackages": {"ModelApprovalStatus", "ModelPackageGroupName", "ModelPackageType"},
}


@pytest.fixture
def packages() -> Packages:
    """A registry with one group of one version, and one package without a group."""
    registry = Packages(Store(lambda: ("us-east-1", "000000000000")))
    registry.create_group({"ModelPackageGroupName": "dogs"})
    registry.create({"ModelPackageGroupName": "dogs", "InferenceSpecification": SPECIFICATION})
    registry.create({"ModelPackageName": "alone", "InferenceSpecification": SPECIFICATION})
    return registry


@pytest.mark.parametrize("operation", OF_ONE_LIST)
def test_a_list_has_no_member_that_is_ignored(operation: str) -> None:
    assert MODEL.operation_model(operation).input_shape.members.keys() - COMMON == OF_ONE_LIST[operation]


@pytest.mark.parametrize(
    ("members", "names"),
    [
        ({}, ["alone"]),
        ({"ModelPackageType": "Unversioned"}, ["alone"]),
        ({"ModelPackageType": "Versioned"}, ["dogs/1"]),
        ({"ModelPackageType": "Both"}, ["alone", "dogs/1"]),
        ({"ModelPackageGroupName": "dogs"}, ["dogs/1"]),
        ({"ModelPackageGroupName": "dogs", "ModelPackageType": "Both"}, ["dogs/1"]),
    ],
)
def test_packages_are_listed_by_type(packages: Packages, members: dict[str, str], names: list[str]) -> None:
    listed = packages.list(members)["ModelPackageSummaryList"]
    assert sorted(each["ModelPackageArn"].partition("/")[2] for each in listed) == names


def test_groups_of_other_accounts_are_none(packages: Packages) -> None:
    assert len(packages.list_groups({"CrossAccountFilterOption": "SameAccount"})["ModelPackageGroupSummaryList"]) == 1
    assert packages.list_groups({"CrossAccountFilterOption": "CrossAccount"})["ModelPackageGroupSummaryList"] == []


def test_every_member_of_an_update_is_kept(packages: Packages) -> None:
    arn = packages.list({"ModelPackageType": "Versioned"})["ModelPackageSummaryList"][0]["ModelPackageArn"]
    update: dict[str, Any] = {
        "ModelPackageArn": arn,
        "ModelApprovalStatus": "Approved",
        "ModelPackageRegistrationType": "Registered",
        "ApprovalDescription": "better",
        "CustomerMetadataProperties": {"a": "1", "b": "2"},
        "CustomerMetadataPropertiesToRemove": ["b"],
        "AdditionalInferenceSpecificationsToAdd": [{"Name": "more", **SPECIFICATION}],
        "InferenceSpecification": {**SPECIFICATION, "SupportedContentTypes": ["image/png"]},
        "SourceUri": "s3://b/source",
        "ModelCard": {"ModelCardContent": "{}", "ModelCardStatus": "Draft"},
        "ModelLifeCycle": {"Stage": "Development", "StageStatus": "PendingApproval"},
        "ClientToken": "t",
    }
    assert update.keys() == MODEL.operation_model("UpdateModelPackage").input_shape.members.keys()
    packages.update(update)
    description = packages.describe({"ModelPackageName": arn})
    assert description["CustomerMetadataProperties"] == {"a": "1"}
    assert description["AdditionalInferenceSpecifications"] == update["AdditionalInferenceSpecificationsToAdd"]
    special = {
        "ModelPackageArn",
        "ClientToken",
        *(name for name in update if name.startswith(("Customer", "Additional"))),
    }
    for name in update.keys() - special:
        assert description[name] == update[name]
    packages.update({"ModelPackageArn": arn, "AdditionalInferenceSpecificationsToAdd": [{"Name": "third"}]})
    names = [each["Name"] for each in packages.describe({"ModelPackageName": arn})["AdditionalInferenceSpecifications"]]
    assert names == ["more", "third"]


def test_the_only_container_of_a_model_may_be_in_a_list() -> None:
    container, role = SPECIFICATION["Containers"][0], "arn:aws:iam::000000000000:role/serve"
    for request in (
        {"ModelName": "m", "ExecutionRoleArn": role, "PrimaryContainer": container},
        {"ModelName": "m", "ExecutionRoleArn": role, "Containers": [container]},
    ):
        rules.model(request)
        assert rules.container_of(request) == container
    with pytest.raises(ApiError, match="one container only"):
        rules.model({"ModelName": "m", "ExecutionRoleArn": role, "Containers": [container, container]})


def test_a_request_that_is_repeated_makes_no_second_package(packages: Packages) -> None:
    request = {"ModelPackageGroupName": "dogs", "InferenceSpecification": SPECIFICATION}
    first, again, other = (packages.create(request | {"ClientToken": name}) for name in ("one", "one", "other"))
    assert first["ModelPackageArn"] == again["ModelPackageArn"]
    assert first["ModelPackageArn"] != other["ModelPackageArn"]
