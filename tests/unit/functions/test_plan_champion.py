"""What Plan finds out about versions and about the champion's breeds before anything costs."""

import hashlib
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
from shared.errors import RequestError
from tests.unit.functions.buckets import Bucket

VERSION = Version(3, "arn:package/3", "s3://b/runs/old", "repo:serve-1", 0.91)
ARTIFACT, GOLDEN, REPORT = (
    f"runs/old/{name}" for name in ("artifact/model.tar.gz", "report/golden/golden.json", "report/evaluation.json")
)
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


def test_version_keeps_the_digests_that_were_registered_with_it():
    found = package("Approved", CustomerMetadataProperties={"top1": "0.91", "report": "34cd"})
    found["InferenceSpecification"]["Containers"][0]["Environment"] = {"KENNEL_MANIFEST": "12ab"}
    with Stubber(client("sagemaker")) as stub:
        stub.add_response("describe_model_package", found, {"ModelPackageName": PACKAGE})
        assert versions.find(stub.client, GROUP, 3) == replace(VERSION, arn=PACKAGE, manifest="12ab", report="34cd")


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


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (ARTIFACT, r"the artifact of version 3, s3://b/runs/old/artifact/model\.tar\.gz, is gone"),
        (GOLDEN, r"the golden photos of version 3, s3://b/runs/old/report/golden/golden\.json, are gone"),
    ],
)
def test_version_without_a_file_of_its_run_is_refused_before_anything_costs(lost, words):
    files = {ARTIFACT: b"weights", GOLDEN: b"[]", REPORT: b"{}"}
    versions.check_artifact(Bucket(files), VERSION)
    with pytest.raises(RequestError, match=f"{words}; choose another version, or put back"):
        versions.check_artifact(Bucket({key: body for key, body in files.items() if key != lost}), VERSION)


def test_version_whose_artifact_is_another_file_is_refused_before_anything_costs():
    judged = json.dumps({"artifact_sha256": hashlib.sha256(b"weights").hexdigest()}).encode()
    versions.check_artifact(Bucket({ARTIFACT: b"weights", GOLDEN: b"[]", REPORT: judged}), VERSION)
    with pytest.raises(RequestError, match="is another file than the one that was judged"):
        versions.check_artifact(Bucket({ARTIFACT: b"Weights", GOLDEN: b"[]", REPORT: judged}), VERSION)


def test_missing_version_is_named():
    with Stubber(client("sagemaker")) as stub:
        stub.add_client_error("describe_model_package", "ValidationException", "ModelPackage … does not exist.")
        with pytest.raises(RequestError, match="there is no version 3"):
            versions.find(stub.client, GROUP, 3)


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
    champion.check_breeds(BREEDS, list(BREEDS), ["Lost one"], "x", ["003.Lost_one"])
