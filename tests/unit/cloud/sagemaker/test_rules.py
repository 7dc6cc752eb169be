"""Requests that AWS refuses beyond botocore's model, and those that the laptop cloud does not support.

Each test breaks one rule.
"""

import copy
from typing import Any

import pytest

from cloud.core.protocol import ApiError
from cloud.sagemaker import rules

REGION = "us-east-1"
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/kennel:serve"
ABROAD = IMAGE.replace("us-east-1", "eu-central-1")
TRAINING: dict[str, Any] = {
    "TrainingJobName": "j",
    "AlgorithmSpecification": {
        "TrainingImage": "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch:2.13-cpu",
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/launch.py"],
    },
    "InputDataConfig": [{"ChannelName": "code", "DataSource": {"S3DataSource": {"S3Uri": "s3://b/code/"}}}],
    "OutputDataConfig": {"S3OutputPath": "s3://b/runs"},
    "ResourceConfig": {"InstanceCount": 2, "InstanceType": "ml.c7i.xlarge", "VolumeSizeInGB": 50},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
}
PROCESSING: dict[str, Any] = {
    "ProcessingJobName": "j",
    "AppSpecification": {"ImageUri": IMAGE, "ContainerEntrypoint": ["python3"]},
    "ProcessingInputs": [
        {
            "InputName": "model",
            "S3Input": {"S3Uri": "s3://b/m", "S3DataType": "S3Prefix", "LocalPath": "/opt/ml/processing/input"},
        }
    ],
    "ProcessingOutputConfig": {
        "Outputs": [
            {
                "OutputName": "report",
                "S3Output": {"S3Uri": "s3://b/r", "S3UploadMode": "EndOfJob", "LocalPath": "/opt/ml/processing/out"},
            }
        ]
    },
    "ProcessingResources": {
        "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.c7i.large", "VolumeSizeInGB": 50}
    },
}
CONTAINER: dict[str, Any] = {"Image": IMAGE, "ModelDataUrl": "s3://b/model.tar.gz"}
PACKAGE: dict[str, Any] = {"ModelPackageGroupName": "g", "InferenceSpecification": {"Containers": [CONTAINER]}}
CONFIG: dict[str, Any] = {
    "EndpointConfigName": "c",
    "ProductionVariants": [
        {"VariantName": "main", "ModelName": "m", "InstanceType": "ml.c7i.large", "InitialInstanceCount": 1}
    ],
}


