"""Drill with runs that are stopped at each state, and with a hand that removes each resource of the champion."""

import contextlib
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from local import stack
from local.home import LocalError
from proofs.drills.drill_cloud import DrillCloud
from proofs.drills.runs import lock_holder
from proofs.promises import Report

# The states of an update that change something, or that wait for a change. The pointer moves in Promote.
STATES = (
    *("CreateModel", "ConfigureStaging", "CreateStaging", "AwaitStaging", "DeleteStaging", "ConfigureProduction"),
    *("UpdateProduction", "AwaitProduction", "RegisterScalableTarget", "PutScalingPolicy", "PutBurstPolicy"),
    *("PutBurstAlarm", "SmokeThroughApi", "ApproveModel", "Promote", "NotifyResult", "ReleaseLock"),
)
_DIMENSION = "sagemaker:variant:DesiredInstanceCount"


def stop_anywhere(cloud: DrillCloud, report: Report) -> None:
    """Stop an update at each of its states, then remove each resource by hand; one truth must be left each time."""
    _two_versions(cloud, report)
    for state in STATES:
        _stop_at(cloud, report, state)
    for words, remove, refusal in _HANDS:
        _by_hand(cloud, report, words, remove, refusal)


def _two_versions(cloud: DrillCloud, report: Report) -> None:
    """Have a second version, so that champion and challenger differ; its training is reused."""
    execution = cloud.await_end(cloud.start(cloud.deployed.pipeline_arn, {"dataset": _dataset(cloud)}))
    if execution["status"] != "SUCCEEDED":
        raise LocalError(f"the second version was not deployed: {execution.get('cause')}")
    report.log("a second version serves; its training was reused")


def _stop_at(cloud: DrillCloud, report: Report, state: str) -> None:
    before, version = _facts(cloud), _other_version(cloud)
    execution = cloud.promote(promote=version, max_instances=5 if before["range"] != [1, 5] else 4)
    cloud.wait(lambda: state in entered(cloud, execution), f"the state {state}", 240)
    with contextlib.suppress(ClientError):  # The run may end in this moment.
        cloud.client("stepfunctions").stop_execution(executionArn=execution, error="Stopped", cause="by the drill")
    cloud.await_end(execution)
    seconds = cloud.wait(lambda: not lock_holder(cloud), f"the end of what a stop at {state} left", 300)
    after = _facts(cloud)
    moved = after["pointer"] != before["pointer"]
    wrong = _contradictions(after) + ([] if moved else _differences(before, after))
    which = "the pointer had moved" if moved else "the champion is back"
    report.log(f"stopped at {state}: {which} after {seconds:.0f} s; {'; '.join(wrong) or 'all agree'}")
    report.promise(f"a stop at {state} leaves one truth", not wrong)


def _by_hand(
    cloud: DrillCloud, report: Report, words: str, remove: Callable[[DrillCloud], Callable[[], None]], refusal: str
) -> None:
    version = _version(cloud)
    mend = remove(cloud)
    if refusal:
        said = cloud.await_end(cloud.start(cloud.deployed.pipeline_arn, {"dataset": _dataset(cloud)}))
        report.log(f"{words}: a run ended as {said['status']}: {said.get('cause')}")
        report.promise(f"{words}: the next run says so before anything costs", refusal in said.get("cause", ""))
    mend()
    said = cloud.await_end(cloud.promote(promote=version))
    wrong = _contradictions(_facts(cloud)) if said["status"] == "SUCCEEDED" else [str(said.get("cause"))]
    report.log(f"{words}: a promotion ended as {said['status']}; {'; '.join(wrong) or 'all agree'}")
    report.promise(f"{words}: what it names mends it", not wrong)


def _dataset(cloud: DrillCloud) -> str:
    found = cloud.client("s3").list_objects_v2(Bucket=cloud.deployed.bucket, Prefix="datasets/")["Contents"]
    return str(max(found, key=lambda each: each["LastModified"])["Key"])


def entered(cloud: DrillCloud, execution: str) -> set[str]:
    """Return the names of the states that an execution has entered."""
    history = cloud.client("stepfunctions").get_execution_history(executionArn=execution, maxResults=1000)["events"]
    return {each["stateEnteredEventDetails"]["name"] for each in history if "stateEnteredEventDetails" in each}


