"""The parts of Plan: request, names of the run, run lock, dataset and weights."""

import importlib
import io
import json
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from plan import lock, photos, request, trained
from plan.run import PlanSettings, decide, decide_promotion, run_id, with_reused_model
from plan.versions import Version
from plan.weights import Weights
from prices.per_million import for_the_card
from shared.contracts import Dataset, ImageBuild, ImagePlan, Limits, RegisteredChampion, Request, TrainedModel
from shared.errors import RequestError, RunInProgressError
from shared.s3 import Location
from shared.tuning import Tune, repeated_job_name

DATASET = Dataset(
    uri="s3://b/datasets/x.zip",
    fingerprint="f",
    num_classes=2,
    counts={"train": 4},
    made_splits="",
    left_out=[],
    unreadable=[],
    not_compared=0,
    reading="",
)
CHAMPION = RegisteredChampion(
    run="r", artifact_uri="s3://b/old", model_package_arn="arn:p", instance_type="ml.c7i.large", top1=0.9
)
SETTINGS = PlanSettings(
    bucket="b",
    key_arn="arn:k",
    endpoint_name="dogs",
    lock_parameter="/k/lock",
    champion_parameter="/k/champion",
    training_instance_type="ml.c7i.xlarge",
    training_instance_count="2",
    training_spot="true",
    training_image="build",
    training_device="cpu",
    serving_instance_type="ml.c7i.large",
    image_repository="1.dkr.ecr.r.amazonaws.com/kennel",
    base_image=f"python:3.11@sha256:{'0' * 64}",
    evaluation_image="build",
    serving_image="build",
    model_package_group="arn:aws:sagemaker:us-east-1:000000000000:model-package-group/k",
    hosting="instances",
    hosting_parameter="/k/hosting",
    model_reserved_concurrency="0",
    api_id="a1",
    api_key_id="key1",
    api_plan_id="smoke",
    topic_arn="arn:aws:sns:us-east-1:000000000000:t",
    runbook_url="docs/runbook.md",
    restore_function="arn:aws:lambda:us-east-1:000000000000:function:k-restore",
    max_p99_microseconds="250000",
    bake_seconds="300",
    lease_hours="72",
    vpc_subnets="",
    vpc_security_groups="",
    ec2_spot_queue="",
    ec2_on_demand_queue="",
    dataset_prefix="",
    model_prefix="",
    allowed_training_types="ml.*",
    allowed_serving_types="ml.*",
    max_training_instances="10000",
    max_serving_instances="100",
    max_ec2_vcpus="256",
    max_lease_hours="0",
    gate_bounds="",
    monthly_dollars="0",
    spending_parameter="/k/spending",
    architecture="x86_64",
    measure_memory="3008",
)
WEIGHTS = Weights("s3://b/weights/efficientnet_lite0-0123.pth", '"e"')
IMAGES = ImagePlan(
    train="k@sha256:1",
    train_content="1",
    evaluate="e",
    serve="s",
    repository="k",
    training_build=None,
    serving_build=None,
    context="",
)


def client(service):
    return boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


@pytest.mark.parametrize("name", ["20261123-101500", "a" * 80, "weird name/with:signs", "---", "x"])
def test_run_names_fit_sagemaker(name):
    run = decide(Request(), SETTINGS, name, DATASET, WEIGHTS, IMAGES, None)
    longest = SETTINGS.endpoint_name.ljust(30, "x")
    for name in (run.training.job_name + "-9", run.endpoint.staging_name, run.endpoint.config_name):
        assert len(name.replace("dogs", longest)) <= 63
        assert name.replace("-", "").isalnum()
        assert name[-1] != "-"


def test_run_ids_differ_between_executions_with_similar_names():
    assert run_id("a b") != run_id("a-b")


