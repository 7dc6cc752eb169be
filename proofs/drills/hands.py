"""What a hand may remove or change, and what mends it: the second half of the drill ``stop-anywhere``."""

import json
from collections.abc import Callable
from typing import Any

from local import stack
from local.home import LocalError
from proofs.drills.drill_cloud import DrillCloud

# It mends what the hand did as the message says. A number that it returns is the version to promote.
Mend = Callable[[], object]
Removal = Callable[[DrillCloud], Mend]
DIMENSION = "sagemaker:variant:DesiredInstanceCount"


def resource_of(cloud: DrillCloud) -> str:
    """Return the resource id of production for Application Auto Scaling."""
    return f"endpoint/{cloud.endpoint}/variant/main"


def _nothing() -> None:
    """Do nothing, because a promotion alone mends it."""


def _champion(cloud: DrillCloud) -> dict[str, Any]:
    champion = cloud.champion()
    assert champion
    return champion


def _target(cloud: DrillCloud) -> dict[str, str]:
    return {"ServiceNamespace": "sagemaker", "ResourceId": resource_of(cloud), "ScalableDimension": DIMENSION}


def _config(cloud: DrillCloud) -> str:
    return str((cloud.describe_endpoint() or {})["EndpointConfigName"])


def _torn_down(cloud: DrillCloud) -> Mend:
    return lambda: cloud.await_end(cloud.start(cloud.deployed.teardown_arn, {}))


def _delete_endpoint(cloud: DrillCloud) -> Mend:
    _deregister(cloud)
    cloud.client("sagemaker").delete_endpoint(EndpointName=cloud.endpoint)
    cloud.wait(lambda: not cloud.endpoint_status(), "the end of the endpoint", 60)
    return _nothing


def _deregister(cloud: DrillCloud) -> Mend:
    cloud.client("application-autoscaling").deregister_scalable_target(**_target(cloud))
    return _nothing


def _update(cloud: DrillCloud, config: str) -> None:
    cloud.client("sagemaker").update_endpoint(EndpointName=cloud.endpoint, EndpointConfigName=config)
    cloud.wait(lambda: cloud.endpoint_status() == "InService", "the update by hand", 120)


def _point_elsewhere(cloud: DrillCloud) -> Mend:
    sagemaker, serving = cloud.client("sagemaker"), _champion(cloud)["artifact_uri"]
    for each in sagemaker.list_endpoint_configs(MaxResults=100)["EndpointConfigs"]:
        name = each["EndpointConfigName"]
        if sagemaker.describe_model(ModelName=name)["PrimaryContainer"]["ModelDataUrl"] != serving:
            _update(cloud, name)
            return _nothing
    raise LocalError("no configuration of another model is left")


def _own_config(cloud: DrillCloud) -> Mend:
    sagemaker = cloud.client("sagemaker")
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=_config(cloud))["ProductionVariants"]
    sagemaker.create_endpoint_config(EndpointConfigName="by-hand", ProductionVariants=variants)
    _update(cloud, "by-hand")
    return _torn_down(cloud)


def _delete_config(cloud: DrillCloud) -> Mend:
    cloud.client("sagemaker").delete_endpoint_config(EndpointConfigName=_config(cloud))
    return _torn_down(cloud)


def _delete_model(cloud: DrillCloud) -> Mend:
    cloud.client("sagemaker").delete_model(ModelName=_config(cloud))
    return _nothing


def _artifact(cloud: DrillCloud, body: bytes | None) -> Mend:
    """Delete the champion's artifact, or put other bytes there; the hand that did it puts it back."""
    bucket, _, key = _champion(cloud)["artifact_uri"].removeprefix("s3://").partition("/")
    s3, location = cloud.client("s3"), {"Bucket": bucket, "Key": key}
    kept = s3.get_object(**location)["Body"].read()
    s3.delete_object(**location)
    if body is not None:
        s3.put_object(**location, Body=body)
    return lambda: s3.put_object(**location, Body=kept)


