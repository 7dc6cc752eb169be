"""IAM on the laptop cloud: callers, state machines, jobs and models may do only what their policies allow."""

import contextlib
import io
import json
import urllib.error
import urllib.request
import uuid
import zipfile
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.laptop import ACCOUNT, IMAGE, REGION, REPOSITORY, ROLE, Cloud, await_function, eventually
from tests.integration.machines import PASS, create, definition, output, run, task
from tests.integration.training_jobs import training

EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
KENNEL = "arn:aws:s3:::kennel"
PULL = {"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}


def allow(*actions: str, on: str = "*") -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": on}


def deny(*actions: str) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": list(actions), "Resource": "*"}


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:6]}"


def arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def reason(role: str, action: str, on: str, session: str = "SageMaker") -> str:
    user = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.rpartition('/')[2]}/{session}"
    why = f"because no identity-based policy allows the {action} action"
    return f"User: {user} is not authorized to perform: {action} on resource: {on} {why}"


@pytest.fixture(scope="module")
def states(cloud: Cloud) -> Any:
    return cloud.client("stepfunctions")


# --- state machines -----------------------------------------------------------------------------------

DENIED_TASKS = [
    ("aws-sdk:ssm:putParameter", {"Name": "/x", "Value": "v"}, "Ssm.AccessDeniedException", arn("ssm", "parameter/x")),
    (
        "aws-sdk:sagemaker:describeEndpoint",
        {"EndpointName": "dogs"},
        "SageMaker.SageMakerException",
        arn("sagemaker", "endpoint/dogs"),
    ),
    (
        "aws-sdk:ecr:batchGetImage",
        {"RepositoryName": "r", "ImageIds": [{"ImageTag": "t"}]},
        "Ecr.EcrException",
        arn("ecr", "repository/r"),
    ),
    ("lambda:invoke", {"FunctionName": "f"}, "Lambda.AWSLambdaException", arn("lambda", "function:f")),
    ("sns:publish", {"TopicArn": arn("sns", "t"), "Message": "m"}, "SNS.AuthorizationErrorException", arn("sns", "t")),
    (
        "codebuild:startBuild.sync",
        {"ProjectName": "p"},
        "CodeBuild.AWSCodeBuildException",
        arn("codebuild", "project/p"),
    ),
]
ACTIONS = {"lambda:invoke": "lambda:InvokeFunction", "codebuild:startBuild.sync": "codebuild:StartBuild"}


@pytest.mark.parametrize(("resource", "arguments", "error", "on"), DENIED_TASKS, ids=lambda value: str(value)[:30])
def test_a_task_fails_as_on_aws_when_the_machines_role_lacks_its_action(
    cloud: Cloud, states: Any, resource: str, arguments: dict[str, Any], error: str, on: str
) -> None:
    role = cloud.make_role(unique("poor"), allow("ssm:GetParameter"))
    done = run(states, definition(Only=task(resource, arguments)), role=role)
    service, _, action = resource.removeprefix("aws-sdk:").partition(":")
    named = ACTIONS.get(resource, f"{service}:{action[:1].upper()}{action[1:]}")
    assert done["error"] == error
    assert done["cause"].startswith(reason(role, named, on, done["name"]))


def test_a_task_runs_with_the_one_permission_that_it_needs(cloud: Cloud, states: Any) -> None:
    name = f"/{unique('p')}"
    role = cloud.make_role(unique("just-enough"), allow("ssm:PutParameter", on=arn("ssm", f"parameter{name}")))
    arguments = {"Name": name, "Value": "v", "Type": "String"}
    done = run(states, definition(Only=task("aws-sdk:ssm:putParameter", arguments)), role=role)
    assert done["status"] == "SUCCEEDED", done.get("cause")
    assert cloud.client("ssm").get_parameter(Name=name)["Parameter"]["Value"] == "v"


