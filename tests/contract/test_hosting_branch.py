"""The pipeline deploys the model as a function and changes between it and an endpoint, with scripted answers."""

from collections import ChainMap
from typing import Any

import pytest
import yaml

from cloud.stepfunctions import expressions
from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.interpreter import Interpreter, Scope
from shared.contracts import Promotion
from tests.contract.conftest import ROOT
from tests.contract.test_permissions import IMAGE, PACKAGE, sample_run

PIPELINE = yaml.safe_load((ROOT / "statemachine/pipeline.asl.yaml").read_text())
VERDICT = {"decision": "promote", "reason": "better", "challenger_top1": 0.9, "manifest": 64 * "a", "report": 64 * "b"}
SCALING = {
    "measurement_sha256": 64 * "0",
    "target_value": 3,
    "burst_value": 6,
    "scale_in_cooldown": 300,
    "scale_out_cooldown": 300,
}
MEASURED = {"measurement_sha256": 64 * "1", "memory_mb": 1024}
ROLE = "${ModelFunctionRoleArn}"  # as the definition has it before the template fills it in
ABSENT = StatesError("Lambda.ResourceNotFoundException", "Function not found")


class Cloud:
    """An account with what serves, as far as the states ask about it. Whatever they change is noted.

    calls: action and arguments of each call; functions are called by their substitution's name.
    entered: the names of the states that were entered.
    """

    wait_scale = 0.0
    region = "us-east-1"

    def __init__(self, run, pointer="none", version="", endpoint=False, ringing=(), choice="", breaks=None, kept=None):
        self.calls, self.entered = list[tuple[str, Any]](), list[str]()
        self._run, self._pointer, self._version, self._endpoint = run, pointer, version, endpoint
        self._ringing, self._choice, self._breaks = list(ringing), choice, breaks or {}
        self._kept = {"role": ROLE, "provisioned": 0, **(kept or {})}

    def evaluate(self, expression, scope):
        return expressions.evaluate(expression, scope.variables, scope.states())

    def check(self, resource, arguments):
        pass

    def record(self, kind, details, previous):
        if kind.endswith("StateEntered"):
            self.entered.append(details["stateEnteredEventDetails"]["name"])
        return previous + 1

    def invoke(self, task):
        action, arguments = task.resource.rpartition(":")[2], task.arguments
        if action == "invoke":
            action = arguments["FunctionName"].removeprefix("${").removesuffix("FunctionArn}")
        self.calls.append((action, arguments))
        if action in self._breaks:
            raise self._breaks[action]
        own = getattr(self, f"_{action}", None)
        return own(arguments) if own else self._answers().get(action, {})

    def _answers(self):
        function = {"version": self._version, **self._kept} if self._version else None
        return {
            "Plan": {"Payload": self._run},
            "Remember": {"Payload": {"policies": [], "burst_value": 0, "hosting": self._pointer, "function": function}},
            "Smoke": {"Payload": {"num_photos": 4}},
            "Explain": {"Payload": {"cause": "no dogs"}},
            "Receipt": {"Payload": {"text": "$0.04"}},
            "Restore": {"Payload": {"done": True, "answer": "back"}},
            "createEndpoint": {},
            "getProvisionedConcurrencyConfig": {"Status": "READY"},
            "publishVersion": {"Version": "2"},
            "getParameters": {"Parameters": [{"Name": "${HostingParameter}", "Value": self._pointer}]},
            "putScalingPolicy": {"PolicyARN": "arn:policy"},
            "describeEndpoint": {
                "EndpointStatus": "InService",
                "EndpointConfigName": self._run["endpoint"]["config_name"],
                "ProductionVariants": [{"CurrentInstanceCount": 1, "DesiredInstanceCount": 1}],
            },
            "describeEndpointConfig": {"ProductionVariants": [{"InstanceType": "ml.c7i.large"}]},
            "describeScalableTargets": {"ScalableTargets": []},
        }

    def _Measure(self, arguments):
        payload = arguments["Payload"]
        if "choose" in payload:
            return {"Payload": {"hosting": self._choice, "reason": "it is cheaper", "table": []}}
        return {"Payload": MEASURED if "function" in payload else SCALING}

    def _listObjectVersions(self, arguments):
        return {"Versions": [{"Key": arguments["Prefix"], "VersionId": "v7", "IsLatest": True}]}

    def _getFunctionConfiguration(self, arguments):
        if not self._version and not self.of("createFunction"):
            raise ABSENT
        return {"State": "Active", "LastUpdateStatus": "Successful", "Version": arguments.get("Qualifier")}

    def _listEndpoints(self, _arguments):
        there = [self._run["endpoint"]["name"]] if self._endpoint else []
        return {"Endpoints": [{"EndpointName": each, "EndpointStatus": "InService"} for each in there]}

    def _describeAlarms(self, arguments):
        ringing = self._ringing.pop(0) if self._ringing else ""
        return {"MetricAlarms": [{"AlarmName": each, "StateValue": "ALARM" if each == ringing else "OK"}
                                 for each in arguments["AlarmNames"]]}  # fmt: skip

    def of(self, action):
        """Return the arguments of all calls of an action."""
        return [arguments for called, arguments in self.calls if called == action]

    def order(self, *actions):
        """Return these actions in the order in which they were called."""
        return [called for called, _ in self.calls if called in actions]


