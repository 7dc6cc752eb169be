"""Runs while a champion serves: the endpoint is updated, an update is taken back, a version is promoted again."""

import hashlib
import json
from typing import Any

import pytest

from tests.integration.pipeline.kennel import Kennel, revoked, states_entered


def test_an_earlier_version_serves_again_without_training(kennel: Kennel) -> None:
    jobs, before = kennel.training_jobs(), kennel.client("sagemaker").describe_endpoint(EndpointName="kennel")
    command = kennel.local("promote", "--version", "1")
    assert command.returncode == 0, command.stdout + command.stderr
    assert "version 1 will serve again" in command.stdout
    assert "measured by run" in command.stdout  # The run reuses an earlier measurement.
    assert kennel.champion()["model_package_arn"].endswith("/1")
    assert kennel.training_jobs() == jobs
    after = kennel.client("sagemaker").describe_endpoint(EndpointName="kennel")
    assert after["EndpointConfigName"] != before["EndpointConfigName"]
    assert kennel.local("promote", "--version", "99").returncode == 1


def test_second_run_updates_and_compares_with_the_champion(kennel: Kennel) -> None:
    sagemaker = kennel.client("sagemaker")
    before, champion = sagemaker.describe_endpoint(EndpointName="kennel"), kennel.champion()
    changes = {"hyperparameters": {"backbone": "efficientnet_lite0"}, "max_instances": 3}
    execution = kennel.finish(kennel.start({"dataset": kennel.dataset, **changes}))
    assert execution["status"] == "SUCCEEDED"
    output = json.loads(execution["output"])
    assert "/weights/efficientnet_lite0-" in output["run"]["training"]["weights_uri"]
    # The pointer has fewer digits, because JSONata writes 15.
    assert output["verdict"]["champion_top1"] == pytest.approx(champion["top1"])
    after = sagemaker.describe_endpoint(EndpointName="kennel")
    assert after["EndpointArn"] == before["EndpointArn"]
    assert after["CreationTime"] == before["CreationTime"]
    assert after["EndpointConfigName"] != before["EndpointConfigName"]
    assert kennel.champion()["run"] == output["run"]["id"]
    assert kennel.endpoints() == ["kennel"]
    target = kennel.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    assert [(t["MinCapacity"], t["MaxCapacity"]) for t in target["ScalableTargets"]] == [(1, 3)]


def test_training_of_a_run_that_failed_later_is_reused_by_the_next(kennel: Kennel) -> None:
    """Both runs have hyperparameters that no run had before, and fail when the evaluation begins."""
    request, jobs = {"dataset": kennel.dataset, "hyperparameters": {"epochs": 2}}, kennel.training_jobs()
    with revoked(kennel, "EvaluationRole", "s3:GetObject"):
        first, second = run_to_failure(kennel, request), run_to_failure(kennel, request)
    assert {"Train", "Evaluate"} <= first
    assert {"ReuseTraining", "Evaluate"} <= second
    assert "Train" not in second
    assert len(kennel.training_jobs() - jobs) == 1


def run_to_failure(kennel: Kennel, request: dict[str, Any]) -> set[str]:
    """Start a run that fails, and return the states that it entered."""
    arn = kennel.start(request)
    assert kennel.finish(arn)["status"] == "FAILED"
    return states_entered(kennel, arn)


def test_update_to_another_instance_type_is_taken_back_with_its_scaling(kennel: Kennel) -> None:
    """Approval of the version fails when the endpoint already has the new model and the new scaling."""
    champion, before = kennel.champion(), endpoint_settings(kennel)
    assert before["type"] != "ml.c7i.xlarge"
    copy_measurement(kennel, "ml.c7i.xlarge")
    with revoked(kennel, "PipelineRole", "sagemaker:UpdateModelPackage"):
        arn = kennel.start({"promote": 1, "serving_instance_type": "ml.c7i.xlarge", "max_instances": 5})
        execution = kennel.finish(arn)
    assert execution["status"] == "FAILED", execution.get("output")
    changed = {"DeregisterForUpdate", "UpdateProduction", "PutBurstAlarm", "ApproveModel"}
    restored = {"DeregisterForRestore", "RestoreProduction", "RestorePolicies", "RestoreBurstAlarm"}
    assert changed | restored <= states_entered(kennel, arn)
    assert kennel.champion() == champion
    assert endpoint_settings(kennel) == before
    assert kennel.endpoints() == ["kennel"]
    assert not kennel.is_locked()


def copy_measurement(kennel: Kennel, instance_type: str) -> None:
    """Keep the first run's measurement for another instance type too, because a measurement takes up to a minute."""
    s3, bucket, states = kennel.client("s3"), kennel.outputs()["BucketName"], kennel.client("stepfunctions")
    executions = states.list_executions(stateMachineArn=kennel.outputs()["PipelineArn"])["executions"]
    first = min(executions, key=lambda each: each["startDate"])["executionArn"]
    run = json.loads(states.describe_execution(executionArn=first)["output"])["run"]
    report = f"{run['evaluation']['report_uri'].removeprefix(f's3://{bucket}/')}/evaluation.json"
    digest = json.loads(s3.get_object(Bucket=bucket, Key=report)["Body"].read())["challenger"]["digest"]
    arn = kennel.champion()["model_package_arn"]
    package = kennel.client("sagemaker").describe_model_package(ModelPackageName=arn)
    image = package["InferenceSpecification"]["Containers"][0]["Image"]  # The run of the build knew only its tag.

    def key(of_type: str) -> str:
        parts = (digest, image, of_type, float(run["endpoint"]["max_p99_ms"]))
        return f"measurements/{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}.json"

    source = {"Bucket": bucket, "Key": key(run["endpoint"]["instance_type"])}
    s3.copy_object(Bucket=bucket, Key=key(instance_type), CopySource=source)


def endpoint_settings(kennel: Kennel) -> dict[str, Any]:
    """Return the configuration of the endpoint, its instance type, and how it scales."""
    sagemaker, scaling = kennel.client("sagemaker"), kennel.client("application-autoscaling")
    endpoint = sagemaker.describe_endpoint(EndpointName="kennel")
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    [target] = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    policies = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    [alarm] = kennel.client("cloudwatch").describe_alarms(AlarmNames=["kennel-burst"])["MetricAlarms"]
    [burst_policy] = [policy["PolicyName"] for policy in policies if [policy["PolicyARN"]] == alarm["AlarmActions"]]
    return {
        "status": endpoint["EndpointStatus"],
        "config": endpoint["EndpointConfigName"],
        "type": config["ProductionVariants"][0]["InstanceType"],
        "range": (target["MinCapacity"], target["MaxCapacity"]),
        "policies": {
            policy["PolicyName"]: policy.get("TargetTrackingScalingPolicyConfiguration")
            or policy["StepScalingPolicyConfiguration"]
            for policy in policies
        },
        "burst": (burst_policy, alarm["Threshold"]),
    }