@pytest.mark.parametrize(
    "action",
    [
        "sagemaker:DescribeTrainingJob",
        "sagemaker:StopTrainingJob",
        "sagemaker:AddTags",
        "events:PutRule",
        "iam:PassRole",
    ],
)
def test_sync_training_needs_more_than_starting_a_job(cloud: Cloud, states: Any, s3: Any, action: str) -> None:
    role = cloud.make_role(unique("nearly"), EVERYTHING, deny(action))
    request = training(s3, unique("denied"))
    done = run(states, definition(Only=task("sagemaker:createTrainingJob.sync", request)), role=role)
    assert done["error"] == "SageMaker.AmazonSageMakerException"
    assert f"is not authorized to perform: {action} on resource: " in done["cause"]
    assert "with an explicit deny in an identity-based policy" in done["cause"]
    assert (
        cloud.client("sagemaker").list_training_jobs(NameContains=request["TrainingJobName"])["TrainingJobSummaries"]
        == []
    )


def test_publishing_to_an_encrypted_topic_needs_its_key(cloud: Cloud, states: Any) -> None:
    key = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    topic = cloud.client("sns").create_topic(Name=unique("news"), Attributes={"KmsMasterKeyId": key})["TopicArn"]
    machine = definition(Only=task("sns:publish", {"TopicArn": topic, "Message": "woof"}))
    role = cloud.make_role(unique("mute"), allow("sns:Publish"))
    done = run(states, machine, role=role)
    assert done["error"] == "SNS.KMSAccessDeniedException"
    assert reason(role, "kms:GenerateDataKey", key, done["name"]) in done["cause"]
    assert "MessageId" in output(states, machine)


def test_a_machine_whose_role_does_not_trust_step_functions_does_nothing(cloud: Cloud, states: Any) -> None:
    role = unique("distrustful")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role_arn = cloud.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    done = run(states, definition(Only=task("aws-sdk:ssm:getParameter", {"Name": "/x"})), role=role_arn)
    assert done["error"] == "Ssm.AccessDeniedException"
    assert "states.amazonaws.com is not authorized to assume the provided role" in done["cause"]


@pytest.mark.parametrize(("statement", "starts"), [(allow("states:StartExecution"), 1), (allow("states:Stop*"), 0)])
def test_a_rule_starts_a_machine_only_if_its_role_may(
    cloud: Cloud, states: Any, statement: dict[str, Any], starts: int
) -> None:
    first, second = (create(states, definition(Only=PASS)) for _ in range(2))
    events, rule = cloud.client("events"), unique("rule")
    pattern = {"source": ["aws.states"], "detail": {"stateMachineArn": [first], "status": ["SUCCEEDED"]}}
    events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
    role = cloud.make_role(unique("rule"), statement)
    events.put_targets(Rule=rule, Targets=[{"Id": "second", "Arn": second, "RoleArn": role}])
    # The machine that a second, permitted rule starts shows when the event has arrived.
    witness = create(states, definition(Only=PASS))
    events.put_rule(Name=f"{rule}-witness", EventPattern=json.dumps(pattern))
    events.put_targets(Rule=f"{rule}-witness", Targets=[{"Id": "witness", "Arn": witness, "RoleArn": ROLE}])
    states.start_execution(stateMachineArn=first)
    eventually(lambda: states.list_executions(stateMachineArn=witness)["executions"], bool)
    assert len(states.list_executions(stateMachineArn=second)["executions"]) == starts


# --- direct callers -----------------------------------------------------------------------------------


def test_callers_of_the_api_are_held_to_actions_and_resources(cloud: Cloud) -> None:
    role = cloud.make_role(unique("reader"), allow("sagemaker:DescribeEndpoint", on=arn("sagemaker", "endpoint/mine")))
    caller = cloud.client("sagemaker", role=role)
    with pytest.raises(ClientError, match="Could not find endpoint"):
        caller.describe_endpoint(EndpointName="mine")
    with pytest.raises(ClientError) as error:
        caller.describe_endpoint(EndpointName="yours")
    assert error.value.response["Error"]["Code"] == "AccessDeniedException"
    assert error.value.response["Error"]["Message"] == reason(
        role, "sagemaker:DescribeEndpoint", arn("sagemaker", "endpoint/yours"), "test"
    )
    with pytest.raises(ClientError, match=r"not authorized to perform: sagemaker:ListEndpoints on resource: \*"):
        caller.list_endpoints()


