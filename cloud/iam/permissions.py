"""What AWS asks IAM about a request: from the request to actions, resources and condition keys; pure.

Actions and resources are those of AWS's Service Authorization Reference. What a service does with its
caller's rights besides is said by Step Functions' pages on ``.sync`` integrations, by Application Auto
Scaling's identity-based policies and by SageMaker's page on execution roles.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from cloud.core.uris import ImageUri

Request = Mapping[str, Any]

SAGEMAKER = "sagemaker.amazonaws.com"
STATES = "states.amazonaws.com"
EVENTS = "events.amazonaws.com"
CODEBUILD = "codebuild.amazonaws.com"
SCHEDULER = "scheduler.amazonaws.com"
CLOUDWATCH = "cloudwatch.amazonaws.com"
LAMBDA = "lambda.amazonaws.com"
APIGATEWAY = "apigateway.amazonaws.com"
PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_PUSH = ("ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage")
_SCALING_SERVICE = "sagemaker.application-autoscaling.amazonaws.com"
# What Step Functions itself does for a .sync task: follow, stop and tag what it started, hear of its end.
_SYNC = {
    "CreateTrainingJob": (
        ("DescribeTrainingJob", "StopTrainingJob", "AddTags", "ListTags"),
        "StepFunctionsGetEventsForSageMakerTrainingJobsRule",
    ),
    "CreateProcessingJob": (
        ("DescribeProcessingJob", "StopProcessingJob", "AddTags", "ListTags"),
        "StepFunctionsGetEventsForSageMakerProcessingJobsRule",
    ),
    "StartBuild": (("BatchGetBuilds", "StopBuild"), "StepFunctionsGetEventForCodeBuildStartBuildRule"),
}
_FOLLOW = ("events:PutRule", "events:PutTargets", "events:DescribeRule")
NAMED_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"  # the condition key of a request that names one
# What S3 and SNS do with the key of an encrypted bucket or topic, with their caller's rights.
KEY_USES = {
    "s3:GetObject": ("kms:Decrypt",),
    "s3:PutObject": ("kms:GenerateDataKey",),
    "sns:Publish": ("kms:GenerateDataKey", "kms:Decrypt"),
}


class Permission(NamedTuple):
    """One question to IAM.

    context: condition keys of the request, beyond those that every request has.
    """

    action: str
    resource: str = "*"
    context: Mapping[str, str] = MappingProxyType({})


class Place(NamedTuple):
    """What a request does not tell.

    config_of: the name of an endpoint's configuration, by the endpoint's name.
    """

    region: str
    account: str
    config_of: Callable[[str], str] = lambda _endpoint: "*"

    def arn(self, service: str, resource: str) -> str:
        """For example ``arn:aws:ssm:us-east-1:000000000000:parameter/kennel/lock``."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


class UnknownRequestError(Exception):
    """Nobody has written down what AWS authorizes for a request."""


def of_task(resource: str, arguments: Request, place: Place) -> list[Permission]:
    """What AWS asks about the role of a state machine before and while it does a task.

    Args:
        resource: the task's; its arguments, evaluated.

    Raises:
        UnknownRequestError: an integration that this module does not know.
    """
    service, _, rest = resource.removeprefix("arn:aws:states:::").removeprefix("aws-sdk:").partition(":")
    action, _, pattern = rest.partition(".")
    operation = action[:1].upper() + action[1:]
    needed = of_operation(service, operation, arguments, place)
    if not pattern:
        return needed
    if pattern != "sync" or operation not in _SYNC:
        raise UnknownRequestError(f"The laptop cloud has no {resource}")
    actions, rule = _SYNC[operation]
    watched = _each(tuple(f"{service}:{each}" for each in actions), needed[0].resource)
    return [*needed, *watched, *_each(_FOLLOW, place.arn("events", f"rule/{rule}"))]