@pytest.fixture
def plan(template):
    """Return a run that serves an earlier version again, without a bake, by the hosting that is asked for."""

    def of(hosting, **function):
        run = sample_run(template)
        promotion = Promotion.model_construct(verdict=VERDICT, model_package_arn=PACKAGE)
        document = run.model_dump(mode="json") | {"promotion": promotion.model_dump(), "hosting": hosting}
        document["images"]["serve"] = IMAGE
        document["function"] |= {"bake_seconds": 0, **function}
        return document

    return of


def finish(cloud):
    """Run the machine to its end, and return its output."""
    context = {"Execution": {"Id": "arn:x", "Name": "x"}}
    return Interpreter(cloud).run(PIPELINE, {}, Scope(context, ChainMap({})))


def fail(cloud):
    """Run the machine to its failure, and return that."""
    with pytest.raises(StatesError) as failed:
        finish(cloud)
    return failed.value


def test_the_first_function_gets_the_alias_at_once_and_then_the_pointer(plan):
    cloud = Cloud(plan("function"))
    output = finish(cloud)
    assert output["status"] == "promoted"
    assert (output["hosting"], output["endpoint"], output["choice"]) == ("function", None, None)
    served = {"name": "kennel-model", "alias": "live", "version": "2", "measurement": MEASURED, "note": ""}
    assert output["function"] == served
    (made,) = cloud.of("createFunction")
    assert made["Code"] == {"ImageUri": IMAGE}
    variables = made["Environment"]["Variables"]
    assert variables["KENNEL_ARTIFACT"].endswith("/artifact/model.tar.gz")
    assert (variables["KENNEL_ARTIFACT_VERSION"], variables["KENNEL_MANIFEST"]) == ("v7", 64 * "a")
    assert cloud.of("Smoke")[0]["Payload"]["qualifier"] == "$LATEST"
    (alias,) = cloud.of("createAlias")
    assert (alias["Name"], alias["FunctionVersion"]) == ("live", "2")
    assert cloud.of("createFunctionUrlConfig")[0]["AuthType"] == "AWS_IAM"
    pointer, champion = cloud.of("putParameter")
    assert (pointer["Name"], pointer["Value"]) == ("${HostingParameter}", "function")
    assert champion["Name"] == "${ChampionParameter}"
    assert '"hosting":"function"' in champion["Value"]
    metadata = cloud.of("updateModelPackage")[0]["CustomerMetadataProperties"]
    assert metadata == {"served": "true", "hosting": "function", "function_measurement": 64 * "1", "version": "2",
                        "memory_mb": "1024"}  # fmt: skip
    assert cloud.order("Remember", "createFunction") == ["Remember", "createFunction"]
    assert not {"updateAlias", "createModel", "deleteEndpoint", "updateSchedule"} & {
        called for called, _ in cloud.calls
    }


def test_a_new_version_gets_a_tenth_then_everything_and_the_pointer_stays(plan):
    cloud = Cloud(plan("function"), pointer="function", version="1")
    assert finish(cloud)["function"]["version"] == "2"
    canary, switch = cloud.of("updateAlias")
    assert (canary["FunctionVersion"], canary["RoutingConfig"]) == ("1", {"AdditionalVersionWeights": {"2": 0.1}})
    assert (switch["FunctionVersion"], switch["RoutingConfig"]) == ("2", {"AdditionalVersionWeights": {}})
    (alarm,) = cloud.of("putMetricAlarm")
    dimensions = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
    assert dimensions == {"FunctionName": "kennel-model", "Resource": "kennel-model:live", "ExecutedVersion": "2"}
    assert cloud.order("putMetricAlarm", "updateAlias", "describeAlarms") == [
        *("putMetricAlarm", "updateAlias", "describeAlarms", "updateAlias", "describeAlarms")
    ]
    assert cloud.of("deleteAlarms") == [{"AlarmNames": ["kennel-canary"]}]
    assert [each["Name"] for each in cloud.of("putParameter")] == ["${ChampionParameter}"]
    assert not {"createFunction", "createAlias", "deleteEndpoint"} & {called for called, _ in cloud.calls}