def test_invoking_is_held_to_the_endpoint(cloud: Cloud) -> None:
    role = cloud.make_role(unique("asker"), allow("sagemaker:InvokeEndpoint", on=arn("sagemaker", "endpoint/mine")))
    caller = cloud.client("sagemaker-runtime", role=role)
    with pytest.raises(ClientError, match="Endpoint mine of account 000000000000 not found"):
        caller.invoke_endpoint(EndpointName="mine", Body=b"x")
    with pytest.raises(ClientError) as error:
        caller.invoke_endpoint(EndpointName="yours", Body=b"x")
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert error.value.response["Error"]["Code"] == "AccessDeniedException"


def test_nobody_without_a_signature_is_served(cloud: Cloud) -> None:
    headers = {"X-Amz-Target": "SageMaker.ListEndpoints", "Content-Type": "application/x-amz-json-1.1"}
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(urllib.request.Request(cloud.url, data=b"{}", headers=headers), timeout=20)
    assert error.value.code == 400
    assert json.loads(error.value.read())["message"] == "Missing Authentication Token"


def test_scaling_needs_the_rights_that_application_auto_scaling_borrows(cloud: Cloud) -> None:
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/mine/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    role = cloud.make_role(unique("scaler"), allow("application-autoscaling:*"))
    with pytest.raises(ClientError, match=r"sagemaker:DescribeEndpoint on resource: .*:endpoint/mine because"):
        cloud.client("application-autoscaling", role=role).register_scalable_target(
            **target, MinCapacity=1, MaxCapacity=2
        )


# --- roles that requests name -------------------------------------------------------------------------