def of_operation(service: str, operation: str, request: Request, place: Place) -> list[Permission]:
    """What AWS asks about the caller of an API operation.

    Args:
        service: as in an ``aws-sdk:`` resource, or as botocore writes it.
        operation: of the API, for example ``CreateModel``.
        request: its members with large first letters; what is missing is left to the service's own check.

    Raises:
        UnknownRequestError: an operation that this module does not know.
    """
    match service.replace("-", ""), operation:
        case "sagemaker", _:
            return _of_sagemaker(operation, request, place)
        case "applicationautoscaling", _:
            return _of_scaling(operation, request, place)
        case "lambda", "Invoke":
            name = _text(request, "FunctionName")
            arn = name if name.startswith("arn:") else place.arn("lambda", f"function:{name}")
            return [Permission("lambda:InvokeFunction", arn)]
        case "sns", "Publish":
            return [Permission("sns:Publish", _text(request, "TopicArn"))]
        case "ssm", "GetParameter" | "PutParameter" | "DeleteParameter":
            arn = place.arn("ssm", f"parameter/{_text(request, 'Name').removeprefix('/')}")
            return [Permission(f"ssm:{operation}", arn)]
        case "s3", "ListObjectsV2":
            return [listing(_text(request, "Bucket"), _text(request, "Prefix"))]
        case "s3", "GetObject":
            return [read(f"{_text(request, 'Bucket')}/{_text(request, 'Key')}")]
        case "s3", "DeleteObjects":
            keys = [_text(each, "Key") for each in request.get("Delete", {}).get("Objects", [])]
            return _each(("s3:DeleteObject",), *(_object_arn(f"{_text(request, 'Bucket')}/{key}") for key in keys))
        case "sfn", "DescribeExecution":
            return [Permission("states:DescribeExecution", _text(request, "ExecutionArn"))]
        case "ecr", _ if "RepositoryName" in request:
            arn = place.arn("ecr", f"repository/{_text(request, 'RepositoryName')}")
            return [Permission(f"ecr:{operation}", arn)]
        case "scheduler", "CreateSchedule" | "UpdateSchedule" | "DeleteSchedule":
            arn = place.arn("scheduler", f"schedule/{_text(request, 'GroupName')}/{_text(request, 'Name')}")
            role = _text(request.get("Target", {}), "RoleArn")
            passing = [Permission("iam:PassRole", role, {"iam:PassedToService": SCHEDULER})] if role else []
            return [Permission(f"scheduler:{operation}", arn), *passing]
        case "cloudwatch", "PutMetricAlarm" | "DeleteAlarms":
            names = request.get("AlarmNames") or [_text(request, "AlarmName")]
            return [Permission(f"cloudwatch:{operation}", place.arn("cloudwatch", f"alarm:{name}")) for name in names]
        case "codebuild", "StartBuild":
            arn = place.arn("codebuild", f"project/{_text(request, 'ProjectName')}")
            return [Permission("codebuild:StartBuild", arn)]
    raise UnknownRequestError(f"The laptop cloud has no {service}:{operation}")


def read(uri: str) -> Permission:
    """Reading an S3 object."""
    return Permission("s3:GetObject", _object_arn(uri))


def write(uri: str, key: str = "") -> Permission:
    """Writing an S3 object, encrypted with the KMS key of an ARN if one is given."""
    return Permission("s3:PutObject", _object_arn(uri), {NAMED_KEY: key} if key else {})


def delete(uri: str) -> Permission:
    """Deleting an object of S3."""
    return Permission("s3:DeleteObject", _object_arn(uri))


def listing(bucket: str, prefix: str) -> Permission:
    """Listing the objects of a bucket under a prefix."""
    return Permission("s3:ListBucket", f"arn:aws:s3:::{bucket}", {"s3:prefix": prefix})


def scaling_role(account: str) -> str:
    """ARN of the role that Application Auto Scaling acts with on endpoints."""
    name = "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
    return f"arn:aws:iam::{account}:role/aws-service-role/{_SCALING_SERVICE}/{name}"


def log_group(group: str, place: Place) -> Permission:
    """Making a log group."""
    return Permission("logs:CreateLogGroup", place.arn("logs", f"log-group:{group}"))


def log_stream(group: str, stream: str, place: Place) -> list[Permission]:
    """Making a log stream and writing to it."""
    arn = place.arn("logs", f"log-group:{group}:log-stream:{stream}")
    return _each(("logs:CreateLogStream", "logs:PutLogEvents"), arn)


def metrics(namespace: str) -> Permission:
    """Putting metric data."""
    return Permission("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": namespace})


def describe_alarms(names: Sequence[str], place: Place) -> list[Permission]:
    """Looking at alarms."""
    return _each(("cloudwatch:DescribeAlarms",), *(place.arn("cloudwatch", f"alarm:{name}") for name in names))


def key_uses(permission: Permission, key: str | None) -> list[Permission]:
    """What follows of an allowed permission when a key encrypts the bucket, object or topic."""
    if not key:
        return []
    via = {"kms:ViaService": f"{permission.action.partition(':')[0]}.{key.split(':')[3]}.amazonaws.com"}
    return [Permission(action, key, via) for action in KEY_USES.get(permission.action, ())]


def by_function_url(permission: Permission) -> list[Permission]:
    """What a function's URL asks besides the right to invoke the URL."""
    if permission.action != "lambda:InvokeFunctionUrl":
        return []
    return [Permission("lambda:InvokeFunction", permission.resource, {"lambda:InvokedViaFunctionUrl": "true"})]


def encrypt(key: str) -> list[Permission]:
    """What SageMaker asks about a role that is to encrypt a job's output with a key the request names."""
    return [Permission("kms:Encrypt", key), Permission("kms:GenerateDataKey", key)]


def encrypt_volumes(key: str) -> list[Permission]:
    """What SageMaker asks about who has instances' volumes encrypted with a key; nothing without one."""
    return [Permission("kms:CreateGrant", key, {"kms:GrantIsForAWSResource": "true"})] if key else []


def pull(image: str) -> list[Permission]:
    """Reading an image from ECR; nothing for an image elsewhere."""
    repository = _repository(image)
    return [Permission("ecr:GetAuthorizationToken"), *_each(PULL, repository)] if repository else []


