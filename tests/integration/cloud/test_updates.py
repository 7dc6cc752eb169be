"""Updates and dead instances under load: callers of the prediction function notice neither."""

import copy
import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from classify.endpoint import CONFIG, EndpointModel
from classify.invoke import Question, ask
from shared.problems import ProblemError
from tests.integration.laptop import REGION, Cloud, endpoint_with, eventually, make_config, put_alarm, serving_cloud

ALARM = "errors"
CANARY: dict[str, Any] = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
            "WaitIntervalInSeconds": 90,
        },
        "TerminationWaitInSeconds": 60,
        "MaximumExecutionTimeoutInSeconds": 600,
    },
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": ALARM}]},
}
BAKING = "Baking for 90 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 1 instance(s)."


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A laptop cloud whose waits are thirty times as short, with instances that answer 30 requests/s."""
    home = tmp_path_factory.mktemp("cloud") / "home"
    with serving_cloud(home, KENNEL_TIME_SCALE="30", KENNEL_THROTTLE="30") as running:
        yield running


@pytest.fixture(scope="module")
def sagemaker(cloud: Cloud) -> Any:
    return cloud.client("sagemaker")


@pytest.fixture(scope="module")
def runtime(cloud: Cloud) -> Any:
    """A client with the configuration of the prediction function's client."""
    return boto3.client(
        "sagemaker-runtime", endpoint_url=cloud.url, region_name=REGION, config=CONFIG, **cloud.credentials
    )


def asked(runtime: Any, endpoint: str, body: bytes, seconds: float) -> str:
    """Ask an endpoint as the prediction function does."""
    return ask(EndpointModel(runtime, endpoint), Question(body, "image/jpeg", "trace"), time.monotonic() + seconds)


@pytest.fixture(scope="module")
def alarm(cloud: Cloud) -> Any:
    """A function that puts the alarm into a state."""
    cloudwatch = cloud.client("cloudwatch")
    metric = {"Namespace": "Nobody", "MetricName": "Errors", "Statistic": "Sum"}
    # "ignore" keeps the alarm in the state that the test sets.
    put_alarm(cloudwatch, ALARM, **metric, Threshold=1, TreatMissingData="ignore")
    return lambda state: cloudwatch.set_alarm_state(AlarmName=ALARM, StateValue=state, StateReason="a drill")


@pytest.fixture
def endpoint(cloud: Cloud, sagemaker: Any) -> Iterator[str]:
    """The name of an endpoint with two instances of version ``one``."""
    name = f"dogs-{uuid.uuid4().hex[:6]}"
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=make_config(cloud, "one", 2))
    endpoint_with(sagemaker, name)
    yield name
    endpoint_with(sagemaker, name)
    sagemaker.delete_endpoint(EndpointName=name)


@contextmanager
def load(runtime: Any, endpoint: str) -> Iterator[list[dict[str, Any]]]:
    """Let four callers use the prediction function; yield the list of their answers. A problem fails the test."""
    answers: list[dict[str, Any]] = []
    done = threading.Event()

    def call() -> None:
        while not done.is_set():
            answers.append(json.loads(asked(runtime, endpoint, b"photo", 26)))

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(call) for _ in range(4)]
        try:
            yield answers
        finally:
            done.set()
        for caller in callers:
            caller.result()


def new_answers(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return twenty answers to requests that are sent from now on."""
    start = len(answers) + 4  # Each of the four callers may be waiting for the answer to an earlier request.
    return eventually(lambda: answers[start:], lambda new: len(new) >= 20)


def message(description: dict[str, Any]) -> str:
    """Return the status message of an update's present stage; empty when there is none."""
    pending = description.get("PendingDeploymentSummary")
    return str(pending["ProductionVariants"][0]["VariantStatus"][0]["StatusMessage"]) if pending else ""


@pytest.mark.usefixtures("alarm")
def test_a_canary_takes_its_share_and_no_caller_notices(
    cloud: Cloud, sagemaker: Any, runtime: Any, endpoint: str
) -> None:
    descriptions: list[dict[str, Any]] = []

    def describe() -> dict[str, Any]:
        descriptions.append(sagemaker.describe_endpoint(EndpointName=endpoint))
        return descriptions[-1]

    new = make_config(cloud, "late", 1)
    with load(runtime, endpoint) as answers:
        sagemaker.update_endpoint(
            EndpointName=endpoint, EndpointConfigName=new, RetainAllVariantProperties=True, DeploymentConfig=CANARY
        )
        eventually(describe, lambda description: message(description) == BAKING)
        assert {each["version"] for each in new_answers(answers)} == {"one", "late"}
        after = eventually(describe, lambda description: description["EndpointStatus"] == "InService")
        assert {each["version"] for each in new_answers(answers)} == {"late"}
    updating = [each for each in descriptions if each["EndpointStatus"] == "Updating"]
    assert list(dict.fromkeys(map(message, updating))) == [
        "Launching 2 instance(s).",
        BAKING,
        "Baking for 60 seconds (TerminationWaitInSeconds) with traffic enabled on full capacity of 2 instance(s).",
    ]
    assert {each["ProductionVariants"][0]["CurrentInstanceCount"] for each in descriptions} == {2}
    assert (after["EndpointConfigName"], after["LastDeploymentConfig"]) == (new, CANARY)
    assert "PendingDeploymentSummary" not in after


def test_an_alarm_brings_the_old_fleet_back(
    cloud: Cloud, sagemaker: Any, runtime: Any, endpoint: str, alarm: Any
) -> None:
    before = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    new = make_config(cloud, "two", 2)
    with load(runtime, endpoint) as answers:
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=new, DeploymentConfig=CANARY)
        eventually(lambda: message(sagemaker.describe_endpoint(EndpointName=endpoint)), lambda text: text == BAKING)
        alarm("ALARM")
        after = endpoint_with(sagemaker, endpoint)
        alarm("OK")
        assert {each["version"] for each in new_answers(answers)} == {"one"}
    assert after["EndpointConfigName"] == before
    assert after["FailureReason"] == "The update was rolled back: alarm(s) errors in state ALARM during the deployment."
    assert after["ProductionVariants"][0]["CurrentInstanceCount"] == 2


