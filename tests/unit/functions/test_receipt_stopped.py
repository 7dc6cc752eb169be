"""The receipt of a run that was stopped, or whose time was over: what had no end in its history, and what goes on."""

import json

import pytest
from botocore.stub import Stubber

from receipt import document, history, meter
from receipt.meter import Metered
from tests.unit.functions.executions import Execution, at
from tests.unit.functions.test_receipt import (
    KNOWN,
    MISSING,
    RUN,
    build,
    change,
    client,
    ec2_job,
    known_prices,  # noqa: F401 (its prices are for these tests, too)
    priced,
    processing_job,
    read,
    training_job,
    trial,
)
from tests.unit.functions.test_receipt_app import ARN, CONTEXT, Pages, app  # noqa: F401 (a fixture)

CREATE_JOB = "aws-sdk:sagemaker:createTrainingJob"
VARIANTS = {"ProductionVariants": [{"VariantName": "main", "DesiredInstanceCount": 2}]}


def begun(resource, parameters, submitted=None, name="Task"):
    """An execution that is stopped after 100 s while a task goes on."""
    execution = Execution()
    number = execution.schedule(resource, parameters, 0, execution.enter(name, 0))
    if submitted:
        execution.submit(1, number, submitted)
    execution.stop(100)
    return read(execution)


@pytest.mark.parametrize(
    ("kind", "over"),
    [
        ("ExecutionAborted", at(9)),
        ("ExecutionTimedOut", at(9)),
        ("ExecutionFailed", at(9)),
        ("ExecutionRedriven", None),  # It goes on.
    ],
)
def test_the_history_tells_when_an_execution_was_over(kind, over):
    execution = Execution()
    assert read(execution).over is None
    execution.stop(5)
    assert read(execution).over == at(5)
    execution.stop(9, kind)
    assert read(execution).over == over


@pytest.mark.parametrize(("told", "lines"), [(None, []), ({"BillableTimeInSeconds": 50}, [("Task", 0.01)])])
def test_a_training_that_was_requested_in_the_moment_of_the_stop_is_looked_for(told, lines):
    answer = MISSING if told is None else training_job(**told)
    sagemaker = client("sagemaker", ("describe_training_job", answer))
    past = begun(CREATE_JOB, {"TrainingJobName": "kennel-r"})
    assert priced(meter.trainings(past, sagemaker, RUN, at(200)))[:1] == lines  # Its volumes follow.


def test_a_job_that_is_stopping_is_open_and_one_that_has_ended_is_not():
    past = begun(CREATE_JOB, {"TrainingJobName": "kennel-r"})
    stopping = training_job(TrainingJobStatus="Stopping", SecondaryStatus="Stopping")
    del stopping["TrainingEndTime"]
    ended = training_job(TrainingJobStatus="Stopped", SecondaryStatus="Stopped", BillableTimeInSeconds=60)
    for job, is_open in ((stopping, True), (ended, False)):
        line, _ = meter.trainings(past, client("sagemaker", ("describe_training_job", job)), RUN, at(200))
        assert line.is_open == is_open


@pytest.mark.parametrize(
    ("status", "begin", "is_open"),
    [("Stopping", 100, True), ("InProgress", None, True), ("Stopped", 100, False)],
)
def test_an_evaluation_is_open_until_it_has_ended(status, begin, is_open):
    job = processing_job(150 if status == "Stopped" else None) | {"ProcessingJobStatus": status}
    if begin is None:
        del job["ProcessingStartTime"]
    past = begun("sagemaker:createProcessingJob.sync", {"ProcessingJobName": "kennel-r-1"})
    line, *_ = meter.evaluations(past, client("sagemaker", ("describe_processing_job", job)), at(200))
    assert (line.is_open, line.quantity > 0) == (is_open, begin is not None)


def test_an_evaluation_that_was_stopped_before_it_began_costs_nothing():
    job = processing_job(None) | {"ProcessingJobStatus": "Stopped"}
    del job["ProcessingStartTime"]
    past = begun("sagemaker:createProcessingJob.sync", {"ProcessingJobName": "kennel-r-1"})
    assert list(meter.evaluations(past, client("sagemaker", ("describe_processing_job", job)), at(200))) == []


@pytest.mark.parametrize(("status", "is_open"), [("IN_PROGRESS", True), ("STOPPED", False)])
def test_a_build_is_open_until_it_has_ended(status, is_open):
    past = begun("codebuild:startBuild.sync", {}, {"Build": {"Id": "images:1"}})
    answer = {"builds": [build("images:1", 0, None if is_open else 90, status)]}
    (line,) = meter.builds(past, client("codebuild", ("batch_get_builds", answer)), {}, at(100))
    assert (line.is_open, line.quantity) == (is_open, 2)