def push(image: str) -> list[Permission]:
    """Writing an image to ECR, after a look whether it is there."""
    repository = _repository(image)
    return [*pull(image), *_each(("ecr:DescribeImages", *_PUSH), repository)] if repository else []


def _of_sagemaker(operation: str, request: Request, place: Place) -> list[Permission]:
    arns = _sagemaker_arns(operation, request, place)
    needed = _each((f"sagemaker:{operation}",), *arns)
    if operation.startswith("Create") and request.get("Tags"):
        needed.append(Permission("sagemaker:AddTags", arns[0]))
    if role := _text(request, "RoleArn") or _text(request, "ExecutionRoleArn"):
        needed.append(Permission("iam:PassRole", role, {"iam:PassedToService": SAGEMAKER}))
    if operation == "CreateEndpointConfig":  # AWS asks this of who creates or updates the endpoint
        needed += encrypt_volumes(_text(request, "KmsKeyId"))
    if operation == "CreateModelPackage":  # the registry has no role and reads as its caller
        for container in request.get("InferenceSpecification", {}).get("Containers", []):
            source = container.get("ModelDataSource", {}).get("S3DataSource", {})
            needed.append(read(_text(container, "ModelDataUrl") or _text(source, "S3Uri")))
            if repository := _repository(_text(container, "Image")):
                needed += _each((*PULL, "ecr:DescribeImages"), repository)
    return needed


def _sagemaker_arns(operation: str, request: Request, place: Place) -> list[str]:
    def arn(kind: str, name: str) -> str:
        return name if name.startswith("arn:") else place.arn("sagemaker", f"{kind}/{name}")

    if operation in ("AddTags", "ListTags", "DeleteTags"):
        return [_text(request, "ResourceArn")]
    if operation.startswith("List"):
        return ["*"]
    if operation == "CreateModelPackage" and (group := _text(request, "ModelPackageGroupName")):
        name = group.rpartition("/")[2]  # a name or an ARN; the version is not known yet
        return [arn("model-package-group", group), arn("model-package", f"{name}/*")]
    found = re.fullmatch(r"(?:Create|Describe|Update|Delete|Stop|Invoke)(\w+?)(?:WeightsAndCapacities)?", operation)
    if found is None:
        raise UnknownRequestError(f"The laptop cloud has no sagemaker:{operation}")
    kind = re.sub(r"(?<!^)(?=[A-Z])", "-", found[1]).lower()
    arns = [arn(kind, _text(request, f"{found[1]}Arn") or _text(request, f"{found[1]}Name"))]
    if operation in ("CreateEndpoint", "UpdateEndpoint"):
        arns.append(arn("endpoint-config", _text(request, "EndpointConfigName")))
    return arns


def _of_scaling(operation: str, request: Request, place: Place) -> list[Permission]:
    action = f"application-autoscaling:{operation}"
    if operation.startswith("Describe"):
        return [Permission(action)]
    if arn := _text(request, "ResourceARN"):
        return [Permission(action, arn)]
    resource_id = _text(request, "ResourceId")
    keys = {"service-namespace": "ServiceNamespace", "scalable-dimension": "ScalableDimension"}
    context = {f"application-autoscaling:{key}": _text(request, member) for key, member in keys.items()}
    # The target's own id is given by AWS, so policies can only name all targets.
    target = place.arn("application-autoscaling", "scalable-target/*")
    needed = [Permission(action, target, context)]
    alarms = place.arn("cloudwatch", f"alarm:TargetTracking-{resource_id}-*")
    if operation == "RegisterScalableTarget":
        name = resource_id.split("/")[1] if "/" in resource_id else ""
        endpoint = place.arn("sagemaker", f"endpoint/{name}")
        role = scaling_role(place.account)
        needed += _each(("sagemaker:DescribeEndpoint", "sagemaker:UpdateEndpointWeightsAndCapacities"), endpoint)
        config = place.arn("sagemaker", f"endpoint-config/{place.config_of(name)}")
        needed.append(Permission("sagemaker:DescribeEndpointConfig", config))
        needed.append(Permission("iam:CreateServiceLinkedRole", role, {"iam:AWSServiceName": _SCALING_SERVICE}))
        if request.get("Tags"):
            needed.append(Permission("application-autoscaling:TagResource", target))
    else:
        # Alarms that no request names are described as a whole.
        needed.append(Permission("cloudwatch:DescribeAlarms", place.arn("cloudwatch", "alarm:*")))
        needed.append(Permission("cloudwatch:DeleteAlarms", alarms))
        if operation == "PutScalingPolicy":
            needed.append(Permission("cloudwatch:PutMetricAlarm", alarms))
    return needed


def _each(actions: tuple[str, ...], *resources: str) -> list[Permission]:
    return [Permission(action, resource) for resource in resources for action in actions]


def _repository(image: str) -> str:
    found = ImageUri.parse(image)
    return f"arn:aws:ecr:{found.region}:{found.account}:repository/{found.repository}" if found else ""


def _object_arn(uri: str) -> str:
    return f"arn:aws:s3:::{uri.removeprefix('s3://')}"


def _text(request: Request, member: str) -> str:
    value = request.get(member, "")
    return value if isinstance(value, str) else ""
