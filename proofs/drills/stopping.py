"""Drill with runs that are stopped at each state, and with a hand that removes each resource of the champion."""

from typing import Any

from local.home import LocalError
from proofs.drills.drill_cloud import DrillCloud
from proofs.drills.hands import HANDS, Removal, resource_of
from proofs.drills.runs import lock_holder
from proofs.promises import Report

# The states of an update that change something, or that wait for a change. A run is stopped as it enters one, when the
# state before has done its work. The pointer moves in Promote.
STATES = (
    *("CreateModel", "ConfigureStaging", "CreateStaging", "AwaitStaging", "DeleteStaging", "ConfigureProduction"),
    *("UpdateProduction", "AwaitProduction", "RegisterScalableTarget", "PutScalingPolicy", "PutBurstPolicy"),
    *("PutBurstAlarm", "SmokeThroughApi", "ApproveModel", "Promote", "NotifyResult", "ReleaseLock"),
)

# The same for a run that finds no endpoint and no champion; the last one has moved the pointer.
FIRST_STATES = ("AwaitProduction", "SmokeThroughApi", "Promote", "NotifyResult")


def stop_anywhere(cloud: DrillCloud, report: Report) -> None:
    """Stop an update at each of its states, then remove each resource by hand; one truth must be left each time."""
    for state in FIRST_STATES:
        _stop_first_at(cloud, report, state)
    _two_versions(cloud, report)
    for state in STATES:
        _stop_at(cloud, report, state)
    for words, remove, refusal in HANDS:
        _by_hand(cloud, report, words, remove, refusal)


def _two_versions(cloud: DrillCloud, report: Report) -> None:
    """Have a second version, so that champion and challenger differ; its training is reused."""
    execution = cloud.await_end(cloud.start(cloud.deployed.pipeline_arn, {"dataset": dataset_of(cloud)}))
    if execution["status"] != "SUCCEEDED":
        raise LocalError(f"the second version was not deployed: {execution.get('cause')}")
    report.log("a second version serves; its training was reused")


def stopped(cloud: DrillCloud, state: str, request: dict[str, Any]) -> tuple[float, list[str]]:
    """Stop a run at a state; return the seconds until what it left was taken back, and what went wrong before."""
    execution = cloud.start(cloud.deployed.pipeline_arn, request, f"stop-at-{state}-")
    ended, last = cloud.await_end(execution), entered(cloud, execution)[-1]
    seconds = cloud.wait(lambda: not lock_holder(cloud), f"the end of what a stop at {state} left", 900)
    if (ended["status"], last) == ("ABORTED", state):
        return seconds, []
    return seconds, [f"the run ended as {ended['status']} in {last}: {ended.get('cause') or 'no cause'}"]


def _stop_at(cloud: DrillCloud, report: Report, state: str) -> None:
    before, version = _facts(cloud), _other_version(cloud)
    request = {"promote": version, "max_instances": 5 if before["range"] != [1, 5] else 4}
    seconds, wrong = stopped(cloud, state, request)
    after = _facts(cloud)
    moved = after["pointer"] != before["pointer"]
    wrong += _contradictions(after) + ([] if moved else _differences(before, after))
    which = "the pointer had moved" if moved else "the champion is back"
    report.log(f"stopped at {state}: {which} after {seconds:.0f} s; {'; '.join(wrong) or 'all agree'}")
    report.promise(f"a stop at {state} leaves one truth", not wrong)


def _stop_first_at(cloud: DrillCloud, report: Report, state: str) -> None:
    cloud.await_end(cloud.start(cloud.deployed.teardown_arn, {}))
    seconds, wrong = stopped(cloud, state, {"promote": 1})
    if cloud.champion():
        which, wrong = "the pointer had moved", wrong + _contradictions(_facts(cloud))
    else:
        which, sagemaker = "nothing serves", cloud.client("sagemaker")
        targets = cloud.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
        left = {
            "endpoints": sagemaker.list_endpoints()["Endpoints"],
            "configurations": sagemaker.list_endpoint_configs()["EndpointConfigs"],
            "models": sagemaker.list_models()["Models"],
            "scalable targets": targets["ScalableTargets"],
        }
        wrong += [f"{name} are left" for name, found in left.items() if found]
    if bool(cloud.champion()) != (state == FIRST_STATES[-1]):
        wrong.append(which)
    report.log(f"a first run stopped at {state}: {which} after {seconds:.0f} s; {'; '.join(wrong) or 'all agree'}")
    report.promise(f"a stop of a first run at {state} leaves one truth", not wrong)


def _by_hand(cloud: DrillCloud, report: Report, words: str, remove: Removal, refusal: str) -> None:
    version = _version(cloud)
    mend = remove(cloud)
    if refusal:
        said = cloud.await_end(cloud.start(cloud.deployed.pipeline_arn, {"dataset": dataset_of(cloud)}))
        report.log(f"{words}: a run ended as {said['status']}: {said.get('cause')}")
        report.promise(
            f"{words}: the next run says so before anything costs",
            refusal in said.get("cause", "") and said.get("error") in ("ChampionError", "StackError"),
        )
    mended = mend()
    said = cloud.await_end(cloud.promote(promote=mended if isinstance(mended, int) else version))
    wrong = _contradictions(_facts(cloud)) if said["status"] == "SUCCEEDED" else [str(said.get("cause"))]
    report.log(f"{words}: a promotion ended as {said['status']}; {'; '.join(wrong) or 'all agree'}")
    report.promise(f"{words}: what it names mends it", not wrong)


def dataset_of(cloud: DrillCloud) -> str:
    """Return the key of the newest dataset in the bucket."""
    found = cloud.client("s3").list_objects_v2(Bucket=cloud.deployed.bucket, Prefix="datasets/")["Contents"]
    return str(max(found, key=lambda each: each["LastModified"])["Key"])


def entered(cloud: DrillCloud, execution: str) -> list[str]:
    """Return the names of the states that an execution has entered, the last one at the end."""
    history = cloud.client("stepfunctions").get_execution_history(executionArn=execution, maxResults=1000)["events"]
    return [each["stateEnteredEventDetails"]["name"] for each in history if "stateEnteredEventDetails" in each]


def _version(cloud: DrillCloud) -> int:
    champion = cloud.champion()
    assert champion
    return int(champion["model_package_arn"].rpartition("/")[2])


def _other_version(cloud: DrillCloud) -> int:
    return 3 - _version(cloud)


def _facts(cloud: DrillCloud) -> dict[str, Any]:
    """Return what pointer, endpoint, registry, scaling and lists say."""
    sagemaker, scaling = cloud.client("sagemaker"), cloud.client("application-autoscaling")
    endpoint = cloud.describe_endpoint() or {}
    config = str(endpoint.get("EndpointConfigName", ""))
    targets = scaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[resource_of(cloud)])
    policies = scaling.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=resource_of(cloud))
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
