"""What AWS refuses beyond botocore's service model: pure functions of a request.

docs/laptop-cloud.md lists every rule with AWS's page on it. The messages are AWS's where they are known. A request that
AWS accepts and the laptop cloud does not support is refused with a message that names "the laptop cloud".
"""

import os.path
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloud.core.protocol import Request, invalid
from cloud.core.uris import ImageUri, S3Uri, StorageError

CHECKPOINTS = "/opt/ml/checkpoints"  # the default of CheckpointConfig.LocalPath
DEFAULT_MAX_RUNTIME = 24 * 3600  # seconds
_MAX_RUNTIME = 28 * 24 * 3600  # seconds

# Families of instance types with local NVMe disks. The pattern below matches families that have EBS volumes only.
_LOCAL_DISKS = {
    *("c5d", "c6gd", "dl1", "g4dn", "g5", "g6", "g6e", "m5d", "m6gd", "p3dn", "p4d", "p4de", "p5", "p5e", "p5en"),
    *("p6-b200", "p6-b300", "p6e-gb200", "r5d", "r6gd", "r7gd", "trn1", "trn1n", "trn2"),
}
_EBS_ONLY = re.compile(r"[cmr]\d+(n|i|i-flex)?|t[23]|p[23]")


def training_job(request: Request, region: str) -> None:
    """Check a request of CreateTrainingJob.

    Raises:
        ApiError: it is refused.
    """
    algorithm, resources = request.get("AlgorithmSpecification", {}), request.get("ResourceConfig", {})
    if "TrainingImage" not in algorithm:
        raise invalid(
            "AlgorithmSpecification.TrainingImage is missing; the laptop cloud needs it, because it has no built-in "
            "algorithms."
        )
    _check_training_image(algorithm["TrainingImage"], region)
    if not resources.get("InstanceCount") or "InstanceType" not in resources:
        raise invalid(
            "ResourceConfig.InstanceCount or InstanceType is missing; the laptop cloud needs both, because it has no "
            "instance groups."
        )
    _check_cluster(resources)
    _check_channels(request.get("InputDataConfig", []), algorithm["TrainingInputMode"])
    _check_stopping_condition(request)
    _check_s3_uri(request["OutputDataConfig"]["S3OutputPath"], "OutputDataConfig.S3OutputPath")
    if request["OutputDataConfig"].get("CompressionType", "GZIP") != "GZIP":
        raise invalid("OutputDataConfig.CompressionType: the laptop cloud supports GZIP only.")
    if "CheckpointConfig" in request:
        _check_s3_uri(request["CheckpointConfig"]["S3Uri"], "CheckpointConfig.S3Uri")
        if not _is_below(request["CheckpointConfig"].get("LocalPath", CHECKPOINTS), "/opt/ml"):
            raise invalid("CheckpointConfig.LocalPath: the laptop cloud supports paths below /opt/ml only.")


def processing_job(request: Request, region: str) -> None:
    """Check a request of CreateProcessingJob.

    Raises:
        ApiError: it is refused.
    """
    specification = request["AppSpecification"]
    uri, cluster = specification["ImageUri"], request["ProcessingResources"]["ClusterConfig"]
    image = ImageUri.parse(uri)
    if not image or image.region != region:
        raise invalid(
            f"Invalid image URI {uri}. Please provide a valid Amazon Elastic Container Registry path of the Docker "
            "image to run."
        )
    if "InstanceType" not in cluster or "InstanceCount" not in cluster:
        raise invalid("ClusterConfig.InstanceType or InstanceCount is missing; the laptop cloud needs both.")
    _check_cluster(cluster)
    for each in request.get("ProcessingInputs", []):
        _check_processing_input(each)
    for each in request.get("ProcessingOutputConfig", {}).get("Outputs", []):
        where = f"Output {each['OutputName']}"
        if each.get("S3Output", {}).get("S3UploadMode") != "EndOfJob" or each.get("AppManaged"):
            raise invalid(f"{where}: the laptop cloud supports S3Output with S3UploadMode EndOfJob only.")
        _check_processing_path(each["S3Output"].get("LocalPath", ""), where)
        _check_s3_uri(each["S3Output"]["S3Uri"], where)