@pytest.mark.parametrize(("status", "is_open"), [("RUNNING", True), ("STARTING", True), ("FAILED", False)])
def test_a_job_on_ec2_is_open_until_it_has_ended(status, is_open):
    past = begun("batch:submitJob.sync", {}, {"JobId": "1"})
    training = RUN["training"] | {"ec2": {"instance_type": "c7i.xlarge"}}
    batch = client("batch", ("describe_jobs", {"jobs": [ec2_job(status, [(0, 90)])]}))
    (line,) = meter.on_ec2(past, batch, {**RUN, "training": training}, at(100))
    assert line.is_open == is_open


@pytest.mark.parametrize(("status", "is_open"), [("Stopping", True), ("Stopped", False)])
def test_a_search_is_open_until_each_of_its_trainings_has_ended(status, is_open):
    asked = {"TrainingJobDefinition": {"ResourceConfig": {"InstanceCount": 2, "VolumeSizeInGB": 50}}}
    name = {"HyperParameterTuningJobName": "kennel-r"}
    past = begun("aws-sdk:sagemaker:createHyperParameterTuningJob", name | asked)
    trials = [trial(1, 10, 60), trial(2, 10, None if is_open else 90) | {"TrainingJobStatus": status}]
    listed = ("list_training_jobs_for_hyper_parameter_tuning_job", {"TrainingJobSummaries": trials})
    line, _ = meter.searches(past, client("sagemaker", listed), RUN, at(100), lambda: True)
    assert line.is_open == is_open


def test_a_receipt_names_what_has_not_ended_and_is_a_lower_bound():
    line = Metered("Train", "training, 60 s on 1 ml.c7i.xlarge", "training/ml.c7i.xlarge", 60 / 3600, "hour")
    assert not document.write("r", [line], [], []).is_lower_bound
    receipt = document.write("r", [line._replace(is_open=True)], [], [])
    assert receipt.is_lower_bound
    assert receipt.open == ["Not ended yet: Train: training, 60 s on 1 ml.c7i.xlarge, counted until now"]
    assert receipt.text.endswith(receipt.open[0])


def stopped_with_staging():
    execution = Execution()
    change(execution, "CreateStaging", "create", "kennel-r-s", 0, 100)
    execution.function("Smoke", "smoke", 100, 110, {"num_requests": 0})
    execution.stop(150)
    return read(execution)


def test_staging_of_a_stopped_run_costs_until_the_run_was_taken_back():
    fleet, volumes = meter.endpoints(stopped_with_staging(), RUN, at(9000), at(300))
    assert priced([fleet]) == [("CreateStaging", 0.01)]  # 200 s at $0.18 an hour
    assert volumes.quantity == pytest.approx(20 * 200 / 2_628_000)
    fleet, _ = meter.endpoints(stopped_with_staging(), RUN, at(500))  # It could not be taken back yet.
    assert priced([fleet]) == [("CreateStaging", 0.02)]


def test_an_endpoint_that_was_requested_in_the_moment_of_the_stop_is_metered_from_then():
    past = begun("aws-sdk:sagemaker:createEndpoint", {"EndpointName": "kennel-r-s"})
    fleet, _ = meter.endpoints(past, RUN, at(900), at(200))
    assert priced([fleet]) == [("Task", 0.01)]


def promoted(execution, begin):
    execution.task("Promote", "aws-sdk:ssm:putParameter", {}, begin, begin)


@pytest.mark.parametrize(("is_promoted", "dollars"), [(False, 0.06), (True, 0.02)])
def test_a_new_endpoint_costs_until_it_is_taken_back_or_until_its_run_was_stopped_after_promoting(is_promoted, dollars):
    execution = Execution()
    change(execution, "CreateProduction", "create", "kennel", 0, 100)
    if is_promoted:
        promoted(execution, 290)
    execution.stop(300)
    fleet, _ = meter.endpoints(read(execution), RUN, at(900), at(700))
    assert priced([fleet]) == [("CreateProduction", dollars)]  # two instances for 600 s or 200 s


def updated(is_complete=True, is_promoted=False):
    """A run that updated production and was stopped after 400 s."""
    execution = Execution()
    change(execution, "RememberProduction", "describe", "kennel", 0, 1, VARIANTS)
    before = {"ProductionVariants": [{"InstanceType": "ml.c7i.large"}]}
    execution.task("RememberInstanceType", "aws-sdk:sagemaker:describeEndpointConfig", {}, 1, 2, before)
    change(execution, "UpdateProduction", "update", "kennel", 10, 100)
    status = "InService" if is_complete else "Updating"
    change(execution, "DescribeProduction", "describe", "kennel", 299, 300, {"EndpointStatus": status})
    if is_promoted:
        promoted(execution, 350)
    execution.stop(400)
    return read(execution)


