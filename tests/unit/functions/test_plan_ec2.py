"""Plan decides a training on EC2: its machine, its ranks, its key and its price."""

import importlib
from dataclasses import replace

import boto3
import pytest
from botocore.stub import Stubber

from cloud.batch import instance_types
from plan import ec2, request, trained
from plan.run import decide
from shared.contracts import ImageBuild, Request
from shared.errors import RequestError
from tests.unit.functions.test_plan import DATASET, IMAGES, SETTINGS, WEIGHTS

QUEUES = replace(SETTINGS, ec2_spot_queue="arn:spot", ec2_on_demand_queue="arn:demand", training_spot="false")


def training(settings=QUEUES, **fields):
    return decide(Request(**fields), settings, "x", DATASET, WEIGHTS, IMAGES, None).training


def test_machine_of_four_vcpus_trains_with_two_ranks_on_spot():
    found = training(train_on="ec2")
    assert (found.ec2.instance_type, found.ec2.ranks, found.ec2.queue, found.spot) == (
        "c7i.xlarge",
        2,
        "arn:spot",
        True,
    )
    # 8 GiB, of which the system and the agent need a part
    assert found.ec2.needs == [{"Type": "VCPU", "Value": "4"}, {"Type": "MEMORY", "Value": "7168"}]
    assert found.job_name.endswith("-ec2")
    assert found.output_uri == f"s3://b/training/{found.key}"
    assert found.trained_models_uri == "s3://b/TrainedModels"
    assert training(train_on="ec2", spot=False).ec2.queue == "arn:demand"


def test_training_on_ec2_has_the_key_of_as_many_instances_on_sagemaker():
    assert training(train_on="ec2").key == training(training_instance_count=2).key
    assert training(train_on="ec2").key != training(training_instance_count=1).key


def test_machine_with_gpus_has_a_rank_for_each_and_the_key_of_one_instance():
    settings = replace(QUEUES, training_instance_type="ml.g5.12xlarge", training_device="cuda")
    found = training(settings, train_on="ec2")
    assert found.ec2.ranks == 4
    assert found.ec2.needs[-1] == {"Type": "GPU", "Value": "4"}
    assert found.key == training(settings, training_instance_count=1).key


def test_quote_names_what_ec2_saves_of_sagemakers_price():
    spot, demand = (
        decide(Request(train_on="ec2", spot=spot), QUEUES, "x", DATASET, WEIGHTS, IMAGES, None).quote
        for spot in (None, False)
    )
    assert (demand.training_per_hour, demand.training_saved) == (0.1785, 0.17)  # of 0.214
    assert (spot.training_per_hour, spot.training_saved) == (pytest.approx(0.0892, abs=1e-4), 0.58)
    assert decide(Request(), QUEUES, "x", DATASET, WEIGHTS, IMAGES, None).quote.training_saved is None


