"""The permissions that AWS checks for a request: actions, resources and condition keys. All functions are pure.

Actions and resources are those of AWS's Service Authorization Reference. The additional calls that a service makes with
its caller's rights come from Step Functions' pages on ``.sync`` integrations, Application Auto Scaling's
identity-based policies and SageMaker's page on execution roles.
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
EC2 = "ec2.amazonaws.com"
ECS_TASKS = "ecs-tasks.amazonaws.com"
PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
PULL_BY_LAMBDA = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_PUSH = ("ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage")
# By service namespace: the end of the name of the role with which Application Auto Scaling scales.
_SCALING_ROLES = {"sagemaker": "SageMakerEndpoint", "lambda": "LambdaConcurrency"}
# By operation: the calls that Step Functions makes for a .sync task, to watch, stop and tag what it started; and the
# EventBridge rule by which it learns of the end.
_SYNC = {
    "CreateTrainingJob": (
        ("DescribeTrainingJob", "StopTrainingJob", "AddTags", "ListTags"),
        "StepFunctionsGetEventsForSageMakerTrainingJobsRule",
    ),
    "CreateHyperParameterTuningJob": (
        ("DescribeHyperParameterTuningJob", "StopHyperParameterTuningJob", "AddTags", "ListTags"),
        "StepFunctionsGetEventsForSageMakerTuningJobsRule",
    ),
    "CreateProcessingJob": (
        ("DescribeProcessingJob", "StopProcessingJob", "AddTags", "ListTags"),
        "StepFunctionsGetEventsForSageMakerProcessingJobsRule",
    ),
    "StartBuild": (("BatchGetBuilds", "StopBuild"), "StepFunctionsGetEventForCodeBuildStartBuildRule"),
    "SubmitJob": (("DescribeJobs", "TerminateJob"), "StepFunctionsGetEventsForBatchJobsRule"),
}
_FOLLOW_RULE = ("events:PutRule", "events:PutTargets", "events:DescribeRule")
# The condition key whose value is the KMS key that a request names.
NAMED_KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
# By action: the calls of KMS that S3 and SNS make with their caller's rights, for an encrypted bucket or topic.
KEY_USES = {
    "s3:GetObject": ("kms:Decrypt",),
    "s3:GetObjectVersion": ("kms:Decrypt",),
    "s3:PutObject": ("kms:GenerateDataKey",),
    "sns:Publish": ("kms:GenerateDataKey", "kms:Decrypt"),
}


class Permission(NamedTuple):
    """One permission that IAM checks.

    Attributes:
        action: The action, for example ``s3:GetObject``.
        resource: ARN of the resource, or ``*``.
        context: Condition keys of the request, beyond those that every request has. A key may have several values.
    """

    action: str
    resource: str = "*"
    context: Mapping[str, str | list[str]] = MappingProxyType({})


class RequestScope(NamedTuple):
    """What is needed besides a request to name its resources.

    Attributes:
        region: Region of the request.
        account: Account of the request.
        config_of: Returns the name of an endpoint's configuration for the endpoint's name.
    """

    region: str
    account: str
    config_of: Callable[[str], str] = lambda _endpoint: "*"

    def arn(self, service: str, resource: str) -> str:
        """Return an ARN, for example ``arn:aws:ssm:us-east-1:000000000000:parameter/kennel/lock``."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


class UnknownRequestError(Exception):
    """This module does not contain the permissions for a request."""


