"""What says which model serves, compared before anything costs: pointer, what answers, bucket, registry and scaling."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import ValidationError

from plan import artifacts
from plan.serving import Serving, of_function
from plan.versions import MANIFEST, manifest_of
from shared import model_function, pointer
from shared.contracts import Champion, RegisteredChampion, Request
from shared.errors import ChampionError

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient

VARIANT = "main"
_STEADY = ("InService", "UpdateRollbackFailed", "OutOfService")
_TEARDOWN = "start teardown with {}, then a run with"


@dataclass(frozen=True)
class Agreement:
    """What serves with everything that names its model, and the clients that read it."""

    s3: "S3Client"
    sagemaker: "SageMakerClient"
    ssm: "SSMClient"
    autoscaling: "ApplicationAutoScalingClient"
    cloudwatch: "CloudWatchClient"
    lambdas: "LambdaClient"
    parameter: str
    hosting_parameter: str
    endpoint: str
    group: str

    def champion(self, request: Request) -> RegisteredChampion | None:
        """Return the champion, with which everything agrees; None if nothing serves.

        Args:
            request: the request of a run with a new model. It may decide what two of the parts disagree on.

        Raises:
            ChampionError: something was removed or changed by hand; the message says what mends that.
        """
        serving, value = self.serving(), pointer.read(self.ssm, self.parameter).value
        if value in (None, "none"):
            self._refuse_unnamed(serving, "is gone" if value is None else "names no champion")
            return None
        try:
            champion = Champion.model_validate(json.loads(value or ""))
        except (json.JSONDecodeError, ValidationError):
            self._refuse_unnamed(serving, found := f"holds '{(value or '')[:80]}', which names no champion")
            raise ChampionError(
                f"the champion pointer {self.parameter} {found}, and nothing serves; start teardown with {{}}, which "
                "writes 'none' into it"
            ) from None
        if serving and serving.uri != champion.artifact_uri:
            raise ChampionError(
                f"the {serving.who} serves {serving.uri}, and the champion pointer names "
                f"{champion.artifact_uri}; start a run with {self._promotion(serving.uri)} (the pointer has "
                f"{_number(champion)})"
            )
        package = self._check_package(champion, serving)
        self._check_artifact(champion, package)
        if serving and serving.instance_type:
            self._check_machines(champion, serving)
            self._check_scaling(champion, serving, package, request)
        container = package["InferenceSpecification"]["Containers"][0]
        return RegisteredChampion(**champion.model_dump(), manifest=manifest_of(container))

    def hosting(self) -> str:
        """Return what the hosting pointer says: ``instances``, ``function``, ``none``, or nothing if it was deleted."""
        return model_function.hosting(self.ssm, self.hosting_parameter)

    def serving(self) -> Serving | None:
        """Return what serves; None if nothing does.

        What the hosting pointer does not name is the rest of a change, and callers ask it no more. Where the pointer
        names nothing, as in a stack of an earlier release, the endpoint comes first.

        Raises:
            ChampionError: it was changed by hand so that no run can update it.
        """
        hosting = self.hosting()
        endpoint = self._endpoint_serves() if hosting != model_function.FUNCTION else None
        if endpoint or hosting == model_function.INSTANCES:
            return endpoint
        return of_function(self.lambdas, self.endpoint)

    def _endpoint_serves(self) -> Serving | None:
        """Return what the endpoint serves; None without an endpoint in a state of rest.

        Raises:
            ChampionError: it has a configuration from which and to which no run can update.
        """
        found = _described(self.sagemaker.describe_endpoint, EndpointName=self.endpoint)
        if found.get("EndpointStatus") not in _STEADY:
            return None
        name = found["EndpointConfigName"]
        config = _described(self.sagemaker.describe_endpoint_config, EndpointConfigName=name)
        if not config:
            raise ChampionError(
                f"the configuration {name}, with which the endpoint {self.endpoint} serves, was deleted, and SageMaker "
                f'updates no endpoint without it; {_TEARDOWN} {{"promote": N}}, where N is the version that shall serve'
            )
        variants = config["ProductionVariants"]
        model = variants[0]["ModelName"]
        described = _described(self.sagemaker.describe_model, ModelName=model)
        container = described.get("PrimaryContainer", {})
        uri = container.get(
            "ModelDataUrl", f"the model {model}" if described else f"the model {model}, which was deleted"
        )
        if not name.startswith(f"{self.endpoint}-") or [each["VariantName"] for each in variants] != [VARIANT]:
            raise ChampionError(
                f"the endpoint {self.endpoint} serves with the configuration {name}, which no run made and to which "
                f"none can go back; {_TEARDOWN} {self._promotion(uri)}"
            )
        return Serving(
            f"endpoint {self.endpoint}",
            name,
            uri,
            container.get("Image", ""),
            manifest_of(container),
            variants[0]["InstanceType"],
        )

    def _refuse_unnamed(self, serving: Serving | None, found: str) -> None:
        """Refuse to replace a model that serves as if nothing served."""
        if serving:
            raise ChampionError(
                f"the champion pointer {self.parameter} {found}, but the {serving.who} serves "
                f"{serving.uri}; start a run with {self._promotion(serving.uri)}, which writes the pointer"
            )

    def _check_artifact(self, champion: Champion, package: dict[str, Any]) -> None:
        report = package.get("CustomerMetadataProperties", {}).get("report", "")
        if problem := artifacts.problem(self.s3, champion.artifact_uri, report):
            raise ChampionError(
                f"the champion's artifact {champion.artifact_uri} {problem}, so no challenger can be compared with it, "
                "and no new instance can serve it; put the file back, or start a run with "
                '{"promote": N}, where N is a version that has its artifact, or teardown with {}, after which the next '
                "run counts as the first"
            )

    def _check_package(self, champion: Champion, serving: Serving | None) -> dict[str, Any]:
        """Check that the registry says about the champion what the pointer says, and return its version."""
        arn, number = champion.model_package_arn, _number(champion)
        package = _described(self.sagemaker.describe_model_package, ModelPackageName=arn)
        if not package:
            raise ChampionError(
                f"version {number}, which the champion pointer names, was deleted from the registry; "
                f"{self._registration(champion, serving)}"
            )
        uri = package["InferenceSpecification"]["Containers"][0].get("ModelDataUrl", "")
        if uri != champion.artifact_uri:
            raise ChampionError(
                f"the champion pointer names {champion.artifact_uri} as version {number}, which is {uri} in the "
                f"registry; start a run with {self._promotion(champion.artifact_uri)}, which writes the pointer"
            )
        known = manifest_of(package["InferenceSpecification"]["Containers"][0])
        if serving and known and serving.manifest != known:
            raise ChampionError(
                f"the {serving.who} serves version {number} without checking that its artifact has the "
                f"manifest {known}, which the registry names; start a run with "
                f"{self._promotion(champion.artifact_uri)}"
            )
        if package["ModelApprovalStatus"] != "Approved":
            raise ChampionError(
                f"version {number}, which the champion pointer names, is {package['ModelApprovalStatus']} in the "
                f"registry; approve it: aws sagemaker update-model-package --model-package-arn {arn} "
                '--model-approval-status Approved, or start a run with {"promote": N}, where N is the version that '
                "shall serve instead"
            )
        return package

    def _registration(self, champion: Champion, serving: Serving | None) -> str:
        """Say how the registry gets a version again that it lost."""
        if not serving:
            return (
                "start teardown with {}, after which the next run counts as the first, or a run with "
                '{"promote": N} of another version'
            )
        container: dict[str, Any] = {"Image": serving.image, "ModelDataUrl": champion.artifact_uri}
        if serving.manifest:  # A version that named its artifact's manifest keeps it.
            container["Environment"] = {MANIFEST: serving.manifest}
        return (
            f"register it again: aws sagemaker create-model-package --model-package-group-name "
            f"{self.group.rpartition('/')[2]} --model-approval-status Approved --inference-specification "
            f"'{json.dumps({'Containers': [container]})}' --customer-metadata-properties "
            f"run={champion.run},top1={champion.top1},served=true, and start a run with "
            '{"promote": N}, where N is the number that this gives it'
        )

    def _check_machines(self, champion: Champion, serving: Serving) -> None:
        if serving.instance_type != champion.instance_type:
            raise ChampionError(
                f"the endpoint {self.endpoint} runs on {serving.instance_type}, and the champion pointer names "
                f'{champion.instance_type}; start a run with {{"promote": {_number(champion)}, '
                '"serving_instance_type": …} and the type on which it shall run'
            )

    def _check_scaling(self, champion: Champion, serving: Serving, package: dict[str, Any], request: Request) -> None:
        """Compare how the endpoint scales with what its promotion set up and wrote into the registry."""
        known = package.get("CustomerMetadataProperties", {})
        promoted = known if known.get("config") == serving.config else {}  # Otherwise it is of an earlier promotion.
        resource: dict[str, Any] = {
            "ServiceNamespace": "sagemaker",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        }
        name = f"endpoint/{self.endpoint}/variant/{VARIANT}"
        targets = self.autoscaling.describe_scalable_targets(**resource, ResourceIds=[name])["ScalableTargets"]
        described: Any = self.autoscaling.describe_scaling_policies(**resource, ResourceId=name)["ScalingPolicies"]
        alarms = self.cloudwatch.describe_alarms(AlarmNames=[f"{self.endpoint}-burst"])["MetricAlarms"]
        changes = policy_changes(self.endpoint, described, alarms, promoted) if targets else ["no range"]
        number = _number(champion)
        if changes:
            raise ChampionError(
                f"the endpoint {self.endpoint} does not scale as its promotion set it up: {'; '.join(changes)}; start "
                f'a run with {{"promote": {number}}}, which sets it up again'
            )
        if any(targets[0].get("SuspendedState", {}).values()):
            suspended = ",".join(f"{each}=false" for each in targets[0]["SuspendedState"])
            raise ChampionError(
                f"the scaling of the endpoint {self.endpoint} is suspended; resume it: aws application-autoscaling "
                f"register-scalable-target --service-namespace sagemaker --resource-id {name} --scalable-dimension "
                f"{resource['ScalableDimension']} --suspended-state {suspended}"
            )
        least, most = targets[0]["MinCapacity"], targets[0]["MaxCapacity"]
        was = (promoted.get("min_instances", str(least)), promoted.get("max_instances", str(most)))
        asked = {"min_instances", "max_instances"} & request.model_fields_set
        if was != (str(least), str(most)) and not asked:
            raise ChampionError(
                f"the endpoint {self.endpoint} scales from {least} to {most} instances, and was promoted with "
                f"{was[0]} to {was[1]}; say in the execution's input what shall hold, for example "
                f'{{"min_instances": {least}, "max_instances": {most}}}'
            )

    def _promotion(self, uri: str) -> str:
        """Return the request that deploys the version with this artifact."""
        for page in self.sagemaker.get_paginator("list_model_packages").paginate(
            ModelPackageGroupName=self.group, ModelApprovalStatus="Approved", SortBy="CreationTime"
        ):
            for each in page["ModelPackageSummaryList"]:
                arn = each["ModelPackageArn"]
                package = self.sagemaker.describe_model_package(ModelPackageName=arn)
                if package["InferenceSpecification"]["Containers"][0].get("ModelDataUrl") == uri:
                    return f'{{"promote": {arn.rpartition("/")[2]}}}, the version that serves, or another one'
        return '{"promote": N}, where N is the version that shall serve'


def policy_changes(endpoint: str, policies: list[Any], alarms: list[Any], promoted: dict[str, str]) -> list[str]:
    """Say what differs between an endpoint's scaling policies and those of its promotion.

    Args:
        policies: in the form of DescribeScalingPolicies.
        alarms: the burst alarm in the form of DescribeAlarms, if it exists.
        promoted: metadata of the version that serves: ``target_value`` and ``burst_value``; empty if unknown.
    """
    changes = []
    found = {each["PolicyName"]: each for each in policies}
    tracking, step = found.get(f"{endpoint}-concurrency"), found.get(f"{endpoint}-burst")
    if not tracking:
        changes.append(f"no policy {endpoint}-concurrency")
    else:
        target = tracking.get("TargetTrackingScalingPolicyConfiguration", {}).get("TargetValue")
        if target != float(promoted.get("target_value", target or 0)):
            changes.append(
                f"{endpoint}-concurrency keeps {target} requests in an instance, and should keep "
                f"{promoted.get('target_value')}"
            )
    if not step:
        changes.append(f"no policy {endpoint}-burst")
    elif not alarms:
        changes.append(f"no alarm {endpoint}-burst")
    elif step["PolicyARN"] not in alarms[0]["AlarmActions"] or not alarms[0].get("ActionsEnabled", True):
        changes.append(f"the alarm {endpoint}-burst does not start its policy")
    elif alarms[0]["Threshold"] != float(promoted.get("burst_value", alarms[0]["Threshold"])):
        changes.append(
            f"the alarm {endpoint}-burst goes off at {alarms[0]['Threshold']} requests, and should at "
            f"{promoted['burst_value']}"
        )
    return changes


def _number(champion: Champion) -> str:
    return champion.model_package_arn.rpartition("/")[2]


def _described(describe: Any, **name: str) -> dict[str, Any]:
    try:
        return dict(describe(**name))
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        return {}