def test_request_overrides_the_stacks_parameters():
    parsed = Request(training_instance_type="ml.g5.xlarge", training_instance_count=1, spot=False, max_instances=5)
    run = decide(parsed, replace(SETTINGS, training_device="cuda"), "x", DATASET, WEIGHTS, IMAGES, CHAMPION)
    assert (run.training.instance_type, run.training.instance_count, run.training.spot) == ("ml.g5.xlarge", 1, False)
    assert run.quote.training_per_hour == 1.408
    assert (run.endpoint.max_instances, run.endpoint.instance_quota) == (5, 11)
    assert run.evaluation.champion_uri == "s3://b/old"
    assert "--champion-manifest" not in run.evaluation.arguments  # of an earlier release
    judged = CHAMPION.model_copy(update={"manifest": "12ab"})
    arguments = decide(parsed, replace(SETTINGS, training_device="cuda"), "x", DATASET, WEIGHTS, IMAGES, judged)
    assert arguments.evaluation.arguments[-3:] == ["--champion-manifest", "12ab", "--same-photos"]
    assert decide(Request(), SETTINGS, "x", DATASET, WEIGHTS, IMAGES, None).quote.training_per_hour == pytest.approx(
        2 * 0.214
    )


def test_volumes_are_encrypted_by_the_stacks_key_unless_instances_do_so_themselves():
    def keys(train, serve):
        parsed = Request(training_instance_type=train, serving_instance_type=serve)
        run = decide(parsed, replace(SETTINGS, training_device="cuda"), "x", DATASET, WEIGHTS, IMAGES, None)
        return run.training.volume_key, run.evaluation.volume_key, run.endpoint.volume_key

    job, config = {"VolumeKmsKeyId": "arn:k"}, {"KmsKeyId": "arn:k"}
    assert keys("ml.c7i.large", "ml.c7i.large") == (job, job, config)
    assert keys("ml.g5.xlarge", "ml.c7i.large") == ({}, job, config)
    assert keys("ml.c7i.large", "ml.c5d.large") == (job, {}, {})


def test_evaluation_reads_the_champion_only_if_there_is_one():
    def inputs(champion):
        run = decide(Request(), SETTINGS, "x", DATASET, WEIGHTS, IMAGES, champion)
        return [(each["InputName"], each["S3Input"]) for each in run.evaluation.inputs]

    file = {"S3DataType": "S3Prefix", "S3InputMode": "File"}
    dataset = {"S3Uri": "s3://b/datasets/x.zip", "LocalPath": "/opt/ml/processing/input/dataset", **file}
    old = {"S3Uri": "s3://b/old", "LocalPath": "/opt/ml/processing/input/champion", **file}
    assert inputs(None) == [("dataset", dataset)]
    assert inputs(CHAMPION) == [("dataset", dataset), ("champion", old)]


def test_hyperparameters_are_passed_as_text():
    parsed = Request(hyperparameters={"epochs": 3, "pull": 0.5, "cache": True})
    run = decide(parsed, SETTINGS, "x", DATASET, WEIGHTS, IMAGES, None)
    assert run.training.hyperparameters == {"epochs": "3", "pull": "0.5", "cache": "true"}


def test_jobs_and_endpoint_join_the_stacks_network():
    def network(subnets, groups):
        settings = replace(SETTINGS, vpc_subnets=subnets, vpc_security_groups=groups)
        return decide(Request(), settings, "x", DATASET, WEIGHTS, IMAGES, None).network

    assert network("", "") == {}
    expected = {"VpcConfig": {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}}
    assert network("subnet-1,subnet-2", "sg-1") == expected
    with pytest.raises(
        RequestError, match="only one of VpcSubnets and VpcSecurityGroups; deploy it with both or neither"
    ):
        network("subnet-1", "")


def test_limits_of_the_gate_are_checked_and_passed_on():
    with pytest.raises(RequestError) as error:
        request.parse({"max_top1_loss": 0, "max_breed_loss": 2, "max_latency_ms": -1, "min_rejected": "all"})
    messages = str(error.value).split("; ")
    assert messages == [
        "max_top1_loss: must be a number above 0 and below 1, not 0",
        "max_breed_loss: must be a number from 0 to 1, not 2",
        'min_rejected: must be a number from 0 to 1, not "all"',
        "max_latency_ms: must be a number above 0, not -1",
    ]
    parsed = request.parse({"min_top1": 0.9, "max_latency_ms": 50})
    run = decide(parsed, SETTINGS, "x", DATASET, WEIGHTS, IMAGES, None)
    assert run.limits == Limits(min_top1=0.9, max_latency_ms=50)


