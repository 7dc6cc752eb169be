"""Endpoints of the laptop cloud: create, invoke, blue/green update, scale, heal, fail, delete."""

import io
import json
import tarfile
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.laptop import IMAGE, ROLE, Cloud, eventually


@pytest.fixture(scope="module")
def runtime(cloud: Cloud) -> Any:
    return cloud.client("sagemaker-runtime")


@pytest.fixture(scope="module")
def config(sagemaker: Any, s3: Any) -> Callable[..., str]:
    """Makes a model that answers with a version, and a configuration for it; the latter's name."""

    def make(version: str, count: int = 1, **variant: Any) -> str:
        name = f"{version}-{uuid.uuid4().hex[:6]}"
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            member = tarfile.TarInfo("version.txt")
            member.size = len(version)
            tar.addfile(member, io.BytesIO(version.encode()))
        s3.put_object(Bucket="kennel", Key=f"models/{name}/model.tar.gz", Body=archive.getvalue())
        container = {
            "Image": IMAGE,
            "ModelDataUrl": f"s3://kennel/models/{name}/model.tar.gz",
            "Environment": {"GREETING": "hello"},
        }
        sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
        production = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": "ml.c6i.large"}
        sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[{**production, "InitialInstanceCount": count, **variant}],
        )
        return name

    return make


def status(sagemaker: Any, name: str, wanted: str = "InService") -> dict[str, Any]:
    return eventually(
        lambda: sagemaker.describe_endpoint(EndpointName=name), lambda seen: seen["EndpointStatus"] == wanted
    )


def ask(runtime: Any, name: str, body: bytes = b"photo", **members: Any) -> dict[str, Any]:
    answer = runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType="image/jpeg", **members)
    document: dict[str, Any] = json.loads(answer["Body"].read())
    return document | {"answer": answer}


@pytest.fixture(scope="module")
def endpoint(sagemaker: Any, config: Callable[..., str]) -> str:
    """An endpoint of version one, two instances."""
    sagemaker.create_endpoint(EndpointName="dogs", EndpointConfigName=config("one", 2))
    status(sagemaker, "dogs")
    return "dogs"


def test_an_endpoint_answers_from_all_its_instances(runtime: Any, endpoint: str) -> None:
    answers = [ask(runtime, endpoint, CustomAttributes="trace-1") for _ in range(3)]
    assert {each["version"] for each in answers} == {"one"}
    assert answers[0]["bytes"] == 5
    assert answers[0]["type"] == "image/jpeg"
    assert answers[0]["greeting"] == "hello"
    assert answers[0]["answer"]["CustomAttributes"] == "trace-1"
    assert answers[0]["answer"]["InvokedProductionVariant"] == "AllTraffic"
    assert answers[0]["answer"]["ContentType"] == "application/json"

    def slow(_: int) -> int:
        return int(ask(runtime, endpoint, b"slow")["pid"])

    with ThreadPoolExecutor(2) as pool:
        pids = set(pool.map(slow, range(2)))
    assert len(pids) == 2


def test_errors_of_the_container_are_model_errors(runtime: Any, endpoint: str) -> None:
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        ask(runtime, endpoint, b"bad")
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 400
    assert json.loads(response["OriginalMessage"])["error"]["code"] == "UnreadableImage"
    with pytest.raises(ClientError, match=r"\(ValidationError\).*Endpoint nobody of account 000000000000 not found"):
        ask(runtime, "nobody")
    with pytest.raises(ClientError, match=r"\(ValidationError\).*less than or equal to 6291456"):
        ask(runtime, endpoint, b"x" * 6_291_457)


def test_an_update_loses_no_request_and_keeps_capacity(
    sagemaker: Any, runtime: Any, endpoint: str, config: Callable[..., str]
) -> None:
    seen, failed, done = [], [], threading.Event()

    def keep_asking() -> None:
        while not done.is_set():
            try:
                seen.append(ask(runtime, endpoint)["version"])
            except Exception as error:
                failed.append(error)

    pool = ThreadPoolExecutor(3)
    for _ in range(3):
        pool.submit(keep_asking)
    policy = {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}}
    deployment = {"BlueGreenUpdatePolicy": policy}
    try:
        sagemaker.update_endpoint(
            EndpointName=endpoint,
            EndpointConfigName=config("two", 1),
            RetainAllVariantProperties=True,
            DeploymentConfig=deployment,
        )
        wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 1}]
        for call, members in (
            (sagemaker.delete_endpoint, {}),
            (sagemaker.update_endpoint, {"EndpointConfigName": config("three")}),
            (sagemaker.update_endpoint_weights_and_capacities, {"DesiredWeightsAndCapacities": wanted}),
        ):
            with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
                call(EndpointName=endpoint, **members)
        after = status(sagemaker, endpoint)
        time.sleep(0.2)
    finally:
        done.set()
        pool.shutdown()
    assert not failed
    assert (seen[0], seen[-1]) == ("one", "two")
    assert after["ProductionVariants"][0]["CurrentInstanceCount"] == 2  # retained, not the config's 1
    assert after["LastDeploymentConfig"] == deployment
    assert ask(runtime, endpoint)["version"] == "two"


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
    kept = sagemaker.describe_endpoint_config(EndpointConfigName=running)["ProductionVariants"]
    sagemaker.delete_endpoint_config(EndpointConfigName=running)
    with pytest.raises(ClientError, match=f"Could not find endpoint configuration .*endpoint-config/{running}"):
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=other)
    sagemaker.create_endpoint_config(EndpointConfigName=running, ProductionVariants=kept)