def test_quote_is_of_the_stacks_region_and_unknown_where_the_book_lacks_a_price(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    missing = IMAGES.model_copy(update={"serving_build": ImageBuild(targets=["serve"], content_hash="bbbb")})
    here = decide(Request(), QUEUES, "x", DATASET, WEIGHTS, missing, None).quote
    assert (here.training_per_hour, here.endpoint_per_hour, here.build, here.images_per_month) == (None,) * 4
    assert here.build_minutes == 2
    spot = decide(Request(train_on="ec2"), QUEUES, "x", DATASET, WEIGHTS, IMAGES, None).quote
    assert (spot.training_per_hour, spot.training_saved) == (None, None)
    assert (spot.build, spot.images_per_month) == (0, 0)  # Nothing is built, so nothing is unknown.


@pytest.mark.parametrize(
    ("fields", "settings", "sentence"),
    [
        ({}, SETTINGS, "the stack has no subnets for EC2; deploy it with Ec2Subnets and Ec2SecurityGroups"),
        ({"training_instance_type": "ml.c7i.2xlarge"}, QUEUES, "the stack's machines on EC2 are c7i.xlarge"),
        ({"training_instance_count": 2}, QUEUES, "on EC2 one machine trains"),
        (
            {},
            replace(QUEUES, training_instance_type="ml.c7g.xlarge"),
            "c7g.xlarge has a processor of the architecture arm",
        ),
        (
            {},
            replace(QUEUES, training_instance_type="ml.g5.xlarge"),
            "has GPUs, and the stack's training image is for CPUs",
        ),
        ({}, replace(QUEUES, training_instance_type="ml.p5.48xlarge"), "nothing is known here about the machines"),
    ],
)
def test_what_cannot_be_trained_on_ec2_is_refused_with_a_sentence(fields, settings, sentence):
    with pytest.raises(RequestError, match=sentence):
        training(settings, train_on="ec2", **fields)


def test_other_places_are_refused_by_the_request():
    with pytest.raises(RequestError, match="train_on"):
        request.parse({"train_on": "moon"})


@pytest.mark.parametrize(
    "name", ["c7i.large", "c7i.xlarge", "m5.2xlarge", "r6i.4xlarge", "g4dn.xlarge", "g5.12xlarge", "g5.48xlarge"]
)
def test_a_job_asks_for_what_the_laptop_says_that_the_machine_can_give(name):
    """The two sides have their own rules, because the product and the cloud import nothing of each other."""
    found, offered = ec2.machine(name), instance_types.find(name)
    assert (found.vcpus, found.memory, found.gpus) == (offered.vcpus, offered.memory, offered.gpus)
    assert offered.fits(found.vcpus, found.memory * 7 // 8, found.gpus)
    assert not offered.fits(found.vcpus, found.memory, found.gpus)


@pytest.mark.parametrize(
    "name", ["c6g.large", "c7gn.xlarge", "m8gd.4xlarge", "r7g.2xlarge", "m6gd.16xlarge", "g5g.xlarge", "t4g.medium"]
)
def test_machines_of_another_architecture_than_the_image_are_refused(name):
    with pytest.raises(RequestError, match=f"train_on: {name} has .* arm64, and the image is for x86_64; deploy"):
        ec2.machine(name)


@pytest.mark.parametrize(
    "name",
    ["c4.xlarge", "m1.large", "c7i.3xlarge", "g3.4xlarge", "g4ad.xlarge", "g4dn.48xlarge", "g5.large", "t3.medium"],
)
def test_machines_that_do_not_exist_or_of_which_the_rules_are_wrong_are_refused(name):
    with pytest.raises(RequestError, match=f"nothing is known here about the machines {name}; deploy"):
        ec2.machine(name)


@pytest.mark.parametrize("name", ["c5n.9xlarge", "c6a.32xlarge", "c7i-flex.large", "m5zn.xlarge", "r8i.48xlarge"])
def test_machines_of_intel_and_amd_are_known(name):
    assert ec2.machine(name).gpus == 0


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"training_instance_type": "ml.c7g.xlarge"}, "training_instance_type: ml.c7g.xlarge has .* arm64"),
        ({"serving_instance_type": "ml.m6gd.large"}, "serving_instance_type: ml.m6gd.large has .* arm64"),
        ({"training_instance_type": "ml.trn1.2xlarge"}, "ml.trn1.2xlarge has chips that the stack's training image"),
    ],
)
def test_machines_on_sagemaker_that_the_stacks_images_cannot_use_are_refused(fields, sentence):
    with pytest.raises(RequestError, match=sentence):
        training(**fields)
    images = replace(SETTINGS, training_image="mine:1", serving_image="mine:1", evaluation_image="mine:1")
    assert training(images, **fields)


def listing(*statuses):
    return {"jobSummaryList": [{"jobId": f"id-{each}", "jobName": "dogs-x-ec2", "status": each} for each in statuses]}


def test_job_of_an_abandoned_run_is_ended_on_each_queue_whether_it_waits_or_trains():
    batch = boto3.client("batch", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    rule = [{"name": "JOB_NAME", "values": ["dogs-x-ec2"]}]
    with Stubber(batch) as stub:
        answers = listing("RUNNABLE", "FAILED"), listing("SUCCEEDED", "RUNNING")
        for queue, answer in zip(("arn:spot", "arn:demand"), answers, strict=True):
            stub.add_response("list_jobs", answer, {"jobQueue": queue, "filters": rule})
            active = next(each for each in answer["jobSummaryList"] if each["status"] in ("RUNNABLE", "RUNNING"))
            expected = {"jobId": active["jobId"], "reason": "the run of Kennel was abandoned"}
            stub.add_response("terminate_job", {}, expected)
        trained.stop_on_ec2(batch, ["arn:spot", "arn:demand"], "dogs-x-ec2")
        stub.assert_no_pending_responses()


@pytest.mark.parametrize(("settings", "queues"), [(QUEUES, ["arn:spot", "arn:demand"]), (SETTINGS, None)])
def test_run_that_takes_over_a_lock_ends_the_job_of_its_holder(monkeypatch, settings, queues):
    for name, value in vars(SETTINGS).items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    app, ended = importlib.import_module("plan.app"), []
    monkeypatch.setattr(app, "settings", settings)
    for name in ("stop", "stop_search"):
        monkeypatch.setattr(app.trained, name, lambda *_: None)
    monkeypatch.setattr(app.trained, "stop_on_ec2", lambda _, *arguments: ended.append(arguments))
    app._stop_jobs("nightly_1")
    job = decide(Request(train_on="ec2"), QUEUES, "nightly_1", DATASET, WEIGHTS, IMAGES, None).training.job_name
    assert ended == ([(queues, job)] if queues else [])