def test_latency_and_lease_default_to_the_stacks_parameters():
    endpoint = decide(Request(), SETTINGS, "x", DATASET, WEIGHTS, IMAGES, None).endpoint
    assert (endpoint.max_p99_ms, endpoint.bake_seconds, endpoint.lease_hours) == (250.0, 300, 72.0)
    parsed = Request(max_p99_ms=80, lease_hours=0)
    endpoint = decide(parsed, SETTINGS, "x", DATASET, WEIGHTS, IMAGES, None).endpoint
    assert (endpoint.max_p99_ms, endpoint.lease_hours) == (80.0, 0.0)


VERSION = Version(3, "arn:package/3", "s3://b/runs/old", "repo:serve-1", 0.91)


def test_promotion_deploys_the_artifact_and_image_of_the_version():
    run = decide_promotion(Request(promote=3, max_instances=4), SETTINGS, "x", VERSION)
    assert (run.training, run.dataset, run.quote.training_per_hour) == (None, None, 0.0)
    assert (run.evaluation.artifact_uri, run.evaluation.report_uri) == (
        "s3://b/runs/old/artifact",
        "s3://b/runs/old/report",
    )
    assert (run.images.serve, run.images.serving_build, run.endpoint.max_instances) == ("repo:serve-1", None, 4)
    assert (run.quote.build, run.quote.build_minutes, run.quote.images_per_month) == (0, 0, 0)
    assert run.promotion.model_package_arn == "arn:package/3"
    assert run.promotion.verdict.reason == "version 3 with a top-1 of 91.0% was requested"
    assert (run.promotion.verdict.manifest, run.promotion.verdict.report) == ("", "")  # of an earlier release
    judged = replace(VERSION, manifest="12ab", report="34cd")
    verdict = decide_promotion(Request(promote=3), SETTINGS, "x", judged).promotion.verdict
    assert (verdict.manifest, verdict.report) == ("12ab", "34cd")


def test_promotion_refuses_fields_about_training():
    with pytest.raises(RequestError, match="promote: deploys a version without changes; leave out dataset, min_top1"):
        request.parse({"promote": 3, "dataset": "x.zip", "min_top1": 0.9})


GROUP = SETTINGS.model_package_group


def training_of(fields=None, /, **changed):
    """Return the training plan of a request with these fields, and of otherwise changed arguments of ``decide``."""
    usual = {"settings": SETTINGS, "execution": "x", "dataset": DATASET, "weights": WEIGHTS, "images": IMAGES}
    arguments = usual | changed
    return decide(Request.model_validate(fields or {}), *arguments.values(), None).training


@pytest.mark.parametrize(
    "changed",
    [
        {"dataset": DATASET.model_copy(update={"fingerprint": "g"})},
        {"weights": WEIGHTS._replace(uri="s3://b/mine.pth")},
        {"weights": WEIGHTS._replace(etag='"f"')},
        {"images": IMAGES.model_copy(update={"train_content": "2"})},
        {"settings": replace(SETTINGS, training_instance_type="ml.c7i.large")},
        {"settings": replace(SETTINGS, training_instance_count="1")},
    ],
    ids=str,
)
def test_key_of_a_training_changes_with_everything_that_decides_its_model(changed):
    assert training_of(**changed).key != training_of().key


@pytest.mark.parametrize("fields", [{"hyperparameters": {"epochs": 3}}, {"training_instance_count": 3}])
def test_key_of_a_training_changes_with_fields_of_the_request(fields):
    assert training_of(fields).key != training_of().key