def test_a_version_of_another_role_gets_everything_at_once_and_the_output_says_why(plan):
    """Lambda divides an alias's requests only between versions of one role."""
    cloud = Cloud(plan("function"), pointer="function", version="1", kept={"role": "arn:aws:iam::1:role/former"})
    note = finish(cloud)["function"]["note"]
    (switch,) = cloud.of("updateAlias")
    assert (switch["FunctionVersion"], switch["RoutingConfig"]) == ("2", {"AdditionalVersionWeights": {}})
    assert cloud.order("putMetricAlarm", "updateAlias", "describeAlarms") == [
        *("putMetricAlarm", "updateAlias", "describeAlarms")
    ]
    assert note.startswith("all requests went to version 2 of the function at once, without a canary")
    assert "that of version 1 was arn:aws:iam::1:role/former" in note
    assert note in cloud.of("publish")[0]["Message"]


def test_a_version_that_serves_already_is_not_shifted(plan):
    cloud = Cloud(plan("function"), pointer="function", version="2")
    assert finish(cloud)["status"] == "promoted"
    assert cloud.of("updateAlias") == []


@pytest.mark.parametrize(("ringing", "num_updates"), [(["kennel-canary"], 1), (["", "kennel-canary"], 2)])
def test_an_alarm_takes_the_version_back_in_the_canary_and_afterwards(plan, ringing, num_updates):
    cloud = Cloud(plan("function"), pointer="function", version="1", ringing=ringing)
    assert fail(cloud).error == "ModelAlarm"
    assert len(cloud.of("updateAlias")) == num_updates
    assert cloud.of("Restore") == [{"FunctionName": "${RestoreFunctionArn}", "Payload": {"execution": "arn:x"}}]
    assert cloud.of("putParameter") == []  # Neither pointer has moved.
    assert cloud.entered[-1] == "Fail"


@pytest.mark.parametrize("alarm", ["${ModelErrorsAlarm}", "${ModelTimeAlarm}"])
def test_the_alarms_of_the_model_take_a_version_back_as_they_do_an_update(plan, alarm):
    assert fail(Cloud(plan("function"), pointer="function", version="1", ringing=[alarm])).error == "ModelAlarm"


def test_an_endpoint_goes_only_when_the_function_is_champion(plan):
    cloud = Cloud(plan("function"), pointer="instances", endpoint=True)
    assert finish(cloud)["hosting"] == "function"
    assert cloud.order("putParameter", "Smoke", "describeAlarms", "updateModelPackage", "deleteEndpoint") == [
        *("Smoke", "putParameter", "Smoke", "describeAlarms", "updateModelPackage", "putParameter", "deleteEndpoint")
    ]
    assert cloud.of("deleteEndpoint") == [{"EndpointName": "kennel"}]
    assert cloud.of("deleteSchedule") != []
    assert cloud.of("deleteAlarms") == [{"AlarmNames": ["kennel-canary", "kennel-burst"]}]
    assert "AwaitFollowers" in cloud.entered


def test_an_endpoint_that_an_earlier_run_could_not_delete_goes(plan):
    cloud = Cloud(plan("function"), pointer="function", version="1", endpoint=True)
    assert finish(cloud)["hosting"] == "function"
    assert cloud.order("updateModelPackage", "deleteEndpoint") == ["updateModelPackage", "deleteEndpoint"]
    assert "AwaitFollowers" in cloud.entered


@pytest.mark.parametrize("endpoint", [True, False])
def test_a_function_goes_only_when_the_endpoint_is_champion(plan, endpoint):
    cloud = Cloud(plan("instances"), pointer="function", version="1", endpoint=endpoint)
    assert finish(cloud)["hosting"] == "instances"
    pointer, _ = cloud.of("putParameter")
    assert (pointer["Name"], pointer["Value"]) == ("${HostingParameter}", "instances")
    assert cloud.order("putParameter", "updateModelPackage", "deleteFunction") == [
        *("putParameter", "updateModelPackage", "putParameter", "deleteFunction")
    ]
    # A run that is stopped must find what served before: an update is remembered with its scaling, before it.
    assert len(cloud.of("Remember")) == 1
    assert ("RememberFunctionServing" in cloud.entered) == (not endpoint)