def _check_s3_input(source: Mapping[str, Any], where: str) -> None:
    """Check an S3 input of either kind of job.

    Args:
        source: S3DataSource or S3Input.
        where: the input's place in the request, for messages.

    Raises:
        ApiError: it is refused.
    """
    if source.get("S3DataType", "S3Prefix") != "S3Prefix":
        raise invalid(f"{where}: the laptop cloud supports S3DataType S3Prefix only.")
    if source.get("S3DataDistributionType", "FullyReplicated") != "FullyReplicated":
        raise invalid(f"{where}: the laptop cloud supports S3DataDistributionType FullyReplicated only.")
    _check_s3_uri(source["S3Uri"], where)


def _check_s3_uri(uri: str, where: str) -> None:
    """Check that a URI has the form ``s3://bucket/key``.

    Args:
        uri: the URI.
        where: the URI's place in the request, for messages.

    Raises:
        ApiError: it has another form.
    """
    try:
        S3Uri.parse(uri)
    except StorageError as error:
        raise invalid(f"{where}: {error}") from None


def _check_training_image(uri: str, region: str) -> None:
    image = ImageUri.parse(uri)
    if not image:
        raise invalid(
            "TrainingImageConfig with TrainingRepositoryAccessMode set to VPC must be provided when using a training "
            f"image from a private Docker registry ({uri})."
        )
    if image.region != region:
        raise invalid(
            f"Invalid DNS suffix '{image.suffix}' for region '{image.region}' in training image. Please provide "
            f"the valid <region>.<dns-suffix>: '{region}.{image.suffix}'"
        )


def _check_cluster(cluster: Mapping[str, Any]) -> None:
    """Check a ResourceConfig or ClusterConfig.

    Raises:
        ApiError: it is refused.
    """
    instance_type = cluster["InstanceType"]
    family = instance_type.split(".")[1]
    if family in _LOCAL_DISKS and "VolumeKmsKeyId" in cluster:
        raise invalid(
            f"You can't request a VolumeKmsKeyId when using an instance type with local storage; "
            f"{instance_type} encrypts its disks with a key of its own."
        )
    if _EBS_ONLY.fullmatch(family) and not cluster.get("VolumeSizeInGB"):
        raise invalid(f"You must define VolumeSizeInGB: {instance_type} has no local disks.")


def _check_channels(channels: Sequence[Mapping[str, Any]], default_mode: str) -> None:
    for channel in channels:
        name, mode = channel["ChannelName"], channel.get("InputMode", default_mode)
        if mode != "File":
            raise invalid(f"Channel {name}: the laptop cloud supports input mode File, not {mode}.")
        if channel.get("CompressionType", "None") != "None":
            raise invalid(
                f"Invalid compression type for channel {name}: File mode only supports NONE, got "
                f"{channel['CompressionType']} instead"
            )
        if channel.get("RecordWrapperType", "None") != "None":
            raise invalid(f"Channel {name}: RecordWrapperType must be unset or None in File mode.")
        if "S3DataSource" not in channel["DataSource"]:
            raise invalid(f"Channel {name}: the laptop cloud supports S3DataSource only.")
        _check_s3_input(channel["DataSource"]["S3DataSource"], f"Channel {name}")
    if repeated := _first_repeated(channel["ChannelName"] for channel in channels):
        raise invalid(
            f"InputDataConfig names channel {repeated} twice; each has one folder, /opt/ml/input/data/{repeated}."
        )


def _check_stopping_condition(request: Request) -> None:
    limits = request.get("StoppingCondition", {})
    wait = limits.get("MaxWaitTimeInSeconds")
    runtime = limits.get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME)
    if runtime > _MAX_RUNTIME:
        raise invalid(f"Invalid MaxRuntimeInSeconds. The maximum value is 28 days ({_MAX_RUNTIME}).")
    if request.get("EnableManagedSpotTraining"):
        if wait is None or wait < runtime:
            raise invalid(
                "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"
            )
    elif wait is not None:
        raise invalid(
            "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true"
        )


