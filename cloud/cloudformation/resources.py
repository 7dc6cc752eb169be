"""SageMaker's resource types in templates: the model package group."""

from typing import Any

from cloud.cloudformation import hooks
from cloud.core.protocol import ApiError, JsonApi

_GROUP = "AWS::SageMaker::ModelPackageGroup"


def install(sagemaker: JsonApi) -> None:
    """Let templates contain model package groups.

    Args:
        sagemaker: SageMaker's API, which creates and deletes the groups.
    """

    def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return sagemaker.call(operation, request)
        except ApiError as error:
            raise ValueError(f"{error.message} (Service: SageMaker, Error Code: {error.code})") from None

    def attributes(name: str) -> dict[str, Any]:
        group = call("DescribeModelPackageGroup", {"ModelPackageGroupName": name})
        return {
            "ModelPackageGroupArn": group["ModelPackageGroupArn"],
            "ModelPackageGroupStatus": group["ModelPackageGroupStatus"],
            "CreationTime": str(group["CreationTime"]),
        }

    def create(logical_id: str, properties: dict[str, Any], stack_name: str) -> tuple[str, dict[str, Any]]:
        arn = call("CreateModelPackageGroup", properties)["ModelPackageGroupArn"]
        return arn, attributes(properties["ModelPackageGroupName"])

    def update(
        physical_id: str, old: dict[str, Any], new: dict[str, Any], stack_name: str
    ) -> tuple[str, dict[str, Any]]:
        name = new["ModelPackageGroupName"]
        if name != old["ModelPackageGroupName"]:
            return create("", new, stack_name)  # MiniStack deletes the old group unless UpdateReplacePolicy retains it.
        if new.get("ModelPackageGroupDescription") != old.get("ModelPackageGroupDescription"):
            raise ValueError(
                "CloudFormation cannot update a stack when a custom-named resource requires replacing. "
                f"Rename {name} and update the stack again."
            )
        if old.get("Tags"):
            keys = [tag["Key"] for tag in old["Tags"]]
            call("DeleteTags", {"ResourceArn": physical_id, "TagKeys": keys})
        if new.get("Tags"):
            call("AddTags", {"ResourceArn": physical_id, "Tags": new["Tags"]})
        return physical_id, attributes(name)

    def delete(physical_id: str, properties: dict[str, Any]) -> None:
        call("DeleteModelPackageGroup", {"ModelPackageGroupName": properties["ModelPackageGroupName"]})

    hooks.add_resource_type(_GROUP, create, update, delete)
