"""The permissions that AWS checks for a request: actions and resources of the Service Authorization Reference."""

import pytest

from cloud.iam import permissions
from cloud.iam.permissions import Permission, RequestScope

SCOPE = RequestScope("eu-west-1", "111122223333", lambda endpoint: f"{endpoint}-config")
SAGEMAKER = "arn:aws:sagemaker:eu-west-1:111122223333"
ROLE = "arn:aws:iam::111122223333:role/job"
OPEN = {"sagemaker:NetworkIsolation": "false"}  # what a request means that says nothing of it
UNPROTECTED = OPEN | {"sagemaker:InterContainerTrafficEncryption": "false"}
KEY = "arn:aws:kms:eu-west-1:111122223333:key/k"
PASS_ROLE = Permission("iam:PassRole", ROLE, {"iam:PassedToService": "sagemaker.amazonaws.com"})


def needed_for(operation, **request):
    return permissions.for_operation("sagemaker", operation, request, SCOPE)


@pytest.mark.parametrize(
    ("operation", "request_", "resources"),
    [
        ("DescribeEndpoint", {"EndpointName": "dogs"}, ["endpoint/dogs"]),
        ("InvokeEndpoint", {"EndpointName": "dogs"}, ["endpoint/dogs"]),
        ("UpdateEndpointWeightsAndCapacities", {"EndpointName": "dogs"}, ["endpoint/dogs"]),
        (
            "UpdateEndpoint",
            {"EndpointName": "dogs", "EndpointConfigName": "better"},
            ["endpoint/dogs", "endpoint-config/better"],
        ),
        ("CreateEndpointConfig", {"EndpointConfigName": "better"}, ["endpoint-config/better"]),
        ("StopTrainingJob", {"TrainingJobName": "j"}, ["training-job/j"]),
        ("UpdateModelPackage", {"ModelPackageArn": f"{SAGEMAKER}:model-package/dogs/3"}, ["model-package/dogs/3"]),
        ("DescribeModelPackageGroup", {"ModelPackageGroupName": "dogs"}, ["model-package-group/dogs"]),
        ("AddTags", {"ResourceArn": f"{SAGEMAKER}:model/m", "Tags": []}, ["model/m"]),
    ],
)
def test_an_operation_is_checked_on_the_resources_it_names(operation, request_, resources):
    assert needed_for(operation, **request_) == [
        Permission(f"sagemaker:{operation}", f"{SAGEMAKER}:{r}") for r in resources
    ]


def test_lists_are_checked_on_all_resources():
    assert needed_for("ListEndpoints", NameContains="dogs") == [Permission("sagemaker:ListEndpoints", "*")]


def test_tags_and_a_role_need_rights_of_their_own():
    needed = needed_for("CreateModel", ModelName="m", ExecutionRoleArn=ROLE, Tags=[{"Key": "a", "Value": "b"}])
    model = f"{SAGEMAKER}:model/m"
    assert needed == [
        Permission("sagemaker:CreateModel", model, OPEN),
        Permission("sagemaker:AddTags", model),
        PASS_ROLE,
    ]


def test_a_tuning_job_hands_over_the_roles_of_its_training_jobs():
    other = "arn:aws:iam::111122223333:role/other"
    name = {"HyperParameterTuningJobName": "t"}
    arn = f"{SAGEMAKER}:hyper-parameter-tuning-job/t"
    tuning_job = Permission("sagemaker:CreateHyperParameterTuningJob", arn, UNPROTECTED)
    only = needed_for("CreateHyperParameterTuningJob", **name, TrainingJobDefinition={"RoleArn": ROLE})
    assert only == [tuning_job, PASS_ROLE]
    definitions = [{"RoleArn": ROLE}, {"RoleArn": other}, {"RoleArn": ROLE}]
    several = needed_for("CreateHyperParameterTuningJob", **name, TrainingJobDefinitions=definitions)
    assert several == [tuning_job, PASS_ROLE, PASS_ROLE._replace(resource=other)]


