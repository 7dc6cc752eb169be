"""What a stopped run changed in production is taken back, one step a call."""

import json

import boto3
import pytest
from botocore.exceptions import ClientError

from restore.function import ModelFunction
from restore.production import Production
from shared.names import run_id
from shared.restoring import Before, FunctionBefore
from shared.scaling import ScalingPolicies
from tests.unit.functions.model_functions import NAME as FUNCTION
from tests.unit.functions.model_functions import NEW, SSM, Alarms, Lambda, Parameters, Scaling, refused
from tests.unit.functions.model_functions import OLD as CHAMPIONS

NAME = "stopped"
OWN = f"dogs-{run_id(NAME)}"
MINE, OLD = "s3://b/mine", "s3://b/old"
BEFORE = Before(
    config="dogs-old",
    instance_type="ml.c7i.large",
    ranges=[{"MinCapacity": 1, "MaxCapacity": 3}],
    scaling=ScalingPolicies(
        policies=[
            {"PolicyName": "dogs-concurrency", "PolicyType": "TargetTrackingScaling"},
            {"PolicyName": "dogs-burst", "PolicyType": "StepScaling"},
        ],
        burst_value=9,
    ),
    pointer_version=4,
)


class Aws:
    """SageMaker, scaling, CloudWatch, S3 and SSM: what a run leaves in them, and which calls change it."""

    exceptions = boto3.client("application-autoscaling", region_name="us-east-1").exceptions

    def __init__(self, *, config=OWN, status="InService", before=BEFORE, version=4, champion=OLD, scaled=True):
        self.endpoints = {"dogs": {"EndpointConfigName": config, "EndpointStatus": status}} if status else {}
        self.before, self.version, self.champion, self.scaled = before, version, champion, scaled
        self.types = {OWN: "ml.c7i.large"}
        self.approval, self.calls = "PendingManualApproval", []
        self.refusal = None

    def called(self, name):
        return [request for call, request in self.calls if call == name]

    def __getattr__(self, name):
        def call(**request):
            self.calls.append((name, request))
            return {"PolicyARN": f"arn:{request.get('PolicyName')}"}

        return call

    def update_endpoint(self, **request):
        if self.refusal:
            raise self.refusal
        self.calls.append(("update_endpoint", request))

    def describe_endpoint(self, EndpointName):
        if EndpointName not in self.endpoints:
            raise absent()
        return self.endpoints[EndpointName]

    def describe_endpoint_config(self, EndpointConfigName):
        return {"ProductionVariants": [{"InstanceType": self.types[EndpointConfigName]}]}

    def describe_model(self, ModelName):
        assert ModelName == OWN
        return {"PrimaryContainer": {"ModelDataUrl": MINE}}

    def describe_scalable_targets(self, **_):
        return {"ScalableTargets": [{}] if self.scaled else []}

    def get_parameter(self, **_):
        if self.champion == "gone":
            raise SSM.ParameterNotFound({"Error": {}}, "GetParameter")
        if self.champion is None:
            return {"Parameter": {"Value": "none", "Version": 1}}
        return {"Parameter": {"Value": json.dumps({"artifact_uri": self.champion}), "Version": self.version}}

    def list_model_packages(self, **_):
        return {"ModelPackageSummaryList": [{"ModelPackageArn": "arn:p/2"}, {"ModelPackageArn": "arn:p/1"}]}

    def describe_model_package(self, ModelPackageName):
        run = run_id(NAME) if ModelPackageName == "arn:p/2" else "another"
        return {"CustomerMetadataProperties": {"run": run}, "ModelApprovalStatus": self.approval}

    def get_object(self, **request):
        assert request == {"Bucket": "b", "Key": f"runs/{run_id(NAME)}/before.json"}
        if self.before is None:
            raise self.exceptions.NoSuchKey({"Error": {}}, "GetObject")
        return {"Body": Body(self.before.model_dump_json())}


class Body:
    def __init__(self, text):
        self.text = text

    def read(self):
        return self.text.encode()


