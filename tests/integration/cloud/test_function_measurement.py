"""The smoke test and the measurement of a function that has a model, with the rights that the template gives them."""

import hashlib
import importlib
import json
import time
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from samcli.yamlhelper import yaml_parse

from measure import function as measured
from shared.errors import MeasurementError, SmokeError
from shared.scaling import FunctionMeasurement
from tests.integration.colours import photo
from tests.integration.laptop import ROOT, Cloud
from tests.integration.photo_functions import IMAGE, build_server, coloured_model, make_function
from tests.unit.functions.test_measure import Registry

RUN = "20261130-101500-0a1b2c"
CHALLENGER = {"digest": "d", "latency_ms": 2.0, "photos_per_s": 400.0}


@pytest.fixture(scope="module")
def report(cloud: Cloud) -> dict[str, str]:
    """The report of a run with its golden photos, of which the model answers all."""
    bucket = f"measured-{uuid.uuid4().hex[:8]}"
    s3, key = cloud.client("s3"), f"runs/{RUN}/report"
    s3.create_bucket(Bucket=bucket)
    body = json.dumps({"challenger": CHALLENGER}).encode()
    s3.put_object(Bucket=bucket, Key=f"{key}/evaluation.json", Body=body)
    golden = []
    for number, (label, colour) in enumerate([("001.Red", "red"), ("003.Blue", "blue")]):
        name = f"{number:02}.png"
        s3.put_object(Bucket=bucket, Key=f"{key}/golden/{name}", Body=photo(colour))
        golden.append({"photo": name, "class": label, "probabilities": {"int8": 1.0, "f32": 1.0}})
    s3.put_object(Bucket=bucket, Key=f"{key}/golden/golden.json", Body=json.dumps(golden).encode())
    return {"report_uri": f"s3://{bucket}/{key}", "report_sha256": hashlib.sha256(body).hexdigest()}


@pytest.fixture(scope="module")
def name(cloud: Cloud, report: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a function with the coloured model, as the pipeline makes it."""
    archive, manifest = coloured_model(tmp_path_factory.mktemp("measured"))
    bucket = report["report_uri"].split("/")[2]
    cloud.client("s3").put_object(Bucket=bucket, Key="m/model.tar.gz", Body=archive)
    build_server(cloud)
    name = f"measured-{uuid.uuid4().hex[:8]}-model"
    make_function(cloud.client("lambda"), name, 60, f"s3://{bucket}/m/model.tar.gz", manifest)
    return name


def rights_of(role: str, name: str) -> list[dict[str, Any]]:
    """Return the statements about Lambda of a role of the template, for one function."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    policy = template["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]
    found = []
    for statement in policy["Statement"]:
        if "lambda:" in json.dumps(statement["Action"]):
            resource = statement["Resource"]
            text = resource if isinstance(resource, str) else resource["Fn::Sub"]
            for variable, value in (("Partition", "aws"), ("Region", "us-east-1"), ("AccountId", "000000000000")):
                text = text.replace(f"${{AWS::{variable}}}", value)
            found.append({**statement, "Resource": text.replace("${EndpointName}-model", name)})
    return found


@pytest.fixture(scope="module")
def role_of(cloud: Cloud, name: str) -> Any:
    def make(role: str) -> str:
        return cloud.make_role(f"{role}-{uuid.uuid4().hex[:6]}", *rights_of(role, name))

    return make


@pytest.fixture
def measure(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, role_of: Any) -> Any:
    """The function measure with its role's rights on the cloud's Lambda, and fewer requests than in earnest."""
    for variable, value in {"AWS_DEFAULT_REGION": "us-east-1", "MODEL_PACKAGE_GROUP": "kennel"}.items():
        monkeypatch.setenv(variable, value)
    app: Any = importlib.import_module("measure.app")
    client = cloud.client("lambda", role=role_of("MeasureFunctionRole"))
    for attribute, value in {"functions": client, "asked_once": client, "s3": cloud.client("s3")}.items():
        monkeypatch.setattr(app, attribute, value)
    monkeypatch.setattr(app, "sagemaker", Registry())
    for attribute, number in {"SIZES": (1769, 3008), "_NUM_COLD": 3, "_NUM_WARM": 20}.items():
        monkeypatch.setattr(measured, attribute, number)
    return app


def plan(name: str, report: dict[str, str], **function: Any) -> dict[str, Any]:
    """The payload of the state MeasureFunction; ``run.function`` has more than Measure needs."""
    asked = {
        "name": name,
        "alias": "live",
        "memory_mb": 1769,
        "timeout_seconds": 30,
        "reserved": 0,
        "provisioned": 0,
        "provisioned_max": 0,
        "requests_per_day": 1000,
        "network": {"SubnetIds": [], "SecurityGroupIds": []},
        "max_p99_ms": 20_000,
        "bake_seconds": 60,
    }
    fields = {"run": RUN, "image": IMAGE, "instance_type": "ml.c7i.large", "requests_per_day": 1000}
    return {"function": asked | function, **fields, **report}