def test_the_registry_reads_artifact_and_image_as_its_caller():
    container = {
        "Image": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/serve:1",
        "ModelDataUrl": "s3://b/runs/x/artifact/model.tar.gz",
    }
    needed = needed_for(
        "CreateModelPackage", ModelPackageGroupName="dogs", InferenceSpecification={"Containers": [container]}
    )
    assert needed[:3] == [
        Permission("sagemaker:CreateModelPackage", f"{SAGEMAKER}:model-package-group/dogs"),
        Permission("sagemaker:CreateModelPackage", f"{SAGEMAKER}:model-package/dogs/*"),
        Permission("s3:GetObject", "arn:aws:s3:::b/runs/x/artifact/model.tar.gz"),
    ]
    assert {permission.resource for permission in needed[3:]} == {
        "arn:aws:ecr:eu-west-1:111122223333:repository/team/serve"
    }
    assert "ecr:BatchGetImage" in {permission.action for permission in needed[3:]}


def test_a_sync_task_also_watches_stops_and_tags_its_job():
    resource = "arn:aws:states:::sagemaker:createTrainingJob.sync"
    needed = permissions.for_task(resource, {"TrainingJobName": "j", "RoleArn": ROLE}, SCOPE)
    job = f"{SAGEMAKER}:training-job/j"
    rule = "arn:aws:events:eu-west-1:111122223333:rule/StepFunctionsGetEventsForSageMakerTrainingJobsRule"
    assert needed == [
        Permission("sagemaker:CreateTrainingJob", job, UNPROTECTED),
        PASS_ROLE,
        Permission("sagemaker:DescribeTrainingJob", job),
        Permission("sagemaker:StopTrainingJob", job),
        Permission("sagemaker:AddTags", job),
        Permission("sagemaker:ListTags", job),
        Permission("events:PutRule", rule),
        Permission("events:PutTargets", rule),
        Permission("events:DescribeRule", rule),
    ]


@pytest.mark.parametrize(
    ("resource", "arguments", "expected"),
    [
        ("lambda:invoke", {"FunctionName": "f"}, ("lambda:InvokeFunction", "lambda", "function:f")),
        ("aws-sdk:ssm:putParameter", {"Name": "/k/lock"}, ("ssm:PutParameter", "ssm", "parameter/k/lock")),
        ("aws-sdk:ecr:batchGetImage", {"RepositoryName": "r"}, ("ecr:BatchGetImage", "ecr", "repository/r")),
    ],
)
def test_a_task_is_checked_on_the_resource_it_names(resource, arguments, expected):
    action, service, name = expected
    needed = permissions.for_task(f"arn:aws:states:::{resource}", arguments, SCOPE)
    assert needed == [Permission(action, f"arn:aws:{service}:eu-west-1:111122223333:{name}")]


def test_registering_a_target_borrows_rights_on_the_endpoint():
    request = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/dogs/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    needed = permissions.for_operation("application-autoscaling", "RegisterScalableTarget", request, SCOPE)
    first, *borrowed = needed
    assert first.resource == "arn:aws:application-autoscaling:eu-west-1:111122223333:scalable-target/*"
    assert first.context["application-autoscaling:service-namespace"] == "sagemaker"
    assert [(permission.action, permission.resource) for permission in borrowed[:3]] == [
        ("sagemaker:DescribeEndpoint", f"{SAGEMAKER}:endpoint/dogs"),
        ("sagemaker:UpdateEndpointWeightsAndCapacities", f"{SAGEMAKER}:endpoint/dogs"),
        ("sagemaker:DescribeEndpointConfig", f"{SAGEMAKER}:endpoint-config/dogs-config"),
    ]
    assert borrowed[3].context == {"iam:AWSServiceName": "sagemaker.application-autoscaling.amazonaws.com"}


