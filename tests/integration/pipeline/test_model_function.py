"""The model's function around a run: what is remembered, how a stopped run is taken back, and how teardown ends it.

The function is a small program in the model's place; what it answers does not matter here.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from shared.names import run_id
from shared.restoring import Before, FunctionBefore
from tests.integration.laptop import await_function
from tests.integration.pipeline.kennel import Kennel, wait_for

NAME, POINTER = "kennel-model", "/kennel/hosting"
SCALED: dict[str, Any] = {
    "ServiceNamespace": "lambda",
    "ResourceId": f"function:{NAME}:live",
    "ScalableDimension": "lambda:function:ProvisionedConcurrency",
}
POLICY: dict[str, Any] = {
    **SCALED,
    "PolicyName": "kennel-provisioned",
    "PolicyType": "TargetTrackingScaling",
    "TargetTrackingScalingPolicyConfiguration": {
        "TargetValue": 0.7,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "LambdaProvisionedConcurrencyUtilization"},
    },
}
EXECUTION = "stopped-beside-a-function"
RUN = run_id(EXECUTION)


@pytest.fixture
def kennel(bare: Kennel) -> Iterator[Kennel]:
    yield bare
    bare.client("ssm").put_parameter(Name=POINTER, Value="none", Type="String", Overwrite=True)
    if is_there(bare):
        bare.client("lambda").delete_function(FunctionName=NAME)


def zipped(answer: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("app.py", f"def handler(event, context):\n    return {answer!r}\n")
    return archive.getvalue()


def make(kennel: Kennel, description: str = "run-before") -> Any:
    """Make the function with a version that serves, and return Lambda's client."""
    lambdas, formation = kennel.client("lambda"), kennel.client("cloudformation")
    role = formation.describe_stack_resource(StackName="kennel", LogicalResourceId="ExplainFunctionRole")
    arn = kennel.client("iam").get_role(RoleName=role["StackResourceDetail"]["PhysicalResourceId"])["Role"]["Arn"]
    runtime = lambdas.get_function_configuration(FunctionName="kennel-explain")["Runtime"]
    lambdas.create_function(
        FunctionName=NAME, Role=arn, Runtime=runtime, Handler="app.handler", Code={"ZipFile": zipped("old")}
    )
    await_function(lambdas, NAME)
    version = lambdas.publish_version(FunctionName=NAME, Description=description)["Version"]
    lambdas.create_alias(FunctionName=NAME, Name="live", FunctionVersion=version)
    lambdas.create_function_url_config(FunctionName=NAME, Qualifier="live", AuthType="AWS_IAM")
    point(kennel, "function")
    return lambdas


def update(lambdas: Any) -> str:
    """Publish a version as a run does, and let the alias send it a tenth of the requests."""
    lambdas.update_function_code(FunctionName=NAME, ZipFile=zipped("new"))
    await_function(lambdas, NAME)
    version = str(lambdas.publish_version(FunctionName=NAME, Description=RUN)["Version"])
    lambdas.update_alias(FunctionName=NAME, Name="live", RoutingConfig={"AdditionalVersionWeights": {version: 0.1}})
    return version


def keep_ready(kennel: Kennel) -> None:
    scaling = kennel.client("application-autoscaling")
    scaling.register_scalable_target(**SCALED, MinCapacity=1, MaxCapacity=2)
    scaling.put_scaling_policy(**POLICY)


def point(kennel: Kennel, hosting: str) -> None:
    kennel.client("ssm").put_parameter(Name=POINTER, Value=hosting, Type="String", Overwrite=True)


def pointer(kennel: Kennel) -> str:
    return str(kennel.client("ssm").get_parameter(Name=POINTER)["Parameter"]["Value"])


def is_there(kennel: Kennel) -> bool:
    lambdas = kennel.client("lambda")
    return NAME in [each["FunctionName"] for each in lambdas.list_functions()["Functions"]]


def targets(kennel: Kennel) -> list[Any]:
    request = {"ServiceNamespace": "lambda", "ResourceIds": [SCALED["ResourceId"]]}
    return list(kennel.client("application-autoscaling").describe_scalable_targets(**request)["ScalableTargets"])


