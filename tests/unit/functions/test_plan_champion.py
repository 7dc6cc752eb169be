"""What Plan finds out about versions and about the champion before anything costs."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime

import boto3
import pytest
from botocore.stub import Stubber

from dataset import DatasetError
from plan import champion, versions
from plan.versions import Version
from shared.contracts import Champion
from shared.errors import ChampionError, RequestError

VERSION = Version(3, "arn:package/3", "s3://b/runs/old", "repo:serve-1", 0.91)
GROUP = "arn:aws:sagemaker:us-east-1:000000000000:model-package-group/k"
URI = "s3://b/runs/r/artifact/model.tar.gz"
CHAMPION = Champion(run="r", artifact_uri=URI, model_package_arn="arn:p/7", instance_type="ml.c7i.large", top1=0.9)


def client(service):
    return boto3.client(service, region_name="us-east-1")


PACKAGE = "arn:aws:sagemaker:us-east-1:000000000000:model-package/k/3"


def package(status, **more):
    container = {"Image": "repo:serve-1", "ModelDataUrl": "s3://b/runs/old/artifact/model.tar.gz"}
    return {
        "ModelPackageName": "k",
        "ModelPackageArn": PACKAGE,
        "CreationTime": datetime.now(UTC),
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": []},
        "ModelApprovalStatus": status,
        "InferenceSpecification": {"Containers": [container]},
        "CustomerMetadataProperties": {"top1": "0.91"},
        **more,
    }


def test_version_is_found_by_its_number():
    with Stubber(client("sagemaker")) as stub:
        stub.add_response("describe_model_package", package("Approved"), {"ModelPackageName": PACKAGE})
        assert versions.find(stub.client, GROUP, 3) == replace(VERSION, arn=PACKAGE)


def test_version_that_never_served_is_refused_with_its_reason():
    with Stubber(client("sagemaker")) as stub:
        stub.add_response("describe_model_package", package("Rejected", ApprovalDescription="below the floor"))
        with pytest.raises(RequestError, match=r"version 3 never served \(below the floor\)"):
            versions.find(stub.client, GROUP, 3)


def test_version_that_served_and_was_rejected_by_hand_is_refused_with_what_to_do():
    served = {"CustomerMetadataProperties": {"top1": "0.91", "served": "true"}}
    for status in ("Rejected", "PendingManualApproval"):
        with Stubber(client("sagemaker")) as stub:
            stub.add_response("describe_model_package", package(status, ApprovalDescription="good", **served))
            sentence = f"version 3 served before, and is {status} in the registry since then; approve it there first"
            with pytest.raises(RequestError, match=sentence):
                versions.find(stub.client, GROUP, 3)


def test_version_whose_run_has_not_ended_is_refused():
    with Stubber(client("sagemaker")) as stub:
        stub.add_response("describe_model_package", package("PendingManualApproval"))
        with pytest.raises(RequestError, match="version 3 never served, its run is at work or was stopped"):
            versions.find(stub.client, GROUP, 3)


def test_version_without_its_artifact_is_refused_before_anything_costs():
    with Stubber(client("s3")) as stub:
        stub.add_response("list_objects_v2", {"KeyCount": 0})
        with pytest.raises(RequestError, match=r"artifact of version 3, s3://b/runs/old/artifact/model\.tar\.gz, is"):
            versions.check_artifact(stub.client, VERSION)


def test_missing_version_is_named():
    with Stubber(client("sagemaker")) as stub:
        stub.add_client_error("describe_model_package", "ValidationException", "ModelPackage … does not exist.")
        with pytest.raises(RequestError, match="there is no version 3"):
            versions.find(stub.client, GROUP, 3)


def pointer(value):
    ssm = client("ssm")
    with Stubber(ssm) as stub:
        if value is None:
            stub.add_client_error("get_parameter", "ParameterNotFound")
        else:
            stub.add_response("get_parameter", {"Parameter": {"Value": value, "Version": 1}}, {"Name": "/k/champion"})
        return champion.read(ssm, "/k/champion")


def test_pointer_names_a_champion_or_none():
    assert pointer("none") is None
    assert pointer(CHAMPION.model_dump_json()) == CHAMPION


@pytest.mark.parametrize(
    "value", ["", "nobody", "{}", "[1]", "null", json.dumps(CHAMPION.model_dump() | {"top1": "x"})]
)
def test_garbled_pointer_is_refused_with_the_run_that_mends_it(value):
    with pytest.raises(ChampionError, match=r'/k/champion holds .* a run with \{"promote": N\}'):
        pointer(value)


def test_missing_pointer_is_refused_with_the_command_that_mends_it():
    with pytest.raises(ChampionError, match="aws ssm put-parameter --name /k/champion --type String --value none"):
        pointer(None)


class Serving:
    """SageMaker with an endpoint that serves an artifact; a part that is None was deleted."""

    def __init__(self, uri=URI, *, status="InService", config="c", model="m"):
        self.answers = {
            "endpoint": {"EndpointStatus": status, "EndpointConfigName": "c"} if status else None,
            "config": {"ProductionVariants": [{"ModelName": "m"}]} if config else None,
            "model": {"PrimaryContainer": {"ModelDataUrl": uri}} if model else None,
        }

    def answer(self, part):
        if self.answers[part] is None:
            raise client("sagemaker").exceptions.ClientError(
                {"Error": {"Code": "ValidationException", "Message": "none"}}, "Describe"
            )
        return self.answers[part]

    def describe_endpoint(self, **_):
        return self.answer("endpoint")

    def describe_endpoint_config(self, **_):
        return self.answer("config")

    def describe_model(self, **_):
        return self.answer("model")


def check(serving, *, who=CHAMPION, keys=1):
    s3 = client("s3")
    with Stubber(s3) as stub:
        stub.add_response("list_objects_v2", {"KeyCount": keys})
        champion.check(s3, serving, "/k/champion", "dogs", who)


@pytest.mark.parametrize(
    "serving",
    [
        Serving(),
        Serving(status=None),
        Serving("s3://b/other", status="Failed"),
        Serving("s3://b/other", status="Updating"),
    ],
)
def test_champion_that_serves_or_an_endpoint_that_does_not_serve_is_no_contradiction(serving):
    check(serving)


def test_without_a_champion_nothing_is_compared():
    check(Serving("s3://b/other"), who=None)


@pytest.mark.parametrize(
    ("serving", "what"),
    [
        (Serving("s3://b/runs/x/artifact/model.tar.gz"), "serves s3://b/runs/x/artifact/model.tar.gz, and"),
        (Serving(model=None), "serves the model m, which was deleted, and"),
    ],
)
def test_endpoint_that_serves_something_else_is_refused_with_the_run_that_mends_it(serving, what):
    with pytest.raises(ChampionError) as refused:
        check(serving)
    assert what in str(refused.value)
    assert 'start a run with {"promote": N}' in str(refused.value)
    assert "(the pointer has 7)" in str(refused.value)


def test_endpoint_without_its_configuration_is_refused_for_runs_and_promotions():
    sentence = (
        r"the configuration c, with which the endpoint dogs serves, was deleted.*start teardown with \{\}, then a run"
    )
    with pytest.raises(ChampionError, match=sentence):
        check(Serving(config=None))
    ssm = client("ssm")
    with Stubber(ssm) as stub:
        stub.add_response("get_parameter", {"Parameter": {"Value": "nobody"}})
        with pytest.raises(ChampionError, match=sentence):
            champion.check_for_promotion(ssm, Serving(config=None), "/k/champion", "dogs")
        stub.add_response("get_parameter", {"Parameter": {"Value": "nobody"}})
        champion.check_for_promotion(ssm, Serving(model=None), "/k/champion", "dogs")


def test_artifact_that_is_gone_is_refused_with_what_mends_it():
    with pytest.raises(ChampionError) as refused:
        check(Serving(), keys=0)
    assert f"the champion's artifact {URI} is gone" in str(refused.value)
    assert '{"promote": N}' in str(refused.value)
    assert "aws ssm put-parameter --name /k/champion --overwrite --value none" in str(refused.value)


BREEDS = {"001.Alpha_dog": "Alpha dog", "002.B": "B"}


def test_the_champions_breeds_come_from_its_report():
    report = {"challenger": {"per_breed": [{"class": label, "breed": breed} for label, breed in BREEDS.items()]}}
    with Stubber(client("s3")) as stub:
        body = {"Body": io.BytesIO(json.dumps(report).encode())}
        stub.add_response("get_object", body, {"Bucket": "b", "Key": "runs/r/report/evaluation.json"})
        assert champion.breeds(stub.client, CHAMPION) == BREEDS
        stub.add_client_error("get_object", "NoSuchKey")
        assert champion.breeds(stub.client, CHAMPION) == {}
        assert champion.breeds(stub.client, None) == {}


@pytest.mark.parametrize("dropped", [["001.Alpha_dog"], ["alpha  dog"], ["B", "Alpha dog"]])
def test_a_breed_of_the_champion_may_be_dropped_on_request(dropped):
    champion.check_breeds(BREEDS, ["002.B", "003.New"], dropped, "x")


def test_a_dataset_without_a_breed_of_the_champion_is_refused_before_anything_costs():
    with pytest.raises(DatasetError) as refused:
        champion.check_breeds(BREEDS, ["002.B", "003.New"], [], "x")
    assert str(refused.value) == (
        "dataset x: has no photos of a breed that the model that serves knows: Alpha dog; add them, or say in the "
        'execution\'s input that they shall go: {"drop_breeds": ["001.Alpha_dog"]}'
    )
    champion.check_breeds(BREEDS, list(BREEDS), [], "x")
    champion.check_breeds({}, ["003.New"], ["Anything"], "x")


def test_a_dropped_breed_that_the_champion_does_not_know_is_refused_with_its_neighbour():
    with pytest.raises(RequestError, match=r"drop_breeds: the champion knows no 'Alpa dog' \(did you mean 'Alpha dog'"):
        champion.check_breeds(BREEDS, ["002.B"], ["Alpa dog"], "x")