def _check_processing_input(processing_input: Mapping[str, Any]) -> None:
    where = f"Input {processing_input['InputName']}"
    if "S3Input" not in processing_input or processing_input.get("AppManaged"):
        raise invalid(f"{where}: the laptop cloud supports S3Input only.")
    source = processing_input["S3Input"]
    if source.get("S3InputMode", "File") != "File":
        raise invalid(f"{where}: the laptop cloud supports S3InputMode File, not {source['S3InputMode']}.")
    if source.get("S3CompressionType", "None") != "None":
        raise invalid(f"{where}: S3CompressionType Gzip can only be used when S3InputMode is Pipe.")
    _check_s3_input(source, where)
    _check_processing_path(source.get("LocalPath", ""), where)


def _check_processing_path(path: str, where: str) -> None:
    if not _is_below(path, "/opt/ml/processing"):
        raise invalid(f"{where}: LocalPath must begin with /opt/ml/processing/, not '{path}'.")


def model(request: Request) -> None:
    """Check a request of CreateModel without its container, which ``container`` checks.

    Raises:
        ApiError: it is refused.
    """
    if len(_containers(request)) != 1:
        raise invalid("The laptop cloud supports models of one container only, in PrimaryContainer or in Containers.")
    if "ExecutionRoleArn" not in request:
        raise invalid(
            "ExecutionRoleArn is missing; the laptop cloud needs the role that reads the model's data and image."
        )


def container_of(request: Request) -> Mapping[str, Any]:
    """Return the only container of a request of CreateModel that ``model`` has checked."""
    return _containers(request)[0]


def _containers(request: Request) -> list[Mapping[str, Any]]:
    primary = [request["PrimaryContainer"]] if "PrimaryContainer" in request else []
    return [*primary, *request.get("Containers", [])]


def container(specification: Mapping[str, Any], region: str) -> None:
    """Check a container of a model or of a model package.

    Raises:
        ApiError: it is refused.
    """
    if specification.get("Mode", "SingleModel") != "SingleModel":
        raise invalid("The laptop cloud has no multi-model endpoints; leave Mode out.")
    image_uri = specification.get("Image", "")
    image = ImageUri.parse(image_uri)
    if not image:
        raise invalid(f'Using non-ECR image "{image_uri}" without Vpc repository access mode is not supported.')
    if image.region != region:
        raise invalid(f'The image "{image_uri}" must be in the same region as the model, {region}.')
    source = specification.get("ModelDataSource", {}).get("S3DataSource")
    if source and (source["S3DataType"], source["CompressionType"]) != ("S3Object", "Gzip"):
        raise invalid("ModelDataSource: the laptop cloud supports S3DataType S3Object with CompressionType Gzip only.")
    url = specification.get("ModelDataUrl") or (source or {}).get("S3Uri")
    if not url:
        raise invalid("ModelDataUrl is missing; the laptop cloud needs the model.tar.gz of the model's data.")
    _check_s3_uri(url, "ModelDataUrl")
    if not url.endswith(".tar.gz"):
        raise invalid(f"ModelDataUrl must point to a single gzip compressed tar archive (.tar.gz suffix), not {url}.")


def model_package(request: Request, region: str) -> None:
    """Check a request of CreateModelPackage.

    Raises:
        ApiError: it is refused.
    """
    group, name = request.get("ModelPackageGroupName"), request.get("ModelPackageName")
    if group and name:
        raise invalid(
            "Both ModelPackageName and ModelPackageGroupName are provided in the input. Cannot determine which one "
            "to use."
        )
    if not group and not name:
        raise invalid("Missing ARN.")
    if group and request.get("Tags"):
        raise invalid("A model package of a group has the group's tags; it cannot have Tags of its own.")
    if "InferenceSpecification" not in request:
        raise invalid("InferenceSpecification is missing; the laptop cloud needs it for every model package.")
    specification = request["InferenceSpecification"]
    for member in ("SupportedTransformInstanceTypes", "SupportedRealtimeInferenceInstanceTypes"):
        if not group and member not in specification:
            raise invalid(f"InferenceSpecification.{member} is required for a model package without a group.")
    for each in specification["Containers"]:
        container(each, region)


