"""Functions from images: each request has a process of its own, which speaks AWS's Runtime API."""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloud.core import containers
from tests.integration.image_functions import Function, build_images
from tests.integration.laptop import REPOSITORY, ROLE, Cloud, await_function, eventually

Make = Callable[..., Function]


@pytest.fixture(scope="module")
def images(cloud: Cloud) -> list[str]:
    return build_images(cloud)


@pytest.fixture
def make(cloud: Cloud, images: list[str]) -> Iterator[Make]:
    """Create functions, and delete them at the end."""
    made: list[Function] = []

    def create(image: str = images[0], **request: Any) -> Function:
        made.append(Function(cloud, image, **request))
        return made[-1]

    yield create
    for function in made:
        function.client.delete_function(FunctionName=function.name)


def duration(log: str, name: str) -> float:
    match = re.search(rf"\t{name}: ([\d.]+) ms", log)
    assert match, log
    return float(match[1])


def test_a_function_is_described_by_the_digest_of_its_image(cloud: Cloud, images: list[str], make: Make) -> None:
    ids = [{"imageTag": "one-functions"}]
    image = cloud.client("ecr").batch_get_image(repositoryName="model-server", imageIds=ids)["images"][0]
    digest = image["imageId"]["imageDigest"]
    function = make()
    assert function.made["CodeSha256"] == digest.removeprefix("sha256:")
    assert "Runtime" not in function.made
    described = function.client.get_function(FunctionName=function.name)
    code = described["Code"]
    assert (code["RepositoryType"], code["ImageUri"]) == ("ECR", images[0])
    assert code["ResolvedImageUri"] == f"{REPOSITORY}@{digest}"
    assert make(code["ResolvedImageUri"]).ask({})[0]["greeting"] == "hello"


