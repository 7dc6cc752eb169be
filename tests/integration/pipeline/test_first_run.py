"""The first run: promoted, recorded, scaled by measurement, leased."""

import json
import re
import tarfile
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks import inputs
from local import laptop
from proofs.rights.policies import StackPolicies
from proofs.rights.recording import Recording
from proofs.rights.replay import Replay
from proofs.rights.verdict import name_findings
from tests.integration.pipeline.kennel import BREEDS_USED, COUNTS, Kennel


def test_first_run_is_promoted_and_recorded(kennel: Kennel) -> None:
    record = kennel.record
    assert record["status"] == "promoted"
    assert record["verdict"]["decision"] == "promote"
    assert {"BuildTrainingImage", "Train", "BuildImages", "Evaluate"} <= {state["name"] for state in record["states"]}
    assert re.search(r"Plan .*; builds 3 images: 9 minutes, \$0\.09 on AWS", " ".join(kennel.output.split()))
    assert re.search(r"^ +BuildTrainingImage +[\d.]+ s +built the image that trains", kennel.output, re.MULTILINE)
    assert re.search(r"^ +Train +[\d.]+ s$", kennel.output, re.MULTILINE)
    seconds = {state["name"]: state["seconds"] for state in record["states"]}
    assert 0 < seconds["AwaitTraining"] + seconds["Evaluate"] < record["seconds"]
    assert 0.5 <= record["evaluation"]["challenger"]["top1"] <= record["evaluation"]["challenger"]["top5"] <= 1
    assert (record["endpoint"]["name"], record["endpoint"]["instances"]) == ("kennel", 1)
    assert record["api"]["url"] in kennel.output
    assert kennel.endpoints() == ["kennel"]
    assert not kennel.is_locked()


def test_endpoint_scales_by_what_was_measured_on_staging(kennel: Kennel) -> None:
    scaling = kennel.record["endpoint"]["scaling"]
    measured = scaling["measurement"]
    assert measured["knee_per_second"] == max(trial["rate"] for trial in measured["trials"] if trial["within_limits"])
    results = {trial["within_limits"] for trial in measured["trials"]}
    assert results == {True, False} or measured["limited_by"] == "sender"
    listed = kennel.client("application-autoscaling").describe_scaling_policies(ServiceNamespace="sagemaker")
    policies = {policy["PolicyName"]: policy for policy in listed["ScalingPolicies"]}
    tracking = policies["kennel-concurrency"]["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == scaling["target_value"] >= 1
    cloudwatch = kennel.client("cloudwatch")
    [burst] = cloudwatch.describe_alarms(AlarmNames=["kennel-burst"])["MetricAlarms"]
    assert burst["Threshold"] == scaling["burst_value"] == 2 * scaling["target_value"]
    assert burst["AlarmActions"] == [policies["kennel-burst"]["PolicyARN"]]


def test_endpoint_is_leased(kennel: Kennel) -> None:
    lease = kennel.client("scheduler").get_schedule(GroupName="kennel", Name="kennel-lease")
    assert lease["StartDate"] - lease["CreationDate"] > timedelta(hours=71)
    assert lease["Target"]["Arn"] == kennel.outputs()["TeardownArn"]
    assert lease["Target"]["Input"] == '{"lease":true}'


def test_rights_are_judged_by_recorded_decisions(kennel: Kennel) -> None:
    deployed = StackPolicies(kennel.drill_cloud().laptop, "kennel")
    replay = Replay(deployed.policies, Recording(kennel.home).unique_decisions())
    findings = {each[:3]: each.finding for each in name_findings(replay.all_findings(), deployed)}
    training = findings["PipelineRole", "StartTrainings", "sagemaker:CreateTrainingJob"].needed_by
    assert training
    assert deployed.readable(training.decision.resource) == f"sagemaker:training-job/{kennel.record['trained']['job']}"
    assert findings["TrainingRole", "ReadPhotosAndWeights", "s3:${Bucket}/weights/*"].needed_by
    assert findings["TrainingRole trust", "#1", "aws:SourceAccount"].needed
    assert findings["Key", "TheAccountGovernsItsKeyThroughIam", "kms:*"].needed
    assert findings["Bucket", "OnlyOverTls", "aws:SecureTransport"].needed
    assert not findings["ContainerPolicy", "WriteContainerLogs", "logs:DescribeLogStreams"].needed_by
    assert not findings["StateMachinePolicy", "DeliverLogs", "all of it"].needed_by


def test_training_was_one_model_on_two_instances(kennel: Kennel) -> None:
    name = kennel.client("sagemaker").list_training_jobs()["TrainingJobSummaries"][-1]["TrainingJobName"]
    job = kennel.client("sagemaker").describe_training_job(TrainingJobName=name)
    assert job["ResourceConfig"]["InstanceCount"] == 2
    assert job["AlgorithmSpecification"]["TrainingImage"].partition("@")[2].startswith("sha256:")
    assert "ContainerEntrypoint" not in job["AlgorithmSpecification"]
    assert [channel["ChannelName"] for channel in job["InputDataConfig"]] == ["dataset", "weights"]
    assert job["EnableInterContainerTrafficEncryption"]
    keys = kennel.client("s3").list_objects_v2(Bucket=kennel.outputs()["BucketName"], Prefix="code/")
    assert keys["KeyCount"] == 0
    report = f"runs/{kennel.champion()['run']}/report/evaluation.json"
    body = kennel.client("s3").get_object(Bucket=kennel.outputs()["BucketName"], Key=report)["Body"].read()
    ddp = json.loads(body)["ddp"]
    assert ddp["world_size"] == 2
    assert sum(ddp["samples_per_rank"]) == len(BREEDS_USED) * COUNTS["train"]
    assert len(set(ddp["parameter_checksums"])) == 1


def test_registered_model_leads_to_its_training(
    kennel: Kennel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laptop, "find", lambda: kennel.laptop)
    with tarfile.open(inputs._download_champion("training", tmp_path / "model.tar.gz")) as archive:
        assert "model.safetensors" in archive.getnames()