def test_a_first_function_that_lambda_counts_errors_of_gives_way_to_the_endpoint(plan):
    cloud = Cloud(plan("function"), pointer="instances", endpoint=True, ringing=["kennel-function-errors"])
    assert fail(cloud).error == "ModelAlarm"
    assert len(cloud.of("Restore")) == 1
    assert cloud.of("deleteEndpoint") == []


def test_errors_of_the_function_that_served_before_say_nothing_about_what_follows(plan):
    for hosting, endpoint in (("function", False), ("instances", True)):
        cloud = Cloud(plan(hosting), pointer="function", version="1", endpoint=endpoint)
        assert finish(cloud)["status"] == "promoted"
        asked = [name for each in cloud.of("describeAlarms") for name in each["AlarmNames"]]
        assert "kennel-canary" in asked
        assert "kennel-function-errors" not in asked


def test_a_failure_after_the_pointer_has_moved_is_taken_back_before_the_endpoint_is_removed(plan):
    denied = StatesError("SageMaker.SageMakerException", "denied")
    cloud = Cloud(plan("instances"), pointer="function", version="1", breaks={"updateModelPackage": denied})
    assert fail(cloud).error == "SageMaker.SageMakerException"
    removed = ("deleteEndpoint", "deleteEndpointConfig", "deleteModel")
    begin = [called for called, _ in cloud.calls].index("Restore")
    assert not {called for called, _ in cloud.calls[begin:]} & set(removed)  # Restore has removed them itself.
    assert cloud.of("deleteParameter") == [{"Name": "${LockParameter}"}]


class Stuck(Cloud):
    """A cloud in which the hosting does not go back until the time for that is over."""

    def evaluate(self, expression, scope):
        return super().evaluate(expression.replace("$hostingDeadline", "0"), scope)

    def _Restore(self, _arguments):
        return {"Payload": {"done": False, "answer": "the endpoint kennel is Updating"}}


@pytest.mark.parametrize(("kind", "restores"), [(Cloud, {"Restore": StatesError("States.Timeout", "")}), (Stuck, {})])
def test_what_the_pointer_names_is_not_removed_when_the_way_back_fails(plan, kind, restores):
    """The lock stays, so that teardown finds what the run has left and goes the same way back."""
    denied = StatesError("SageMaker.SageMakerException", "denied")
    cloud = kind(plan("instances"), pointer="function", version="1", breaks={"updateModelPackage": denied, **restores})
    assert fail(cloud).error == "SageMaker.SageMakerException"
    assert [each["Value"] for each in cloud.of("putParameter")] == ["instances"]
    staging = cloud._run["endpoint"]["staging_name"]
    assert {each["EndpointName"] for each in cloud.of("deleteEndpoint")} <= {staging}
    assert cloud.of("deleteParameter") == []
    assert cloud.entered[-3:] == ["WriteFailureReceipt", "NotifyFailure", "Fail"]


def test_what_is_left_after_the_promotion_is_told_and_nothing_is_taken_back(plan):
    busy = StatesError("SageMaker.ConflictException", "the endpoint is being scaled")
    cloud = Cloud(plan("function"), pointer="instances", endpoint=True, breaks={"deleteEndpoint": busy})
    assert fail(cloud).error == "SageMaker.ConflictException"
    assert cloud.of("Restore") == []
    assert cloud.entered[-4:] == ["ReleaseLockAfterFailure", "WriteFailureReceipt", "NotifyFailure", "Fail"]


@pytest.mark.parametrize("pointer", ["none", "instances"])
@pytest.mark.parametrize("breaks", [{}, {"getFunctionConfiguration": StatesError("Lambda.LambdaException", "denied")}])
def test_a_run_with_instances_only_looks_at_its_end_whether_a_function_is_left(plan, pointer, breaks):
    cloud = Cloud(plan("instances"), pointer=pointer, breaks=breaks)
    assert finish(cloud)["endpoint"]["scaling"] == SCALING
    own = set(PIPELINE["States"]) & {name for name in cloud.entered if "Function" in name or "Hosting" in name}
    assert own == {"IsHostingChanged", "IsOldHostingLeft", "FindLeftFunction"}
    assert cloud.of("deleteFunction") == []
    assert [each["Name"] for each in cloud.of("putParameter")] == ["${ChampionParameter}"]