def test_the_process_has_the_images_files_and_the_words_of_the_function(make: Make) -> None:
    answer, _, _ = make().ask({"list": str(Path(__file__))})
    assert (answer["words"], answer["folder"], answer["greeting"]) == (["work"], "/opt/app", "hello")
    image = {"EntryPoint": ["python", "/opt/app/app.py"], "Command": ["other", "words"], "WorkingDirectory": "/tmp"}
    other, _, response = make(
        ImageConfig=image,
        Environment={"Variables": {"GREETING": "own", "AWS_LAMBDA_FUNCTION_NAME": "forged"}},
        Architectures=["arm64"],
        EphemeralStorage={"Size": 1024},
    ).ask({})
    assert (other["words"], other["greeting"]) == (["other", "words"], "own")
    assert response["ExecutedVersion"] == "$LATEST"
    variables = other["environment"]
    assert variables["AWS_LAMBDA_FUNCTION_NAME"].startswith("image-")
    assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert variables["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    assert 20 < other["left"] <= 30
    if containers.available():
        assert (other["folder"], answer["exists"]) == ("/tmp", False)


@pytest.mark.skipif(not containers.available(), reason="there are no namespaces here")
def test_only_tmp_can_be_written(make: Make) -> None:
    function = make()
    places = {path: function.ask({"write": path})[0].get("error") for path in ("/tmp/x", "/opt/app/x", "/x", "/usr/x")}
    assert places == {"/tmp/x": None, "/opt/app/x": 30, "/x": 30, "/usr/x": 30}


def test_the_log_tells_what_is_billed(cloud: Cloud, make: Make) -> None:
    function = make()
    answer, log, _ = function.ask({"print": "a line", "sleep": 0.1})
    lines = log.splitlines()
    assert lines[0] == "initializing"
    assert lines[1].startswith("START RequestId: ")
    assert lines[2] == "a line"
    assert lines[3].startswith("END RequestId: ")
    billed, took, init = (duration(log, name) for name in ("Billed Duration", "Duration", "Init Duration"))
    assert took >= 100
    assert abs(billed - (took + init)) <= 1.02
    assert "\tMemory Size: 256 MB\tMax Memory Used: " in log
    again, log, _ = function.ask({})
    assert (again["pid"], again["served"]) == (answer["pid"], 2)
    assert "Init Duration" not in log
    assert "initializing" not in log
    assert abs(duration(log, "Billed Duration") - duration(log, "Duration")) <= 1.01
    logs = cloud.client("logs")
    events = logs.filter_log_events(logGroupName=f"/aws/lambda/{function.name}")["events"]
    assert {"a line", "initializing"} <= {event["message"] for event in events}


def test_each_request_in_progress_has_a_process_of_its_own(make: Make) -> None:
    function = make()
    with ThreadPoolExecutor(3) as pool:
        answers = [each[0] for each in pool.map(function.ask, [{"sleep": 2}] * 3)]
    assert len({answer["pid"] for answer in answers}) == 3
    assert {answer["served"] for answer in answers} == {1}
    assert function.ask({})[0]["pid"] in {answer["pid"] for answer in answers}


def test_a_process_is_frozen_between_requests(make: Make) -> None:
    function = make()
    before = function.ask({"sleep": 0.2})[0]["counter"]
    time.sleep(1.5)  # Running, it would count to 300 more or less.
    assert before > 0
    assert function.ask({})[0]["counter"] - before < 100


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc here")
def test_processor_time_follows_memory(make: Make) -> None:
    function = make()
    function.ask({})
    _, log, _ = function.ask({"burn": 0.3})
    # 256 MB are 0.145 of a core, and a tenth of a second's worth is there at the beginning.
    assert duration(log, "Duration") / 1000 >= 1.5
    assert function.ask({"burn": 0.005})[0]["served"] == 3  # The process goes on after it was stopped.


def test_the_runtime_api_takes_one_answer(make: Make) -> None:
    _, log, _ = make().ask({"twice": True})
    assert "[202, (403, 'InvalidStateTransition'), (400, 'InvalidRequestID')]" in log


@pytest.mark.parametrize(
    ("event", "kind", "words", "status"),
    [
        ({"error": "no dog"}, "Bad", "no dog", ""),
        ({"exit": 5}, "Runtime.ExitError", "Runtime exited with error: exit status 5", "error"),
        ({"exit": 0}, "Runtime.ExitError", "Runtime exited without providing a reason", "error"),
        ({"memory": 400}, "Runtime.OutOfMemory", "Runtime exited with error: signal: killed", "error"),
        ({"sleep": 20}, "Sandbox.Timedout", "Task timed out after 2.00 seconds", "timeout"),
        ({"size": 6291557}, "Function.ResponseSizeTooLarge", "maximum allowed payload size (6291556 bytes)", ""),
    ],
)
def test_a_failure_is_told_in_awss_words(make: Make, event: Any, kind: str, words: str, status: str) -> None:
    function = make(Timeout=2 if "sleep" in event else 60)
    first = function.ask({})[0]["pid"]
    answer, log, response = function.ask(event)
    assert response["FunctionError"] == "Unhandled"
    assert answer["errorType"] == kind
    assert words in answer["errorMessage"]
    assert (f"\tStatus: {status}" in log) == bool(status)
    if status == "error":
        assert f"\tError Type: {kind}" in log
    assert (function.ask({})[0]["pid"] == first) == (not status)  # A process that failed is not used again.


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("error", "Model.Missing", "no model"),
        ("exit", "Runtime.ExitError", "Runtime exited with error: exit status 3"),
    ],
)
def test_a_failed_initialization_is_tried_once_more(make: Make, mode: str, kind: str, words: str) -> None:
    function = make(Environment={"Variables": {"INIT": mode}})
    answer, log, response = function.ask({})
    assert response["FunctionError"] == "Unhandled"
    assert answer["errorType"] == kind
    assert words in answer["errorMessage"]
    assert log.count("initializing") == 2
    assert re.search(rf"INIT_REPORT Init Duration: [\d.]+ ms\tPhase: init\tStatus: error\tError Type: {kind}", log)
    assert "\tInit Duration" not in log


def test_a_program_that_is_not_there_is_an_invalid_entry_point(make: Make) -> None:
    answer, _, _ = make(ImageConfig={"EntryPoint": ["/opt/app/nothing"]}).ask({})
    assert answer["errorType"] == "Runtime.InvalidEntrypoint"
    assert "fork/exec /opt/app/nothing: no such file or directory" in answer["errorMessage"]


def test_a_new_image_replaces_processes_and_a_version_keeps_its_own(make: Make, images: list[str]) -> None:
    function = make()
    version = function.publish()
    first = function.ask({})[0]
    function.update(images[1])
    second = function.ask({})[0]
    assert (first["greeting"], second["greeting"]) == ("hello", "again")
    assert function.ask({}, version)[0]["greeting"] == "hello"
    assert function.ask({}, version)[0]["environment"]["AWS_LAMBDA_FUNCTION_VERSION"] == version