def context(seconds: float = 300) -> Any:
    end = time.monotonic() + seconds
    left = SimpleNamespace(get_remaining_time_in_millis=lambda: int(1000 * (end - time.monotonic())))
    for attribute in ("function_name", "memory_limit_in_mb", "invoked_function_arn", "aws_request_id"):
        setattr(left, attribute, "x")
    return left


def test_function_is_measured_and_left_with_the_cheapest_memory(
    cloud: Cloud, measure: Any, name: str, report: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = FunctionMeasurement.model_validate(measure.handler(plan(name, report), context()))
    assert [size.memory_mb for size in found.sizes] == [1769, 3008]
    for size in found.sizes:
        assert len(size.cold_ms) == len(size.init_ms) == 3
        assert all(init < cold for init, cold in zip(size.init_ms, size.cold_ms, strict=True))
        assert size.cold_billed_ms >= min(size.init_ms)
        assert size.warm_p50_ms <= size.warm_p99_ms
        assert size.is_told
    assert found.memory_mb == min(found.sizes, key=lambda size: size.dollars_per_million or 0).memory_mb
    assert (found.left_out, found.reused, found.num_requests) == ([], False, 2 * (3 + 5 + 20))
    assert found.gb_seconds > 0
    allowed = cloud.client("lambda").get_account_settings()["AccountLimit"]  # Few cores allow fewer than the quota.
    assert found.concurrency_limit == allowed["UnreservedConcurrentExecutions"]
    rows = {row.requests_per_day: row for row in found.table}
    assert rows[1000].instances.estimated
    assert rows[1000].function.dollars_per_month["rest_api"] < rows[1000].instances.dollars_per_month["rest_api"]
    config = cloud.client("lambda").get_function_configuration(FunctionName=name)
    assert (config["MemorySize"], config["LastUpdateStatus"]) == (found.memory_mb, "Successful")
    assert set(config["Environment"]["Variables"]) == {"KENNEL_ARTIFACT", "KENNEL_MANIFEST"}
    logging = {key: config["LoggingConfig"][key] for key in ("LogFormat", "SystemLogLevel")}
    assert logging == {"LogFormat": "JSON", "SystemLogLevel": "WARN"}
    # A later run with the same model and image only sets the memory.
    monkeypatch.setattr(measure, "sagemaker", Registry({"function_measurement": found.measurement_sha256}))
    again = measure.handler(plan(name, report), context())
    assert (again["reused"], again["run"], again["num_requests"]) == (True, RUN, 0)
    assert (again["sizes"], again["memory_mb"]) == (found.model_dump()["sizes"], found.memory_mb)


def test_function_that_no_memory_makes_fast_enough_is_refused(
    measure: Any, name: str, report: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "SIZES", (1769,))
    with pytest.raises(MeasurementError, match=r"max_p99_ms is 0\.001; raise it, or let instances answer"):
        measure.handler(plan(name, report, max_p99_ms=0.001), context())


def test_smoke_test_asks_the_function_itself(
    cloud: Cloud, name: str, report: dict[str, str], role_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    app: Any = importlib.import_module("smoke.app")
    monkeypatch.setattr(app.metrics.provider, "namespace", "Kennel")
    monkeypatch.setattr(app, "functions", cloud.client("lambda", role=role_of("SmokeFunctionRole")))
    monkeypatch.setattr(app, "s3", cloud.client("s3"))
    event = {"function_name": name, "qualifier": "$LATEST", "report_uri": report["report_uri"]}
    smoke = app.handler(event, context())
    assert (smoke["num_photos"], smoke["num_requests"]) == (2, 3)
    assert smoke["gb_seconds"] > 0
    version = cloud.client("lambda").publish_version(FunctionName=name)["Version"]
    with pytest.raises(ClientError, match="not authorized"):  # It asks what nobody else asks, and nothing else.
        app.handler({**event, "qualifier": version}, context())
    wrong = json.dumps([{"photo": "00.png", "class": "003.Blue", "probabilities": {"int8": 1.0}}]).encode()
    bucket, _, key = report["report_uri"].removeprefix("s3://").partition("/")
    cloud.client("s3").put_object(Bucket=bucket, Key=f"{key}x/golden/golden.json", Body=wrong)
    cloud.client("s3").put_object(Bucket=bucket, Key=f"{key}x/golden/00.png", Body=photo("red"))
    with pytest.raises(SmokeError, match=r"class '001\.Red' instead of '003\.Blue'"):
        app.handler({**event, "report_uri": f"{report['report_uri']}x"}, context())