def test_a_version_that_fails_sets_its_alarm_off_and_is_rolled_back(
    cloud: Cloud, sagemaker: Any, runtime: Any, endpoint: str
) -> None:
    before = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    cloud.client("cloudwatch").put_metric_alarm(
        AlarmName=endpoint,
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "AllTraffic"}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
    )
    canary = copy.deepcopy(CANARY)
    canary["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["WaitIntervalInSeconds"] = 450
    canary["AutoRollbackConfiguration"]["Alarms"] = [{"AlarmName": endpoint}]
    new = make_config(cloud, "failing", 2)
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=new, DeploymentConfig=canary)

    def status() -> str:
        with suppress(runtime.exceptions.ModelError):
            runtime.invoke_endpoint(EndpointName=endpoint, ContentType="image/jpeg", Body=b"photo")
        return str(sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"])

    eventually(status, lambda current: current == "InService")
    after = sagemaker.describe_endpoint(EndpointName=endpoint)
    assert (after["EndpointConfigName"], endpoint in after["FailureReason"]) == (before, True)


def test_alarms_exist_and_the_models_role_may_look_at_them(cloud: Cloud, sagemaker: Any, endpoint: str) -> None:
    unknown = {**CANARY, "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "nobody"}]}}
    update = {"EndpointName": endpoint, "DeploymentConfig": unknown}
    with pytest.raises(ClientError, match="Could not find alarms nobody of AutoRollbackConfiguration"):
        sagemaker.update_endpoint(**update, EndpointConfigName=make_config(cloud, "two", 2))
    role = cloud.make_role("without-alarms", {"Effect": "Allow", "NotAction": "cloudwatch:*", "Resource": "*"})
    with pytest.raises(
        ClientError, match=r"not authorized to perform: cloudwatch:DescribeAlarms on resource: .*nobody"
    ):
        sagemaker.update_endpoint(**update, EndpointConfigName=make_config(cloud, "two", 2, role))
    assert sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "InService"


def test_callers_do_not_notice_a_killed_instance(cloud: Cloud, runtime: Any, endpoint: str) -> None:
    def pids() -> set[int]:
        return {int(file.read_text()) for file in (cloud.home / "endpoints" / endpoint).glob("*/pid")}

    with load(runtime, endpoint) as answers:
        killed, other = pids()
        os.kill(killed, signal.SIGKILL)
        after = eventually(
            lambda: {each["pid"] for each in new_answers(answers)},
            lambda answering: len(answering) == 2 and killed not in answering,
        )
        assert other in after
        assert pids() == after


def test_a_request_whose_instance_dies_is_lost_and_sent_to_no_other(runtime: Any, endpoint: str) -> None:
    with load(runtime, endpoint) as answers:
        before = {each["pid"] for each in new_answers(answers)}
    with pytest.raises(runtime.exceptions.ModelError, match="could not get a response from the dogs-") as caught:
        runtime.invoke_endpoint(EndpointName=endpoint, ContentType="image/jpeg", Body=b"die")
    assert caught.value.response["OriginalStatusCode"] == 0
    with load(runtime, endpoint) as answers:
        assert len(before & {each["pid"] for each in new_answers(answers)}) == 1


def test_callers_wait_for_the_only_instance_to_be_replaced(cloud: Cloud, sagemaker: Any, runtime: Any) -> None:
    sagemaker.create_endpoint(EndpointName="only", EndpointConfigName=make_config(cloud, "late"))
    endpoint_with(sagemaker, "only")

    def error_code(body: bytes) -> str:
        try:
            runtime.invoke_endpoint(EndpointName="only", ContentType="image/jpeg", Body=body)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    first = json.loads(asked(runtime, "only", b"photo", 0))["pid"]
    assert error_code(b"die") == "ModelError"
    eventually(lambda: error_code(b"photo"), lambda code: code == "ServiceUnavailable")
    assert json.loads(asked(runtime, "only", b"photo", 26))["pid"] != first
    sagemaker.delete_endpoint(EndpointName="only")


def test_a_throttled_instance_answers_one_request_at_a_time(runtime: Any, endpoint: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: json.loads(asked(runtime, endpoint, b"slow", 0)), range(4)))
    assert [each["at_once"] for each in answers] == [1, 1, 1, 1]
    assert len({each["pid"] for each in answers}) == 2


def test_without_an_endpoint_callers_get_a_503(runtime: Any) -> None:
    with pytest.raises(ProblemError, match="no model is serving yet") as caught:
        asked(runtime, "nobody", b"photo", 26)
    assert caught.value.status == 503