def test_a_target_tracking_policy_borrows_rights_on_its_alarms():
    request = {"ResourceId": "endpoint/dogs/variant/main", "PolicyType": "TargetTrackingScaling"}
    needed = permissions.for_operation("applicationautoscaling", "PutScalingPolicy", request, SCOPE)
    alarms = "arn:aws:cloudwatch:eu-west-1:111122223333:alarm"
    assert [(permission.action, permission.resource) for permission in needed[1:]] == [
        ("cloudwatch:DescribeAlarms", f"{alarms}:*"),
        ("cloudwatch:DeleteAlarms", f"{alarms}:TargetTracking-endpoint/dogs/variant/main-*"),
        ("cloudwatch:PutMetricAlarm", f"{alarms}:TargetTracking-endpoint/dogs/variant/main-*"),
    ]


def test_deleting_objects_is_checked_for_each_object():
    arguments = {"Bucket": "b", "Delete": {"Objects": [{"Key": "x"}, {"Key": "y/z"}]}}
    needed = permissions.for_task("arn:aws:states:::aws-sdk:s3:deleteObjects", arguments, SCOPE)
    assert [(permission.action, permission.resource) for permission in needed] == [
        ("s3:DeleteObject", "arn:aws:s3:::b/x"),
        ("s3:DeleteObject", "arn:aws:s3:::b/y/z"),
    ]


def test_a_task_on_an_object_needs_the_right_to_the_object():
    def needed(action, **more):
        arguments = {"Bucket": "b", "Key": "k", **more}
        return permissions.for_task(f"arn:aws:states:::aws-sdk:s3:{action}", arguments, SCOPE)

    assert needed("headObject") == [Permission("s3:GetObject", "arn:aws:s3:::b/k")]
    assert needed("putObject", Body={}) == [Permission("s3:PutObject", "arn:aws:s3:::b/k")]
    assert needed("putObject", SsekmsKeyId="key")[0].context == {permissions.NAMED_KEY: "key"}
    assert needed("deleteObject") == [Permission("s3:DeleteObject", "arn:aws:s3:::b/k")]


def test_an_action_on_encrypted_data_needs_rights_on_the_key():
    def uses(action, key="arn:aws:kms:eu-west-1:111122223333:key/k"):
        return [permission.action for permission in permissions.key_uses(Permission(action, "r"), key)]

    assert uses("s3:GetObject") == ["kms:Decrypt"]
    assert uses("s3:PutObject") == ["kms:GenerateDataKey"]
    assert uses("sns:Publish") == ["kms:GenerateDataKey", "kms:Decrypt"]
    assert uses("s3:ListBucket") == []
    assert uses("s3:GetObject", key=None) == []
    [publishing, _] = permissions.key_uses(Permission("sns:Publish", "t"), "arn:aws:kms:eu-west-1:111122223333:key/k")
    assert publishing.context == {"kms:ViaService": "sns.eu-west-1.amazonaws.com"}


def test_a_functions_url_needs_the_right_to_invoke_the_function_too():
    (needed,) = permissions.by_function_url(Permission("lambda:InvokeFunctionUrl", "f"))
    assert needed == ("lambda:InvokeFunction", "f", {"lambda:InvokedViaFunctionUrl": "true"})
    assert permissions.by_function_url(Permission("lambda:InvokeFunction", "f")) == []


def test_a_table_is_named_by_its_arn():
    needed = permissions.for_task("arn:aws:states:::aws-sdk:dynamodb:getItem", {"TableName": "t"}, SCOPE)
    assert [(each.action, each.resource) for each in needed] == [("dynamodb:GetItem", SCOPE.arn("dynamodb", "table/t"))]


def test_images_outside_ecr_need_nothing():
    assert permissions.pull("python:3.11") == []
    actions = {permission.action for permission in permissions.push("111122223333.dkr.ecr.eu-west-1.amazonaws.com/r:1")}
    assert {"ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:PutImage"} <= actions


@pytest.mark.parametrize(
    "resource",
    ["aws-sdk:rds:startDBInstance", "sagemaker:createTransformJob.sync", "sagemaker:searchModels"],
)
def test_unknown_requests_are_refused(resource):
    with pytest.raises(permissions.UnknownRequestError, match="The laptop cloud has no "):
        permissions.for_task(f"arn:aws:states:::{resource}", {"TransformJobName": "t"}, SCOPE)