def test_a_role_is_handed_over_only_by_whom_may_pass_it(cloud: Cloud, s3: Any) -> None:
    role = cloud.make_role(unique("no-passer"), allow("sagemaker:*", "iam:GetRole"))
    with pytest.raises(ClientError) as error:
        cloud.client("sagemaker", role=role).create_training_job(**training(s3, unique("passed")))
    assert error.value.response["Error"]["Message"] == reason(role, "iam:PassRole", ROLE, "test")
    passing = allow("iam:PassRole", on=ROLE) | {
        "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    }
    other = cloud.make_role(unique("passer"), allow("sagemaker:CreateTrainingJob"), passing)
    assert cloud.client("sagemaker", role=other).create_training_job(**training(s3, unique("passed")))


@pytest.mark.parametrize(
    "trust",
    [
        None,
        {"Principal": {"Service": "lambda.amazonaws.com"}},
        {
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Condition": {"StringEquals": {"aws:SourceAccount": "111111111111"}},
        },
    ],
    ids=["no such role", "another service", "another account"],
)
def test_a_role_that_sagemaker_cannot_assume_is_refused(
    cloud: Cloud, sagemaker: Any, s3: Any, trust: dict[str, Any] | None
) -> None:
    name = unique("untrusting")
    if trust:
        statement = {"Effect": "Allow", "Action": "sts:AssumeRole", **trust}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        cloud.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)
    request = training(s3, unique("refused")) | {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/{name}"}
    with pytest.raises(ClientError, match=r"Could not assume role .* allows principal 'sagemaker.amazonaws.com'"):
        sagemaker.create_training_job(**request)


# --- roles of functions and schedules -----------------------------------------------------------------


def let_assume(cloud: Cloud, role: str, service: str) -> None:
    """Let a service of AWS, and nobody else, assume a role."""
    trust = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    cloud.client("iam").update_assume_role_policy(RoleName=role.rpartition("/")[2], PolicyDocument=document)


def call_function(cloud: Cloud, role: str, untrusted: bool = False) -> tuple[str, Any]:
    """Create a function with a role, invoke it, and return its name and Lambda's answer.

    Args:
        cloud: the cloud.
        role: the role's ARN.
        untrusted: whether Lambda may no longer assume the role when the function is invoked.
    """
    code, functions, name = io.BytesIO(), cloud.client("lambda"), unique("echo")
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("echo.py", "def handler(event, context):\n    return event\n")
    settings = {"Runtime": "python3.11", "Handler": "echo.handler", "Code": {"ZipFile": code.getvalue()}}
    functions.create_function(FunctionName=name, Role=role, **settings)
    await_function(functions, name)
    if untrusted:
        let_assume(cloud, role, "states")
    return name, functions.invoke(FunctionName=name, Payload=b'"dog"')


@pytest.mark.parametrize("action", ["logs:CreateLogStream", "logs:PutLogEvents"])
def test_a_function_writes_no_log_without_a_right_of_its_role(cloud: Cloud, action: str) -> None:
    logs = cloud.client("logs")
    silent, answer = call_function(cloud, cloud.make_role(unique("silent"), EVERYTHING, deny(action)))
    assert json.loads(answer["Payload"].read()) == "dog"
    heard, _ = call_function(cloud, cloud.make_role(unique("heard"), EVERYTHING))
    groups = [each["logGroupName"] for each in logs.describe_log_groups()["logGroups"]]
    assert (f"/aws/lambda/{silent}" in groups, f"/aws/lambda/{heard}" in groups) == (False, True)


def test_a_function_does_not_run_with_a_role_that_lambda_cannot_assume(cloud: Cloud) -> None:
    role = cloud.make_role(unique("untrusting"), EVERYTHING)
    _, answer = call_function(cloud, role, untrusted=True)
    assert "FunctionError" in answer
    assert (
        f"lambda.amazonaws.com is not authorized to assume the provided role {role}"
        in answer["Payload"].read().decode()
    )
    with pytest.raises(ClientError, match="The role defined for the function cannot be assumed by Lambda"):
        call_function(cloud, role)


def test_a_schedule_is_refused_if_the_scheduler_cannot_assume_its_role(cloud: Cloud) -> None:
    scheduler, name = cloud.client("scheduler"), unique("clock")
    role = cloud.make_role(name, allow("states:StartExecution"))
    schedule = {
        "Name": name,
        "ScheduleExpression": "rate(1 hour)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:any", "RoleArn": role},
    }
    untrusting = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
    let_assume(cloud, role, "events")
    with pytest.raises(ClientError, match=untrusting):
        scheduler.create_schedule(**schedule)
    let_assume(cloud, role, "scheduler")
    scheduler.create_schedule(**schedule)
    let_assume(cloud, role, "events")
    with pytest.raises(ClientError, match=untrusting):
        scheduler.update_schedule(**schedule)


@pytest.mark.parametrize(("trusted", "starts"), [("scheduler", 1), ("events", 0)])
def test_a_schedule_starts_what_a_role_that_trusts_the_scheduler_may(
    cloud: Cloud, states: Any, trusted: str, starts: int
) -> None:
    name = unique("clock")
    role = cloud.make_role(name, allow("states:StartExecution"))
    let_assume(cloud, role, "scheduler")
    machine = create(states, definition(Only=PASS))
    target = {"Arn": machine, "RoleArn": role, "Input": "{}"}
    soon = f"at({datetime.now(UTC) + timedelta(seconds=2):%Y-%m-%dT%H:%M:%S})"
    scheduler = cloud.client("scheduler")
    window = {"Mode": "OFF"}
    scheduler.create_schedule(Name=name, ScheduleExpression=soon, Target=target, FlexibleTimeWindow=window)
    let_assume(cloud, role, trusted)

    def decisions() -> list[Any]:
        lines = (cloud.home / "authorizations.jsonl").read_text().splitlines()
        of_scheduler = [json.loads(line) for line in lines if "scheduler.amazonaws.com" in line]
        return [decision["allowed"] for decision in of_scheduler if decision["resource"] == role]

    assert eventually(decisions, lambda found: len(found) > 1) == [True, bool(starts)]  # at creation, and now
    executions = eventually(
        lambda: states.list_executions(stateMachineArn=machine)["executions"], lambda found: len(found) == starts
    )
    assert len(executions) == starts