def for_task(resource: str, arguments: Request, scope: RequestScope) -> list[Permission]:
    """Return the permissions that a state machine's role needs for a task, from its start to its end.

    Args:
        resource: The task's resource, for example ``arn:aws:states:::lambda:invoke``.
        arguments: The task's arguments, evaluated.
        scope: Scope of the request.

    Raises:
        UnknownRequestError: This module does not know the integration.
    """
    service, _, rest = resource.removeprefix("arn:aws:states:::").removeprefix("aws-sdk:").partition(":")
    action, _, pattern = rest.partition(".")
    operation = action[:1].upper() + action[1:]
    needed = for_operation(service, operation, arguments, scope)
    if not pattern:
        return needed
    if pattern != "sync" or operation not in _SYNC:
        raise UnknownRequestError(f"The laptop cloud has no {resource}")
    actions, rule = _SYNC[operation]
    if service == "batch":  # The id of a job is not known before it is submitted, so policies name all jobs.
        watching = [Permission("batch:DescribeJobs"), Permission("batch:TerminateJob", scope.arn("batch", "job/*"))]
    else:
        watching = _each(tuple(f"{service}:{action}" for action in actions), needed[0].resource)
    return [*needed, *watching, *_each(_FOLLOW_RULE, scope.arn("events", f"rule/{rule}"))]


def for_operation(service: str, operation: str, request: Request, scope: RequestScope) -> list[Permission]:
    """Return the permissions that the caller of an API operation needs.

    Args:
        service: The service's name as in an ``aws-sdk:`` resource, or as botocore writes it.
        operation: Name of the operation, for example ``CreateModel``.
        request: The request's members, with a capital first letter. The service itself checks that none is missing.
        scope: Scope of the request.

    Raises:
        UnknownRequestError: This module does not know the operation.
    """
    match service.replace("-", ""), operation:
        case "sagemaker", _:
            return _of_sagemaker(operation, request, scope)
        case "applicationautoscaling", _:
            return _of_scaling(operation, request, scope)
        case "batch", _:
            return _of_batch(operation, request, scope)
        case "cloudcontrol", "GetResource":
            return _of_cloud_control(request, scope)
        case "servicequotas", "GetServiceQuota" | "GetAWSDefaultServiceQuota" | "ListServiceQuotas":
            return [Permission(f"servicequotas:{operation}")]  # These actions know no resources.
        case "servicequotas", "RequestServiceQuotaIncrease":
            arn = scope.arn("servicequotas", f"{_text(request, 'ServiceCode')}/{_text(request, 'QuotaCode')}")
            return [Permission("servicequotas:RequestServiceQuotaIncrease", arn)]
        case "lambda", "Invoke":
            name = _text(request, "FunctionName")
            arn = name if name.startswith("arn:") else scope.arn("lambda", f"function:{name}")
            return [Permission("lambda:InvokeFunction", arn)]
        case "lambda", _ if "FunctionName" in request:
            return _of_lambda(operation, request, scope)
        case "sns", "Publish":
            return [Permission("sns:Publish", _text(request, "TopicArn"))]
        case "ssm", "GetParameters":
            names = [name.removeprefix("/") for name in request.get("Names", [])]
            return [Permission("ssm:GetParameters", scope.arn("ssm", f"parameter/{name}")) for name in names]
        case "ssm", "GetParameter" | "PutParameter" | "DeleteParameter":
            arn = scope.arn("ssm", f"parameter/{_text(request, 'Name').removeprefix('/')}")
            return [Permission(f"ssm:{operation}", arn)]
        case "s3", "ListObjectsV2":
            return [listing(_text(request, "Bucket"), _text(request, "Prefix"))]
        case "s3", "GetObject" | "HeadObject":
            return [read(f"{_text(request, 'Bucket')}/{_text(request, 'Key')}")]
        case "s3", "PutObject":
            key = _text(request, "SsekmsKeyId")  # as Step Functions writes it
            return [write(f"{_text(request, 'Bucket')}/{_text(request, 'Key')}", key)]
        case "s3", "DeleteObject":
            return [delete(f"{_text(request, 'Bucket')}/{_text(request, 'Key')}")]
        case "s3", "ListObjectVersions":
            versions = listing(_text(request, "Bucket"), _text(request, "Prefix"))
            return [versions._replace(action="s3:ListBucketVersions")]
        case "s3", "DeleteObjects":
            return [
                delete(f"{_text(request, 'Bucket')}/{_text(item, 'Key')}", _text(item, "VersionId"))
                for item in request.get("Delete", {}).get("Objects", [])
            ]
        case "dynamodb", _ if "TableName" in request:
            return [Permission(f"dynamodb:{operation}", scope.arn("dynamodb", f"table/{_text(request, 'TableName')}"))]
        case "sfn", "DescribeExecution":
            return [Permission("states:DescribeExecution", _text(request, "ExecutionArn"))]
        case "ecr", _ if "RepositoryName" in request:
            arn = scope.arn("ecr", f"repository/{_text(request, 'RepositoryName')}")
            return [Permission(f"ecr:{operation}", arn)]
        case "scheduler", "CreateSchedule" | "UpdateSchedule" | "DeleteSchedule":
            arn = scope.arn("scheduler", f"schedule/{_text(request, 'GroupName')}/{_text(request, 'Name')}")
            role = _text(request.get("Target", {}), "RoleArn")
            passing = [Permission("iam:PassRole", role, {"iam:PassedToService": SCHEDULER})] if role else []
            return [Permission(f"scheduler:{operation}", arn), *passing]
        case "cloudwatch", "DescribeAlarms":
            return describe_alarms(request.get("AlarmNames") or ["*"], scope)
        case "cloudwatch", "PutMetricAlarm" | "DeleteAlarms":
            names = request.get("AlarmNames") or [_text(request, "AlarmName")]
            return [Permission(f"cloudwatch:{operation}", scope.arn("cloudwatch", f"alarm:{name}")) for name in names]
        case "cloudwatchlogs", "PutRetentionPolicy":
            return [Permission("logs:PutRetentionPolicy", scope.arn("logs", f"log-group:{request['LogGroupName']}:*"))]
        case "codebuild", "StartBuild":
            arn = scope.arn("codebuild", f"project/{_text(request, 'ProjectName')}")
            return [Permission("codebuild:StartBuild", arn)]
    raise UnknownRequestError(f"The laptop cloud has no {service}:{operation}")


