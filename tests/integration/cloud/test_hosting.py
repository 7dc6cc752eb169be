"""The prediction function in front of both hostings, with the server's image as an endpoint and as a function.

It runs in this process and asks the laptop cloud, with the rights that the template gives to its role.
"""

import base64
import importlib
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

from classify import hosting as hosting_module
from classify.hosting import Hosting, hosting_of
from classify.invoke import Question
from classify.settings import ClassifySettings
from shared.problems import ProblemError
from tests.contract.test_permissions import SCOPE
from tests.integration.cloud.test_photo_function import PHOTOS
from tests.integration.colours import photo
from tests.integration.laptop import REGION, ROLE, Cloud, endpoint_with, eventually
from tests.integration.photo_functions import IMAGE, build_server, coloured_model, make_function
from tests.prediction_function import imported
from tests.unit.functions.events import rest_event

NAME = "colours"
POINTER = f"/{NAME}/hosting"
NUM_CALLERS = 4


@pytest.fixture(scope="module")
def artifact(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The URI of the coloured model, and the SHA-256 of its manifest."""
    archive, manifest = coloured_model(tmp_path_factory.mktemp("hosting"))
    key = f"models/{uuid.uuid4().hex}/model.tar.gz"
    cloud.client("s3").put_object(Bucket="kennel", Key=key, Body=archive)
    build_server(cloud)
    return f"s3://kennel/{key}", manifest


@pytest.fixture
def endpoint(cloud: Cloud, artifact: tuple[str, str]) -> Iterator[str]:
    uri, manifest = artifact
    sagemaker, name = cloud.client("sagemaker"), f"{NAME}-{uuid.uuid4().hex[:6]}"
    container = {"Image": IMAGE, "ModelDataUrl": uri, "Environment": {"KENNEL_MANIFEST": manifest}}
    sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "main", "ModelName": name, "InstanceType": "ml.c6i.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=name)
    endpoint_with(sagemaker, NAME)
    yield NAME
    if exists(cloud):
        sagemaker.delete_endpoint(EndpointName=NAME)
        eventually(lambda: exists(cloud), lambda left: not left)


def exists(cloud: Cloud) -> bool:
    return any(each["EndpointName"] == NAME for each in cloud.client("sagemaker").list_endpoints()["Endpoints"])


@pytest.fixture
def function(cloud: Cloud, artifact: tuple[str, str]) -> Iterator[str]:
    """The function with its alias, as the pipeline makes it."""
    uri, manifest = artifact
    client, name = cloud.client("lambda"), f"{NAME}-model"
    make_function(client, name, 30, uri, manifest)
    version = client.publish_version(FunctionName=name)["Version"]
    client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    yield name
    if any(each["FunctionName"] == name for each in client.list_functions()["Functions"]):
        client.delete_function(FunctionName=name)


class Pointed:
    """The pointer, and instances of the prediction function that follow it."""

    def __init__(self, cloud: Cloud, session: botocore.session.Session) -> None:
        self._ssm, self.session = cloud.client("ssm"), session
        self.move("none")

    def move(self, hosting: str) -> None:
        self._ssm.put_parameter(Name=POINTER, Value=hosting, Type="String", Overwrite=True)

    def instance(self, hosting: str) -> Hosting:
        """Return the hosting of a new instance, in a stack with this parameter ``Hosting``."""
        settings = ClassifySettings(
            hosting=hosting,
            hosting_parameter=POINTER,
            endpoint_name=NAME,
            model_function=f"{NAME}-model",
            bucket="kennel",
            allowed_origin="none",
            shrink_photos="auto",
        )
        return hosting_of(settings, self.session)


@pytest.fixture
def pointed(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Pointed:
    rights = {
        "sagemaker:InvokeEndpoint": SCOPE.arn("sagemaker", f"endpoint/{NAME}"),
        "lambda:InvokeFunction": SCOPE.arn("lambda", f"function:{NAME}-model:live"),
        "ssm:GetParameter": SCOPE.arn("ssm", f"parameter{POINTER}"),
    }
    statements = [{"Effect": "Allow", "Action": action, "Resource": arn} for action, arn in rights.items()]
    role = cloud.make_role(f"classify-{uuid.uuid4().hex[:8]}", *statements)
    keys = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    variables = {
        "AWS_ENDPOINT_URL": cloud.url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Pointed(cloud, botocore.session.Session())


@pytest.fixture
def app() -> Iterator[ModuleType]:
    with imported("classify.app") as (module, _):
        yield module


def answers(app: ModuleType, hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, str]]:
    """Return status and document of what the API answers to each photo, and to the question for the breeds."""
    monkeypatch.setattr(importlib.import_module("classify.routes"), "hosting", hosting)
    context = SimpleNamespace(
        function_name="f", memory_limit_in_mb=1024, invoked_function_arn="a", aws_request_id="request-1"
    )
    context.get_remaining_time_in_millis = lambda: 28_000
    headers = {"Content-Type": "image/jpeg", "x-kennel-photo": "whole"}
    events = {
        name: rest_event("POST", "/classify", base64.b64encode(content).decode(), True, headers)
        for name, content in PHOTOS.items()
    }
    events["breeds"] = rest_event("GET", "/breeds", None, False, {})
    found = {}
    for name, event in events.items():
        response = app.handler(event, context)
        found[name] = response["statusCode"], response["body"]
    return found


def test_api_answers_by_either_hosting_to_the_byte(
    app: ModuleType, pointed: Pointed, endpoint: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_endpoint, by_function = (
        answers(app, pointed.instance(hosting), monkeypatch) for hosting in ("instances", "function")
    )
    assert by_endpoint == by_function
    statuses = {name: status for name, (status, _) in by_endpoint.items()}
    answered = dict.fromkeys(("red", "mixed", "costly", "breeds"), 200)
    assert statuses == {**answered, "text": 415, "cut": 400, "too many pixels": 413, "too many scans": 413}
    assert json.loads(by_function["red"][1])["breed"] == "Red"


@contextmanager
def load(instances: list[Hosting]) -> Iterator[list[str]]:
    """Let each instance ask about a photo again and again; yield who answered. Any problem fails the test."""
    question, who, done = Question(photo("red"), "image/png", "load"), list[str](), threading.Event()
    problems: list[ProblemError] = []

    def call(hosting: Hosting) -> None:
        try:
            while not done.is_set():
                assert json.loads(hosting.ask(question, 26))["breed"] == "Red"
                who.append(hosting.serving)
        except ProblemError as problem:
            problems.append(problem)

    callers = [threading.Thread(target=call, args=(each,)) for each in instances]
    for caller in callers:
        caller.start()
    try:
        yield who
    finally:
        done.set()
        for caller in callers:
            caller.join()
    assert problems == []


def all_ask(who: list[str], hosting: str) -> None:
    """Wait until everybody's answers come from a hosting."""
    eventually(lambda: who[-10 * NUM_CALLERS :], lambda last: set(last) == {hosting})


def test_nobodys_request_fails_while_the_pointer_moves_and_one_of_them_is_deleted(
    cloud: Cloud, pointed: Pointed, endpoint: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There and back while both exist, as the pipeline moves it; then the endpoint goes without any time to follow."""
    pointed.move("instances")
    quick = [pointed.instance("instances") for _ in range(NUM_CALLERS)]
    monkeypatch.setattr(hosting_module, "FOLLOW_SECONDS", 0.5)
    with load(quick) as who:
        all_ask(who, "instances")
        for hosting in ("function", "instances"):
            pointed.move(hosting)
            all_ask(who, hosting)
    monkeypatch.setattr(hosting_module, "FOLLOW_SECONDS", 3600)
    with load([pointed.instance("instances") for _ in range(NUM_CALLERS)]) as who:
        all_ask(who, "instances")
        pointed.move("function")
        cloud.client("sagemaker").delete_endpoint(EndpointName=NAME)
        all_ask(who, "function")
        eventually(lambda: exists(cloud), lambda left: not left)
        assert pointed.instance("auto").ask(Question(photo("blue"), "image/png", "new"), 26)


def test_endpoint_answers_where_the_function_is_deleted(
    cloud: Cloud, pointed: Pointed, endpoint: str, function: str
) -> None:
    pointed.move("function")
    with load([pointed.instance("function") for _ in range(NUM_CALLERS)]) as who:
        all_ask(who, "function")
        pointed.move("instances")
        cloud.client("lambda").delete_function(FunctionName=function)
        all_ask(who, "instances")


def test_without_both_callers_get_a_503_and_the_reason(pointed: Pointed) -> None:
    for hosting in ("instances", "function"):
        with pytest.raises(ProblemError, match="no model is serving yet") as caught:
            pointed.instance(hosting).ask(Question(photo("red"), "image/png", "nobody"), 26)
        assert caught.value.status == 503


def test_role_reaches_nothing_of_the_function_but_the_alias(pointed: Pointed, function: str) -> None:
    assert pointed.instance("function").ask(Question(photo("red"), "image/png", "alias"), 26)
    client: Any = pointed.session.create_client("lambda")
    for qualifier in ("$LATEST", "1"):
        with pytest.raises(ClientError, match="AccessDenied"):
            client.invoke(FunctionName=function, Qualifier=qualifier, Payload=b"{}")