def remember(kennel: Kennel) -> Before:
    """Let the function remember keep production for the run, and return what it kept."""
    response = kennel.client("lambda").invoke(FunctionName="kennel-remember", Payload=json.dumps({"run": RUN}))
    answer = json.load(response["Payload"])
    assert "FunctionError" not in response, answer
    s3, bucket = kennel.client("s3"), kennel.outputs()["BucketName"]
    before = Before.model_validate_json(s3.get_object(Bucket=bucket, Key=f"runs/{RUN}/before.json")["Body"].read())
    assert answer["hosting"] == before.hosting
    assert answer["function"] == (before.function and before.function.model_dump())
    return before


def take_back(kennel: Kennel) -> None:
    """Let teardown work on the event of the run, which was stopped and has left its lock."""
    arn = f"{kennel.outputs()['PipelineArn'].replace('stateMachine', 'execution')}:{EXECUTION}"
    kennel.client("ssm").put_parameter(Name="/kennel/lock", Value=arn, Type="String")
    ended = kennel.finish(kennel.start({"detail": {"executionArn": arn, "status": "FAILED"}}, "TeardownArn"))
    assert ended["status"] == "SUCCEEDED", (ended.get("error"), ended.get("cause"))
    assert not kennel.is_locked()


def tear_down(kennel: Kennel, request: dict[str, Any]) -> dict[str, Any]:
    ended = kennel.finish(kennel.start(request, "TeardownArn"))
    assert ended["status"] == "SUCCEEDED", (ended.get("error"), ended.get("cause"))
    output: dict[str, Any] = json.loads(ended["output"])
    return output


def test_stopped_update_goes_back_to_the_version_before(kennel: Kennel) -> None:
    lambdas = make(kennel)
    keep_ready(kennel)
    before = remember(kennel)
    assert before.hosting == "function"
    assert before.function == FunctionBefore(
        version="1",
        description="run-before",
        role=lambdas.get_function_configuration(FunctionName=NAME)["Role"],
        provisioned=1,
        ranges=[{"MinCapacity": 1, "MaxCapacity": 2}],
        policies=[POLICY],
    )
    scaling = kennel.client("application-autoscaling")
    scaling.deregister_scalable_target(**SCALED)
    lambdas.put_function_concurrency(FunctionName=NAME, ReservedConcurrentExecutions=5)
    new = update(lambdas)
    take_back(kennel)
    alias = lambdas.get_alias(FunctionName=NAME, Name="live")
    assert alias["FunctionVersion"] == "1"
    assert not alias.get("RoutingConfig", {}).get("AdditionalVersionWeights")
    versions = lambdas.list_versions_by_function(FunctionName=NAME)["Versions"]
    assert new not in [each["Version"] for each in versions]
    assert "ReservedConcurrentExecutions" not in lambdas.get_function_concurrency(FunctionName=NAME)
    assert [(each["MinCapacity"], each["MaxCapacity"]) for each in targets(kennel)] == [(1, 2)]
    assert pointer(kennel) == "function"


def test_stopped_first_run_leaves_no_function(kennel: Kennel) -> None:
    assert remember(kennel).function is None
    make(kennel, RUN)
    take_back(kennel)
    assert not is_there(kennel)
    assert pointer(kennel) == "none"


def test_lease_leaves_the_function_and_teardown_ends_it(kennel: Kennel) -> None:
    lambdas = make(kennel)
    keep_ready(kennel)
    assert tear_down(kennel, {"lease": True})["functions"] == []
    assert json.load(lambdas.invoke(FunctionName=NAME, Qualifier="live")["Payload"]) == "old"
    assert (pointer(kennel), len(targets(kennel))) == ("function", 1)
    assert tear_down(kennel, {})["functions"] == [NAME]
    assert not is_there(kennel)
    assert (pointer(kennel), targets(kennel)) == ("none", [])
    alarms = kennel.client("cloudwatch")
    wait_for(lambda: not alarms.describe_alarms(AlarmNamePrefix=f"TargetTracking-function:{NAME}")["MetricAlarms"])
    assert tear_down(kennel, {})["functions"] == []
    make(kennel)  # Nothing of the first one is in the way, such as its URL.