def read(uri: str, version: str = "") -> Permission:
    """Return the permission to read an S3 object, or one version of it."""
    return Permission("s3:GetObjectVersion" if version else "s3:GetObject", _object_arn(uri))


def write(uri: str, key: str = "") -> Permission:
    """Return the permission to write an S3 object; ``key`` is the ARN of the KMS key that the request names, if any."""
    return Permission("s3:PutObject", _object_arn(uri), {NAMED_KEY: key} if key else {})


def delete(uri: str, version: str = "") -> Permission:
    """Return the permission to delete an S3 object, or one version of it."""
    return Permission("s3:DeleteObjectVersion" if version else "s3:DeleteObject", _object_arn(uri))


def listing(bucket: str, prefix: str) -> Permission:
    """Return the permission to list a bucket's objects under a prefix."""
    return Permission("s3:ListBucket", f"arn:aws:s3:::{bucket}", {"s3:prefix": prefix})


def scaling_role(namespace: str, account: str) -> str:
    """Return the ARN of the role with which Application Auto Scaling scales what belongs to a service namespace."""
    name = f"AWSServiceRoleForApplicationAutoScaling_{_SCALING_ROLES.get(namespace, '*')}"
    return f"arn:aws:iam::{account}:role/aws-service-role/{_scaling_service(namespace)}/{name}"


def _scaling_service(namespace: str) -> str:
    return f"{namespace}.application-autoscaling.amazonaws.com"


def log_group(group: str, scope: RequestScope) -> Permission:
    """Return the permission to create a log group."""
    return Permission("logs:CreateLogGroup", scope.arn("logs", f"log-group:{group}"))


def log_stream(group: str, stream: str, scope: RequestScope) -> list[Permission]:
    """Return the permissions to create a log stream and to write to it."""
    arn = scope.arn("logs", f"log-group:{group}:log-stream:{stream}")
    return _each(("logs:CreateLogStream", "logs:PutLogEvents"), arn)


def metrics(namespace: str) -> Permission:
    """Return the permission to put metric data."""
    return Permission("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": namespace})


def describe_alarms(names: Sequence[str], scope: RequestScope) -> list[Permission]:
    """Return the permissions to describe alarms."""
    return _each(("cloudwatch:DescribeAlarms",), *(scope.arn("cloudwatch", f"alarm:{name}") for name in names))


