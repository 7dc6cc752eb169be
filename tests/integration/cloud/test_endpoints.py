"""Endpoints of the laptop cloud: create, invoke, blue/green update, scale, heal, fail, delete."""

import functools
import io
import json
import random
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.laptop import IMAGE, ROLE, Cloud, endpoint_with, eventually, make_config


@pytest.fixture(scope="module")
def runtime(cloud: Cloud) -> Any:
    return cloud.client("sagemaker-runtime")


@pytest.fixture(scope="module")
def config(cloud: Cloud) -> Callable[..., str]:
    return functools.partial(make_config, cloud)


def invoke(runtime: Any, name: str, body: bytes = b"photo", **members: Any) -> dict[str, Any]:
    """Return the model server's document, and the whole answer in it as ``answer``."""
    answer = runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType="image/jpeg", **members)
    document: dict[str, Any] = json.loads(answer["Body"].read())
    return document | {"answer": answer}


@pytest.fixture
def endpoint(sagemaker: Any, config: Callable[..., str]) -> Iterator[str]:
    """The name of an endpoint with two instances of version ``one``."""
    name = f"dogs-{uuid.uuid4().hex[:6]}"
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config("one", 2))
    endpoint_with(sagemaker, name)
    yield name
    if sagemaker.list_endpoints(NameContains=name)["Endpoints"]:
        endpoint_with(sagemaker, name)
        sagemaker.delete_endpoint(EndpointName=name)


def test_an_endpoint_answers_from_all_its_instances(runtime: Any, endpoint: str) -> None:
    answers = [invoke(runtime, endpoint, CustomAttributes="trace-1") for _ in range(3)]
    assert {each["version"] for each in answers} == {"one"}
    assert answers[0]["bytes"] == 5
    assert answers[0]["type"] == "image/jpeg"
    assert answers[0]["greeting"] == "hello"
    assert answers[0]["answer"]["CustomAttributes"] == "trace-1"
    assert answers[0]["answer"]["InvokedProductionVariant"] == "AllTraffic"
    assert answers[0]["answer"]["ContentType"] == "application/json"

    def slow(_: int) -> int:
        return int(invoke(runtime, endpoint, b"slow")["pid"])

    with ThreadPoolExecutor(2) as pool:
        pids = set(pool.map(slow, range(2)))
    assert len(pids) == 2


def test_an_instance_gets_what_the_bucket_has_when_it_starts(
    cloud: Cloud, sagemaker: Any, runtime: Any, config: Callable[..., str]
) -> None:
    """The artifact of a model that serves is replaced, and the next instance to start serves the other one."""
    mine, other = config("mine"), config("other")
    name = f"dogs-{uuid.uuid4().hex[:6]}"
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=mine)
    endpoint_with(sagemaker, name)
    source = {"Bucket": "kennel", "Key": f"models/{other}/model.tar.gz"}
    cloud.client("s3").copy_object(Bucket="kennel", Key=f"models/{mine}/model.tar.gz", CopySource=source)
    assert invoke(runtime, name)["version"] == "mine"
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}]
    )
    endpoint_with(sagemaker, name)

    def slow(_: int) -> str:
        return str(invoke(runtime, name, b"slow")["version"])

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(slow, range(2))) == {"mine", "other"}
    sagemaker.delete_endpoint(EndpointName=name)


def test_members_of_an_invocation_that_have_no_effect_are_refused(runtime: Any) -> None:
    shape = runtime.meta.service_model.operation_model("InvokeEndpoint").input_shape
    known = {*("EndpointName", "Body", "ContentType", "Accept", "CustomAttributes", "TargetVariant", "InferenceId")}
    others = sorted(shape.members.keys() - known)
    assert "TargetModel" in others
    for member in others:
        with pytest.raises(ClientError, match=f"The laptop cloud has no {member}; leave it out"):
            runtime.invoke_endpoint(EndpointName="any", Body=b"", **{member: "a"})


def test_images_are_resolved_to_their_digests(sagemaker: Any, endpoint: str) -> None:
    variant = sagemaker.describe_endpoint(EndpointName=endpoint)["ProductionVariants"][0]
    (image,) = variant["DeployedImages"]
    assert image["SpecifiedImage"] == IMAGE
    repository, _, digest = image["ResolvedImage"].partition("@sha256:")
    assert repository == IMAGE.rpartition(":")[0]
    assert len(digest) == 64
    assert image["ResolutionTime"] >= sagemaker.describe_endpoint(EndpointName=endpoint)["CreationTime"]


def test_errors_of_the_container_are_model_errors(runtime: Any, endpoint: str) -> None:
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        invoke(runtime, endpoint, b"bad")
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 400
    assert json.loads(response["OriginalMessage"])["error"]["code"] == "UnreadableImage"
    with pytest.raises(ClientError, match=r"\(ValidationError\).*Endpoint nobody of account 000000000000 not found"):
        invoke(runtime, "nobody")
    with pytest.raises(ClientError, match=r"\(ValidationError\).*less than or equal to 6291456"):
        invoke(runtime, endpoint, b"x" * 6_291_457)