def test_a_function_does_nothing_while_it_is_created(cloud: Cloud, images: list[str]) -> None:
    client, name = cloud.client("lambda"), f"image-{uuid.uuid4().hex[:8]}"
    request = {"Role": ROLE, "PackageType": "Image", "Code": {"ImageUri": images[0]}}
    assert client.create_function(FunctionName=name, **request)["State"] == "Pending"
    conflict = client.exceptions.ResourceConflictException
    with pytest.raises(conflict, match=r"The function is currently in the following state: Pending$") as error:
        client.invoke(FunctionName=name)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    with pytest.raises(conflict, match=rf":function:{name} is currently in the following state: 'Pending'"):
        client.update_function_code(FunctionName=name, ImageUri=images[1])
    await_function(client, name)
    assert json.load(client.invoke(FunctionName=name)["Payload"])["greeting"] == "hello"
    client.delete_function(FunctionName=name)


def test_requests_reach_the_old_code_until_an_update_has_ended(make: Make, images: list[str]) -> None:
    function = make()
    name = {"FunctionName": function.name}
    before = function.ask({})[0]["pid"]
    updated = function.client.update_function_code(**name, ImageUri=images[1])
    assert (updated["State"], updated["LastUpdateStatus"]) == ("Active", "InProgress")
    answer = function.ask({})[0]
    assert (answer["greeting"], answer["pid"]) == ("hello", before)
    conflict = function.client.exceptions.ResourceConflictException
    busy = rf"An update is in progress for resource: arn:aws:lambda:us-east-1:\d+:function:{function.name}$"
    with pytest.raises(conflict, match=busy):
        function.client.update_function_code(**name, ImageUri=images[0])
    with pytest.raises(conflict, match=busy):
        function.client.update_function_configuration(**name, Timeout=5)
    with pytest.raises(conflict, match=busy):
        function.client.publish_version(**name)
    await_function(function.client, function.name)
    assert function.ask({})[0]["greeting"] == "again"


def test_an_alias_leads_to_two_versions_by_weight(make: Make, images: list[str]) -> None:
    function = make()
    old = function.publish()
    function.update(images[1])
    new = function.publish()
    alias = function.client.create_alias(
        FunctionName=function.name,
        Name="live",
        FunctionVersion=old,
        RoutingConfig={"AdditionalVersionWeights": {new: 0.5}},
    )
    answers = [function.ask({}, "live") for _ in range(40)]
    executed = {(answer["greeting"], response["ExecutedVersion"]) for answer, _, response in answers}
    assert executed == {("hello", old), ("again", new)}  # By chance this fails once in 10 to the 12.
    assert {answer["arn"] for answer, _, _ in answers} == {alias["AliasArn"]}
    function.client.update_alias(
        FunctionName=function.name, Name="live", RoutingConfig={"AdditionalVersionWeights": {}}
    )
    assert {function.ask({}, "live")[0]["greeting"] for _ in range(5)} == {"hello"}
    invalid = function.client.exceptions.InvalidParameterValueException
    weights = {"AdditionalVersionWeights": {old: 0.1}}
    with pytest.raises(invalid, match=f"Function version {old} is already included in routing configuration"):
        function.client.update_alias(FunctionName=function.name, Name="live", RoutingConfig=weights)
    with pytest.raises(function.client.exceptions.ResourceNotFoundException):
        function.client.update_alias(FunctionName=function.name, Name="live", FunctionVersion="77")


def test_reserved_concurrency_holds_for_all_versions_together(make: Make) -> None:
    function = make()
    version = function.publish()
    function.client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=1)
    busy = threading.Thread(target=function.ask, args=({"sleep": 4},))
    busy.start()
    time.sleep(2)
    with pytest.raises(function.client.exceptions.TooManyRequestsException) as error:
        function.ask({}, version)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert error.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    busy.join()
    assert function.ask({}, version)[0]["served"] == 1
    with pytest.raises(function.client.exceptions.InvalidParameterValueException, match=r"minimum value of \[100\]"):
        function.client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=901)