def _version(cloud: DrillCloud) -> int:
    champion = cloud.champion()
    assert champion
    return int(champion["model_package_arn"].rpartition("/")[2])


def _other_version(cloud: DrillCloud) -> int:
    return 3 - _version(cloud)


def _resource(cloud: DrillCloud) -> str:
    return f"endpoint/{cloud.endpoint}/variant/main"


def _facts(cloud: DrillCloud) -> dict[str, Any]:
    """Return what pointer, endpoint, registry, scaling and lists say."""
    sagemaker, scaling = cloud.client("sagemaker"), cloud.client("application-autoscaling")
    endpoint = cloud.describe_endpoint() or {}
    config = str(endpoint.get("EndpointConfigName", ""))
    targets = scaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[_resource(cloud)])
    policies = scaling.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=_resource(cloud))
    alarms = cloud.client("cloudwatch").describe_alarms(AlarmNames=[f"{cloud.endpoint}-burst"])["MetricAlarms"]
    champion = cloud.champion() or {}
    package = sagemaker.describe_model_package(ModelPackageName=champion["model_package_arn"])
    model = sagemaker.describe_model(ModelName=config)["PrimaryContainer"] if config else {}
    return {
        "pointer": champion,
        "status": endpoint.get("EndpointStatus"),
        "config": config,
        "serving": model.get("ModelDataUrl"),
        "approval": package["ModelApprovalStatus"],
        "range": [each[key] for each in targets["ScalableTargets"] for key in ("MinCapacity", "MaxCapacity")],
        "policies": {
            each["PolicyName"]: each.get("TargetTrackingScalingPolicyConfiguration")
            or each.get("StepScalingPolicyConfiguration")
            for each in policies["ScalingPolicies"]
        },
        "alarm": [(each["Threshold"], each["AlarmActions"]) for each in alarms],
        "step_policy": [
            each["PolicyARN"] for each in policies["ScalingPolicies"] if each["PolicyType"] == "StepScaling"
        ],
        "configs": sorted(
            each["EndpointConfigName"] for each in sagemaker.list_endpoint_configs(MaxResults=100)["EndpointConfigs"]
        ),
        "models": sorted(each["ModelName"] for each in sagemaker.list_models(MaxResults=100)["Models"]),
        "endpoints": sorted(each["EndpointName"] for each in sagemaker.list_endpoints(MaxResults=100)["Endpoints"]),
    }


def _contradictions(facts: dict[str, Any]) -> list[str]:
    """Return in words what does not agree."""
    alarm_actions = [arn for _, actions in facts["alarm"] for arn in actions]
    checks = {
        f"the endpoint is {facts['status']}": facts["status"] != "InService",
        "the endpoint serves another artifact than the pointer names": facts["serving"]
        != facts["pointer"].get("artifact_uri"),
        f"the champion is {facts['approval']} in the registry": facts["approval"] != "Approved",
        "the endpoint has no range": len(facts["range"]) != 2,
        "the burst alarm starts no policy": not alarm_actions or alarm_actions != facts["step_policy"],
        "staging is left": any(name.endswith("-s") for name in facts["endpoints"] + facts["configs"]),
    }
    return [words for words, holds in checks.items() if holds]


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    kept = ("config", "range", "policies", "configs", "models", "endpoints")
    return [f"{key} was {before[key]} and is {after[key]}" for key in kept if before[key] != after[key]]


def _nothing() -> None:
    """Do nothing, because a promotion alone mends it."""


def _delete_endpoint(cloud: DrillCloud) -> Callable[[], None]:
    _deregister(cloud)
    cloud.client("sagemaker").delete_endpoint(EndpointName=cloud.endpoint)
    cloud.wait(lambda: not cloud.endpoint_status(), "the end of the endpoint", 60)
    return _nothing


def _deregister(cloud: DrillCloud) -> Callable[[], None]:
    cloud.client("application-autoscaling").deregister_scalable_target(
        ServiceNamespace="sagemaker", ResourceId=_resource(cloud), ScalableDimension=_DIMENSION
    )
    return _nothing