def key_uses(permission: Permission, key: str | None) -> list[Permission]:
    """Return the permissions on a KMS key that an action needs when the key encrypts its bucket, object or topic.

    Args:
        permission: The permission for the action itself.
        key: ARN of the key; None when there is none.
    """
    if not key:
        return []
    via = {"kms:ViaService": f"{permission.action.partition(':')[0]}.{key.split(':')[3]}.amazonaws.com"}
    return [Permission(action, key, via) for action in KEY_USES.get(permission.action, ())]


def by_function_url(permission: Permission) -> list[Permission]:
    """Return the permissions that an invocation by URL needs besides ``lambda:InvokeFunctionUrl``."""
    if permission.action != "lambda:InvokeFunctionUrl":
        return []
    return [Permission("lambda:InvokeFunction", permission.resource, {"lambda:InvokedViaFunctionUrl": "true"})]


def encrypt(key: str) -> list[Permission]:
    """Return the permissions that a job's role needs to encrypt the output with the KMS key that the request names."""
    return [Permission("kms:Encrypt", key), Permission("kms:GenerateDataKey", key)]


def encrypt_volumes(key: str) -> list[Permission]:
    """Return the permissions to have instances' volumes encrypted with a KMS key; none when there is no key."""
    return [Permission("kms:CreateGrant", key, {"kms:GrantIsForAWSResource": "true"})] if key else []


def pull(image: str) -> list[Permission]:
    """Return the permissions to read an image from ECR; none for an image elsewhere."""
    repository = _repository(image)
    return [Permission("ecr:GetAuthorizationToken"), *_each(PULL, repository)] if repository else []


def let_lambda_pull(repository: str) -> list[Permission]:
    """Return the permissions with which Lambda lets itself read a repository's images, given by its ARN."""
    return _each(("ecr:GetRepositoryPolicy", "ecr:SetRepositoryPolicy"), repository)


def policy_with_lambda(policy: Mapping[str, Any] | None, function: str) -> dict[str, Any]:
    """Return a repository's policy with the statement by which functions of an account read images.

    Args:
        policy: The policy as it is; None without one.
        function: ARN of one of the functions.
    """
    sid, functions = "LambdaECRImageRetrievalPolicy", f"{function.rpartition(':')[0]}:*"
    own = {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"Service": LAMBDA},
        "Action": list(PULL_BY_LAMBDA),
        "Condition": {"StringLike": {"aws:sourceArn": functions}},
    }
    others = (policy or {}).get("Statement", [])
    others = [others] if isinstance(others, dict) else others
    kept = [each for each in others if each.get("Sid") != sid]
    return {"Version": "2008-10-17", **(policy or {}), "Statement": [*kept, own]}


def push(image: str) -> list[Permission]:
    """Return the permissions to look for an image in ECR and to write it; none for an image elsewhere."""
    repository = _repository(image)
    return [*pull(image), *_each(("ecr:DescribeImages", *_PUSH), repository)] if repository else []


def _of_sagemaker(operation: str, request: Request, scope: RequestScope) -> list[Permission]:
    arns = _sagemaker_arns(operation, request, scope)
    keys = _sagemaker_keys(operation, request)
    needed = [Permission(f"sagemaker:{operation}", each, keys) for each in arns]
    if operation.startswith("Create") and request.get("Tags"):
        needed.append(Permission("sagemaker:AddTags", arns[0]))
    definitions = [request.get("TrainingJobDefinition", {}), *request.get("TrainingJobDefinitions", [])]
    roles = [
        _text(request, "RoleArn") or _text(request, "ExecutionRoleArn"),
        *(_text(e, "RoleArn") for e in definitions),
    ]
    for role in dict.fromkeys(filter(None, roles)):
        needed.append(Permission("iam:PassRole", role, {"iam:PassedToService": SAGEMAKER}))
    if operation == "CreateEndpointConfig":  # AWS checks this later, when an endpoint is created or updated.
        needed += encrypt_volumes(_text(request, "KmsKeyId"))
    if operation == "CreateModelPackage":  # The registry has no role, so it reads with its caller's rights.
        for container in request.get("InferenceSpecification", {}).get("Containers", []):
            source = container.get("ModelDataSource", {}).get("S3DataSource", {})
            needed.append(read(_text(container, "ModelDataUrl") or _text(source, "S3Uri")))
            if repository := _repository(_text(container, "Image")):
                needed += _each((*PULL, "ecr:DescribeImages"), repository)
    return needed