def test_a_failed_update_leaves_the_old_fleet(
    sagemaker: Any, runtime: Any, endpoint: str, config: Callable[..., str]
) -> None:
    before = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config("broken"))
    after = status(sagemaker, endpoint)
    assert after["EndpointConfigName"] == before
    assert after["FailureReason"].endswith("the model is broken")
    assert ask(runtime, endpoint)["version"] == "two"


def test_capacity_changes_and_dead_instances_are_replaced(sagemaker: Any, runtime: Any, endpoint: str) -> None:
    wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 1}]
    sagemaker.update_endpoint_weights_and_capacities(EndpointName=endpoint, DesiredWeightsAndCapacities=wanted)
    variant = status(sagemaker, endpoint)["ProductionVariants"][0]
    assert variant["CurrentInstanceCount"] == variant["DesiredInstanceCount"] == 1
    first = ask(runtime, endpoint)["pid"]
    with pytest.raises(ClientError):
        ask(runtime, endpoint, b"die")

    def pid() -> int | None:
        try:
            return int(ask(runtime, endpoint)["pid"])
        except ClientError:
            return None

    assert eventually(pid, lambda seen: seen is not None) != first


def test_an_endpoint_that_cannot_start_fails_with_the_last_line(
    cloud: Cloud, sagemaker: Any, config: Callable[..., str]
) -> None:
    sagemaker.create_endpoint(EndpointName="sick", EndpointConfigName=config("broken"))
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        sagemaker.delete_endpoint(EndpointName="sick")
    seen = status(sagemaker, "sick", "Failed")
    assert "did not pass the ping health check" in seen["FailureReason"]
    assert seen["FailureReason"].endswith("the model is broken")
    assert [e["EndpointName"] for e in sagemaker.list_endpoints(StatusEquals="Failed")["Endpoints"]] == ["sick"]
    group = "/aws/sagemaker/Endpoints/sick"
    events = cloud.client("logs").filter_log_events(logGroupName=group)["events"]
    assert "the model is broken" in [each["message"] for each in events]
    with pytest.raises(ClientError, match="DeleteEndpoint is all that can be done with it"):
        sagemaker.update_endpoint(EndpointName="sick", EndpointConfigName=config("fine"))
    sagemaker.delete_endpoint(EndpointName="sick")
    gone(sagemaker, "sick")


def test_model_data_that_is_no_archive_fails_the_endpoint(sagemaker: Any, s3: Any, config: Callable[..., str]) -> None:
    name = config("words")
    s3.put_object(Bucket="kennel", Key=f"models/{name}/model.tar.gz", Body=b"no archive")
    sagemaker.create_endpoint(EndpointName="wordy", EndpointConfigName=name)
    assert status(sagemaker, "wordy", "Failed")["FailureReason"] == (
        f'Failed to extract model data archive for container "container_1" from URL "s3://kennel/models/{name}/'
        'model.tar.gz". Please ensure that the object located at the URL is a valid tar.gz archive.'
    )
    sagemaker.delete_endpoint(EndpointName="wordy")
    gone(sagemaker, "wordy")


def gone(sagemaker: Any, name: str) -> None:
    def named() -> list[str]:
        return [each["EndpointName"] for each in sagemaker.list_endpoints(NameContains=name)["Endpoints"]]

    eventually(named, lambda names: name not in names)


def test_records_are_described_listed_and_deleted(sagemaker: Any, config: Callable[..., str]) -> None:
    name = config("kept")  # every answer is checked against the service model by the client
    model = sagemaker.describe_model(ModelName=name)
    assert model["PrimaryContainer"]["Environment"] == {"GREETING": "hello"}
    assert [each["ModelName"] for each in sagemaker.list_models(NameContains="kept")["Models"]] == [name]
    variant = sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"][0]
    assert (variant["ModelName"], variant["InitialInstanceCount"]) == (name, 1)
    found = sagemaker.list_endpoint_configs(NameContains="kept")["EndpointConfigs"]
    assert [each["EndpointConfigName"] for each in found] == [name]
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    sagemaker.delete_model(ModelName=name)
    with pytest.raises(ClientError, match="Could not find model"):
        sagemaker.delete_model(ModelName=name)


def test_what_does_not_exist_or_exists_already_is_refused(
    sagemaker: Any, endpoint: str, config: Callable[..., str]
) -> None:
    arn = "arn:aws:sagemaker:us-east-1:000000000000"
    with pytest.raises(ClientError, match=f'Could not find endpoint "{arn}:endpoint/nobody"'):
        sagemaker.describe_endpoint(EndpointName="nobody")
    with pytest.raises(ClientError, match=f'Could not find endpoint configuration "{arn}:endpoint-config/none"'):
        sagemaker.create_endpoint(EndpointName="new", EndpointConfigName="none")
    with pytest.raises(ClientError, match=f'Cannot create already existing endpoint "{arn}:endpoint/dogs"'):
        sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=config("three"))
    with pytest.raises(ClientError, match=f'Cannot create already existing endpoint "{arn}:endpoint/DOGS"'):
        sagemaker.create_endpoint(EndpointName="DOGS", EndpointConfigName=config("three"))
    container = {"Image": IMAGE, "ModelDataUrl": "s3://kennel/models/none.tar.gz"}
    with pytest.raises(ClientError, match=r"Could not find model data at s3://kennel/models/none\.tar\.gz"):
        sagemaker.create_model(ModelName="none", PrimaryContainer=container, ExecutionRoleArn=ROLE)


def test_a_deleted_endpoint_is_gone(sagemaker: Any, runtime: Any, endpoint: str) -> None:
    sagemaker.delete_endpoint(EndpointName=endpoint)
    gone(sagemaker, endpoint)
    with pytest.raises(ClientError, match="not found"):
        ask(runtime, endpoint)