def _point_elsewhere(cloud: DrillCloud) -> Callable[[], None]:
    sagemaker, serving = cloud.client("sagemaker"), _facts(cloud)["serving"]
    for name in _facts(cloud)["configs"]:
        if sagemaker.describe_model(ModelName=name)["PrimaryContainer"]["ModelDataUrl"] != serving:
            sagemaker.update_endpoint(EndpointName=cloud.endpoint, EndpointConfigName=name)
            cloud.wait(lambda: cloud.endpoint_status() == "InService", "the update by hand", 120)
            return _nothing
    raise LocalError("no configuration of another model is left")


def _delete_config(cloud: DrillCloud) -> Callable[[], None]:
    cloud.client("sagemaker").delete_endpoint_config(EndpointConfigName=_facts(cloud)["config"])

    def tear_down() -> None:
        cloud.await_end(cloud.start(cloud.deployed.teardown_arn, {}))

    return tear_down


def _delete_model(cloud: DrillCloud) -> Callable[[], None]:
    cloud.client("sagemaker").delete_model(ModelName=_facts(cloud)["config"])
    return _nothing


def _delete_artifact(cloud: DrillCloud) -> Callable[[], None]:
    champion = cloud.champion()
    assert champion
    bucket, _, key = champion["artifact_uri"].removeprefix("s3://").partition("/")
    s3 = cloud.client("s3")
    kept = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.delete_object(Bucket=bucket, Key=key)
    return lambda: s3.put_object(Bucket=bucket, Key=key, Body=kept) and None


def _pointer(value: str | None) -> Callable[[DrillCloud], Callable[[], None]]:
    def remove(cloud: DrillCloud) -> Callable[[], None]:
        name, ssm = f"/{stack.STACK}/champion", cloud.client("ssm")
        if value is not None:
            ssm.put_parameter(Name=name, Value=value, Overwrite=True)
            return _nothing
        ssm.delete_parameter(Name=name)
        return lambda: ssm.put_parameter(Name=name, Value="none", Type="String") and None

    return remove


def _delete_alarm(cloud: DrillCloud) -> Callable[[], None]:
    cloud.client("cloudwatch").delete_alarms(AlarmNames=[f"{cloud.endpoint}-burst"])
    return _nothing


def _delete_lease(cloud: DrillCloud) -> Callable[[], None]:
    cloud.client("scheduler").delete_schedule(GroupName=stack.STACK, Name=f"{cloud.endpoint}-lease")
    return _nothing


def _reject(cloud: DrillCloud) -> Callable[[], None]:
    champion = cloud.champion()
    assert champion
    package = {"ModelPackageArn": champion["model_package_arn"]}
    sagemaker = cloud.client("sagemaker")
    sagemaker.update_model_package(**package, ModelApprovalStatus="Rejected")
    said = cloud.await_end(cloud.promote(promote=_version(cloud)))
    if "served before, and is Rejected" not in str(said.get("cause")):
        raise LocalError(f"a promotion of a version that was rejected by hand said: {said.get('cause')}")
    return lambda: sagemaker.update_model_package(**package, ModelApprovalStatus="Approved") and None


# What a hand does, and what the next run says about it; empty where a run simply goes on.
_HANDS: tuple[tuple[str, Callable[[DrillCloud], Callable[[], None]], str], ...] = (
    ("the endpoint points elsewhere", _point_elsewhere, "serves s3://"),
    ("the endpoint is deleted", _delete_endpoint, ""),
    ("the configuration is deleted", _delete_config, "start teardown with {}"),
    ("the model is deleted", _delete_model, "which was deleted"),
    ("the artifact is deleted", _delete_artifact, "is gone"),
    ("the version is rejected", _reject, ""),
    ("the pointer is garbled", _pointer("nobody"), "names no champion"),
    ("the pointer is deleted", _pointer(None), "aws ssm put-parameter"),
    ("the scalable target is deregistered", _deregister, ""),
    ("the burst alarm is deleted", _delete_alarm, ""),
    ("the lease is deleted", _delete_lease, ""),
)