def test_an_update_loses_no_request_and_keeps_capacity(
    sagemaker: Any, runtime: Any, endpoint: str, config: Callable[..., str]
) -> None:
    versions, errors, done = [], [], threading.Event()

    def keep_invoking() -> None:
        while not done.is_set():
            try:
                versions.append(invoke(runtime, endpoint)["version"])
            except Exception as error:
                errors.append(error)

    pool = ThreadPoolExecutor(3)
    for _ in range(3):
        pool.submit(keep_invoking)
    late, other = config("late", 1), config("two")
    policy = {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}}
    deployment = {"BlueGreenUpdatePolicy": policy}
    try:
        sagemaker.update_endpoint(
            EndpointName=endpoint,
            EndpointConfigName=late,
            RetainAllVariantProperties=True,
            DeploymentConfig=deployment,
        )
        changes = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 1}]
        for call, members in (
            (sagemaker.delete_endpoint, {}),
            (sagemaker.update_endpoint, {"EndpointConfigName": other}),
            (sagemaker.update_endpoint_weights_and_capacities, {"DesiredWeightsAndCapacities": changes}),
        ):
            with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
                call(EndpointName=endpoint, **members)
        after = endpoint_with(sagemaker, endpoint)
        time.sleep(0.2)
    finally:
        done.set()
        pool.shutdown()
    assert not errors
    assert (versions[0], versions[-1]) == ("one", "late")
    assert (
        after["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    )  # RetainAllVariantProperties keeps it; the new configuration says 1.
    assert after["LastDeploymentConfig"] == deployment
    assert invoke(runtime, endpoint)["version"] == "late"


def test_an_update_needs_a_new_configuration_and_the_old_one(
    sagemaker: Any, endpoint: str, config: Callable[..., str]
) -> None:
    running = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    with pytest.raises(ClientError, match="to update it, you must create a new one"):
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=running)
    other = config("two", VariantName="Other")
    routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    with pytest.raises(ClientError, match="must have the same variant names as the old one"):
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=other, DeploymentConfig=policy)
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=running)["ProductionVariants"]
    sagemaker.delete_endpoint_config(EndpointConfigName=running)
    with pytest.raises(ClientError, match=f"Could not find endpoint configuration .*endpoint-config/{running}"):
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=other)
    sagemaker.create_endpoint_config(EndpointConfigName=running, ProductionVariants=variants)


def test_a_failed_update_leaves_the_old_fleet(
    sagemaker: Any, runtime: Any, endpoint: str, config: Callable[..., str]
) -> None:
    before = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config("broken"))
    after = endpoint_with(sagemaker, endpoint)
    assert after["EndpointConfigName"] == before
    assert after["FailureReason"].endswith("the model is broken")
    assert invoke(runtime, endpoint)["version"] == "one"


def test_capacity_changes_and_dead_instances_are_replaced(sagemaker: Any, runtime: Any, endpoint: str) -> None:
    changes = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 1}]
    sagemaker.update_endpoint_weights_and_capacities(EndpointName=endpoint, DesiredWeightsAndCapacities=changes)
    variant = endpoint_with(sagemaker, endpoint)["ProductionVariants"][0]
    assert variant["CurrentInstanceCount"] == variant["DesiredInstanceCount"] == 1
    first = invoke(runtime, endpoint)["pid"]
    with pytest.raises(ClientError):
        invoke(runtime, endpoint, b"die")

    def pid() -> int | None:
        try:
            return int(invoke(runtime, endpoint)["pid"])
        except ClientError:
            return None

    assert eventually(pid, lambda second: second is not None) != first


def test_an_endpoint_that_cannot_start_fails_with_the_last_line(
    cloud: Cloud, sagemaker: Any, config: Callable[..., str]
) -> None:
    sagemaker.create_endpoint(EndpointName="sick", EndpointConfigName=config("broken"))
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        sagemaker.delete_endpoint(EndpointName="sick")
    failed = endpoint_with(sagemaker, "sick", "Failed")
    assert "did not pass the ping health check" in failed["FailureReason"]
    assert failed["FailureReason"].endswith("the model is broken")
    listed = sagemaker.list_endpoints(StatusEquals="Failed", NameContains="sick")["Endpoints"]
    assert [each["EndpointName"] for each in listed] == ["sick"]
    group = "/aws/sagemaker/Endpoints/sick"
    events = cloud.client("logs").filter_log_events(logGroupName=group)["events"]
    assert "the model is broken" in [each["message"] for each in events]
    with pytest.raises(ClientError, match="the only operation that it accepts is DeleteEndpoint"):
        sagemaker.update_endpoint(EndpointName="sick", EndpointConfigName=config("fine"))
    sagemaker.delete_endpoint(EndpointName="sick")
    await_gone(sagemaker, "sick")