class S3(Aws):
    exceptions = boto3.client("s3", region_name="us-east-1").exceptions


def absent():
    return ClientError({"Error": {"Code": "ValidationException", "Message": "Could not find it."}}, "Describe")


def restore(aws, lambdas=None, scaling=None, parameters=None, alarms=None):
    """Ask once; the function and the hosting pointer are those of a stack that never had a function, unless given."""
    s3, ssm = S3(before=aws.before), parameters or Parameters()
    ssm.others = aws.get_parameter
    function = ModelFunction(
        lambdas or Lambda(), scaling or Scaling(), alarms or Alarms(), ssm, FUNCTION, "/dogs/hosting", "dogs-canary"
    )
    return Production(aws, aws, aws, s3, ssm, "b", "dogs", "/k/champion", "arn:g", "docs/runbook.md", function).restore(
        NAME
    )


@pytest.mark.parametrize("status", ["Creating", "Updating", "RollingBack", "SystemUpdating", "Deleting"])
def test_endpoint_that_is_changing_is_awaited(status):
    aws = Aws(status=status)
    restoration = restore(aws)
    assert not restoration.done
    assert restoration.answer == f"the endpoint dogs is {status}"
    assert aws.calls == []


def test_staging_of_the_run_goes_first():
    aws = Aws()
    aws.endpoints[f"{OWN}-s"] = {"EndpointStatus": "InService"}
    assert not restore(aws).done
    assert aws.calls == [("delete_endpoint", {"EndpointName": f"{OWN}-s"})]


def test_endpoint_with_the_runs_configuration_goes_back_to_the_champions():
    aws = Aws()
    assert restore(aws).answer == "the endpoint dogs goes back to dogs-old"
    assert [each["EndpointConfigName"] for each in aws.called("update_endpoint")] == ["dogs-old"]
    assert not aws.called("deregister_scalable_target")


def test_other_instance_type_is_deregistered_first():
    aws = Aws()
    aws.types = {OWN: "ml.c7i.xlarge"}
    restore(aws)
    names = [name for name, _ in aws.calls]
    assert names.index("deregister_scalable_target") < names.index("update_endpoint")


def test_refused_update_is_tried_again_and_its_reason_is_told():
    aws = Aws()
    aws.refusal = absent()
    restoration = restore(aws)
    assert not restoration.done
    assert restoration.answer == "Could not find it."


def test_scaling_model_configuration_and_version_follow_the_endpoint():
    aws = Aws(config="dogs-old")
    assert restore(aws).done
    assert [each["MaxCapacity"] for each in aws.called("register_scalable_target")] == [3]
    assert len(aws.called("put_scaling_policy")) == 2
    (alarm,) = aws.called("put_metric_alarm")
    assert alarm["Threshold"] == 9
    assert alarm["AlarmActions"] == ["arn:dogs-burst"]
    assert {"EndpointConfigName": OWN} in aws.called("delete_endpoint_config")
    assert aws.called("delete_model") == [{"ModelName": OWN}]
    assert [each["ModelPackageArn"] for each in aws.called("update_model_package")] == ["arn:p/2"]


def test_champion_that_did_not_scale_gets_no_scaling():
    aws = Aws(config="dogs-old", before=BEFORE.model_copy(update={"ranges": []}))
    assert restore(aws).done
    assert not aws.called("register_scalable_target")


def test_run_that_had_moved_the_pointer_stays():
    aws = Aws(version=5)
    restoration = restore(aws)
    assert restoration.done
    assert "had moved the champion pointer" in restoration.answer
    assert [name for name, _ in aws.calls] == ["delete_endpoint_config"]  # Staging's, which may be left.


@pytest.mark.parametrize(("champion", "scaled"), [(OLD, True), (MINE, False)])
def test_endpoint_that_the_run_created_is_deleted_unless_it_was_promoted(champion, scaled):
    aws = Aws(before=None, champion=champion, scaled=scaled)
    assert restore(aws).answer == "the endpoint dogs is being deleted"
    assert len(aws.called("deregister_scalable_target")) == scaled
    assert aws.called("delete_endpoint") == [{"EndpointName": "dogs"}]


