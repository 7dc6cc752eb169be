"""The pipeline deploys the model as a function and changes between it and an endpoint, while callers ask."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local import stack
from local.api import signed_curl
from shared.scaling import FunctionSizes, MemorySize
from tests.integration.pipeline.kennel import BREEDS_USED, Kennel, states_entered, wait_for
from tests.integration.pipeline.test_trace import classify, settled

NAME = "kennel-model"
FAST, SLOW = {"max_p99_ms": 100}, {"max_p99_ms": 200}
# What the function takes with each size of memory. Measuring takes minutes, and a kept measurement is reused.
SIZES = {1024: 150.0, 1769: 80.0, 3008: 60.0}


@pytest.fixture
def on_instances_again(kennel: Kennel) -> Iterator[None]:
    """Leave the kennel as other tests expect it, whatever happens."""
    yield
    if pointer(kennel) == "function":
        run(kennel, {"hosting": "instances"})


@pytest.mark.slow
@pytest.mark.usefixtures("on_instances_again")
def test_callers_notice_no_change_of_the_hosting(
    kennel: Kennel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_measurement(kennel)
    cloud, lambdas = kennel.drill_cloud(), kennel.client("lambda")
    with cloud.load_api(2) as traffic:
        first = run(kennel, {"hosting": "function", **SLOW})
        wait_for(lambda: kennel.endpoints() == [])  # SageMaker goes on deleting it after the run has ended.
        assert (first["function"]["version"], first["function"]["measurement"]["memory_mb"]) == ("1", 1024)
        assert lambdas.get_alias(FunctionName=NAME, Name="live")["FunctionVersion"] == "1"
        assert lambdas.get_function_url_config(FunctionName=NAME, Qualifier="live")["AuthType"] == "AWS_IAM"
        assert (pointer(kennel), kennel.champion()["hosting"]) == ("function", "function")
        assert {"PointToFunction", "SmokeThroughChangedApi", "DeleteOldEndpoint"} <= first["entered"]
        assert not {"CreateModel", "CreateStaging", "PutCanaryAlarm"} & first["entered"]
        (tmp_path / "photo.jpg").write_bytes(cloud.photo)
        url = stack.function_url(kennel.laptop, first["run"]["function"])
        assert asked_by_curl(signed_curl(url, kennel.laptop.root_key), tmp_path)["breed"] in BREEDS_USED
        classify(kennel, trace_id := os.urandom(16).hex())
        (found,) = settled(kennel, capsys, trace_id)
        assert found["versions"]["model_function_version"] == "1"
        assert found["attempts"][-1]["model"]["trace_id"] == trace_id
        assert "network" in [step["name"] for step in found["steps"]]
        forged = signed_curl(url, kennel.laptop.root_key._replace(secret="forged"))
        assert "breed" not in asked_by_curl(forged, tmp_path)

        second = run(kennel, {"hosting": "function", **FAST})
        assert second["function"]["measurement"]["memory_mb"] == 1769
        alias = lambdas.get_alias(FunctionName=NAME, Name="live")
        assert alias["FunctionVersion"] == second["function"]["version"] == "2"
        assert not alias.get("RoutingConfig", {}).get("AdditionalVersionWeights")
        assert {"ShiftCanary", "SwitchAlias", "DeleteSpentAlarms"} <= second["entered"]
        assert not {"PointToFunction", "AwaitFollowers"} & second["entered"]

        back = run(kennel, {"hosting": "instances"})
        assert kennel.endpoints() == ["kennel"]
        assert {"PointToInstances", "DeleteOldFunction"} <= back["entered"]
        assert (pointer(kennel), back["function"]) == ("instances", None)
        assert NAME not in [each["FunctionName"] for each in lambdas.list_functions()["Functions"]]
    assert len(traffic.samples) > 10
    assert traffic.failed == []
    assert kennel.client("cloudwatch").describe_alarms(AlarmNames=["kennel-canary"])["MetricAlarms"] == []
    assert not kennel.is_locked()


def asked_by_curl(command: str, folder: Path) -> dict[str, Any]:
    """Return the document that the command which the runner prints receives."""
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def run(kennel: Kennel, request: dict[str, Any]) -> dict[str, Any]:
    """Deploy version 1 again, and return the run's output with the names of the states that it entered."""
    arn = kennel.start({"promote": 1, **request})
    execution = kennel.finish(arn)
    assert execution["status"] == "SUCCEEDED", execution.get("cause")
    return {**json.loads(execution["output"]), "entered": states_entered(kennel, arn)}


def pointer(kennel: Kennel) -> str:
    """Return what the hosting pointer says."""
    return str(kennel.client("ssm").get_parameter(Name="/kennel/hosting")["Parameter"]["Value"])


def keep_measurement(kennel: Kennel) -> None:
    """Let the registry know a measurement of version 1 as a function."""
    s3, sagemaker, bucket = kennel.client("s3"), kennel.client("sagemaker"), kennel.outputs()["BucketName"]
    arn = sagemaker.list_model_packages(ModelPackageGroupName="kennel", SortOrder="Ascending")
    arn = next(
        each["ModelPackageArn"] for each in arn["ModelPackageSummaryList"] if each["ModelPackageArn"].endswith("/1")
    )
    container = sagemaker.describe_model_package(ModelPackageName=arn)["InferenceSpecification"]["Containers"][0]
    report = container["ModelDataUrl"].replace("/artifact/model.tar.gz", "/report/evaluation.json")
    body = s3.get_object(Bucket=bucket, Key=report.removeprefix(f"s3://{bucket}/"))["Body"].read()
    parts = (json.loads(body)["challenger"]["digest"], container["Image"], "function", *SIZES)
    sizes = [
        MemorySize(
            memory_mb=memory,
            cold_ms=[2000.0] * 10,
            init_ms=[1500.0] * 10,
            cold_billed_ms=2000.0,
            warm_p50_ms=p99 / 2,
            warm_p99_ms=p99,
            billed_ms=40.0,  # The price grows with the memory alone.
            hop_ms=5.0,
            is_told=True,
        )
        for memory, p99 in SIZES.items()
    ]
    kept = FunctionSizes(run="20261130-101500", sizes=sizes, left_out=[]).model_dump_json(by_alias=True).encode()
    key = f"measurements/{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}.json"
    s3.put_object(Bucket=bucket, Key=key, Body=kept)
    sagemaker.update_model_package(
        ModelPackageArn=arn, CustomerMetadataProperties={"function_measurement": hashlib.sha256(kept).hexdigest()}
    )