FUNCTION = """
def handler(event, context):
    if event["fail"]:
        raise ValueError("asked to fail")
"""


@pytest.mark.parametrize(
    ("action", "fails"), [("lambda:InvokeFunction", 0), ("lambda:InvokeFunction", 1), ("s3:GetObject", 0)]
)
def test_a_schedule_starts_a_function_that_its_role_may_and_the_run_is_measured(
    cloud: Cloud, action: str, fails: int
) -> None:
    name, scheduler, code = unique("clock"), cloud.client("scheduler"), io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("clock.py", FUNCTION)
    function = cloud.client("lambda").create_function(
        FunctionName=name, Runtime="python3.11", Handler="clock.handler", Role=ROLE, Code={"ZipFile": code.getvalue()}
    )["FunctionArn"]
    role = cloud.make_role(name, allow(action))
    let_assume(cloud, role, "scheduler")
    target = {"Arn": function, "RoleArn": role, "Input": json.dumps({"fail": bool(fails)})}
    soon = f"at({datetime.now(UTC) + timedelta(seconds=2):%Y-%m-%dT%H:%M:%S})"
    scheduler.create_schedule(Name=name, ScheduleExpression=soon, Target=target, FlexibleTimeWindow={"Mode": "OFF"})

    def decisions() -> list[Any]:
        lines = (cloud.home / "authorizations.jsonl").read_text().splitlines()
        asked = [json.loads(line) for line in lines if function in line]
        return [each["allowed"] for each in asked if each["action"] == "lambda:InvokeFunction"]

    may = action == "lambda:InvokeFunction"
    assert eventually(decisions, bool) == [may]

    def measured(metric: str) -> float:
        now = datetime.now(UTC)
        points = cloud.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName=metric,
            Dimensions=[{"Name": "FunctionName", "Value": name}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=86_400,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))

    assert eventually(lambda: measured("Invocations"), lambda found: found == float(may)) == float(may)
    assert measured("Errors") == fails
    assert (measured("Duration") > 0) == may


# --- roles of jobs and models -------------------------------------------------------------------------


def ended_job(sagemaker: Any, request: dict[str, Any]) -> dict[str, Any]:
    sagemaker.create_training_job(**request)
    name = request["TrainingJobName"]
    return eventually(
        lambda: sagemaker.describe_training_job(TrainingJobName=name),
        lambda job: job["TrainingJobStatus"] in ("Completed", "Failed"),
    )