def test_endpoint_that_the_run_created_and_promoted_stays():
    aws = Aws(before=None, champion=MINE)
    assert restore(aws).done
    assert not aws.called("delete_endpoint")


def test_first_run_that_was_stopped_leaves_nothing_until_its_end():
    """There is no champion yet: the pointer says none, and nothing was kept, because there was nothing to keep."""
    aws = Aws(before=None, champion=None)
    aws.types = {}
    assert restore(aws).answer == "the endpoint dogs is being deleted"
    assert [name for name, _ in aws.calls][-2:] == ["deregister_scalable_target", "delete_endpoint"]
    aws.endpoints["dogs"]["EndpointStatus"] = "Deleting"
    assert restore(aws).answer == "the endpoint dogs is Deleting"
    aws.endpoints, aws.calls = {}, []
    assert restore(aws).done
    assert aws.called("delete_endpoint_config")[-1] == {"EndpointConfigName": OWN}
    assert aws.called("delete_model") == [{"ModelName": OWN}]
    assert [each["ModelApprovalStatus"] for each in aws.called("update_model_package")] == ["Rejected"]
    assert not aws.called("register_scalable_target")


def test_pointer_that_was_deleted_meanwhile_counts_as_not_moved():
    aws = Aws(champion="gone")
    assert restore(aws).answer == "the endpoint dogs goes back to dogs-old"


def test_nothing_is_rejected_twice():
    aws = Aws(config="dogs-old")
    aws.approval = "Rejected"
    assert restore(aws).done
    assert not aws.called("update_model_package")


# A run that changed the model's function, or between the two hostings.

RUN = run_id(NAME)
VERSIONS = {CHAMPIONS: "run-before", NEW: RUN}
FUNCTION_BEFORE = BEFORE.model_copy(
    update={"config": "", "ranges": [], "hosting": "function", "function": FunctionBefore(version=CHAMPIONS)}
)
NOTHING_BEFORE = FUNCTION_BEFORE.model_copy(update={"hosting": "none", "function": None})
ENDPOINT_BEFORE = BEFORE.model_copy(update={"hosting": "instances"})
CANARY = {"AdditionalVersionWeights": {NEW: 0.1}}


def no_endpoint(**more):
    return Aws(status="", config="", **more)


@pytest.mark.parametrize("alias", [(CHAMPIONS, CANARY), (NEW, {})])
def test_alias_leads_to_the_version_before_and_the_runs_version_goes(alias):
    lambdas, alarms = Lambda(alias, VERSIONS), Alarms()
    assert restore(no_endpoint(before=FUNCTION_BEFORE), lambdas, None, Parameters("function"), alarms).done
    assert lambdas.alias == {"FunctionVersion": CHAMPIONS, "RoutingConfig": {"AdditionalVersionWeights": {}}}
    assert lambdas.versions == {CHAMPIONS: "run-before"}
    assert alarms.deleted == ["dogs-canary"]


def test_alias_that_leads_where_it_did_is_left_alone():
    lambdas = Lambda((CHAMPIONS, {}), VERSIONS)
    assert restore(no_endpoint(before=FUNCTION_BEFORE), lambdas, None, Parameters("function")).done
    assert lambdas.calls == [("delete_function", NEW)]


def test_version_that_served_before_stays_although_a_repeated_run_has_its_name():
    lambdas = Lambda((CHAMPIONS, {}), {CHAMPIONS: RUN})
    assert restore(no_endpoint(before=FUNCTION_BEFORE), lambdas, None, Parameters("function")).done
    assert lambdas.versions == {CHAMPIONS: RUN}