def endpoint_config(request: Request) -> None:
    """Check a request of CreateEndpointConfig.

    Raises:
        ApiError: it is refused.
    """
    if request.get("DataCaptureConfig", {}).get("EnableCapture"):
        raise invalid("The laptop cloud cannot capture data; leave DataCaptureConfig out.")
    for variant in request["ProductionVariants"]:
        if not {"ModelName", "InitialInstanceCount", "InstanceType"} <= variant.keys():
            raise invalid(
                f"Production variant {variant['VariantName']}: the laptop cloud needs ModelName, InstanceType and "
                "InitialInstanceCount; it has neither serverless variants nor inference components."
            )
        instance_type = variant["InstanceType"]
        if "KmsKeyId" in request and instance_type.split(".")[1] in _LOCAL_DISKS:
            raise invalid(
                "You can't request a KmsKeyId when using an instance type with local storage; "
                f"{instance_type} encrypts its disks with a key of its own."
            )
    if repeated := _first_repeated(variant["VariantName"] for variant in request["ProductionVariants"]):
        raise invalid(f"ProductionVariants names variant {repeated} twice; every variant needs a name of its own.")


def deployment(config: Mapping[str, Any], counts: Mapping[str, int], serving: Iterable[str] | None) -> None:
    """Check a DeploymentConfig.

    Args:
        config: the configuration; empty when the request has none.
        counts: number of instances of each new variant, by name.
        serving: names of the variants that serve; None when there is no endpoint yet.

    Raises:
        ApiError: it is refused.
    """
    if not config:
        return
    if serving is not None and set(serving) != set(counts):
        raise invalid(
            "The new endpoint configuration must have the same variant names as the old one: it has "
            f"{', '.join(sorted(counts))}, the endpoint {', '.join(sorted(serving))}."
        )
    if "BlueGreenUpdatePolicy" in config:
        _check_blue_green(config["BlueGreenUpdatePolicy"], counts)


def _check_blue_green(policy: Mapping[str, Any], counts: Mapping[str, int]) -> None:
    routing = policy["TrafficRoutingConfiguration"]
    for kind, member, min_percent in (("CANARY", "CanarySize", 0), ("LINEAR", "LinearStepSize", 10)):
        if routing["Type"] == kind:
            if member not in routing:
                raise invalid(f"TrafficRoutingConfiguration of type {kind} needs {member}.")
            _check_step(member, routing[member], counts, min_percent)
    waits = routing["WaitIntervalInSeconds"] + policy.get("TerminationWaitInSeconds", 0)
    if policy.get("MaximumExecutionTimeoutInSeconds", waits + 1) <= waits:
        raise invalid(
            "MaximumExecutionTimeoutInSeconds should be larger than the total waiting time specified in "
            f"TerminationWaitInSeconds and WaitIntervalInSeconds, {waits}."
        )


def _check_step(member: str, size: Mapping[str, Any], counts: Mapping[str, int], min_percent: int) -> None:
    """Check the part of a fleet that one step moves: from ``min_percent`` to 50 percent of it.

    Raises:
        ApiError: the part of a variant is outside this range.
    """
    for variant, count in counts.items():
        percent = size["Value"] if size["Type"] == "CAPACITY_PERCENT" else 100 * size["Value"] / count
        if not min_percent <= percent <= 50:
            allowed = f"{min_percent}-50%" if min_percent else "at most 50%"
            raise invalid(
                f"{member}: the value must be {allowed} of the variant's total instance count; "
                f"for {variant} it is {percent:g}% of {count}."
            )


def capacities(changes: Sequence[Mapping[str, Any]]) -> None:
    """Check the DesiredWeightsAndCapacities of UpdateEndpointWeightsAndCapacities.

    Raises:
        ApiError: they are refused.
    """
    counts = {each["VariantName"]: each["DesiredInstanceCount"] for each in changes if "DesiredInstanceCount" in each}
    if len(counts) > 1:
        raise invalid(f"The capacity of one variant can be updated at a time, not of {', '.join(counts)}.")
    if 0 in counts.values():
        raise invalid("DesiredInstanceCount 0 is for endpoints with inference components; this endpoint has none.")


def _is_below(path: str, folder: str) -> bool:
    return os.path.normpath(path).startswith(f"{folder}/")


def _first_repeated(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)