def test_key_of_a_training_ignores_what_does_not_change_the_model():
    fields = {"hyperparameters": {"epochs": 3, "pull": 0.5}}
    training = training_of(fields)
    others = {
        "spot": False,
        "min_top1": 0.9,
        "max_latency_ms": 9,
        "max_instances": 7,
        "reuse": False,
        "training_instance_count": 2,
    }
    assert training_of(fields | others, execution="another").key == training.key
    built = {"train": "k:train-1", "training_build": ImageBuild(targets=["train"], content_hash="1"), "context": "b/z"}
    assert training_of(fields, images=IMAGES.model_copy(update=built)).key == training.key
    moved = DATASET.model_copy(update={"uri": "s3://b/elsewhere.zip"})
    assert training_of({"hyperparameters": {"pull": "0.5", "epochs": "3"}}, dataset=moved).key == training.key


def test_models_of_one_key_and_checkpoints_of_one_backbone_share_a_prefix():
    training = training_of()
    assert training.output_uri == f"s3://b/training/{training.key}"
    assert training.checkpoint_uri == "s3://b/checkpoints/efficientnet_lite0-0123"
    assert training_of({"hyperparameters": {"epochs": 3}}).checkpoint_uri == training.checkpoint_uri


def test_reused_training_costs_nothing():
    run = decide(Request(), SETTINGS, "x", DATASET, WEIGHTS, IMAGES, None)
    model = TrainedModel(job="dogs-earlier-0", model_uri="s3://b/training/k/dogs-earlier-0/output/model.tar.gz")
    again = with_reused_model(run, model)
    assert (again.training.reused, again.quote.training_per_hour) == (model, 0)
    assert again.quote.endpoint_per_hour == run.quote.endpoint_per_hour == 0.107
    assert again.training.key == run.training.key
    to_build = IMAGES.model_copy(update={"training_build": ImageBuild(targets=["train"], content_hash="1")})
    again = with_reused_model(decide(Request(), SETTINGS, "x", DATASET, WEIGHTS, to_build, None), model)
    assert (again.images.training_build, again.quote.build) == (None, 0)


@pytest.mark.parametrize("instance_type", ["ml.g5.xlarge", "ml.g4dn.xlarge", "ml.p3.2xlarge"])
def test_gpus_that_the_training_image_cannot_use_are_not_paid_for(instance_type):
    fields = {"training_instance_type": instance_type}
    with pytest.raises(RequestError, match=f"^training_instance_type: {instance_type} has GPUs.*TrainingDevice=cuda"):
        training_of(fields)
    for settings in (replace(SETTINGS, training_device="cuda"), replace(SETTINGS, training_image="mine:1")):
        assert training_of(fields, settings=settings).instance_type == instance_type
    assert training_of({"training_instance_type": "ml.m5.large"}).instance_type == "ml.m5.large"


def test_models_that_earlier_releases_trained_are_not_reused(monkeypatch):
    """They are programs, not tensors. An image that a parameter names would otherwise keep its key."""
    key = training_of().key
    monkeypatch.setattr("plan.run._FORMAT", "pt2")
    assert training_of().key != key


def test_training_of_an_abandoned_run_is_stopped_if_it_still_runs():
    sagemaker = client("sagemaker")
    with Stubber(sagemaker) as stub:
        stub.add_response("stop_training_job", {}, {"TrainingJobName": "dogs-x"})
        trained.stop(sagemaker, "dogs-x")
        stub.add_client_error("stop_training_job", "ValidationException", "The request was rejected because …")
        trained.stop(sagemaker, "dogs-x")
        stub.assert_no_pending_responses()
        stub.add_client_error("stop_training_job", "AccessDeniedException")
        with pytest.raises(ClientError, match="AccessDenied"):
            trained.stop(sagemaker, "dogs-x")