@pytest.mark.parametrize("broken", ["no archive", "cut off", "garbled"])
def test_model_data_that_is_no_archive_fails_the_endpoint(
    cloud: Cloud, sagemaker: Any, s3: Any, config: Callable[..., str], broken: str
) -> None:
    name = config("words")
    location = {"Bucket": "kennel", "Key": f"models/{name}/model.tar.gz"}
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        member = tarfile.TarInfo("version.txt")
        member.size = 100_000
        tar.addfile(member, io.BytesIO(random.Random(0).randbytes(member.size)))
    half = content.getvalue()[:50_000]
    body = {"no archive": b"no archive", "cut off": half, "garbled": half + bytes(50_000)}[broken]
    s3.put_object(**location, Body=body)
    sagemaker.create_endpoint(EndpointName="wordy", EndpointConfigName=name)
    assert endpoint_with(sagemaker, "wordy", "Failed")["FailureReason"] == (
        f'Failed to extract model data archive for container "container_1" from URL "s3://kennel/models/{name}/'
        'model.tar.gz". Please ensure that the object located at the URL is a valid tar.gz archive.'
    )
    assert not list((cloud.home / "models").glob(f"{name}*"))  # A folder would count as unpacked.
    sagemaker.delete_endpoint(EndpointName="wordy")
    await_gone(sagemaker, "wordy")


def await_gone(sagemaker: Any, name: str) -> None:
    def named() -> list[str]:
        return [each["EndpointName"] for each in sagemaker.list_endpoints(NameContains=name)["Endpoints"]]

    eventually(named, lambda names: name not in names)


def test_records_are_described_listed_and_deleted(sagemaker: Any, config: Callable[..., str]) -> None:
    name = config("kept")  # The client checks every answer against the service model.
    model = sagemaker.describe_model(ModelName=name)
    assert model["PrimaryContainer"]["Environment"] == {"GREETING": "hello"}
    assert [each["ModelName"] for each in sagemaker.list_models(NameContains="kept")["Models"]] == [name]
    variant = sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"][0]
    assert (variant["ModelName"], variant["InitialInstanceCount"]) == (name, 1)
    configs = sagemaker.list_endpoint_configs(NameContains="kept")["EndpointConfigs"]
    assert [each["EndpointConfigName"] for each in configs] == [name]
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    sagemaker.delete_model(ModelName=name)
    with pytest.raises(ClientError, match="Could not find model"):
        sagemaker.delete_model(ModelName=name)


def test_what_does_not_exist_or_exists_already_is_refused(
    sagemaker: Any, s3: Any, endpoint: str, config: Callable[..., str]
) -> None:
    arn = "arn:aws:sagemaker:us-east-1:000000000000"
    with pytest.raises(ClientError, match=f'Could not find endpoint "{arn}:endpoint/nobody"'):
        sagemaker.describe_endpoint(EndpointName="nobody")
    with pytest.raises(ClientError, match=f'Could not find endpoint configuration "{arn}:endpoint-config/none"'):
        sagemaker.create_endpoint(EndpointName="new", EndpointConfigName="none")
    existing = config("two")
    for name in (endpoint, endpoint.upper()):
        with pytest.raises(ClientError, match=f'Cannot create already existing endpoint "{arn}:endpoint/{name}"'):
            sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=existing)
    variant = {"VariantName": "v", "ModelName": "none", "InstanceType": "ml.c6i.large", "InitialInstanceCount": 1}
    with pytest.raises(ClientError, match=f'Could not find model "{arn}:model/none"'):
        sagemaker.create_endpoint_config(EndpointConfigName="new", ProductionVariants=[variant])
    model = sagemaker.describe_model(ModelName=existing)["PrimaryContainer"]
    with pytest.raises(ClientError, match=f'Cannot create already existing model "{arn}:model/{existing}"'):
        sagemaker.create_model(ModelName=existing, PrimaryContainer=model, ExecutionRoleArn=ROLE)
    s3.create_bucket(Bucket="models-west", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="models-west", Key="there.tar.gz", Body=b"x")
    for data in ("s3://kennel/models/none.tar.gz", "s3://models-west/there.tar.gz"):
        with pytest.raises(ClientError, match=f"Could not find model data at {data}"):
            sagemaker.create_model(
                ModelName="none", PrimaryContainer={"Image": IMAGE, "ModelDataUrl": data}, ExecutionRoleArn=ROLE
            )


def test_a_deleted_endpoint_answers_what_it_was_asked_and_is_gone(
    cloud: Cloud, sagemaker: Any, runtime: Any, endpoint: str
) -> None:
    config = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    assert list((cloud.home / "models").glob(f"{config}*"))
    logs = cloud.home / "endpoints" / endpoint
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(invoke, runtime, endpoint, b"slow")
        eventually(
            lambda: "".join(file.read_text() for file in logs.rglob("server.log")),
            lambda log: "a slow request" in log,
        )
        sagemaker.delete_endpoint(EndpointName=endpoint)
        assert sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "Deleting"
        with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
            sagemaker.delete_endpoint(EndpointName=endpoint)
        assert answer.result()["version"] == "one"
    await_gone(sagemaker, endpoint)
    eventually(lambda: list((cloud.home / "models").glob(f"{config}*")), lambda left: left == [])
    with pytest.raises(ClientError, match="not found"):
        invoke(runtime, endpoint)