def test_function_is_kept_ready_as_before():
    policy = {"PolicyName": "dogs-provisioned"}
    kept = FunctionBefore(
        version=CHAMPIONS, provisioned=2, reserved=50, ranges=[{"MinCapacity": 2, "MaxCapacity": 4}], policies=[policy]
    )
    lambdas, scaling = Lambda((NEW, {}), VERSIONS), Scaling()
    before = FUNCTION_BEFORE.model_copy(update={"function": kept})
    assert restore(no_endpoint(before=before), lambdas, scaling, Parameters("function")).done
    assert ("put_function_concurrency", {"ReservedConcurrentExecutions": 50}) in lambdas.calls
    provided = {"Qualifier": "live", "ProvisionedConcurrentExecutions": 2}
    assert ("put_provisioned_concurrency_config", provided) in lambdas.calls
    (_, target), put = scaling.calls
    assert (target["ResourceId"], target["MinCapacity"], target["MaxCapacity"]) == ("function:dogs-model:live", 2, 4)
    assert put == ("put_scaling_policy", policy)


def test_what_only_the_run_kept_ready_goes():
    lambdas = Lambda((NEW, {}), VERSIONS, provisioned=3, reserved=9)
    scaling = Scaling(ranges=[{"MinCapacity": 3, "MaxCapacity": 6}])
    restore(no_endpoint(before=FUNCTION_BEFORE), lambdas, scaling, Parameters("function"))
    names = [name for name, _ in lambdas.calls]
    assert {"delete_function_concurrency", "delete_provisioned_concurrency_config"} < set(names)
    assert "deregister_scalable_target" in [name for name, _ in scaling.calls]


@pytest.mark.parametrize(("kept_ready", "call"), [(2, "put_provisioned"), (0, "delete_provisioned")])
def test_less_is_kept_ready_before_less_is_reserved(kept_ready, call):
    """Lambda refuses to reserve less than is kept ready."""
    lambdas = Lambda((NEW, {}), VERSIONS, provisioned=20, reserved=40)
    kept = FunctionBefore(version=CHAMPIONS, provisioned=kept_ready, reserved=5)
    before = FUNCTION_BEFORE.model_copy(update={"function": kept})
    assert restore(no_endpoint(before=before), lambdas, None, Parameters("function")).done
    changes = [name for name, _ in lambdas.calls if "concurrency" in name]
    assert changes == [f"{call}_concurrency_config", "put_function_concurrency"]


def test_as_much_is_kept_ready_as_before_when_the_run_kept_less():
    lambdas = Lambda((NEW, {}), VERSIONS, provisioned=2, reserved=5)
    kept = FunctionBefore(version=CHAMPIONS, provisioned=20, reserved=40)
    before = FUNCTION_BEFORE.model_copy(update={"function": kept})
    assert restore(no_endpoint(before=before), lambdas, None, Parameters("function")).done
    changes = [name for name, _ in lambdas.calls if "concurrency" in name]
    assert changes == ["put_function_concurrency", "put_provisioned_concurrency_config"]


def test_function_of_a_first_run_is_deleted_and_the_pointer_says_none():
    lambdas, parameters = Lambda((NEW, {}), VERSIONS), Parameters("function")
    scaling = Scaling(ranges=[{"MinCapacity": 1, "MaxCapacity": 2}])
    assert restore(no_endpoint(before=NOTHING_BEFORE), lambdas, scaling, parameters).done  # Nobody has to follow.
    assert (lambdas.versions, parameters.hosting) == ({}, "none")
    assert [name for name, _ in scaling.calls] == ["deregister_scalable_target"]


@pytest.mark.parametrize("before", [None, NOTHING_BEFORE])
def test_function_that_was_only_tried_is_deleted(before):
    lambdas = Lambda(None, {"$LATEST": ""})
    assert restore(no_endpoint(before=before), lambdas).done
    assert lambdas.calls == [("delete_function", None)]


def test_function_that_serves_stays_when_the_run_changed_nothing():
    lambdas = Lambda((CHAMPIONS, {}), VERSIONS)
    assert restore(no_endpoint(before=None), lambdas, None, Parameters("function")).done
    assert lambdas.calls == []