def test_run_that_takes_over_a_lock_stops_the_training_of_its_holder(monkeypatch):
    for name, value in vars(SETTINGS).items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    app = importlib.import_module("plan.app")
    stopped = []
    monkeypatch.setattr(app.lock, "take", lambda *_: "arn:aws:states:r:1:execution:kennel-pipeline:nightly_1")
    monkeypatch.setattr(app.lock, "release", lambda *_: None)
    monkeypatch.setattr(app.trained, "stop", lambda _, job: stopped.append(job))
    monkeypatch.setattr(app.trained, "stop_search", lambda _, job: stopped.append(job))
    monkeypatch.setattr(app.versions, "find", lambda *_: VERSION)
    monkeypatch.setattr(app.versions, "check_artifact", lambda *_: None)
    monkeypatch.setattr(app, "agreement", SimpleNamespace(serving=lambda: None))
    monkeypatch.setattr(app.stack, "check_alarms", lambda *_: None)
    monkeypatch.setattr(app.stack, "check_key", lambda *_: None)
    monkeypatch.setattr(app.quota_check, "check", lambda *_: [])
    app.plan({"promote": 3}, "arn:mine", "x")
    abandoned = decide(Request(tune=Tune(where="jobs")), SETTINGS, "nightly_1", DATASET, WEIGHTS, IMAGES, None)
    search = abandoned.tuning.job_name
    # A search goes first, because it would start the next training job.
    assert stopped == [search, repeated_job_name(search), abandoned.training.job_name]
    monkeypatch.setattr(app.lock, "take", lambda *_: "")
    app.plan({"promote": 3}, "arn:mine", "x")
    assert len(stopped) == 3


def held_lock(ssm, holder):
    ssm.add_client_error("put_parameter", "ParameterAlreadyExists")
    ssm.add_response("get_parameter", {"Parameter": {"Value": holder}}, {"Name": "/k/lock"})


def test_lock_of_a_running_execution_is_respected():
    ssm, states = client("ssm"), client("stepfunctions")
    with Stubber(ssm) as stub, Stubber(states) as stub_states:
        held_lock(stub, "arn:other")
        stub_states.add_response(
            "describe_execution",
            {"executionArn": "arn:other", "stateMachineArn": "m", "status": "RUNNING", "startDate": 0},
            {"executionArn": "arn:other"},
        )
        with pytest.raises(RunInProgressError, match="arn:other"):
            lock.take(ssm, states, "/k/lock", "arn:mine")


def test_lock_of_an_execution_that_ended_is_taken_over():
    ssm, states = client("ssm"), client("stepfunctions")
    with Stubber(ssm) as stub, Stubber(states) as stub_states:
        held_lock(stub, "arn:dead")
        stub_states.add_client_error("describe_execution", "ExecutionDoesNotExist")
        stub.add_response("get_parameter", {"Parameter": {"Value": "arn:dead"}}, {"Name": "/k/lock"})
        stub.add_response("delete_parameter", {}, {"Name": "/k/lock"})
        stub.add_response(
            "put_parameter", {}, {"Name": "/k/lock", "Value": "arn:mine", "Type": "String", "Overwrite": False}
        )
        assert lock.take(ssm, states, "/k/lock", "arn:mine") == "arn:dead"
        stub.assert_no_pending_responses()


def test_lock_that_is_already_held_by_this_execution_is_kept():
    ssm, states = client("ssm"), client("stepfunctions")
    with Stubber(ssm) as stub:
        held_lock(stub, "arn:mine")
        assert lock.take(ssm, states, "/k/lock", "arn:mine") == ""
        stub.assert_no_pending_responses()


def test_lock_of_another_execution_is_not_released():
    ssm = client("ssm")
    with Stubber(ssm) as stub:  # A delete would find no stubbed response and raise.
        stub.add_response("get_parameter", {"Parameter": {"Value": "arn:other"}}, {"Name": "/k/lock"})
        lock.release(ssm, "/k/lock", "arn:mine")
        stub.assert_no_pending_responses()


