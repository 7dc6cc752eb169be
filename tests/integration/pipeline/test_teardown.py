"""Teardown: it empties the bucket and the registry, so that the stack can be deleted, and it respects the lock."""

import json
from typing import Any

import pytest

from tests.integration.cloud.test_registry import SPECIFICATION
from tests.integration.laptop import ROOT, eventually
from tests.integration.pipeline.kennel import Kennel, has_job, wait_for

EVERYTHING = json.loads((ROOT / "events" / "teardown-everything.json").read_text())


@pytest.fixture
def kennel(bare: Kennel) -> Kennel:
    return bare


def tear_down(kennel: Kennel, request: dict[str, Any]) -> dict[str, Any]:
    return kennel.finish(kennel.start(request, "TeardownArn"))


def keys(kennel: Kennel) -> list[str]:
    """Return the key of each version and of each marker of a deleted object."""
    pages = kennel.client("s3").get_paginator("list_object_versions").paginate(Bucket=kennel.outputs()["BucketName"])
    return [item["Key"] for page in pages for kind in ("Versions", "DeleteMarkers") for item in page.get(kind, [])]


def register(sagemaker: Any, group: str) -> str:
    package = sagemaker.create_model_package(ModelPackageGroupName=group, InferenceSpecification=SPECIFICATION)
    return str(package["ModelPackageArn"])


def test_teardown_names_the_input_that_it_takes(kennel: Kennel) -> None:
    for request in ({"Comment": "Insert your JSON here"}, {"everything": "yes"}, {"everithing": True}):
        execution = tear_down(kennel, request)
        assert (execution["status"], execution["error"]) == ("FAILED", "RequestError")
        assert '{"everything": true}' in execution["cause"]
        assert json.dumps(request, separators=(",", ":")) in execution["cause"]
    assert not kennel.is_locked()


def test_teardown_of_everything_empties_bucket_and_group_and_may_be_repeated(kennel: Kennel) -> None:
    """The keys fill several listings; one has the longest keys possible, and JSON escapes their quotes.

    Old versions and markers of deleted objects go, too, without which the bucket could not be deleted.
    """
    bucket, s3, sagemaker = kennel.outputs()["BucketName"], kennel.client("s3"), kennel.client("sagemaker")
    tear_down(kennel, EVERYTHING)  # Other tests may have left something.
    names = [f"{number:04}" + '"' * 1020 for number in range(120)]
    names += [f"dataset/{number:04}.jpg" for number in range(100)]
    names += ["é" * 512, "a&b<c>'d e+f%20g"]
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=b"x")
    for name in names[::3]:
        s3.put_object(Bucket=bucket, Key=name, Body=b"overwritten")
    for name in names[::5]:
        s3.delete_object(Bucket=bucket, Key=name)
    num_versions = len(names) + len(names[::3]) + len(names[::5])
    assert len(keys(kennel)) == num_versions
    packages = {register(sagemaker, "kennel") for _ in range(3)}
    for deleted_packages, num_objects in ((packages, num_versions), (set(), 0)):
        execution = tear_down(kennel, EVERYTHING)
        assert execution["status"] == "SUCCEEDED", (execution.get("error"), execution.get("cause"))
        output = json.loads(execution["output"])
        assert (set(output["packages"]), output["objects"]) == (deleted_packages, num_objects)
    assert keys(kennel) == []
    assert sagemaker.list_model_packages(ModelPackageGroupName="kennel")["ModelPackageSummaryList"] == []
    assert not kennel.is_locked()


def test_teardown_without_everything_leaves_objects_and_packages(kennel: Kennel) -> None:
    bucket, sagemaker = kennel.outputs()["BucketName"], kennel.client("sagemaker")
    kennel.client("s3").put_object(Bucket=bucket, Key="dataset/kept.jpg", Body=b"x")
    package = register(sagemaker, "kennel")
    execution = tear_down(kennel, {})
    assert execution["status"] == "SUCCEEDED", (execution.get("error"), execution.get("cause"))
    assert "dataset/kept.jpg" in keys(kennel)
    assert sagemaker.describe_model_package(ModelPackageName=package)["ModelPackageStatus"] == "Completed"


def test_teardown_refuses_while_a_run_is_at_work_and_waits_for_the_job_of_a_stopped_one(
    kennel: Kennel,
) -> None:
    run = kennel.start({"dataset": kennel.upload("photos", kennel.photos)})
    wait_for(lambda: has_job(kennel, "InProgress"))
    for request in ({}, EVERYTHING):
        execution = tear_down(kennel, request)
        assert (execution["status"], execution["error"]) == ("FAILED", "RunInProgressError")
        assert run in execution["cause"]
    lease = tear_down(kennel, {"lease": True})  # Its schedule starts it again in a minute.
    assert (lease["status"], json.loads(lease["output"])["endpoints"]) == ("SUCCEEDED", [])
    assert has_job(kennel, "InProgress")
    assert "datasets/photos.zip" in keys(kennel)

    kennel.client("stepfunctions").stop_execution(executionArn=run)
    execution = tear_down(kennel, EVERYTHING)
    assert execution["status"] == "SUCCEEDED", (execution.get("error"), execution.get("cause"))
    assert not has_job(kennel, "InProgress")
    assert not has_job(kennel, "Stopping")
    assert keys(kennel) == []
    wait_for(lambda: not kennel.is_locked())