TRAINING = {
    "ResourceConfig": {"InstanceType": "ml.c7i.xlarge", "VolumeKmsKeyId": KEY},
    "OutputDataConfig": {"KmsKeyId": KEY},
    "EnableNetworkIsolation": True,
    "EnableInterContainerTrafficEncryption": True,
}
PROTECTED = {
    "sagemaker:InstanceTypes": ["ml.c7i.xlarge"],
    "sagemaker:VolumeKmsKey": KEY,
    "sagemaker:OutputKmsKey": KEY,
    "sagemaker:NetworkIsolation": "true",
    "sagemaker:InterContainerTrafficEncryption": "true",
}


@pytest.mark.parametrize(
    ("operation", "request_", "keys"),
    [
        ("CreateTrainingJob", {"TrainingJobName": "j", **TRAINING}, PROTECTED),
        (
            "CreateHyperParameterTuningJob",
            {"HyperParameterTuningJobName": "j", "TrainingJobDefinition": TRAINING},
            PROTECTED,
        ),
        (
            "CreateProcessingJob",
            {
                "ProcessingJobName": "j",
                "ProcessingResources": {"ClusterConfig": {"InstanceType": "ml.c7i.xlarge", "VolumeKmsKeyId": KEY}},
                "ProcessingOutputConfig": {"KmsKeyId": KEY},
                "NetworkConfig": {"EnableNetworkIsolation": True},
            },
            PROTECTED | {"sagemaker:InterContainerTrafficEncryption": "false"},
        ),
        (
            "CreateEndpointConfig",
            {
                "EndpointConfigName": "j",
                "ProductionVariants": [{"InstanceType": "ml.b"}, {"InstanceType": "ml.a"}],
                "KmsKeyId": KEY,
            },
            {"sagemaker:InstanceTypes": ["ml.a", "ml.b"], "sagemaker:VolumeKmsKey": KEY},
        ),
        ("CreateModel", {"ModelName": "j", "EnableNetworkIsolation": True}, {"sagemaker:NetworkIsolation": "true"}),
        ("CreateEndpoint", {"EndpointName": "j", "EndpointConfigName": "c"}, {}),
    ],
)
def test_policies_can_limit_what_jobs_models_and_endpoints_are_made_of(operation, request_, keys):
    created = needed_for(operation, **request_)[0]
    assert created.action == f"sagemaker:{operation}"
    assert dict(created.context) == keys


def test_one_definition_without_protection_leaves_the_whole_search_without():
    definitions = [TRAINING, {**TRAINING, "EnableNetworkIsolation": False, "ResourceConfig": {"InstanceType": "ml.p5"}}]
    search = {"HyperParameterTuningJobName": "j", "TrainingJobDefinitions": definitions}
    keys = needed_for("CreateHyperParameterTuningJob", **search)[0].context
    assert keys["sagemaker:NetworkIsolation"] == "false"
    assert keys["sagemaker:InstanceTypes"] == ["ml.c7i.xlarge", "ml.p5"]


def test_versions_of_objects_have_actions_of_their_own():
    location = {"Bucket": "b", "Delete": {"Objects": [{"Key": "k", "VersionId": "1"}, {"Key": "k"}]}}
    assert permissions.for_operation("s3", "DeleteObjects", location, SCOPE) == [
        Permission("s3:DeleteObjectVersion", "arn:aws:s3:::b/k"),
        Permission("s3:DeleteObject", "arn:aws:s3:::b/k"),
    ]
    listed = permissions.for_operation("s3", "ListObjectVersions", {"Bucket": "b"}, SCOPE)
    assert listed == [Permission("s3:ListBucketVersions", "arn:aws:s3:::b", {"s3:prefix": ""})]
    assert permissions.read("b/k", "1").action == "s3:GetObjectVersion"