def changed(request: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of a request with one member set to a value; the path of a member is like ``A.0.B``."""
    request = copy.deepcopy(request)
    *steps, last = path.split(".")
    parent: Any = request
    for step in steps:
        parent = parent[int(step)] if step.isdigit() else parent.setdefault(step, {})
    parent[int(last) if last.isdigit() else last] = value
    return request


def training(path: str, value: Any) -> None:
    rules.training_job(changed(TRAINING, path, value), REGION)


def processing(path: str, value: Any) -> None:
    rules.processing_job(changed(PROCESSING, path, value), REGION)


def refused(message: str) -> Any:
    return pytest.raises(ApiError, match=f"^ValidationException: {message}")


def test_requests_within_the_rules_pass() -> None:
    rules.training_job(TRAINING, REGION)
    rules.processing_job(PROCESSING, REGION)
    rules.model({"ModelName": "m", "PrimaryContainer": CONTAINER, "ExecutionRoleArn": "arn:aws:iam::1:role/r"})
    rules.container(CONTAINER, REGION)
    rules.model_package(PACKAGE, REGION)
    rules.endpoint_config(CONFIG)
    rules.deployment({}, {"main": 1}, ["other"])


def test_training_image_of_another_registry_is_refused() -> None:
    for image in ("pytorch:2.13", "public.ecr.aws/deep-learning-containers/pytorch:2.13-cpu"):
        with refused("TrainingImageConfig with TrainingRepositoryAccessMode set to VPC must be provided"):
            training("AlgorithmSpecification.TrainingImage", image)


def test_training_image_of_another_region_is_refused() -> None:
    with refused(
        "Invalid DNS suffix 'amazonaws.com' for region 'eu-central-1' in training image. "
        "Please provide the valid <region>.<dns-suffix>: 'us-east-1.amazonaws.com'"
    ):
        training("AlgorithmSpecification.TrainingImage", ABROAD)


@pytest.mark.parametrize("image", ["kennel:evaluate", "public.ecr.aws/bitnami/python:3.9", ABROAD])
def test_processing_image_must_be_of_ecr_in_the_region(image: str) -> None:
    with refused(f"Invalid image URI {image}. Please provide a valid Amazon Elastic Container Registry path"):
        processing("AppSpecification.ImageUri", image)


def test_volume_key_is_refused_where_the_instance_has_disks_of_its_own() -> None:
    for kind in ("ml.g4dn.xlarge", "ml.g5.xlarge", "ml.g6.xlarge", "ml.p5.48xlarge", "ml.r5d.large"):
        with refused("You can't request a VolumeKmsKeyId when using an instance type with local storage"):
            training("ResourceConfig", {"InstanceCount": 1, "InstanceType": kind, "VolumeKmsKeyId": "alias/k"})
        training("ResourceConfig", {"InstanceCount": 1, "InstanceType": kind})
    training("ResourceConfig.VolumeKmsKeyId", "alias/k")
    with refused("You can't request a VolumeKmsKeyId"):
        cluster = {"InstanceCount": 1, "InstanceType": "ml.g6.xlarge", "VolumeSizeInGB": 1, "VolumeKmsKeyId": "k"}
        processing("ProcessingResources.ClusterConfig", cluster)
    variant = {"VariantName": "main", "ModelName": "m", "InitialInstanceCount": 1}
    config = {"ProductionVariants": [{**variant, "InstanceType": "ml.g5.xlarge"}], "KmsKeyId": "alias/k"}
    with refused("You can't request a KmsKeyId when using an instance type with local storage"):
        rules.endpoint_config(config)
    rules.endpoint_config({**config, "ProductionVariants": [{**variant, "InstanceType": "ml.c7i.large"}]})


@pytest.mark.parametrize("kind", ["ml.c5.xlarge", "ml.p2.xlarge", "ml.m7i-flex.large", "ml.c5n.xlarge"])
def test_volume_size_must_be_defined_for_instances_without_disks(kind: str) -> None:
    with refused(f"You must define VolumeSizeInGB: {kind} has no local disks"):
        training("ResourceConfig", {"InstanceCount": 1, "InstanceType": kind})


def test_spot_needs_a_waiting_time_of_at_least_the_runtime() -> None:
    spot = TRAINING | {"EnableManagedSpotTraining": True}
    for times in ({"MaxRuntimeInSeconds": 100}, {"MaxRuntimeInSeconds": 100, "MaxWaitTimeInSeconds": 99}):
        with refused("Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to"):
            rules.training_job(spot | {"StoppingCondition": times}, REGION)
    # AWS recommends checkpoints for spot jobs but does not require them.
    rules.training_job(spot | {"StoppingCondition": {"MaxRuntimeInSeconds": 9, "MaxWaitTimeInSeconds": 9}}, REGION)


def test_waiting_time_without_spot_is_refused() -> None:
    with refused(r"Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true$"):
        training("StoppingCondition.MaxWaitTimeInSeconds", 7200)


def test_runtime_is_at_most_28_days() -> None:
    training("StoppingCondition.MaxRuntimeInSeconds", 2_419_200)
    with refused("Invalid MaxRuntimeInSeconds"):
        training("StoppingCondition.MaxRuntimeInSeconds", 2_419_201)


def test_file_mode_unpacks_nothing() -> None:
    with refused("Invalid compression type for channel code: File mode only supports NONE, got Gzip instead"):
        training("InputDataConfig.0.CompressionType", "Gzip")
    with refused("Input model: S3CompressionType Gzip can only be used when S3InputMode is Pipe"):
        processing("ProcessingInputs.0.S3Input.S3CompressionType", "Gzip")


def test_file_mode_wraps_no_records() -> None:
    with refused("Channel code: RecordWrapperType must be unset or None in File mode"):
        training("InputDataConfig.0.RecordWrapperType", "RecordIO")


def test_channel_named_twice_is_refused() -> None:
    with refused("InputDataConfig names channel code twice; each has one folder, /opt/ml/input/data/code"):
        training("InputDataConfig", TRAINING["InputDataConfig"] * 2)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("InputDataConfig.0.DataSource.S3DataSource.S3Uri", "Channel code"),
        ("OutputDataConfig.S3OutputPath", "OutputDataConfig.S3OutputPath"),
        ("CheckpointConfig.S3Uri", "CheckpointConfig.S3Uri"),
    ],
)
def test_places_must_be_s3_uris(path: str, where: str) -> None:
    with refused(f"{where}: 'https://b/k' is not an S3 URI; expected s3://bucket/key"):
        training(path, "https://b/k")


@pytest.mark.parametrize(
    "path", ["", "/etc", "/opt/ml/processing", "/opt/ml/processing/../input", "opt/ml/processing/a"]
)
def test_processing_paths_lie_below_opt_ml_processing(path: str) -> None:
    with refused(f"Input model: LocalPath must begin with /opt/ml/processing/, not '{path}'"):
        processing("ProcessingInputs.0.S3Input.LocalPath", path)
    with refused("Output report: LocalPath must begin with /opt/ml/processing/"):
        processing("ProcessingOutputConfig.Outputs.0.S3Output.LocalPath", path)


def test_models_image_must_be_of_ecr_in_the_region() -> None:
    with refused('Using non-ECR image "serving:1" without Vpc repository access mode is not supported.$'):
        rules.container(CONTAINER | {"Image": "serving:1"}, REGION)
    with refused(f'The image "{ABROAD}" must be in the same region as the model, us-east-1'):
        rules.container(CONTAINER | {"Image": ABROAD}, REGION)


@pytest.mark.parametrize("url", ["s3://b/model.zip", "s3://b/model/", "https://b/model.tar.gz"])
def test_model_data_must_be_one_tar_gz_in_s3(url: str) -> None:
    with refused("ModelDataUrl"):
        rules.container(CONTAINER | {"ModelDataUrl": url}, REGION)


def test_model_package_belongs_to_a_group_or_has_a_name() -> None:
    with refused("Both ModelPackageName and ModelPackageGroupName are provided in the input"):
        rules.model_package(PACKAGE | {"ModelPackageName": "n"}, REGION)
    with refused("Missing ARN"):
        rules.model_package({"InferenceSpecification": {"Containers": [CONTAINER]}}, REGION)


def test_model_package_of_a_group_takes_no_tags() -> None:
    with refused("A model package of a group has the group's tags"):
        rules.model_package(PACKAGE | {"Tags": [{"Key": "a", "Value": "b"}]}, REGION)


def test_model_package_without_a_group_names_its_instance_types() -> None:
    alone = {"ModelPackageName": "n", "InferenceSpecification": {"Containers": [CONTAINER]}}
    with refused("InferenceSpecification.SupportedTransformInstanceTypes is required"):
        rules.model_package(alone, REGION)


def test_model_packages_containers_follow_the_models_rules() -> None:
    with refused("Using non-ECR image"):
        rules.model_package(changed(PACKAGE, "InferenceSpecification.Containers.0.Image", "x"), REGION)


def test_variant_named_twice_is_refused() -> None:
    with refused("ProductionVariants names variant main twice"):
        rules.endpoint_config(changed(CONFIG, "ProductionVariants", CONFIG["ProductionVariants"] * 2))


def blue_green(kind: str, wait: int = 60, **members: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": wait, **members}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}


def size(value: int, kind: str = "CAPACITY_PERCENT") -> dict[str, Any]:
    return {"Type": kind, "Value": value}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (blue_green("CANARY"), "TrafficRoutingConfiguration of type CANARY needs CanarySize"),
        (blue_green("CANARY", CanarySize=size(51)), "CanarySize: the value must be at most 50%"),
        (blue_green("CANARY", CanarySize=size(3, "INSTANCE_COUNT")), "CanarySize: .*; for main it is 75% of 4"),
        (blue_green("LINEAR"), "TrafficRoutingConfiguration of type LINEAR needs LinearStepSize"),
        (blue_green("LINEAR", LinearStepSize=size(9)), "LinearStepSize: the value must be 10-50%"),
    ],
)
def test_steps_of_a_deployment_have_their_bounds(config: dict[str, Any], message: str) -> None:
    with refused(message):
        rules.deployment(config, {"main": 4}, ["main"])


def test_steps_within_their_bounds_pass() -> None:
    for config in (
        blue_green("ALL_AT_ONCE"),
        blue_green("CANARY", CanarySize=size(2, "INSTANCE_COUNT")),
        blue_green("LINEAR", LinearStepSize=size(10)),
    ):
        rules.deployment(config, {"main": 4}, ["main"])


def test_deployments_time_must_exceed_its_waits() -> None:
    config = blue_green("ALL_AT_ONCE", wait=3000)
    config["BlueGreenUpdatePolicy"] |= {"TerminationWaitInSeconds": 600, "MaximumExecutionTimeoutInSeconds": 3600}
    with refused("MaximumExecutionTimeoutInSeconds should be larger than the total waiting time .*, 3600"):
        rules.deployment(config, {"main": 1}, ["main"])


def test_guarded_update_keeps_the_variants_names() -> None:
    with refused("The new endpoint configuration must have the same variant names as the old one: it has main, the"):
        rules.deployment(blue_green("ALL_AT_ONCE"), {"main": 1}, ["AllTraffic"])
    rules.deployment(blue_green("ALL_AT_ONCE"), {"main": 1}, None)  # A new endpoint has no old variants.


def test_capacity_of_one_variant_changes_at_a_time() -> None:
    weights = [{"VariantName": name, "DesiredWeight": 1.0} for name in ("a", "b")]
    rules.capacities(weights)
    with refused("The capacity of one variant can be updated at a time, not of a, b"):
        rules.capacities([each | {"DesiredInstanceCount": 1} for each in weights])


def test_capacity_of_nought_is_for_inference_components() -> None:
    with refused("DesiredInstanceCount 0 is for endpoints with inference components"):
        rules.capacities([{"VariantName": "a", "DesiredInstanceCount": 0}])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("OutputDataConfig.CompressionType", "NONE"),
        ("AlgorithmSpecification.TrainingInputMode", "Pipe"),
        ("InputDataConfig.0.InputMode", "FastFile"),
        ("InputDataConfig.0.DataSource", {"FileSystemDataSource": {}}),
        ("InputDataConfig.0.DataSource.S3DataSource.S3DataType", "ManifestFile"),
        ("InputDataConfig.0.DataSource.S3DataSource.S3DataDistributionType", "ShardedByS3Key"),
        ("ResourceConfig.InstanceCount", 0),
        ("CheckpointConfig", {"S3Uri": "s3://b/c", "LocalPath": "/tmp/checkpoints"}),
    ],
)
def test_training_that_the_laptop_lacks_is_refused_plainly(path: str, value: Any) -> None:
    with refused(".*[Tt]he laptop cloud"):
        training(path, value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ProcessingResources.ClusterConfig", {"VolumeSizeInGB": 1}),
        ("ProcessingInputs.0", {"InputName": "a", "DatasetDefinition": {}}),
        ("ProcessingInputs.0.S3Input.S3InputMode", "Pipe"),
        ("ProcessingOutputConfig.Outputs.0.S3Output.S3UploadMode", "Continuous"),
    ],
)
def test_processing_that_the_laptop_lacks_is_refused_plainly(path: str, value: Any) -> None:
    with refused(".*[Tt]he laptop cloud"):
        processing(path, value)


def test_hosting_that_the_laptop_lacks_is_refused_plainly() -> None:
    serverless = {"VariantName": "main", "ModelName": "m", "ServerlessConfig": {"MaxConcurrency": 1}}
    for broken in (
        lambda: rules.model({"Containers": [CONTAINER] * 2}),
        lambda: rules.model({"ModelName": "m"}),
        lambda: rules.container(CONTAINER | {"Mode": "MultiModel"}, REGION),
        lambda: rules.container({"Image": IMAGE}, REGION),
        lambda: rules.endpoint_config(CONFIG | {"DataCaptureConfig": {"EnableCapture": True}}),
        lambda: rules.endpoint_config(changed(CONFIG, "ProductionVariants.0", serverless)),
        lambda: rules.endpoint_config(changed(CONFIG, "ProductionVariants.0", {"VariantName": "main"})),
        lambda: rules.model_package({"ModelPackageGroupName": "g"}, REGION),
    ):
        with refused(".*[Tt]he laptop cloud"):
            broken()