def _sagemaker_keys(operation: str, request: Request) -> dict[str, str | list[str]]:
    """Return the condition keys by which policies limit what jobs, models and endpoints are made of.

    Which action has which keys is in the Service Authorization Reference; a key whose member a request leaves out is
    absent, except for those of Boolean members, which AWS counts as false:
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemaker.html
    """
    match operation:
        case "CreateTrainingJob":
            return _training_keys([request])
        case "CreateHyperParameterTuningJob":
            definitions = [request.get("TrainingJobDefinition", {}), *request.get("TrainingJobDefinitions", [])]
            return _training_keys([each for each in definitions if each])
        case "CreateProcessingJob":
            cluster = request.get("ProcessingResources", {}).get("ClusterConfig", {})
            network, output = request.get("NetworkConfig", {}), request.get("ProcessingOutputConfig", {})
            return {
                **_present("sagemaker:InstanceTypes", [_text(cluster, "InstanceType")]),
                **_present("sagemaker:VolumeKmsKey", _text(cluster, "VolumeKmsKeyId")),
                **_present("sagemaker:OutputKmsKey", _text(output, "KmsKeyId")),
                "sagemaker:NetworkIsolation": _flag(network, "EnableNetworkIsolation"),
                "sagemaker:InterContainerTrafficEncryption": _flag(network, "EnableInterContainerTrafficEncryption"),
            }
        case "CreateModel":
            return {"sagemaker:NetworkIsolation": _flag(request, "EnableNetworkIsolation")}
        case "CreateEndpointConfig":
            variants = [*request.get("ProductionVariants", []), *request.get("ShadowProductionVariants", [])]
            return {
                **_present("sagemaker:InstanceTypes", [_text(each, "InstanceType") for each in variants]),
                **_present("sagemaker:VolumeKmsKey", _text(request, "KmsKeyId")),
            }
    return {}


def _training_keys(definitions: Sequence[Request]) -> dict[str, str | list[str]]:
    """Return the condition keys of training jobs that one request makes."""
    clusters = [each.get("ResourceConfig", {}) for each in definitions]
    groups = [group for each in clusters for group in each.get("InstanceGroups", [])]
    volumes = [_text(each, "VolumeKmsKeyId") for each in clusters]
    outputs = [_text(each.get("OutputDataConfig", {}), "KmsKeyId") for each in definitions]
    return {
        **_present("sagemaker:InstanceTypes", [_text(each, "InstanceType") for each in (*clusters, *groups)]),
        **_present("sagemaker:VolumeKmsKey", _only(volumes)),
        **_present("sagemaker:OutputKmsKey", _only(outputs)),
        "sagemaker:NetworkIsolation": _every(definitions, "EnableNetworkIsolation"),
        "sagemaker:InterContainerTrafficEncryption": _every(definitions, "EnableInterContainerTrafficEncryption"),
    }


def _present(key: str, value: str | list[str]) -> dict[str, str | list[str]]:
    """Return a condition key with its values, or nothing if the request has none."""
    values = value if isinstance(value, str) else sorted(set(filter(None, value)))
    return {key: values} if values else {}


def _only(values: Sequence[str]) -> str | list[str]:
    return values[0] if len(set(values)) == 1 else list(values)


def _flag(request: Request, member: str) -> str:
    return "true" if request.get(member) is True else "false"


def _every(definitions: Sequence[Request], member: str) -> str:
    return "true" if definitions and all(each.get(member) is True for each in definitions) else "false"