def test_change_from_instances_goes_back_to_them_before_the_function_is_deleted():
    """The pointer goes back first, and the function goes when nobody asks it any more."""
    lambdas, parameters = Lambda((NEW, {}), VERSIONS), Parameters("function")
    aws = Aws(config="dogs-old", before=ENDPOINT_BEFORE)
    first = restore(aws, lambdas, None, parameters)
    assert not first.done
    assert "follow the hosting pointer" in first.answer
    assert (parameters.hosting, lambdas.calls, aws.called("delete_endpoint")) == ("instances", [], [])
    parameters.moved = 91.0
    assert restore(aws, lambdas, None, parameters).done
    assert lambdas.versions == {}
    assert not aws.called("delete_endpoint")


def test_function_beside_an_endpoint_that_the_run_has_not_touched_goes_when_nobody_asks_it_any_more():
    """A run with a function remembers the pointer alone, and no configuration of the endpoint."""
    lambdas, parameters = Lambda((NEW, {}), VERSIONS), Parameters("function")
    aws = Aws(config="dogs-old", before=NOTHING_BEFORE.model_copy(update={"hosting": "instances"}))
    assert "follow the hosting pointer" in restore(aws, lambdas, None, parameters).answer
    assert (parameters.hosting, lambdas.calls) == ("instances", [])
    parameters.moved = 91.0
    assert restore(aws, lambdas, None, parameters).done
    assert lambdas.versions == {}


def test_change_to_instances_goes_back_to_the_function_before_the_endpoint_is_deleted():
    lambdas, parameters = Lambda((CHAMPIONS, {}), {CHAMPIONS: "x"}), Parameters("instances")
    aws = Aws(before=FUNCTION_BEFORE)
    assert "follow the hosting pointer" in restore(aws, lambdas, None, parameters).answer
    assert (parameters.hosting, aws.called("delete_endpoint")) == ("function", [])
    parameters.moved = 91.0
    assert restore(aws, lambdas, None, parameters).answer == "the endpoint dogs is being deleted"
    assert lambdas.versions == {CHAMPIONS: "x"}
    assert parameters.hosting == "function"


def test_promoted_change_to_the_function_ends_the_endpoint():
    aws, lambdas = Aws(config="dogs-old", version=5, before=ENDPOINT_BEFORE), Lambda((NEW, {}), VERSIONS)
    assert restore(aws, lambdas, None, Parameters("function")).answer == "the endpoint dogs is being deleted"
    assert aws.called("delete_endpoint") == [{"EndpointName": "dogs"}]
    aws.endpoints = {}
    assert restore(aws, lambdas, None, Parameters("function")).done
    assert lambdas.calls == []


def test_promoted_change_to_instances_deletes_the_function():
    lambdas = Lambda((CHAMPIONS, {}), VERSIONS)
    assert restore(Aws(version=5, before=FUNCTION_BEFORE), lambdas, None, Parameters("instances")).done
    assert lambdas.versions == {}


@pytest.mark.parametrize("hosting", ["none", "instances"])
def test_promoted_update_of_the_endpoint_leaves_it(hosting):
    """In a stack that never had a function the pointer may say none although an endpoint serves."""
    aws = Aws(version=5, before=BEFORE.model_copy(update={"hosting": hosting}))
    assert restore(aws, None, None, Parameters(hosting)).done
    assert not aws.called("delete_endpoint")


def test_lambda_that_is_still_at_work_is_asked_again():
    lambdas = Lambda((NEW, {}), VERSIONS, reserved=9)
    lambdas.busy = refused("ResourceConflictException", "An update is in progress")
    restoration = restore(no_endpoint(before=FUNCTION_BEFORE), lambdas, None, Parameters("function"))
    assert (restoration.done, restoration.answer) == (False, "An update is in progress")


def test_pointer_that_was_deleted_is_made_again():
    parameters = Parameters(None)
    restore(no_endpoint(before=FUNCTION_BEFORE), Lambda((CHAMPIONS, {}), VERSIONS), None, parameters)
    assert parameters.hosting == "function"


def test_document_of_an_earlier_release_moves_no_pointer():
    parameters = Parameters("none")
    assert restore(Aws(config="dogs-old"), None, None, parameters).done
    assert parameters.moved == 3600.0