def test_an_update_that_was_complete_is_taken_back_by_one_more_fleet():
    update, _, back, volumes = meter.endpoints(updated(), RUN, at(9000), at(700))
    assert priced([update, back]) == [("UpdateProduction", 0.02), ("TakeBack", 0.03)]  # 200 s and 300 s of two
    assert {back.how, volumes.how} == {"estimated"}
    assert volumes.quantity == pytest.approx(2 * 20 * 300 / 2_628_000)


def test_an_update_in_flight_costs_its_fleet_until_it_is_taken_back_and_a_promoted_one_is_not_taken_back():
    update, _ = meter.endpoints(updated(is_complete=False), RUN, at(9000), at(700))
    assert priced([update]) == [("UpdateProduction", 0.06)]  # 600 s of two
    update, _ = meter.endpoints(updated(is_promoted=True), RUN, at(9000), at(700))
    assert priced([update]) == [("UpdateProduction", 0.02)]


def test_photos_that_a_stopped_function_has_sent_are_named():
    arn = "arn:aws:lambda:us-east-1:000000000000:function:kennel-measure"
    past = begun("lambda:invoke", {"FunctionName": arn}, name="Measure")
    assert meter.unmetered(past) == ["Not metered: the photos that Measure sent before the run ended"]
    running = history.History(past.tasks, past.transitions)
    assert meter.unmetered(running) == []


def test_the_function_of_a_stopped_run_counts_until_the_run_was_taken_back(app, monkeypatch):  # noqa: F811
    """It goes on by itself, and each later receipt of the same run says the same of it."""
    execution = Execution()
    execution.function("Plan", "plan", 0, 1, RUN)
    change(execution, "CreateStaging", "create", "kennel-r-s", 1, 100)
    execution.schedule("lambda:invoke", {"FunctionName": "arn:f:kennel-gate"}, 100, execution.enter("Gate", 100))
    execution.stop(110)
    missing, bucket = client("sagemaker"), Pages(Contents=[{"Size": 9}])
    monkeypatch.setattr(app, "states", Pages(events=execution.events))
    monkeypatch.setattr(app, "sagemaker", missing)
    monkeypatch.setattr(app, "s3", bucket)
    asked = {"execution": ARN, "to_come": 0, "gone": int(at(120).timestamp() * 1000)}
    with Stubber(missing) as stubber:
        for _ in range(2):
            stubber.add_client_error("describe_endpoint", "ValidationException", "no")
        receipt = app.handler(asked, CONTEXT)
        left = app.handler(asked | {"gone": 0}, CONTEXT)
    (gate,) = [line for line in receipt["lines"] if line["state"] == "Gate"]
    assert gate["quantity"] == pytest.approx(10)  # 20 s with half a GB
    assert json.loads(bucket.put[0]["Body"]) == receipt
    assert receipt["open"] == []
    staging = "the staging endpoint, which could not be deleted"
    assert [any(each["what"].startswith(staging) for each in made["monthly"]) for made in (receipt, left)] == [
        False,
        True,
    ]


@pytest.mark.parametrize(("left", "is_kept"), [([], False), ([{"Size": 9}], True)])
def test_the_receipt_of_a_stopped_run_is_not_put_into_a_bucket_that_was_emptied(app, monkeypatch, left, is_kept):  # noqa: F811
    """Teardown of everything empties the bucket, and the stack is deleted then, which an object would prevent."""
    execution, bucket, missing = Execution(), Pages(Contents=left), client("sagemaker")
    execution.function("Plan", "plan", 0, 1, RUN)
    execution.stop(2)
    monkeypatch.setattr(app, "states", Pages(events=execution.events))
    monkeypatch.setattr(app, "sagemaker", missing)
    monkeypatch.setattr(app, "s3", bucket)
    with Stubber(missing) as stubber:
        stubber.add_client_error("describe_endpoint", "ValidationException", "no")
        app.handler({"execution": ARN, "to_come": 0, "gone": 0}, CONTEXT)
    assert bool(bucket.put) == is_kept


def test_functions_that_ended_count_as_before():
    execution = Execution()
    execution.function("Gate", "gate", 2, 4)
    execution.stop(5)
    gate, calls = meter.functions(read(execution), KNOWN, at(100))
    assert (gate.quantity, calls.quantity) == (pytest.approx(1.0), 1)
