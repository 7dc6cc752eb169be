"""What AWS asks IAM about a request: actions and resources as the Service Authorization Reference has them."""

import pytest

from cloud.iam import permissions
from cloud.iam.permissions import Permission, Place

PLACE = Place("eu-west-1", "111122223333", lambda endpoint: f"{endpoint}-config")
SAGEMAKER = "arn:aws:sagemaker:eu-west-1:111122223333"
ROLE = "arn:aws:iam::111122223333:role/job"
PASS_ROLE = Permission("iam:PassRole", ROLE, {"iam:PassedToService": "sagemaker.amazonaws.com"})


def of(operation, **request):
    return permissions.of_operation("sagemaker", operation, request, PLACE)


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
def test_an_operation_is_asked_about_on_the_resources_it_names(operation, request_, resources):
    assert of(operation, **request_) == [Permission(f"sagemaker:{operation}", f"{SAGEMAKER}:{r}") for r in resources]


def test_lists_know_no_resources():
    assert of("ListEndpoints", NameContains="dogs") == [Permission("sagemaker:ListEndpoints", "*")]


def test_tags_and_a_role_need_rights_of_their_own():
    asked = of("CreateModel", ModelName="m", ExecutionRoleArn=ROLE, Tags=[{"Key": "a", "Value": "b"}])
    model = f"{SAGEMAKER}:model/m"
    assert asked == [Permission("sagemaker:CreateModel", model), Permission("sagemaker:AddTags", model), PASS_ROLE]


def test_the_registry_reads_artifact_and_image_as_its_caller():
    container = {
        "Image": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/serve:1",
        "ModelDataUrl": "s3://b/runs/x/artifact/model.tar.gz",
    }
    asked = of("CreateModelPackage", ModelPackageGroupName="dogs", InferenceSpecification={"Containers": [container]})
    assert asked[:3] == [
        Permission("sagemaker:CreateModelPackage", f"{SAGEMAKER}:model-package-group/dogs"),
        Permission("sagemaker:CreateModelPackage", f"{SAGEMAKER}:model-package/dogs/*"),
        Permission("s3:GetObject", "arn:aws:s3:::b/runs/x/artifact/model.tar.gz"),
    ]
    assert {each.resource for each in asked[3:]} == {"arn:aws:ecr:eu-west-1:111122223333:repository/team/serve"}
    assert "ecr:BatchGetImage" in {each.action for each in asked[3:]}


def test_a_sync_task_also_follows_stops_tags_and_hears_of_its_job():
    resource = "arn:aws:states:::sagemaker:createTrainingJob.sync"
    asked = permissions.of_task(resource, {"TrainingJobName": "j", "RoleArn": ROLE}, PLACE)
    job = f"{SAGEMAKER}:training-job/j"
    rule = "arn:aws:events:eu-west-1:111122223333:rule/StepFunctionsGetEventsForSageMakerTrainingJobsRule"
    assert asked == [
        Permission("sagemaker:CreateTrainingJob", job),
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
    ("resource", "arguments", "asked"),
    [
        ("lambda:invoke", {"FunctionName": "f"}, ("lambda:InvokeFunction", "lambda", "function:f")),
        ("aws-sdk:ssm:putParameter", {"Name": "/k/lock"}, ("ssm:PutParameter", "ssm", "parameter/k/lock")),
        ("aws-sdk:ecr:batchGetImage", {"RepositoryName": "r"}, ("ecr:BatchGetImage", "ecr", "repository/r")),
    ],
)
def test_a_task_is_asked_about_on_the_resource_it_names(resource, arguments, asked):
    action, service, name = asked
    found = permissions.of_task(f"arn:aws:states:::{resource}", arguments, PLACE)
    assert found == [Permission(action, f"arn:aws:{service}:eu-west-1:111122223333:{name}")]