def test_a_job_needs_no_more_than_these(cloud: Cloud, sagemaker: Any, s3: Any) -> None:
    role = cloud.make_role(
        unique("job"),
        allow("s3:ListBucket", on=KENNEL),
        allow("s3:GetObject", on=f"{KENNEL}/sfn/*"),
        allow("s3:PutObject", on=f"{KENNEL}/sfn-out/*"),
        PULL,
    )
    logs, group = cloud.client("logs"), "/aws/sagemaker/TrainingJobs"
    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=group)
    request = training(s3, unique("frugal")) | {"RoleArn": role}
    done = ended_job(sagemaker, request)
    assert done["TrainingJobStatus"] == "Completed", done["FailureReason"]
    # A job whose role has no rights on logs runs without a log stream.
    prefix = request["TrainingJobName"]
    assert logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)["logStreams"] == []


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("s3:GetObject", "ClientError: Data download failed:Unable to download object s3://kennel/sfn/launch.py"),
        ("s3:PutObject", "ClientError: Artifact upload failed:Unable to upload object s3://kennel/sfn-out/"),
    ],
)
def test_a_job_fails_without_a_right_of_its_role(
    cloud: Cloud, sagemaker: Any, s3: Any, action: str, words: str
) -> None:
    role = cloud.make_role(unique("job"), EVERYTHING, deny(action))
    done = ended_job(sagemaker, training(s3, unique("unable")) | {"RoleArn": role})
    assert done["TrainingJobStatus"] == "Failed"
    assert done["FailureReason"].startswith(words)
    assert f"(AccessDenied: User: arn:aws:sts::{ACCOUNT}:assumed-role/" in done["FailureReason"]
    assert f"perform: {action} on resource: {KENNEL}/sfn" in done["FailureReason"]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (
            "s3:ListBucket",
            r"No S3 objects found under S3 URL .* has \"s3:ListBucket\" permissions on bucket \"kennel\"",
        ),
        ("ecr:BatchGetImage", rf"Access denied for repository: model-server in registry ID: {ACCOUNT}"),
    ],
)
def test_a_job_is_refused_at_once_without_a_right_of_its_role(
    cloud: Cloud, sagemaker: Any, s3: Any, action: str, words: str
) -> None:
    role = cloud.make_role(unique("job"), EVERYTHING, deny(action))
    with pytest.raises(ClientError, match=words):
        sagemaker.create_training_job(**training(s3, unique("refused")) | {"RoleArn": role})


def test_encrypted_objects_need_the_key(cloud: Cloud, sagemaker: Any, s3: Any) -> None:
    key = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    bucket = unique("secret")
    s3.create_bucket(Bucket=bucket)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    role = cloud.make_role(unique("keyless"), EVERYTHING, deny("kms:Decrypt"))
    request = training(s3, unique("keyless")) | {"RoleArn": role}
    s3.put_object(Bucket=bucket, Key="code/launch.py", Body=b"")
    request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = f"s3://{bucket}/code/"
    done = ended_job(sagemaker, request)
    assert f"is not authorized to perform: kms:Decrypt on resource: {key}" in done["FailureReason"]
    with pytest.raises(ClientError, match="AccessDenied"):  # MiniStack checks the same for requests over HTTP.
        cloud.client("s3", role=role).get_object(Bucket=bucket, Key="code/launch.py")


def test_an_output_is_encrypted_with_the_key_that_the_request_names(cloud: Cloud, sagemaker: Any, s3: Any) -> None:
    key = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    request = training(s3, unique("sealed"))
    request["OutputDataConfig"] = {"S3OutputPath": "s3://kennel/sfn-out", "KmsKeyId": key}
    poor = cloud.make_role(unique("sealer"), EVERYTHING, deny("kms:Encrypt"))
    denied = ended_job(sagemaker, request | {"TrainingJobName": unique("unsealed"), "RoleArn": poor})
    assert "is not authorized to perform: kms:Encrypt" in denied["FailureReason"]
    done = ended_job(sagemaker, request)
    _, _, model = done["ModelArtifacts"]["S3ModelArtifacts"].partition("s3://kennel/")
    assert s3.head_object(Bucket="kennel", Key=model)["SSEKMSKeyId"] == key