def _sagemaker_arns(operation: str, request: Request, scope: RequestScope) -> list[str]:
    def arn(kind: str, name: str) -> str:
        return name if name.startswith("arn:") else scope.arn("sagemaker", f"{kind}/{name}")

    if operation in ("AddTags", "ListTags", "DeleteTags"):
        return [_text(request, "ResourceArn")]
    if operation.startswith("List"):
        return ["*"]
    if operation == "CreateModelPackage" and (group := _text(request, "ModelPackageGroupName")):
        name = group.rpartition("/")[2]  # The group is a name or an ARN. The package's version is not known yet.
        return [arn("model-package-group", group), arn("model-package", f"{name}/*")]
    match = re.fullmatch(r"(?:Create|Describe|Update|Delete|Stop|Invoke)(\w+?)(?:WeightsAndCapacities)?", operation)
    if match is None:
        raise UnknownRequestError(f"The laptop cloud has no sagemaker:{operation}")
    kind = re.sub(r"(?<!^)(?=[A-Z])", "-", match[1]).lower()
    arns = [arn(kind, _text(request, f"{match[1]}Arn") or _text(request, f"{match[1]}Name"))]
    if operation in ("CreateEndpoint", "UpdateEndpoint"):
        arns.append(arn("endpoint-config", _text(request, "EndpointConfigName")))
    return arns


def _of_cloud_control(request: Request, scope: RequestScope) -> list[Permission]:
    """Return the permissions of GetResource: its own, and that of the resource's service."""
    kind, identifier = _text(request, "TypeName"), _text(request, "Identifier")
    needed = [Permission("cloudformation:GetResource", "*")]
    if kind == "AWS::Lambda::Url":
        arn = identifier if identifier.startswith("arn:") else scope.arn("lambda", f"function:{identifier}")
        needed.append(Permission("lambda:GetFunctionUrlConfig", arn))
    elif kind == "AWS::ApiGateway::RestApi":
        needed.append(Permission("apigateway:GET", f"arn:aws:apigateway:{scope.region}::/restapis/{identifier}"))
    return needed


def _of_lambda(operation: str, request: Request, scope: RequestScope) -> list[Permission]:
    """Return the permissions of an operation on a function, or on one of its versions or aliases.

    Which of them a policy names is in the Service Authorization Reference; aliases, versions and what functions reserve
    belong to the function: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html
    """
    name, qualifier = _text(request, "FunctionName"), _text(request, "Qualifier")
    function = name if name.startswith("arn:") else scope.arn("lambda", f"function:{name}")
    arn = f"{function}:{qualifier}" if qualifier else function
    keys = _present("lambda:FunctionUrlAuthType", _text(request, "AuthType")) if "Url" in operation else {}
    needed = [Permission(f"lambda:{operation}", arn, keys)]
    if role := _text(request, "Role"):
        needed.append(Permission("iam:PassRole", role, {"iam:PassedToService": LAMBDA}))
    image = _text(request, "ImageUri") or _text(request.get("Code", {}), "ImageUri")
    if repository := _repository(image):  # Lambda looks with its caller's rights whether it may read the image.
        needed += _each((*PULL_BY_LAMBDA, "ecr:GetRepositoryPolicy"), repository)
    return needed


