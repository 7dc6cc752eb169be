"""The meters of the receipt, with the answers of services in the form of their APIs' models, and its sums."""

import boto3
import pytest
from botocore.stub import Stubber

import prices
from prices.per_million import Standing
from receipt import burn, document, history, meter
from receipt.burn import Stored
from receipt.meter import Functions, Metered
from shared.receipts import MonthlyLine
from tests.unit.functions.executions import Execution, at

DOLLARS = {
    "training/ml.c7i.xlarge": 0.36,
    "processing/ml.c7i.large": 0.18,
    "hosting/ml.c7i.large": 0.18,
    "ec2/c7i.xlarge": 0.18,
    "training/volume": 0.1,
    "processing/volume": 0.1,
    "codebuild/general1.medium": 0.01,
    "states/transition": 0.00002,
    "lambda/gb-second": 0.00001,
    "lambda/request": 0.0000002,
    "lambda/provisioned-gb-second": 0.000004,
    "lambda/provisioned-gb-second-arm": 0.000003,
    "api-gateway/rest-request": 0.0000035,
    "invoke/in": 0.016,
    "invoke/out": 0.016,
    "s3/put": 0.000005,
    "s3/storage": 0.02,
    "hosting/volume": 0.14,
    "kms/key": 1.0,
    "cloudwatch/alarm": 0.1,
    "cloudwatch/fast-alarm": 0.3,
    "cloudwatch/dashboard": 3.0,
    "cloudwatch/get-metric": 0.00001,
    "scheduler/invocation": 0.000001,
    "ecr/storage": 0.1,
}
QUOTE = {
    "training_per_hour": 0.72,
    "endpoint_per_hour": 0.18,
    "build": 0.09,
    "build_minutes": 9.0,
    "images_per_month": 0.05,
}
RUN = {
    "id": "r-0a1b2c",
    "quote": QUOTE,
    "training": {
        "job_name": "kennel-r",
        "output_uri": "s3://b/training/0123",
        "instance_type": "ml.c7i.xlarge",
        "instance_count": 2,
        "spot": False,
        "ec2": None,
    },
    "tuning": None,
    "endpoint": {
        "name": "kennel",
        "staging_name": "kennel-r-s",
        "instance_type": "ml.c7i.large",
        "min_instances": 2,
    },
}
KNOWN = Functions({"plan": 1024, "classify": 1024}, 512, "x86_64")


def book(factor=1.0):
    """A price book with these prices, and spot at half of the price on demand."""
    entries = {
        item: {"dollars": dollars * factor, "unit": "unit", "read": "2026-11-30", "source": "x"}
        for item, dollars in DOLLARS.items()
    }
    return {"sources": {"x": "a test"}, "shares": {"ec2/spot": {"share": 0.5}}, "regions": {"us-east-1": entries}}