def test_a_named_key_stands_in_for_the_buckets(cloud: Cloud, sagemaker: Any, s3: Any) -> None:
    bucket, named = (cloud.client("kms").create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    name = unique("sealed")
    s3.create_bucket(Bucket=name)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": bucket}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    role = cloud.make_role(unique("sealer"), EVERYTHING, {"Effect": "Deny", "Action": "kms:*", "Resource": bucket})
    request = training(s3, unique("sealed")) | {"RoleArn": role}
    request["OutputDataConfig"] = {"S3OutputPath": f"s3://{name}/out", "KmsKeyId": named}
    done = ended_job(sagemaker, request)
    assert done["TrainingJobStatus"] == "Completed", done["FailureReason"]
    request |= {"TrainingJobName": unique("unsealed"), "OutputDataConfig": {"S3OutputPath": f"s3://{name}/out"}}
    assert f"kms:GenerateDataKey on resource: {bucket}" in ended_job(sagemaker, request)["FailureReason"]


def test_a_model_is_refused_when_its_role_cannot_read_its_data(cloud: Cloud, sagemaker: Any, s3: Any) -> None:
    s3.put_object(Bucket="kennel", Key="iam/model.tar.gz", Body=b"x")
    role = cloud.make_role(unique("model"), EVERYTHING, deny("s3:GetObject"))
    container = {"Image": IMAGE, "ModelDataUrl": "s3://kennel/iam/model.tar.gz"}
    with pytest.raises(ClientError) as error:
        sagemaker.create_model(ModelName=unique("model"), PrimaryContainer=container, ExecutionRoleArn=role)
    assert error.value.response["Error"]["Message"].startswith(
        f'Could not access model data at s3://kennel/iam/model.tar.gz. Please ensure that the role "{role}" exists'
    )


def test_an_endpoint_fails_when_its_models_role_cannot_read_the_image(cloud: Cloud, sagemaker: Any, s3: Any) -> None:
    s3.put_object(Bucket="kennel", Key="iam/model.tar.gz", Body=b"x")
    name = unique("imageless")
    role = cloud.make_role(unique("model"), EVERYTHING, deny("ecr:BatchGetImage"))
    container = {"Image": IMAGE, "ModelDataUrl": "s3://kennel/iam/model.tar.gz"}
    sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=role)
    variant = {"VariantName": "v", "ModelName": name, "InstanceType": "ml.c6i.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    endpoint = eventually(
        lambda: sagemaker.describe_endpoint(EndpointName=name),
        lambda description: description["EndpointStatus"] != "Creating",
    )
    assert endpoint["EndpointStatus"] == "Failed"
    repository = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{REPOSITORY.rpartition('/')[2]}"
    assert f"ecr:BatchGetImage on resource: {repository}" in endpoint["FailureReason"]


def test_the_registry_reads_as_its_caller(cloud: Cloud, sagemaker: Any, s3: Any) -> None:
    s3.put_object(Bucket="kennel", Key="iam/model.tar.gz", Body=b"x")
    group = unique("group")
    sagemaker.create_model_package_group(ModelPackageGroupName=group)
    container = {"Image": IMAGE, "ModelDataUrl": "s3://kennel/iam/model.tar.gz"}
    specification = {
        "Containers": [container],
        "SupportedContentTypes": ["image/jpeg"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    role = cloud.make_role(unique("registrar"), allow("sagemaker:CreateModelPackage"), PULL)
    with pytest.raises(ClientError, match=f"s3:GetObject on resource: {KENNEL}/iam/model.tar.gz"):
        cloud.client("sagemaker", role=role).create_model_package(
            ModelPackageGroupName=group, InferenceSpecification=specification
        )


# --- the record ---------------------------------------------------------------------------------------


def test_every_decision_is_written_down_with_its_statement(cloud: Cloud) -> None:
    role = cloud.make_role(unique("known"), allow("s3:ListBucket", on=KENNEL) | {"Sid": "LookAround"})
    caller = cloud.client("s3", role=role)
    caller.list_objects_v2(Bucket="kennel", Prefix="nothing/")
    with pytest.raises(ClientError):
        caller.get_object(Bucket="kennel", Key="secret")
    lines = [json.loads(line) for line in (cloud.home / "authorizations.jsonl").read_text().splitlines()]
    principal = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.rpartition('/')[2]}/test"
    mine = [line for line in lines if line["principal"] == principal]
    assert [(line["action"], line["resource"], line["allowed"], line["sid"]) for line in mine] == [
        ("s3:ListBucket", KENNEL, True, "LookAround"),
        ("s3:GetObject", f"{KENNEL}/secret", False, ""),
    ]
    assert mine[0]["context"]["s3:prefix"] == "nothing/"