def test_only_the_directory_of_a_zip_is_read():
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for split in ("train", "valid", "test"):
            for breed in ("001.A", "002.B"):
                archive.writestr(f"{split}/{breed}/1.jpg", f"{split}{breed}".encode().ljust(2_000_000))
        archive.writestr("other/cats/1.jpg", bytes(2_000_000))
    data, sizes = body.getvalue(), []

    def get_object(Bucket, Key, Range):
        first, last = (int(part) for part in Range.removeprefix("bytes=").split("-"))
        sizes.append(last - first + 1)
        return {"Body": io.BytesIO(data[first : last + 1])}

    s3 = SimpleNamespace(
        get_object=get_object,
        head_object=lambda **_: {"ContentLength": len(data), "ETag": "e"},
        get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: [{"Contents": [{"Key": "datasets/x.zip"}]}]),
    )
    dataset = photos.inspect(s3, Location("b", "datasets/x.zip"))
    assert dataset.counts == {"train": 2, "valid": 2, "test": 2, "other": 1}
    assert sum(sizes) < len(data) / 2


def test_the_jobs_are_told_what_plan_left_out_of_the_photos_and_the_key_is_that_of_the_photos():
    read = DATASET.model_copy(update={"reading": '{"leaks":"drop"}'})
    run = decide(Request(), SETTINGS, "x", read, WEIGHTS, IMAGES, None)
    assert run.training.hyperparameters == {"reading": '{"leaks":"drop"}'}
    at = run.evaluation.arguments.index("--reading")
    assert run.evaluation.arguments[at + 1] == '{"leaks":"drop"}'
    plain = decide(Request(), SETTINGS, "x", DATASET, WEIGHTS, IMAGES, None)
    assert (plain.training.hyperparameters, plain.training.key) == ({}, run.training.key)
    assert "--reading" not in plain.evaluation.arguments


def test_prefix_around_one_archive_is_that_archive():
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for split in ("train", "valid", "test"):
            for breed in ("001.A", "002.B"):
                archive.writestr(f"{split}/{breed}/1.jpg", f"{split}{breed}")
    data = body.getvalue()

    def get_object(Bucket, Key, Range):
        first, last = (int(part) for part in Range.removeprefix("bytes=").split("-"))
        return {"Body": io.BytesIO(data[first : last + 1])}

    page = {"Contents": [{"Key": "dataset/dogs.zip", "Size": len(data), "ETag": "e"}]}
    s3 = SimpleNamespace(
        get_object=get_object,
        head_object=lambda **_: {"ContentLength": len(data), "ETag": "e"},
        get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: [page]),
    )
    assert photos.inspect(s3, Location("b", "dataset/")).uri == "s3://b/dataset/dogs.zip"


def test_fingerprint_changes_when_bytes_change_under_the_same_names_and_sizes():
    def fingerprint(**etags):
        paths = [f"{split}/{breed}/1.jpg" for split in ("train", "valid", "test") for breed in ("001.A", "002.B")]
        objects = [
            {"Key": f"dogs/{path}", "Size": 9 + n, "ETag": etags.get(path[:5], "e")} for n, path in enumerate(paths)
        ]
        notes = {"Key": "dogs/notes.txt", "Size": 9, "ETag": etags.get("notes", "e")}
        pages = [{"Contents": [*objects, notes]}]
        s3 = SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: pages))
        return photos.inspect(s3, Location("b", "dogs")).fingerprint

    assert fingerprint(train="f") != fingerprint()
    assert fingerprint(notes="f") == fingerprint()


def test_the_card_gets_prices_unless_the_evaluation_image_was_built_elsewhere():
    """An older image would refuse the argument."""
    arguments = decide(Request(), SETTINGS, "x", DATASET, WEIGHTS, IMAGES, None).evaluation.arguments
    given = arguments[arguments.index("--prices") + 1]
    assert json.loads(given) == json.loads(json.dumps(for_the_card("ml.c7i.large")))
    assert len(given) <= 256
    own = replace(SETTINGS, evaluation_image="000000000000.dkr.ecr.us-east-1.amazonaws.com/judge:1")
    assert "--prices" not in decide(Request(), own, "x", DATASET, WEIGHTS, IMAGES, None).evaluation.arguments