def _of_batch(operation: str, request: Request, scope: RequestScope) -> list[Permission]:
    # Over HTTP the members begin with a small letter.
    members = {name[:1].upper() + name[1:]: value for name, value in request.items()}

    def arn(kind: str, name: str) -> str:
        return name if name.startswith("arn:") else scope.arn("batch", f"{kind}/{name}")

    action = f"batch:{operation}"
    if operation.startswith(("Describe", "List")):
        return [Permission(action)]
    if operation == "SubmitJob":
        queue, definition = _text(members, "JobQueue"), _text(members, "JobDefinition")
        return _each((action,), arn("job-definition", definition), arn("job-queue", queue))
    if operation in ("CancelJob", "TerminateJob"):
        return [Permission(action, arn("job", _text(members, "JobId")))]
    if operation == "RegisterJobDefinition":
        container = {n[:1].upper() + n[1:]: v for n, v in members.get("ContainerProperties", {}).items()}
        role = _text(container, "JobRoleArn")
        passing = [Permission("iam:PassRole", role, {"iam:PassedToService": ECS_TASKS})] if role else []
        return [Permission(action, arn("job-definition", _text(members, "JobDefinitionName"))), *passing]
    if operation == "DeregisterJobDefinition":
        return [Permission(action, arn("job-definition", _text(members, "JobDefinition")))]
    kind, member = ("job-queue", "JobQueue") if operation.endswith("JobQueue") else ("compute-environment", "")
    member = member or "ComputeEnvironment"
    return [Permission(action, arn(kind, _text(members, member) or _text(members, f"{member}Name")))]


def _of_scaling(operation: str, request: Request, scope: RequestScope) -> list[Permission]:
    action = f"application-autoscaling:{operation}"
    if operation.startswith("Describe"):
        return [Permission(action)]
    if arn := _text(request, "ResourceARN"):
        return [Permission(action, arn)]
    resource_id = _text(request, "ResourceId")
    keys = {"service-namespace": "ServiceNamespace", "scalable-dimension": "ScalableDimension"}
    context = {f"application-autoscaling:{key}": _text(request, member) for key, member in keys.items()}
    # AWS chooses the target's id, so policies can only name all targets.
    target = scope.arn("application-autoscaling", "scalable-target/*")
    needed = [Permission(action, target, context)]
    alarms = scope.arn("cloudwatch", f"alarm:TargetTracking-{resource_id}-*")
    if operation == "RegisterScalableTarget":
        namespace = _text(request, "ServiceNamespace")
        needed += _of_scaled(namespace, resource_id, scope)
        role, service = scaling_role(namespace, scope.account), {"iam:AWSServiceName": _scaling_service(namespace)}
        needed.append(Permission("iam:CreateServiceLinkedRole", role, service))
        if request.get("Tags"):
            needed.append(Permission("application-autoscaling:TagResource", target))
    else:
        # The request names no alarms, so the service describes all of them.
        needed.append(Permission("cloudwatch:DescribeAlarms", scope.arn("cloudwatch", "alarm:*")))
        needed.append(Permission("cloudwatch:DeleteAlarms", alarms))
        if operation == "PutScalingPolicy":
            needed.append(Permission("cloudwatch:PutMetricAlarm", alarms))
    return needed


def _of_scaled(namespace: str, resource_id: str, scope: RequestScope) -> list[Permission]:
    """Return the permissions on what is scaled that Application Auto Scaling uses of whoever registers a target."""
    if namespace == "lambda":
        function = scope.arn("lambda", resource_id)  # The id begins with ``function:``, as the ARN's last part does.
        actions = tuple(f"lambda:{verb}ProvisionedConcurrencyConfig" for verb in ("Get", "Put", "Delete"))
        return _each(actions, function)
    name = resource_id.split("/")[1] if "/" in resource_id else ""
    endpoint = scope.arn("sagemaker", f"endpoint/{name}")
    config = scope.arn("sagemaker", f"endpoint-config/{scope.config_of(name)}")
    return [
        *_each(("sagemaker:DescribeEndpoint", "sagemaker:UpdateEndpointWeightsAndCapacities"), endpoint),
        Permission("sagemaker:DescribeEndpointConfig", config),
    ]


def _each(actions: tuple[str, ...], *resources: str) -> list[Permission]:
    return [Permission(action, resource) for resource in resources for action in actions]


def _repository(image: str) -> str:
    uri = ImageUri.parse(image)
    return f"arn:aws:ecr:{uri.region}:{uri.account}:repository/{uri.repository}" if uri else ""


def _object_arn(uri: str) -> str:
    return f"arn:aws:s3:::{uri.removeprefix('s3://')}"


def _text(request: Request, member: str) -> str:
    value = request.get(member, "")
    return value if isinstance(value, str) else ""
