"""Teardown of everything, so that the stack can be deleted; and what cannot be deleted, as on AWS."""

import json
from typing import Any

import pytest

from tests.integration.cloud.test_registry import SPECIFICATION
from tests.integration.laptop import ROOT, eventually
from tests.integration.pipeline.kennel import Kennel, any_job, wait_for

EVERYTHING = json.loads((ROOT / "events" / "teardown-everything.json").read_text())


@pytest.fixture
def kennel(bare: Kennel) -> Kennel:
    return bare


def tear_down(kennel: Kennel, request: dict[str, Any]) -> dict[str, Any]:
    return kennel.finish(kennel.start(request, "TeardownArn"))


def keys(kennel: Kennel) -> list[str]:
    pages = kennel.client("s3").get_paginator("list_objects_v2").paginate(Bucket=kennel.outputs()["BucketName"])
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def register(sagemaker: Any, group: str) -> str:
    made = sagemaker.create_model_package(ModelPackageGroupName=group, InferenceSpecification=SPECIFICATION)
    return str(made["ModelPackageArn"])


def test_teardown_says_what_input_it_takes(kennel: Kennel) -> None:
    for request in ({"Comment": "Insert your JSON here"}, {"everything": "yes"}, {"everithing": True}):
        ended = tear_down(kennel, request)
        assert (ended["status"], ended["error"]) == ("FAILED", "RequestError")
        assert '{"everything": true}' in ended["cause"]
        assert json.dumps(request, separators=(",", ":")) in ended["cause"]
    assert not kennel.is_locked()


def test_teardown_of_everything_empties_bucket_and_group_and_may_be_repeated(kennel: Kennel) -> None:
    """More keys than one listing holds, of which one is full of the longest that JSON doubles by escaping."""
    bucket, s3, sagemaker = kennel.outputs()["BucketName"], kennel.client("s3"), kennel.client("sagemaker")
    tear_down(kennel, EVERYTHING)  # what other tests left
    names = [f"{number:04}" + '"' * 1020 for number in range(120)]
    names += [f"dataset/{number:04}.jpg" for number in range(100)]
    names += ["é" * 512, "a&b<c>'d e+f%20g"]
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=b"x")
    packages = {register(sagemaker, "kennel") for _ in range(3)}
    for deleted, gone in ((packages, len(names)), (set(), 0)):
        ended = tear_down(kennel, EVERYTHING)
        assert ended["status"] == "SUCCEEDED", (ended.get("error"), ended.get("cause"))
        said = json.loads(ended["output"])
        assert (set(said["packages"]), said["objects"]) == (deleted, gone)
    assert keys(kennel) == []
    assert sagemaker.list_model_packages(ModelPackageGroupName="kennel")["ModelPackageSummaryList"] == []
    assert not kennel.is_locked()


def test_teardown_without_everything_leaves_objects_and_packages(kennel: Kennel) -> None:
    bucket, sagemaker = kennel.outputs()["BucketName"], kennel.client("sagemaker")
    kennel.client("s3").put_object(Bucket=bucket, Key="dataset/kept.jpg", Body=b"x")
    package = register(sagemaker, "kennel")
    ended = tear_down(kennel, {})
    assert ended["status"] == "SUCCEEDED", (ended.get("error"), ended.get("cause"))
    assert "dataset/kept.jpg" in keys(kennel)
    assert sagemaker.describe_model_package(ModelPackageName=package)["ModelPackageStatus"] == "Completed"


def test_teardown_refuses_while_a_run_is_at_work_and_waits_for_the_job_of_a_stopped_one(
    kennel: Kennel,
) -> None:
    run = kennel.start({"dataset": kennel.upload("photos", kennel.photos)})
    wait_for(lambda: any_job(kennel, "InProgress"))
    for request in ({}, EVERYTHING):
        ended = tear_down(kennel, request)
        assert (ended["status"], ended["error"]) == ("FAILED", "RunInProgressError")
        assert run in ended["cause"]
    lease = tear_down(kennel, {"lease": True})  # which asks again in a minute
    assert (lease["status"], json.loads(lease["output"])["endpoints"]) == ("SUCCEEDED", [])
    assert any_job(kennel, "InProgress")
    assert "datasets/photos.zip" in keys(kennel)

    kennel.client("stepfunctions").stop_execution(executionArn=run)
    ended = tear_down(kennel, EVERYTHING)
    assert ended["status"] == "SUCCEEDED", (ended.get("error"), ended.get("cause"))
    assert not any_job(kennel, "InProgress")
    assert not any_job(kennel, "Stopping")
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
        ScheduleExpression="rate(1 minutes)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=target,
    )
    ended = tear_down(kennel, {"lease": True})
    assert ended["status"] == "SUCCEEDED", (ended.get("error"), ended.get("cause"))
    assert scheduler.list_schedules(GroupName="kennel")["Schedules"] == []


def test_lock_of_a_teardown_that_is_gone_is_taken_over(kennel: Kennel) -> None:
    """By a run and by another teardown, both of which must be allowed to ask whether it still runs."""
    gone = tear_down(kennel, {"no": "such input"})["executionArn"]
    kennel.client("ssm").put_parameter(Name="/kennel/lock", Value=gone, Type="String")
    assert tear_down(kennel, {})["status"] == "SUCCEEDED"
    assert not kennel.is_locked()
    kennel.client("ssm").put_parameter(Name="/kennel/lock", Value=gone, Type="String")
    ended = kennel.finish(kennel.start({"dataset": "nothing/here/"}))
    assert ended["error"] == "DatasetError", ended["cause"]  # it got past the lock


def test_event_of_an_abandoned_run_leaves_anothers_lock_alone(kennel: Kennel) -> None:
    other = f"{kennel.outputs()['PipelineArn'].replace('stateMachine', 'execution')}:other"
    kennel.client("ssm").put_parameter(Name="/kennel/lock", Value=other, Type="String")
    try:
        ended = tear_down(kennel, {"detail": {"executionArn": other.replace(":other", ":abandoned")}})
        assert ended["status"] == "SUCCEEDED"
        assert kennel.client("ssm").get_parameter(Name="/kennel/lock")["Parameter"]["Value"] == other
    finally:
        kennel.client("ssm").delete_parameter(Name="/kennel/lock")


def test_stack_with_a_full_bucket_and_a_full_group_cannot_be_deleted(kennel: Kennel) -> None:
    """As on AWS: what teardown of everything is for."""
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
    eventually(lambda: status(formation), lambda seen: seen == "CREATE_COMPLETE")
    s3.put_object(Bucket="full-bucket", Key="photo.jpg", Body=b"x")
    package = register(sagemaker, "full-group")

    formation.delete_stack(StackName="full")
    eventually(lambda: status(formation), lambda seen: seen == "DELETE_FAILED")
    left = {
        each["LogicalResourceId"]: each
        for each in formation.describe_stack_resources(StackName="full")["StackResources"]
    }
    assert left.keys() == {"Bucket", "Group"}
    assert "not empty" in left["Bucket"]["ResourceStatusReason"]
    assert s3.get_object(Bucket="full-bucket", Key="photo.jpg")["Body"].read() == b"x"

    s3.delete_object(Bucket="full-bucket", Key="photo.jpg")
    sagemaker.delete_model_package(ModelPackageName=package)
    formation.delete_stack(StackName="full")
    eventually(lambda: status(formation), lambda seen: seen == "gone")
    assert "full-bucket" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]


def status(formation: Any) -> str:
    try:
        return str(formation.describe_stacks(StackName="full")["Stacks"][0]["StackStatus"])
    except formation.exceptions.ClientError:
        return "gone"