def test_a_function_that_an_earlier_run_could_not_delete_goes(plan):
    cloud = Cloud(plan("instances"), pointer="instances", version="1", endpoint=True)
    assert finish(cloud)["hosting"] == "instances"
    assert cloud.order("updateModelPackage", "deregisterScalableTarget", "deleteFunction") == [
        *("updateModelPackage", "deregisterScalableTarget", "deleteFunction")
    ]


def test_auto_measures_both_and_deploys_the_function_that_is_cheaper(plan):
    cloud = Cloud(plan("auto"), choice="function")
    output = finish(cloud)
    assert (output["hosting"], output["choice"]["reason"]) == ("function", "it is cheaper")
    asked = cloud.of("Measure")[-1]["Payload"]["choose"]
    assert (asked["function"], asked["instances"]) == (MEASURED, SCALING)
    assert cloud.order("deleteModel", "publishVersion") == ["deleteModel", "publishVersion"]
    assert [each["EndpointName"] for each in cloud.of("createEndpoint")] == [cloud._run["endpoint"]["staging_name"]]


def test_auto_removes_the_function_that_it_tried_for_nothing(plan):
    cloud = Cloud(plan("auto"), choice="instances")
    assert finish(cloud)["hosting"] == "instances"
    assert cloud.of("publishVersion") == []
    assert cloud.order("updateModelPackage", "deleteFunction") == ["updateModelPackage", "deleteFunction"]


def test_a_function_that_is_too_slow_fails_the_run_but_not_with_auto(plan):
    slow = StatesError("MeasurementError", "no size of memory keeps 250 ms")

    class Slow(Cloud):
        def _Measure(self, arguments):
            if "function" in arguments["Payload"]:
                raise slow
            return super()._Measure(arguments)

    assert fail(Slow(plan("function"))).error == "MeasurementError"
    cloud = Slow(plan("auto"), choice="instances")
    assert finish(cloud)["hosting"] == "instances"
    asked = cloud.of("Measure")[-1]["Payload"]["choose"]
    assert (asked["function"], asked["refused"]) == (None, slow.cause)


@pytest.mark.parametrize(("reserved", "action"), [(20, "putFunctionConcurrency"), (0, "deleteFunctionConcurrency")])
def test_concurrency_is_reserved_and_kept_warm_before_callers_come(plan, reserved, action):
    cloud = Cloud(plan("function", reserved=reserved, provisioned=2, provisioned_max=4))
    finish(cloud)
    assert cloud.order(action, "putProvisionedConcurrencyConfig", "registerScalableTarget", "putParameter")[:4] == [
        *(action, "putProvisionedConcurrencyConfig", "registerScalableTarget", "putParameter")
    ]
    (target,) = cloud.of("registerScalableTarget")
    assert (target["ResourceId"], target["MinCapacity"], target["MaxCapacity"]) == ("function:kennel-model:live", 2, 4)


@pytest.mark.parametrize(
    ("wanted", "kept", "calls"),
    [
        # More is reserved and kept warm: Lambda keeps no more warm than is reserved.
        ({"reserved": 20, "provisioned": 5, "provisioned_max": 10}, 2, ["reserve", "provide"]),
        # Less is reserved than is kept warm: Lambda refuses that until less is kept warm.
        ({"reserved": 5, "provisioned": 1, "provisioned_max": 2}, 20, ["give back", "reserve", "provide"]),
        ({"reserved": 5, "provisioned": 0}, 20, ["give back", "reserve"]),
        ({"reserved": 20, "provisioned": 5, "provisioned_max": 10}, 20, ["reserve", "provide"]),
        ({"reserved": 0, "provisioned": 1, "provisioned_max": 2}, 20, ["unreserve", "provide"]),
    ],
)
def test_concurrency_changes_in_the_order_that_lambda_takes(plan, wanted, kept, calls):
    words = {
        "deleteProvisionedConcurrencyConfig": "give back",
        "putFunctionConcurrency": "reserve",
        "deleteFunctionConcurrency": "unreserve",
        "putProvisionedConcurrencyConfig": "provide",
    }
    cloud = Cloud(plan("function", **wanted), pointer="function", version="1", kept={"provisioned": kept})
    finish(cloud)
    assert [words[each] for each in cloud.order(*words)] == calls