def test_a_lease_that_is_over_ends_when_nothing_serves(kennel: Kennel) -> None:
    scheduler, outputs = kennel.client("scheduler"), kennel.outputs()
    role = kennel.client("cloudformation").describe_stack_resource(StackName="kennel", LogicalResourceId="LeaseRole")
    name = role["StackResourceDetail"]["PhysicalResourceId"]
    target = {
        "Arn": outputs["TeardownArn"],
        "RoleArn": kennel.client("iam").get_role(RoleName=name)["Role"]["Arn"],
        "Input": '{"lease":true}',
    }
    scheduler.create_schedule(
        GroupName="kennel",
        Name="kennel-lease",
        ScheduleExpression="rate(1 minute)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=target,
    )
    execution = tear_down(kennel, {"lease": True})
    assert execution["status"] == "SUCCEEDED", (execution.get("error"), execution.get("cause"))
    assert scheduler.list_schedules(GroupName="kennel")["Schedules"] == []


def test_lock_of_a_teardown_that_is_gone_is_taken_over(kennel: Kennel) -> None:
    """A run and another teardown take it over; both need the right to ask whether the first teardown still runs."""
    gone = tear_down(kennel, {"no": "such input"})["executionArn"]
    kennel.client("ssm").put_parameter(Name="/kennel/lock", Value=gone, Type="String")
    assert tear_down(kennel, {})["status"] == "SUCCEEDED"
    assert not kennel.is_locked()
    kennel.client("ssm").put_parameter(Name="/kennel/lock", Value=gone, Type="String")
    execution = kennel.finish(kennel.start({"dataset": "datasets/nothing/"}))
    # The run took the lock; otherwise the error would be RunInProgressError.
    assert execution["error"] == "DatasetError", execution["cause"]


def test_event_of_an_abandoned_run_leaves_the_lock_of_another_alone(kennel: Kennel) -> None:
    other = f"{kennel.outputs()['PipelineArn'].replace('stateMachine', 'execution')}:other"
    kennel.client("ssm").put_parameter(Name="/kennel/lock", Value=other, Type="String")
    try:
        execution = tear_down(kennel, {"detail": {"executionArn": other.replace(":other", ":abandoned")}})
        assert execution["status"] == "SUCCEEDED"
        assert kennel.client("ssm").get_parameter(Name="/kennel/lock")["Parameter"]["Value"] == other
    finally:
        kennel.client("ssm").delete_parameter(Name="/kennel/lock")


def test_stack_with_a_full_bucket_and_a_full_group_cannot_be_deleted(kennel: Kennel) -> None:
    """The laptop cloud refuses as AWS does, which is why teardown of everything exists."""
    formation, s3, sagemaker = (kennel.client(name) for name in ("cloudformation", "s3", "sagemaker"))
    resources = {
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "full-bucket"}},
        "Group": {
            "Type": "AWS::SageMaker::ModelPackageGroup",
            "Properties": {"ModelPackageGroupName": "full-group"},
        },
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "goes-with-it"}},
    }
    formation.create_stack(StackName="full", TemplateBody=json.dumps({"Resources": resources}))
    eventually(lambda: status(formation), lambda current: current == "CREATE_COMPLETE")
    s3.put_object(Bucket="full-bucket", Key="photo.jpg", Body=b"x")
    package = register(sagemaker, "full-group")

    formation.delete_stack(StackName="full")
    eventually(lambda: status(formation), lambda current: current == "DELETE_FAILED")
    remaining = {
        each["LogicalResourceId"]: each
        for each in formation.describe_stack_resources(StackName="full")["StackResources"]
    }
    assert remaining.keys() == {"Bucket", "Group"}
    assert "not empty" in remaining["Bucket"]["ResourceStatusReason"]
    assert s3.get_object(Bucket="full-bucket", Key="photo.jpg")["Body"].read() == b"x"

    s3.delete_object(Bucket="full-bucket", Key="photo.jpg")
    sagemaker.delete_model_package(ModelPackageName=package)
    formation.delete_stack(StackName="full")
    eventually(lambda: status(formation), lambda current: current == "gone")
    assert "full-bucket" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]


def status(formation: Any) -> str:
    try:
        return str(formation.describe_stacks(StackName="full")["Stacks"][0]["StackStatus"])
    except formation.exceptions.ClientError:
        return "gone"