def test_provisioned_concurrency_is_ready_before_anybody_asks(make: Make, cloud: Cloud, images: list[str]) -> None:
    function = make()
    version = function.publish()
    name = {"FunctionName": function.name}
    function.client.create_alias(**name, Name="live", FunctionVersion=version)
    invalid = function.client.exceptions.InvalidParameterValueException
    with pytest.raises(invalid, match="cannot be applied to unpublished function versions"):
        function.client.put_provisioned_concurrency_config(
            **name, Qualifier="$LATEST", ProvisionedConcurrentExecutions=1
        )
    put = function.client.put_provisioned_concurrency_config(
        **name, Qualifier="live", ProvisionedConcurrentExecutions=2
    )
    assert (put["Status"], put["AvailableProvisionedConcurrentExecutions"]) == ("IN_PROGRESS", 0)

    def described() -> dict[str, Any]:
        return dict(function.client.get_provisioned_concurrency_config(**name, Qualifier="live"))

    def ready() -> dict[str, Any]:
        return eventually(described, lambda config: bool(config["Status"] == "READY"))

    assert ready()["AvailableProvisionedConcurrentExecutions"] == 2
    tree = f"functions/{function.name}"
    assert len(cloud.pids(tree)) == 2
    answer, log, _ = function.ask({}, "live")
    assert answer["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "provisioned-concurrency"
    assert answer["pid"] in cloud.pids(tree)
    assert abs(duration(log, "Billed Duration") - duration(log, "Duration")) <= 1.01
    function.ask({"exit": 1}, "live")
    eventually(lambda: cloud.pids(tree), lambda pids: len(pids) == 2)  # The one that ended is replaced.
    function.update(images[1])
    function.client.update_alias(**name, Name="live", FunctionVersion=function.publish())
    ready()
    answer, _, _ = function.ask({}, "live")
    assert (answer["greeting"], answer["served"]) == ("again", 1)
    assert answer["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "provisioned-concurrency"
    function.client.delete_provisioned_concurrency_config(**name, Qualifier="live")
    eventually(lambda: cloud.pids(tree), lambda pids: pids == [])


def test_requests_beyond_provisioned_concurrency_are_counted_as_spillover(make: Make, cloud: Cloud) -> None:
    function = make()
    name = {"FunctionName": function.name}
    function.client.create_alias(**name, Name="live", FunctionVersion=function.publish())
    function.client.put_provisioned_concurrency_config(**name, Qualifier="live", ProvisionedConcurrentExecutions=1)
    eventually(
        lambda: function.client.get_provisioned_concurrency_config(**name, Qualifier="live"),
        lambda config: bool(config["Status"] == "READY"),
    )
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda event: function.ask(event, "live"), [{"sleep": 2}] * 2))
    function.ask({"error": "no dog"}, "live")
    cloudwatch, now = cloud.client("cloudwatch"), datetime.now(UTC)

    def measured(metric: str, statistic: str, **dimensions: str) -> float:
        named = [{"Name": each, "Value": value} for each, value in {**name, **dimensions}.items()]
        points = cloudwatch.get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName=metric,
            Dimensions=named,
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=86_400,
            Statistics=[statistic],
        )["Datapoints"]
        return float(sum(point[statistic] for point in points))

    alias = {"Resource": f"{function.name}:live"}
    for dimensions in ({}, alias, {**alias, "ExecutedVersion": "1"}):
        sums = [measured(each, "Sum", **dimensions) for each in ("Invocations", "Errors", "Throttles")]
        assert sums == [3, 1, 0]
        kinds = [f"ProvisionedConcurrency{kind}Invocations" for kind in ("", "Spillover")]
        assert [measured(each, "Sum", **dimensions) for each in kinds] == [2, 1]
        most = ("ConcurrentExecutions", "ProvisionedConcurrentExecutions", "ProvisionedConcurrencyUtilization")
        assert [measured(each, "Maximum", **dimensions) for each in most] == [2, 1, 1]


def test_provisioned_concurrency_that_cannot_start_has_failed(make: Make) -> None:
    function = make(Environment={"Variables": {"INIT": "exit"}})
    name = {"FunctionName": function.name, "Qualifier": function.publish()}
    function.client.put_provisioned_concurrency_config(**name, ProvisionedConcurrentExecutions=1)
    config = eventually(
        lambda: function.client.get_provisioned_concurrency_config(**name),
        lambda config: bool(config["Status"] != "IN_PROGRESS"),
    )
    assert (config["Status"], config["StatusReason"]) == ("FAILED", "FUNCTION_ERROR_INIT_FAILURE")