@pytest.fixture(autouse=True)
def known_prices(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(prices, "_book", book)


MISSING = object()  # an answer that says that there is no such job


def client(service, *answers):
    """A client that gives these answers, (operation, answer), in this order; the API's model checks each."""
    made = boto3.client(service, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    stubber = Stubber(made)
    for operation, answer in answers:
        if answer is MISSING:
            stubber.add_client_error(operation, "ValidationException", "Requested resource not found.")
        else:
            stubber.add_response(operation, answer)
    stubber.activate()
    return made


def priced(metered):
    """The parts as (state, dollars), rounded to a billionth."""
    receipt = document.write("r", list(metered), [], [])
    return [(line.state, None if line.dollars is None else round(line.dollars, 9)) for line in receipt.lines]


def priced_instances(metered):
    """The same without the volumes of instances."""
    return priced(line for line in metered if not line.item.endswith("/volume"))


def read(execution):
    return history.read(execution.events)


def test_transitions_are_those_so_far_and_those_to_come():
    execution = Execution()
    execution.function("Plan", "plan", 0, 1)
    execution.function("WriteReceipt", "receipt", 1, 2)
    assert priced(meter.transitions(read(execution), 3)) == [("all states", 0.0001)]  # 5 x $0.00002


def test_a_function_is_billed_by_the_millisecond_and_by_its_memory():
    execution = Execution()
    execution.function("Plan", "plan", 0, 1.2344)  # 1,235 ms with 1 GB
    execution.function("Gate", "gate", 2, 4)  # 2,000 ms with half a GB
    plan, gate, calls = meter.functions(read(execution), KNOWN, at(9))
    assert (plan.quantity, gate.quantity, calls.quantity) == (pytest.approx(1.235), pytest.approx(1.0), 2)
    assert (plan.how, calls.how) == ("derived", "measured")
    assert plan.what == "the function plan, 1,235 ms with 1,024 MB"
    assert priced([plan, gate, calls]) == [("Plan", 1.235e-05), ("Gate", 1e-05), ("all states", 4e-07)]


def test_a_function_that_still_runs_is_billed_until_now_and_on_arm_by_its_own_price():
    execution = Execution()
    arn = "arn:aws:lambda:us-east-1:000000000000:function:kennel-receipt"
    execution.schedule("lambda:invoke", {"FunctionName": arn}, 5, execution.enter("WriteReceipt", 5))
    receipt, _ = meter.functions(read(execution), Functions({}, 512, "arm64"), at(7))
    assert (receipt.quantity, receipt.item) == (pytest.approx(1.0), "lambda/gb-second-arm")


def build(number, begin, end, status="SUCCEEDED"):
    ended = {"endTime": at(end)} if end is not None else {}
    environment = {"type": "LINUX_CONTAINER", "image": "x", "computeType": "BUILD_GENERAL1_MEDIUM"}
    return {"id": number, "buildStatus": status, "startTime": at(begin), "environment": environment, **ended}


def test_each_build_is_rounded_up_to_a_minute():
    execution = Execution()
    sync = "codebuild:startBuild.sync"
    execution.task("BuildTrainingImage", sync, {}, 0, 61, {}, {"Build": {"Id": "images:1"}})
    failing = execution.schedule(sync, {}, 62, execution.enter("BuildImages", 62))
    failing = execution.submit(62, failing, {"Build": {"Id": "images:2"}})
    execution.fail(70, failing, "States.TaskFailed", "{}")
    answer = {"builds": [build("images:1", 0, 61), build("images:2", 62, None, "IN_PROGRESS")]}
    builds = list(meter.builds(read(execution), client("codebuild", ("batch_get_builds", answer)), QUOTE, at(63)))
    assert priced(builds) == [("BuildTrainingImage", 0.02), ("BuildImages", 0.01)]
    assert [each.quote for each in builds] == ["9 minutes and $0.09 for all builds", ""]


def test_a_build_that_was_never_started_costs_nothing():
    execution = Execution()
    execution.task("BuildImages", "codebuild:startBuild.sync", {}, 0, 61, {}, {"Build": {"Id": "images:1"}})
    never = {name: value for name, value in build("images:1", 0, None, "FAULT").items() if name != "startTime"}
    codebuild = client("codebuild", ("batch_get_builds", {"builds": [never]}))
    assert list(meter.builds(read(execution), codebuild, QUOTE, at(63))) == []


def test_a_function_whose_branch_ended_beside_it_is_billed_for_its_longest_time_at_most():
    execution = Execution()
    arn = "arn:aws:lambda:us-east-1:000000000000:function:kennel-rank"
    number = execution.schedule("lambda:invoke", {"FunctionName": arn}, 0, execution.enter("RankTrials", 0))
    execution.events[number - 2]["taskScheduledEventDetails"]["timeoutInSeconds"] = 310
    rank, _ = meter.functions(read(execution), KNOWN, at(7200))
    assert rank.quantity == pytest.approx(155)  # 310 s with half a GB


def test_a_run_without_builds_asks_for_none():
    assert list(meter.builds(read(Execution()), None, QUOTE, at(0))) == []


def training_job(**members):
    """An answer of DescribeTrainingJob: of two instances that trained for 500 s."""
    return {
        "TrainingJobName": "kennel-r",
        "TrainingJobArn": "arn:aws:sagemaker:us-east-1:000000000000:training-job/kennel-r",
        "ModelArtifacts": {"S3ModelArtifacts": "s3://b/model.tar.gz"},
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "ResourceConfig": {"InstanceType": "ml.c7i.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 50},
        "StoppingCondition": {"MaxRuntimeInSeconds": 14400},
        "CreationTime": at(0),
        "TrainingStartTime": at(40),
        "TrainingEndTime": at(540),
        **members,
    }


def trained(*answers):
    execution = Execution()
    execution.task("Train", "aws-sdk:sagemaker:createTrainingJob", {"TrainingJobName": "kennel-r"}, 0, 1)
    sagemaker = client("sagemaker", *(("describe_training_job", answer) for answer in answers))
    return list(meter.trainings(read(execution), sagemaker, RUN, at(640)))


def test_a_training_costs_its_billable_seconds_on_each_instance():
    line, _ = trained(training_job(TrainingTimeInSeconds=500, BillableTimeInSeconds=500))
    assert priced([line]) == [("Train", 0.1)]  # 1,000 s of $0.36 an hour
    assert (line.how, line.quote) == ("measured", "$0.72 an hour")


def test_a_spot_training_costs_what_aws_bills_of_it():
    spot = {"EnableManagedSpotTraining": True, "TrainingTimeInSeconds": 500, "BillableTimeInSeconds": 100}
    line, _ = trained(training_job(**spot))
    assert priced([line]) == [("Train", 0.02)]
    assert "400 s less than it took because of spot" in line.what


def test_volumes_cost_what_they_hold_unless_the_machines_have_disks_of_their_own():
    _, volumes = trained(training_job(BillableTimeInSeconds=5256))
    assert volumes.quantity == pytest.approx(0.2)  # 100 GB for 0.002 of a month
    assert priced([volumes]) == [("Train", 0.02)]
    resources = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 50}
    assert len(trained(training_job(BillableTimeInSeconds=5256, ResourceConfig=resources))) == 1


@pytest.mark.parametrize(("ended", "dollars"), [({}, 0.1), ({"TrainingEndTime": None}, 0.12)])
def test_a_training_without_billable_time_costs_the_time_from_its_start(ended, dollars):
    job = {name: value for name, value in training_job(**ended).items() if value is not None}
    line, _ = trained(job)
    assert priced([line]) == [("Train", dollars)]
    assert line.how == "derived"


def test_a_training_whose_first_answer_was_lost_is_metered_once():
    execution = Execution()
    create = "aws-sdk:sagemaker:createTrainingJob"
    lost = execution.schedule(create, {"TrainingJobName": "kennel-r"}, 0, execution.enter("Train", 0))
    lost = execution.fail(60, lost, "States.Timeout")
    again = execution.schedule(create, {"TrainingJobName": "kennel-r"}, 61, lost)
    execution.fail(62, again, "SageMaker.ResourceInUseException")
    sagemaker = client("sagemaker", ("describe_training_job", training_job(BillableTimeInSeconds=50)))
    assert priced_instances(meter.trainings(read(execution), sagemaker, RUN, at(99))) == [("Train", 0.01)]


def test_a_training_that_was_reused_or_refused_costs_nothing():
    execution = Execution()
    create = "aws-sdk:sagemaker:createTrainingJob"
    refused = execution.schedule(create, {"TrainingJobName": "kennel-r"}, 0, execution.enter("Train", 0))
    execution.fail(1, refused, "SageMaker.ResourceLimitExceededException")
    assert list(meter.trainings(read(execution), client("sagemaker"), RUN, at(2))) == []
    assert list(meter.trainings(read(Execution()), client("sagemaker"), RUN, at(2))) == []


@pytest.mark.parametrize(("answer", "dollars"), [(None, []), (50, [("Train", 0.01)])])
def test_a_training_whose_only_answer_was_lost_is_looked_for(answer, dollars):
    execution = Execution()
    create = "aws-sdk:sagemaker:createTrainingJob"
    lost = execution.schedule(create, {"TrainingJobName": "kennel-r"}, 0, execution.enter("Train", 0))
    execution.fail(60, lost, "States.Timeout", kind="TaskTimedOut")
    told = MISSING if answer is None else training_job(BillableTimeInSeconds=answer)
    sagemaker = client("sagemaker", ("describe_training_job", told))
    assert priced_instances(meter.trainings(read(execution), sagemaker, RUN, at(99))) == dollars


def trial(number, begin, end):
    job = {
        "TrainingJobName": f"t-{number}",
        "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:000000000000:training-job/t-{number}",
        "CreationTime": at(0),
        "TrainingStartTime": at(begin),
        "TrainingJobStatus": "Completed",
        "TunedHyperParameters": {},
    }
    return job | ({"TrainingEndTime": at(end)} if end is not None else {})


def searched(spot, *answers, has_time=lambda: True):
    execution = Execution()
    create = "aws-sdk:sagemaker:createHyperParameterTuningJob"
    asked = {"TrainingJobDefinition": {"ResourceConfig": {"InstanceCount": 2, "VolumeSizeInGB": 50}}}
    execution.task("Search", create, {"HyperParameterTuningJobName": "kennel-r", **asked}, 0, 1)
    run = {**RUN, "training": RUN["training"] | {"spot": spot}, "tuning": {"jobs": {"minutes": 5, "dollars": 0.2}}}
    return list(meter.searches(read(execution), client("sagemaker", *answers), run, at(300), has_time))


TRIALS = {"TrainingJobSummaries": [trial(1, 10, 110), trial(2, 10, 160)]}
LISTED = ("list_training_jobs_for_hyper_parameter_tuning_job", TRIALS)


def test_a_search_costs_all_its_trainings():
    line, _ = searched(False, LISTED)
    assert priced([line]) == [("Search", 0.05)]  # 250 s on two instances
    assert (line.how, line.quote) == ("measured", "$0.20 and 5 minutes for the whole search")


def test_spot_trials_are_asked_for_their_billable_time_while_there_is_time():
    bills = [("describe_training_job", training_job(BillableTimeInSeconds=seconds)) for seconds in (20, 30)]
    assert priced_instances(searched(True, LISTED, *bills)) == [("Search", 0.01)]
    turns = iter([True, False])
    line, _ = searched(True, LISTED, bills[0], has_time=lambda: next(turns))
    assert priced([line]) == [("Search", 0.034)]  # 20 s as billed, and the 150 s that the second took
    assert line.how == "derived"


def processing_job(end):
    cluster = {"InstanceCount": 1, "InstanceType": "ml.c7i.large", "VolumeSizeInGB": 50}
    job = {
        "ProcessingJobName": "kennel-r-1",
        "ProcessingJobArn": "arn:aws:sagemaker:us-east-1:000000000000:processing-job/kennel-r-1",
        "ProcessingJobStatus": "Completed",
        "CreationTime": at(0),
        "ProcessingStartTime": at(100),
        "ProcessingResources": {"ClusterConfig": cluster},
        "AppSpecification": {"ImageUri": "i"},
    }
    return job | ({"ProcessingEndTime": at(end)} if end else {})


@pytest.mark.parametrize(("end", "dollars"), [(300, 0.01), (None, 0.02)])
def test_an_evaluation_costs_the_time_from_its_start_to_its_end(end, dollars):
    execution = Execution()
    sync = "sagemaker:createProcessingJob.sync"
    refused = execution.schedule(sync, {"ProcessingJobName": "kennel-r-0"}, 0, execution.enter("Evaluate", 0))
    refused = execution.fail(1, refused, "SageMaker.AmazonSageMakerException")
    again = execution.schedule(sync, {"ProcessingJobName": "kennel-r-1"}, 3, refused)
    execution.submit(4, again, {"ProcessingJobArn": "arn:x"})
    sagemaker = client(
        "sagemaker", ("describe_processing_job", MISSING), ("describe_processing_job", processing_job(end))
    )
    assert priced_instances(meter.evaluations(read(execution), sagemaker, at(500))) == [("Evaluate", dollars)]


def ec2_job(status, attempts, **members):
    job = {"jobName": "j", "jobId": "1", "jobQueue": "q", "jobDefinition": "d", "status": status, **members}
    job |= {"startedAt": int(at(0).timestamp() * 1000)} if "startedAt" not in members else {}
    spans = [(int(at(begin).timestamp() * 1000), int(at(end).timestamp() * 1000)) for begin, end in attempts]
    return job | {"attempts": [{"startedAt": begin, "stoppedAt": end} for begin, end in spans]}


def test_an_attempt_that_still_runs_and_is_listed_is_metered_once():
    begun = int(at(400).timestamp() * 1000)
    job = ec2_job("RUNNING", [(0, 100)], startedAt=begun)
    job["attempts"].append({"startedAt": begun})
    execution = Execution()
    execution.task("TrainOnEc2", "batch:submitJob.sync", {}, 0, 1, {}, {"JobId": "1"})
    training = RUN["training"] | {"ec2": {"instance_type": "c7i.xlarge"}}
    batch = client("batch", ("describe_jobs", {"jobs": [job]}))
    (line,) = meter.on_ec2(read(execution), batch, {**RUN, "training": training}, at(500))
    assert line.quantity == pytest.approx(200 / 3600)


@pytest.mark.parametrize(
    ("spot", "job", "dollars"),
    [
        (False, ec2_job("SUCCEEDED", [(0, 30), (100, 240)]), 0.01),  # 60 s, the least, and 140 s
        (True, ec2_job("SUCCEEDED", [(0, 30), (100, 240)]), 0.005),
        (False, ec2_job("RUNNING", [], startedAt=int(at(400).timestamp() * 1000)), 0.005),
        (False, ec2_job("FAILED", []), 0.0),
    ],
)
def test_a_training_on_ec2_costs_its_attempts_of_at_least_a_minute(spot, job, dollars):
    execution = Execution()
    execution.task("TrainOnEc2", "batch:submitJob.sync", {}, 0, 240, {}, {"JobId": "1"})
    training = RUN["training"] | {"spot": spot, "ec2": {"instance_type": "c7i.xlarge"}}
    batch = client("batch", ("describe_jobs", {"jobs": [job]}))
    (line,) = meter.on_ec2(read(execution), batch, {**RUN, "training": training}, at(500))
    assert priced([line]) == [("TrainOnEc2", dollars)]
    assert line.how == "estimated"


def test_a_job_on_ec2_costs_what_the_machine_costs_that_it_had():
    """The run planned a c7i.xlarge; the job says that it had another machine."""
    execution = Execution()
    execution.task("TrainOnEc2", "batch:submitJob.sync", {}, 0, 240, {}, {"JobId": "1"})
    training = RUN["training"] | {"ec2": {"instance_type": "c7i.xlarge"}}
    container = {"environment": [{"name": "RANKS", "value": "2"}, {"name": "INSTANCE_TYPE", "value": "g5.xlarge"}]}
    batch = client("batch", ("describe_jobs", {"jobs": [ec2_job("SUCCEEDED", [(0, 200)], container=container)]}))
    (line,) = meter.on_ec2(read(execution), batch, {**RUN, "training": training}, at(500))
    assert (line.item, line.quantity) == ("ec2/g5.xlarge", pytest.approx(200 / 3600))


def change(execution, state, verb, name, begin, end, output=None):
    execution.task(state, f"aws-sdk:sagemaker:{verb}Endpoint", {"EndpointName": name}, begin, end, output)


def test_staging_costs_one_instance_until_it_is_deleted_and_production_its_own_until_the_end():
    execution = Execution()
    change(execution, "CreateStaging", "create", "kennel-r-s", 0, 100)
    change(execution, "DeleteStaging", "delete", "kennel-r-s", 290, 300)
    change(execution, "CreateProduction", "create", "kennel", 300, 400)
    lines = list(meter.endpoints(read(execution), RUN, at(600)))
    (staging, production), volumes = lines[::2], lines[1::2]
    assert priced([staging, production]) == [("CreateStaging", 0.01), ("CreateProduction", 0.02)]
    # 20 GB for 200 s, and 40 GB for 200 s, at $0.14 a month of 730 hours
    assert [each.quantity for each in volumes] == [pytest.approx(gb * 200 / 2_628_000) for gb in (20, 40)]
    assert [each.item for each in volumes] == ["hosting/volume", "hosting/volume"]
    assert production.quote == "$0.18 an hour"


def test_an_update_costs_a_second_fleet_until_the_endpoint_is_in_service():
    execution = Execution()
    variants = [{"VariantName": "main", "DesiredInstanceCount": 3}]
    change(execution, "RememberProduction", "describe", "kennel", 0, 1, {"ProductionVariants": variants})
    change(execution, "UpdateProduction", "update", "kennel", 10, 100)
    change(execution, "DescribeProduction", "describe", "kennel", 110, 111, {"EndpointStatus": "Updating"})
    change(execution, "DescribeProduction", "describe", "kennel", 299, 300, {"EndpointStatus": "InService"})
    fleet, volumes = meter.endpoints(read(execution), RUN, at(900))
    assert priced([fleet]) == [("UpdateProduction", 0.03)]
    assert volumes.quantity == pytest.approx(3 * 20 * 200 / 2_628_000)


def test_photos_of_smoke_and_measure_cost_their_data_and_those_through_the_api_its_door_too():
    execution = Execution()
    sent = {"num_requests": 9, "bytes_in": 1_000_000_000, "bytes_out": 500_000_000, "latency_ms": 100.0}
    execution.function("Smoke", "smoke", 0, 1, sent)
    execution.function("Measure", "measure", 1, 2, {**sent, "num_requests": 0})
    execution.function("SmokeThroughApi", "smoke", 2, 3, sent, {"through_api": True})
    lines = list(meter.requests(read(execution), KNOWN))
    assert priced(lines) == [
        ("Smoke", 0.016),
        ("Smoke", 0.008),
        ("SmokeThroughApi", 0.016),
        ("SmokeThroughApi", 0.008),
        ("SmokeThroughApi", 3.15e-05),
        ("SmokeThroughApi", 1.8e-06),
        ("SmokeThroughApi", 9e-06),  # 9 x 100 ms with 1 GB
    ]


@pytest.mark.parametrize(
    ("lacking", "states", "sentences"),
    [
        ({"bytes_in": 1e9}, ["SmokeThroughApi"] * 3 + ["Smoke"], ["the answers", "the API's function", "the answers"]),
        ({}, ["SmokeThroughApi"] * 2, ["the bytes", "the answers", "the API's function", "the bytes", "the answers"]),
    ],
)
def test_photos_of_an_old_run_that_did_not_count_all_are_priced_as_far_as_it_tells(lacking, states, sentences):
    """Earlier releases told the number of the requests alone."""
    execution = Execution()
    execution.function("SmokeThroughApi", "smoke", 0, 1, {"num_requests": 9, **lacking}, {"through_api": True})
    execution.function("Smoke", "smoke", 2, 3, {"num_requests": 9, **lacking})
    lines = list(meter.requests(read(execution), KNOWN))
    assert [line.state for line in lines] == states
    assert priced(lines)[len(states) == 4] == ("SmokeThroughApi", 3.15e-05)
    told = meter.unmetered(read(execution))
    assert [each.removeprefix("Not priced: ").partition(" of the photos")[0] for each in told] == sentences
    assert told[-1] == "Not priced: the answers of the photos of Smoke, because its answer has no bytes_out"


@pytest.mark.parametrize("error", ["SmokeError", "States.Timeout"])
def test_photos_of_a_function_that_failed_are_named_because_nobody_knows_their_number(error):
    execution = Execution()
    arn = "arn:aws:lambda:us-east-1:000000000000:function:kennel-measure"
    execution.function("Smoke", "smoke", 0, 1, {"num_requests": 9, "bytes_in": 1, "bytes_out": 1})
    throttled = execution.schedule("lambda:invoke", {"FunctionName": arn}, 1, execution.enter("Measure", 1))
    throttled = execution.fail(2, throttled, "Lambda.TooManyRequestsException")
    assert meter.unmetered(read(execution)) == []
    execution.fail(9, execution.schedule("lambda:invoke", {"FunctionName": arn}, 3, throttled), error)
    assert meter.unmetered(read(execution)) == ["Not metered: the photos that Measure sent before it failed"]


def test_an_update_that_is_taken_back_costs_the_champions_instances():
    execution = Execution()
    variants = [{"VariantName": "main", "DesiredInstanceCount": 2}]
    change(execution, "RememberProduction", "describe", "kennel", 0, 1, {"ProductionVariants": variants})
    before = {"ProductionVariants": [{"InstanceType": "ml.g5.xlarge"}]}
    execution.task("RememberInstanceType", "aws-sdk:sagemaker:describeEndpointConfig", {}, 1, 2, before)
    change(execution, "RestoreProduction", "update", "kennel", 10, 20)
    change(execution, "DescribeTouched", "describe", "kennel", 79, 80, {"EndpointStatus": "InService"})
    (fleet,) = meter.endpoints(read(execution), RUN, at(900))  # Its instances have disks of their own.
    assert (fleet.item, fleet.quantity) == ("hosting/ml.g5.xlarge", pytest.approx(2 * 60 / 3600))


def lost_staging(deleted):
    execution = Execution()
    asked = {"EndpointName": "kennel-r-s"}
    create = "aws-sdk:sagemaker:createEndpoint"
    lost = execution.schedule(create, asked, 0, execution.enter("CreateStaging", 0))
    execution.fail(60, lost, "States.Timeout", kind="TaskTimedOut")
    if deleted:
        change(execution, "RemoveStaging", "delete", "kennel-r-s", 250, 260)
    return read(execution)


def test_an_endpoint_whose_creation_was_not_answered_is_metered_if_it_could_be_deleted():
    fleet, _ = meter.endpoints(lost_staging(deleted=True), RUN, at(900))
    assert priced([fleet]) == [("CreateStaging", 0.01)]  # 200 s
    assert list(meter.endpoints(lost_staging(deleted=False), RUN, at(900))) == []


METERED = [
    Metered(
        "Train", "training, 500 s on 2 ml.c7i.xlarge", "training/ml.c7i.xlarge", 1000 / 3600, "hour", "$0.72 an hour"
    ),
    Metered("Evaluate", "evaluation", "processing/ml.c7i.large", 200 / 3600, "hour"),
    Metered("all states", "state transitions", "states/transition", 50, "transition"),
    Metered("BuildImages", "build", "codebuild/general1.medium", 2, "minute"),
]


def test_a_receipt_sums_up_and_names_its_largest_parts():
    lines = burn.monthly(Standing("ml.c7i.large", 2), Stored(5_000_000_000), QUOTE["images_per_month"])
    receipt = document.write("r", METERED, lines, [])
    assert receipt.dollars == pytest.approx(0.1 + 0.01 + 0.001 + 0.02)
    assert not receipt.is_lower_bound
    # 730 hours of 2 instances, their volumes of 20 GB, the key, 10 alarms and 2 fast ones, the images, 5 GB
    assert receipt.dollars_per_month == pytest.approx(262.8 + 5.6 + 1 + 1.0 + 0.6 + 0.05 + 0.1)
    assert receipt.text.splitlines() == [
        "This run cost $0.13 by list prices, without taxes and free tiers.",
        "  $0.10  Train: training, 500 s on 2 ml.c7i.xlarge (quoted before: $0.72 an hour)",
        "  $0.02  BuildImages: build",
        "  $0.01  Evaluate: evaluation",
        "From now on, $271.15 a month without a request, mostly the endpoint with 2 ml.c7i.large, $0.36 an hour.",
    ]


def test_a_part_without_a_price_is_told_with_its_quantity_and_the_sum_is_a_lower_bound():
    unknown = Metered("Train", "training, 60 s on 1 ml.x9.huge", "training/ml.x9.huge", 60 / 3600, "hour")
    lines = [*burn.monthly(Standing("", 0), Stored()), MonthlyLine(what="the endpoint", dollars_per_month=None)]
    receipt = document.write("r", [*METERED, unknown], lines, ["Not metered: the builds, because of dogs"])
    assert receipt.is_lower_bound
    assert receipt.is_lower_bound_per_month
    assert receipt.lines[-1].dollars is None
    assert receipt.text.startswith("This run cost at least $0.13 ")
    assert "  price not known  Train: training, 60 s on 1 ml.x9.huge\n" in receipt.text
    assert receipt.text.endswith("Not metered: the builds, because of dogs")


def test_with_tripled_prices_a_receipt_triples(monkeypatch):
    stack = Standing("ml.c7i.large", 2, has_meter=True)
    once = document.write("r", METERED, burn.monthly(stack, Stored(10**9, 3, 10**9)), [])
    monkeypatch.setattr(prices, "_book", lambda: book(3))
    thrice = document.write("r", METERED, burn.monthly(stack, Stored(10**9, 3, 10**9)), [])
    assert thrice.dollars == pytest.approx(3 * once.dollars)
    assert thrice.dollars_per_month == pytest.approx(3 * once.dollars_per_month)


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_spot_capacity_costs_its_share_in_every_region_and_triples_with_the_prices(monkeypatch, region):
    spot = Metered("TrainOnEc2", "training", "ec2/c7i.xlarge", 1, "hour", is_spot=True)
    for factor in (1, 3):
        everywhere = book(factor)
        everywhere["regions"][region] = everywhere["regions"]["us-east-1"]
        monkeypatch.setattr(prices, "_book", lambda known=everywhere: known)
        monkeypatch.setenv("AWS_REGION", region)
        assert priced([spot]) == [("TrainOnEc2", pytest.approx(factor * 0.09))]


@pytest.mark.parametrize(("dollars", "words"), [(0, "$0.00"), (0.000226, "$0.00023"), (1234.5, "$1,234.50")])
def test_small_amounts_have_the_digits_that_tell_them(dollars, words):
    assert document.money(dollars) == words