def test_registering_a_target_borrows_rights_on_the_endpoint():
    request = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/dogs/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    asked = permissions.of_operation("application-autoscaling", "RegisterScalableTarget", request, PLACE)
    first, *borrowed = asked
    assert first.resource == "arn:aws:application-autoscaling:eu-west-1:111122223333:scalable-target/*"
    assert first.context["application-autoscaling:service-namespace"] == "sagemaker"
    assert [(each.action, each.resource) for each in borrowed[:3]] == [
        ("sagemaker:DescribeEndpoint", f"{SAGEMAKER}:endpoint/dogs"),
        ("sagemaker:UpdateEndpointWeightsAndCapacities", f"{SAGEMAKER}:endpoint/dogs"),
        ("sagemaker:DescribeEndpointConfig", f"{SAGEMAKER}:endpoint-config/dogs-config"),
    ]
    assert borrowed[3].context == {"iam:AWSServiceName": "sagemaker.application-autoscaling.amazonaws.com"}


def test_a_target_tracking_policy_borrows_rights_on_its_alarms():
    request = {"ResourceId": "endpoint/dogs/variant/main", "PolicyType": "TargetTrackingScaling"}
    asked = permissions.of_operation("applicationautoscaling", "PutScalingPolicy", request, PLACE)
    alarms = "arn:aws:cloudwatch:eu-west-1:111122223333:alarm"
    assert [(each.action, each.resource) for each in asked[1:]] == [
        ("cloudwatch:DescribeAlarms", f"{alarms}:*"),
        ("cloudwatch:DeleteAlarms", f"{alarms}:TargetTracking-endpoint/dogs/variant/main-*"),
        ("cloudwatch:PutMetricAlarm", f"{alarms}:TargetTracking-endpoint/dogs/variant/main-*"),
    ]


def test_deleting_objects_is_asked_about_one_by_one():
    arguments = {"Bucket": "b", "Delete": {"Objects": [{"Key": "x"}, {"Key": "y/z"}]}}
    asked = permissions.of_task("arn:aws:states:::aws-sdk:s3:deleteObjects", arguments, PLACE)
    assert [(each.action, each.resource) for each in asked] == [
        ("s3:DeleteObject", "arn:aws:s3:::b/x"),
        ("s3:DeleteObject", "arn:aws:s3:::b/y/z"),
    ]


def test_a_key_is_used_as_the_action_on_what_it_encrypts_needs():
    def uses(action, key="arn:aws:kms:eu-west-1:111122223333:key/k"):
        return [each.action for each in permissions.key_uses(Permission(action, "r"), key)]

    assert uses("s3:GetObject") == ["kms:Decrypt"]
    assert uses("s3:PutObject") == ["kms:GenerateDataKey"]
    assert uses("sns:Publish") == ["kms:GenerateDataKey", "kms:Decrypt"]
    assert uses("s3:ListBucket") == []
    assert uses("s3:GetObject", key=None) == []
    [publishing, _] = permissions.key_uses(Permission("sns:Publish", "t"), "arn:aws:kms:eu-west-1:111122223333:key/k")
    assert publishing.context == {"kms:ViaService": "sns.eu-west-1.amazonaws.com"}


def test_url_of_a_function_asks_for_the_right_to_invoke_too():
    (asked,) = permissions.by_function_url(Permission("lambda:InvokeFunctionUrl", "f"))
    assert asked == ("lambda:InvokeFunction", "f", {"lambda:InvokedViaFunctionUrl": "true"})
    assert permissions.by_function_url(Permission("lambda:InvokeFunction", "f")) == []


def test_images_outside_ecr_need_nothing():
    assert permissions.pull("python:3.11") == []
    actions = {each.action for each in permissions.push("111122223333.dkr.ecr.eu-west-1.amazonaws.com/r:1")}
    assert {"ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:PutImage"} <= actions


@pytest.mark.parametrize(
    "resource",
    ["aws-sdk:dynamodb:getItem", "sagemaker:createTransformJob.sync", "sagemaker:searchModels"],
)
def test_what_is_not_written_down_is_refused(resource):
    with pytest.raises(permissions.UnknownRequestError, match="The laptop cloud has no "):
        permissions.of_task(f"arn:aws:states:::{resource}", {"TransformJobName": "t"}, PLACE)