def _delete_artifact(cloud: DrillCloud) -> Mend:
    return _artifact(cloud, None)


def _damage_artifact(cloud: DrillCloud) -> Mend:
    return _artifact(cloud, b"other bytes")


def _pointer(value: str | None) -> Removal:
    def remove(cloud: DrillCloud) -> Mend:
        name, ssm = f"/{stack.STACK}/champion", cloud.client("ssm")
        if value is None:
            ssm.delete_parameter(Name=name)
        else:
            ssm.put_parameter(Name=name, Value=value, Overwrite=True)
        return _nothing

    return remove


def _older_pointer(cloud: DrillCloud) -> Mend:
    champion, sagemaker = _champion(cloud), cloud.client("sagemaker")
    arn, _, number = champion["model_package_arn"].rpartition("/")
    other = f"{arn}/{3 - int(number)}"
    container = sagemaker.describe_model_package(ModelPackageName=other)["InferenceSpecification"]["Containers"][0]
    older = champion | {"model_package_arn": other, "artifact_uri": container["ModelDataUrl"]}
    return _pointer(json.dumps(older))(cloud)


def _change_range(cloud: DrillCloud) -> Mend:
    scaling = cloud.client("application-autoscaling")
    scaling.register_scalable_target(**_target(cloud), MinCapacity=1, MaxCapacity=7)
    return _nothing


def _delete_policy(cloud: DrillCloud) -> Mend:
    scaling = cloud.client("application-autoscaling")
    scaling.delete_scaling_policy(**_target(cloud), PolicyName=f"{cloud.endpoint}-concurrency")
    return _nothing


def _change_policy(cloud: DrillCloud) -> Mend:
    scaling, name = cloud.client("application-autoscaling"), f"{cloud.endpoint}-concurrency"
    (policy,) = scaling.describe_scaling_policies(**_target(cloud), PolicyNames=[name])["ScalingPolicies"]
    kind = "TargetTrackingScalingPolicyConfiguration"
    changed = policy[kind] | {"TargetValue": policy[kind]["TargetValue"] + 7}
    request = {"PolicyName": name, "PolicyType": "TargetTrackingScaling", kind: changed}
    scaling.put_scaling_policy(**_target(cloud), **request)
    return _nothing


def _delete_burst_alarm(cloud: DrillCloud) -> Mend:
    cloud.client("cloudwatch").delete_alarms(AlarmNames=[f"{cloud.endpoint}-burst"])
    return _nothing


def _delete_rollback_alarms(cloud: DrillCloud) -> Mend:
    cloudwatch = cloud.client("cloudwatch")
    names = [f"{cloud.endpoint}-model-errors", f"{cloud.endpoint}-model-time"]
    alarms = cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]
    cloudwatch.delete_alarms(AlarmNames=names)
    members = cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape.members

    def put() -> None:
        for alarm in alarms:
            request = {name: value for name, value in alarm.items() if name in members and value not in ("", [], None)}
            cloudwatch.put_metric_alarm(**request)

    return put


def _delete_lease(cloud: DrillCloud) -> Mend:
    cloud.client("scheduler").delete_schedule(GroupName=stack.STACK, Name=f"{cloud.endpoint}-lease")
    return _nothing


def _reject(cloud: DrillCloud) -> Mend:
    champion, sagemaker = _champion(cloud), cloud.client("sagemaker")
    package, version = (
        {"ModelPackageArn": champion["model_package_arn"]},
        champion["model_package_arn"].rpartition("/")[2],
    )
    sagemaker.update_model_package(**package, ModelApprovalStatus="Rejected")
    said = cloud.await_end(cloud.promote(promote=int(version)))
    if "served before, and is Rejected" not in str(said.get("cause")):
        raise LocalError(f"a promotion of a version that was rejected by hand said: {said.get('cause')}")
    return lambda: sagemaker.update_model_package(**package, ModelApprovalStatus="Approved")


