"""Production and what a run changes in it: endpoint, scaling, model, configuration, registered version."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from restore.function import ModelFunction
from shared import pointer
from shared.model_function import FUNCTION, INSTANCES, NOTHING
from shared.names import run_id
from shared.restoring import Before, Restoration

if TYPE_CHECKING:
    from mypy_boto3_application_autoscaling import ApplicationAutoScalingClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient

_CHANGING = ("Creating", "Updating", "RollingBack", "SystemUpdating", "Deleting")
_DIMENSION: Any = "sagemaker:variant:DesiredInstanceCount"
_VARIANT = "main"
_NEWEST = 5  # A stopped run registered its version as one of the last.


@dataclass(frozen=True)
class Production:
    """The endpoint with its scaling, the model's function, and clients of the services that know about them."""

    sagemaker: "SageMakerClient"
    autoscaling: "ApplicationAutoScalingClient"
    cloudwatch: "CloudWatchClient"
    s3: "S3Client"
    ssm: "SSMClient"
    bucket: str
    endpoint: str
    champion_parameter: str
    model_package_group: str
    runbook_url: str
    function: ModelFunction

    def restore(self, execution_name: str) -> Restoration:
        """Take one step back to what served before a run; the caller asks again until it is done."""
        run = run_id(execution_name)
        try:
            return self._restore(run, self._before(run))
        except ClientError as error:  # Lambda is still at work on what was asked of it before.
            if error.response["Error"]["Code"] != "ResourceConflictException":
                raise
            return Restoration(done=False, answer=error.response["Error"]["Message"])

    def _restore(self, run: str, before: Before | None) -> Restoration:
        own = f"{self.endpoint}-{run}"
        found = self._described(self.endpoint)
        config, status = found.get("EndpointConfigName", ""), found.get("EndpointStatus", "")
        if status in _CHANGING:
            return Restoration(done=False, answer=f"the endpoint {self.endpoint} is {status}")
        if staging := self._end_staging(f"{own}-s"):
            return Restoration(done=False, answer=staging)
        if self._was_promoted(own, before):
            return self._finish(run, found, before)
        if before and before.hosting:
            self.function.point(before.hosting)
        self.function.take_back(run, before)
        is_new, is_unused = config == own and not (before and before.config), self.function.is_unused(before)
        # A run with a function remembers no configuration of the endpoint that serves, because it does not touch that.
        had_endpoint = before and (before.config or config not in ("", own))
        serves_instead = before and ((is_new and before.function) or (is_unused and had_endpoint))
        if serves_instead and not self.function.is_followed():
            return Restoration(done=False, answer="callers do not follow the hosting pointer yet")
        if is_unused:
            self.function.delete()
        if config == own:
            return self._take_back(None if is_new else before)
        if before and config == before.config:
            try:
                self._put_scaling(before)
            except self.autoscaling.exceptions.ValidationException as error:  # While the endpoint is being scaled.
                return Restoration(done=False, answer=error.response["Error"]["Message"])
        _ignoring_absence(self.sagemaker.delete_endpoint_config, EndpointConfigName=own)
        _ignoring_absence(self.sagemaker.delete_model, ModelName=own)
        self._reject(run)
        return Restoration(done=True, answer=f"nothing of run {run} is left in production")

    def _finish(self, run: str, endpoint: dict[str, Any], before: Before | None) -> Restoration:
        """Remove what served before a run that has changed the hosting, and had moved the champion pointer."""
        hosting = self.function.hosting()
        has_changed = before is not None and before.hosting != hosting
        if has_changed and hosting == FUNCTION and endpoint:
            self._deregister()
            self.sagemaker.delete_endpoint(EndpointName=self.endpoint)
            return Restoration(done=False, answer=f"the endpoint {self.endpoint} is being deleted")
        if has_changed and hosting == INSTANCES:
            self.function.delete()
        return Restoration(done=True, answer=f"run {run} had moved the champion pointer, so what it deployed stays")

    def _before(self, run: str) -> Before | None:
        try:
            body = self.s3.get_object(Bucket=self.bucket, Key=f"runs/{run}/before.json")["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return None
        return Before.model_validate_json(body)

    def _end_staging(self, name: str) -> str:
        """Delete the run's staging; return what is awaited, or nothing."""
        status = self._described(name).get("EndpointStatus", "")
        if status in _CHANGING:
            return f"the endpoint {name} is {status}"
        if status:
            self.sagemaker.delete_endpoint(EndpointName=name)
            return f"the endpoint {name} is being deleted"
        _ignoring_absence(self.sagemaker.delete_endpoint_config, EndpointConfigName=name)
        return ""

    def _described(self, name: str) -> dict[str, Any]:
        try:
            return dict(self.sagemaker.describe_endpoint(EndpointName=name))
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationException":
                raise
            return {}

    def _was_promoted(self, own: str, before: Before | None) -> bool:
        value, version = pointer.read(self.ssm, self.champion_parameter)
        if before:
            return version > before.pointer_version
        try:
            model = self.sagemaker.describe_model(ModelName=own)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationException":
                raise
            return False
        # The endpoint is new. A pointer that named this model before says nothing, but then nothing scales it yet.
        return model["PrimaryContainer"]["ModelDataUrl"] in (value or "") and bool(self._target())

    @property
    def _resource(self) -> Any:
        return {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{self.endpoint}/variant/{_VARIANT}",
            "ScalableDimension": _DIMENSION,
        }

    def _target(self) -> list[Any]:
        resource = self._resource
        answer = self.autoscaling.describe_scalable_targets(
            ServiceNamespace="sagemaker", ResourceIds=[resource["ResourceId"]], ScalableDimension=_DIMENSION
        )
        return list(answer["ScalableTargets"])

    def _deregister(self) -> None:
        if self._target():
            self.autoscaling.deregister_scalable_target(**self._resource)

    def _take_back(self, before: Before | None) -> Restoration:
        """Delete an endpoint that the run created, or update it to the configuration that served before the run."""
        try:
            if before is None:
                self._deregister()
                if self.function.hosting() == INSTANCES:
                    self.function.point(NOTHING)
                self.sagemaker.delete_endpoint(EndpointName=self.endpoint)
                return Restoration(done=False, answer=f"the endpoint {self.endpoint} is being deleted")
            if before.instance_type != self._instance_type():  # SageMaker refuses that for a scalable target.
                self._deregister()
            self.sagemaker.update_endpoint(
                EndpointName=self.endpoint,
                EndpointConfigName=before.config,
                RetainAllVariantProperties=True,
                DeploymentConfig={
                    "BlueGreenUpdatePolicy": {
                        "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
                        "TerminationWaitInSeconds": 0,
                        "MaximumExecutionTimeoutInSeconds": 3600,
                    }
                },
            )
        except ClientError as error:  # For minutes, while the endpoint is being scaled.
            if error.response["Error"]["Code"] == "AccessDeniedException":
                raise
            return Restoration(done=False, answer=error.response["Error"]["Message"])
        return Restoration(done=False, answer=f"the endpoint {self.endpoint} goes back to {before.config}")

    def _instance_type(self) -> str:
        config = self.sagemaker.describe_endpoint_config(
            EndpointConfigName=self._described(self.endpoint)["EndpointConfigName"]
        )
        return str(config["ProductionVariants"][0]["InstanceType"])

    def _put_scaling(self, before: Before) -> None:
        """Put range, policies and alarm back that the champion scaled by."""
        if not before.ranges or not before.scaling.policies:
            return
        least, most = before.ranges[0]["MinCapacity"], before.ranges[0]["MaxCapacity"]
        self.autoscaling.register_scalable_target(**self._resource, MinCapacity=least, MaxCapacity=most)
        for policy in before.scaling.policies:
            arn = self.autoscaling.put_scaling_policy(**policy)["PolicyARN"]
            if policy["PolicyType"] == "StepScaling":
                self._put_alarm(before.scaling.burst_value, arn)

    def _put_alarm(self, threshold: float, policy_arn: str) -> None:
        self.cloudwatch.put_metric_alarm(
            AlarmName=f"{self.endpoint}-burst",
            AlarmDescription=(
                "An instance has more requests than it is meant to hold, so instances are added. "
                f"Runbook: {self.runbook_url}#burst"
            ),
            Namespace="AWS/SageMaker",
            MetricName="ConcurrentRequestsPerModel",
            Dimensions=[{"Name": "EndpointName", "Value": self.endpoint}, {"Name": "VariantName", "Value": _VARIANT}],
            Statistic="Maximum",
            Period=10,
            EvaluationPeriods=1,
            Threshold=threshold,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="notBreaching",
            AlarmActions=[policy_arn],
        )

    def _reject(self, run: str) -> None:
        """Reject the version that the run registered and did not promote."""
        listed = self.sagemaker.list_model_packages(
            ModelPackageGroupName=self.model_package_group,
            SortBy="CreationTime",
            SortOrder="Descending",
            MaxResults=_NEWEST,
        )
        for package in listed["ModelPackageSummaryList"]:
            arn = package["ModelPackageArn"]
            described = self.sagemaker.describe_model_package(ModelPackageName=arn)
            is_own = described.get("CustomerMetadataProperties", {}).get("run") == run
            if is_own and described["ModelApprovalStatus"] != "Rejected":
                self.sagemaker.update_model_package(
                    ModelPackageArn=arn,
                    ModelApprovalStatus="Rejected",
                    ApprovalDescription="the run was stopped before the champion pointer moved",
                )


def _ignoring_absence(delete: Any, **name: str) -> None:
    """Call SageMaker, which answers ValidationException when there is nothing to delete."""
    try:
        delete(**name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