@pytest.mark.parametrize(
    ("request_of", "words"),
    [
        ({"Code": {"ImageUri": f"{REPOSITORY}:nothing"}}, f"Source image {REPOSITORY}:nothing does not exist"),
        ({"Code": {"ImageUri": "python:3.13"}}, "Source image python:3.13 is not valid. Provide a valid source image."),
        ({"Runtime": "python3.13", "Handler": "a.b"}, "Please don't provide Handler or Runtime or Layer when"),
        ({"EphemeralStorage": {"Size": 20480}}, "'ephemeralStorage.size' failed to satisfy constraint"),
        ({"PackageType": "Zip"}, "Runtime and Handler are mandatory parameters for functions created with"),
    ],
)
def test_a_request_that_aws_refuses_makes_no_function(
    cloud: Cloud, images: list[str], request_of: Any, words: str
) -> None:
    client, name = cloud.client("lambda"), f"image-{uuid.uuid4().hex[:8]}"
    request = {"Role": ROLE, "PackageType": "Image", "Code": {"ImageUri": images[0]}, **request_of}
    with pytest.raises(client.exceptions.InvalidParameterValueException, match=re.escape(words)):
        client.create_function(FunctionName=name, **request)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName=name)


def test_lambda_needs_the_repositorys_policy_or_its_callers_rights(cloud: Cloud, images: list[str]) -> None:
    ecr, suffix = cloud.client("ecr"), uuid.uuid4().hex[:6]
    name = {"repositoryName": "model-server"}
    own = {"Effect": "Allow", "Action": ["lambda:*", "iam:PassRole"], "Resource": "*"}
    lets = {"Effect": "Allow", "Action": ["ecr:GetRepositoryPolicy", "ecr:SetRepositoryPolicy"], "Resource": "*"}
    lacking = cloud.client("lambda", role=cloud.make_role(f"lacking-{suffix}", own))
    having = cloud.client("lambda", role=cloud.make_role(f"having-{suffix}", own, lets))
    request = {"Role": ROLE, "PackageType": "Image", "Code": {"ImageUri": images[0]}}
    reads = {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
    }

    def set_policy(*statements: dict[str, Any]) -> None:
        ecr.set_repository_policy(**name, policyText=json.dumps({"Version": "2012-10-17", "Statement": statements}))

    set_policy({**reads, "Action": "ecr:BatchGetImage"})
    words = r"Lambda does not have permission to access the ECR image\. Check the ECR permissions\.$"
    with pytest.raises(ClientError, match=words) as error:
        lacking.create_function(FunctionName=f"a-{suffix}", **request)
    assert error.value.response["Error"]["Code"] == "AccessDeniedException"
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    having.create_function(FunctionName=f"b-{suffix}", **request)
    policy = json.loads(ecr.get_repository_policy(**name)["policyText"])
    assert [each.get("Sid") for each in policy["Statement"]] == [None, "LambdaECRImageRetrievalPolicy"]
    lacking.create_function(FunctionName=f"a-{suffix}", **request)  # The statement is for all functions.
    set_policy({**reads, "Condition": {"StringLike": {"aws:sourceArn": f"arn:aws:lambda:*:*:function:a-{suffix}"}}})
    for each, is_meant in ((f"a-{suffix}", True), (f"b-{suffix}", False)):
        await_function(having, each)
        if is_meant:
            lacking.update_function_code(FunctionName=each, ImageUri=images[1])
        else:
            with pytest.raises(ClientError, match=words):
                lacking.update_function_code(FunctionName=each, ImageUri=images[1])
        having.delete_function(FunctionName=each)
    ecr.delete_repository_policy(**name)


def test_a_request_that_is_too_large_is_refused(make: Make) -> None:
    function = make()
    with pytest.raises(ClientError, match="RequestEntityTooLargeException") as error:
        function.ask({"print": "x" * ((6 << 20) + 100)})
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert "Request must be smaller than 6291456 bytes for the InvokeFunction operation" in str(error.value)
    event = json.dumps({"print": "x" * (1 << 20)})
    with pytest.raises(ClientError, match=f"{len(event)} byte payload is too large for the Event invocation type"):
        function.client.invoke(FunctionName=function.name, InvocationType="Event", Payload=event)


def test_a_deleted_function_leaves_no_process(cloud: Cloud, images: list[str]) -> None:
    function = Function(cloud, images[0])
    function.ask({})
    tree = f"functions/{function.name}"
    assert len(cloud.pids(tree)) == 1
    function.client.delete_function(FunctionName=function.name)
    eventually(lambda: cloud.pids(tree), lambda pids: pids == [])