def _delete_package(cloud: DrillCloud) -> Mend:
    champion, sagemaker = _champion(cloud), cloud.client("sagemaker")
    arn = champion["model_package_arn"]
    model = sagemaker.describe_model(ModelName=_config(cloud))["PrimaryContainer"]
    sagemaker.delete_model_package(ModelPackageName=arn)

    def register() -> int:
        container = {"Image": model["Image"], "ModelDataUrl": champion["artifact_uri"]}
        made = sagemaker.create_model_package(
            ModelPackageGroupName=arn.split("/")[1],
            ModelApprovalStatus="Approved",
            InferenceSpecification={"Containers": [container]},
            CustomerMetadataProperties={"run": champion["run"], "top1": str(champion["top1"]), "served": "true"},
        )
        return int(made["ModelPackageArn"].rpartition("/")[2])

    return register


def _key(cloud: DrillCloud) -> tuple[Any, str, str]:
    """Return API Gateway's client, the id of the pipeline's own key, and that of the key's usage plan."""
    formation, names = cloud.client("cloudformation"), ("SmokeApiKey", "SmokeUsagePlan")
    found = [formation.describe_stack_resource(StackName=stack.STACK, LogicalResourceId=name) for name in names]
    key, plan = (each["StackResourceDetail"]["PhysicalResourceId"] for each in found)
    return cloud.client("apigateway"), key, plan


def _take_key_out(cloud: DrillCloud) -> Mend:
    gateway, key, plan = _key(cloud)
    gateway.delete_usage_plan_key(usagePlanId=plan, keyId=key)
    return lambda: gateway.create_usage_plan_key(usagePlanId=plan, keyId=key, keyType="API_KEY")


def _delete_plan(cloud: DrillCloud) -> Mend:
    gateway, key, plan = _key(cloud)
    kept = gateway.get_usage_plan(usagePlanId=plan)
    gateway.delete_usage_plan(usagePlanId=plan)

    def put() -> None:
        made = gateway.create_usage_plan(name="again", **{name: kept[name] for name in ("apiStages", "throttle")})
        gateway.create_usage_plan_key(usagePlanId=made["id"], keyId=key, keyType="API_KEY")

    return put


# What a hand does, and what the next run says about it; empty where a run simply goes on.
HANDS: tuple[tuple[str, Removal, str], ...] = (
    ("the endpoint points elsewhere", _point_elsewhere, "serves s3://"),
    ("the endpoint is deleted", _delete_endpoint, ""),
    ("the configuration is replaced", _own_config, "which no run made"),
    ("the configuration is deleted", _delete_config, "start teardown with {}"),
    ("the model is deleted", _delete_model, "which was deleted"),
    ("the artifact is deleted", _delete_artifact, "is gone"),
    ("the artifact is another file", _damage_artifact, "is another file than the one that was judged"),
    ("the version is rejected", _reject, "is Rejected in the registry; approve it: aws sagemaker"),
    ("the pointer is garbled", _pointer("nobody"), "names no champion"),
    ("the pointer names none", _pointer("none"), "names no champion, but the endpoint"),
    ("the pointer names an older version", _older_pointer, "serves s3://"),
    ("the pointer is deleted", _pointer(None), "is gone, but the endpoint"),
    ("the scalable target is deregistered", _deregister, "no range"),
    ("the range is changed", _change_range, "scales from 1 to 7 instances"),
    ("a scaling policy is deleted", _delete_policy, "no policy kennel-concurrency"),
    ("a scaling policy is changed", _change_policy, "requests in an instance, and should keep"),
    ("the burst alarm is deleted", _delete_burst_alarm, "no alarm kennel-burst"),
    ("the rollback alarms are deleted", _delete_rollback_alarms, "aws cloudwatch put-metric-alarm"),
    ("the API key is out of its plan", _take_key_out, "is in no usage plan of the API"),
    ("the usage plan is deleted", _delete_plan, "aws apigateway create-usage-plan"),
    ("the lease is deleted", _delete_lease, ""),
    (
        "the version is deleted",
        _delete_package,
        "was deleted from the registry; register it again",
    ),
)
