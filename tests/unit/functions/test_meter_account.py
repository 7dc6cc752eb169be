"""What the meter reads from an account, by requests and answers that botocore's models take."""

from dataclasses import replace
from datetime import UTC, datetime
from unittest import mock

import boto3
import pytest
from botocore.stub import ANY, Stubber

from meter import jobs, usage
from meter.scaling import of_endpoint
from meter.sums import Charge, Observation, Seen, advance
from shared.spending import Fleet, Spending

DECEMBER = 1_796_083_200.0  # 2026-12-01 00:00 UTC
NOW = DECEMBER + 36_000
ACCOUNT = "arn:aws:sagemaker:us-east-1:000000000000"


def at(moment):
    return datetime.fromtimestamp(moment, UTC)


def stubbed(service):
    client = boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    return client, Stubber(client)


def training(name, status="Completed", end=None):
    summary = {
        "TrainingJobName": name,
        "TrainingJobArn": f"{ACCOUNT}:training-job/{name}",
        "CreationTime": at(DECEMBER),
        "TrainingJobStatus": status,
    }
    return summary | ({"TrainingEndTime": at(end)} if end else {})


def described_training(name, start, end=None, billable=None):
    document = {
        "TrainingJobName": name,
        "TrainingJobArn": f"{ACCOUNT}:training-job/{name}",
        "ModelArtifacts": {"S3ModelArtifacts": "s3://b/m"},
        "TrainingJobStatus": "Completed" if end else "InProgress",
        "SecondaryStatus": "Completed" if end else "Training",
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "ResourceConfig": {"InstanceType": "ml.c7i.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 50},
        "StoppingCondition": {},
        "CreationTime": at(start),
        "TrainingStartTime": at(start),
    }
    if end:
        document |= {"TrainingEndTime": at(end), "BillableTimeInSeconds": billable}
    return document


def test_jobs_on_sagemaker_count_by_what_sagemaker_charges():
    since = DECEMBER + 3600
    client, stub = stubbed("sagemaker")
    names = {"NameContains": "dogs-", "MaxResults": 100}
    stub.add_response(
        "list_training_jobs",
        {"TrainingJobSummaries": [training("dogs-now", "InProgress"), training("other-dogs-now", "InProgress")]},
        names | {"StatusEquals": "InProgress"},
    )
    stub.add_response("list_training_jobs", {"TrainingJobSummaries": []}, names | {"StatusEquals": "Stopping"})
    old, spot, fresh = (
        training(f"dogs-{name}", end=end) for name, end in (("old", since), ("spot", NOW - 90), ("f", NOW - 9))
    )
    changed = names | {"LastModifiedTimeAfter": at(since)}
    stub.add_response(
        "list_training_jobs", {"TrainingJobSummaries": [training("dogs-now", "InProgress"), old, spot, fresh]}, changed
    )
    for status in ("InProgress", "Stopping"):
        stub.add_response("list_processing_jobs", {"ProcessingJobSummaries": []}, names | {"StatusEquals": status})
    summary = {
        "ProcessingJobName": "dogs-1-0",
        "ProcessingJobArn": f"{ACCOUNT}:processing-job/dogs-1-0",
        "CreationTime": at(since),
        "ProcessingEndTime": at(NOW - 100),
        "ProcessingJobStatus": "Failed",
    }
    stub.add_response("list_processing_jobs", {"ProcessingJobSummaries": [summary]}, changed)
    cluster = {"InstanceCount": 1, "InstanceType": "ml.c7i.large", "VolumeSizeInGB": 50}
    described = {
        "ProcessingJobName": "dogs-1-0",
        "ProcessingJobArn": f"{ACCOUNT}:processing-job/dogs-1-0",
        "ProcessingResources": {"ClusterConfig": cluster},
        "AppSpecification": {"ImageUri": "i"},
        "ProcessingJobStatus": "Failed",
        "CreationTime": at(since),
        "ProcessingStartTime": at(NOW - 1900),
        "ProcessingEndTime": at(NOW - 100),
    }
    # The job that runs is asked for, and then those that have ended, in this order.
    stub.add_response("describe_training_job", described_training("dogs-now", NOW - 1800), {"TrainingJobName": ANY})
    stub.add_response("describe_processing_job", described, {"ProcessingJobName": "dogs-1-0"})
    stub.add_response(
        "describe_training_job",
        described_training("dogs-spot", NOW - 3690, NOW - 90, 900),
        {"TrainingJobName": "dogs-spot"},
    )
    stub.add_response(
        "describe_training_job", described_training("dogs-f", NOW - 3609, NOW - 9, 3600), {"TrainingJobName": "dogs-f"}
    )
    found = jobs.Jobs(since, NOW)
    with stub:
        jobs.on_sagemaker(found, client, "dogs", lambda: True)
        stub.assert_no_pending_responses()
    # Two instances with 50 GB each, of $0.14 a month of 730 hours.
    hour = 2 * (0.214 + 50 * 0.14 / 730)
    # A job that ended a few seconds ago still counts as one that runs, because lists of jobs may lag behind.
    assert found.running == [
        Charge(pytest.approx(hour / 2), NOW - 1800, NOW),
        Charge(pytest.approx(hour), NOW - 3609, NOW - 9),
    ]
    assert found.ended == [
        Charge(pytest.approx((0.107 + 50 * 0.1 / 730) / 2), NOW - 1900, NOW - 100),
        Charge(pytest.approx(hour / 4), NOW - 3690, NOW - 90),
    ]
    assert found.until == NOW - 60


@pytest.mark.parametrize(
    ("since", "begin", "until"),
    [
        (0, DECEMBER, NOW - 60),  # the first tick
        (NOW - 300, NOW - 300, NOW - 60),
        (NOW - 20, NOW - 20, NOW - 20),  # The clock went back a little.
        (NOW + 9e6, NOW, NOW),  # It was wrong by months.
    ],
)
def test_each_job_that_ended_is_in_one_window(since, begin, until):
    found = jobs.Jobs(since, NOW)
    assert (found.begin, found.until) == (begin, until)


def test_price_of_a_job_that_is_not_known_is_told():
    found = jobs.Jobs(DECEMBER, NOW)
    found.add({"training/ml.new.xlarge": 1, "training/volume": 0.5}, NOW - 200, NOW - 100)
    assert found.unpriced == {"training/ml.new.xlarge"}
    assert [each.dollars for each in found.ended] == [pytest.approx(0.07)]


def test_machine_with_disks_of_its_own_has_no_volume_to_pay():
    found = jobs.Jobs(DECEMBER, NOW)
    job = described_training("dogs-g", NOW - 3700, NOW - 100, 3600)
    resources = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50}
    jobs._add_job(found, resources, job, "Training")
    assert [each.dollars for each in found.ended] == [pytest.approx(1.408)]


def built(number, start, end=None, size="MEDIUM"):
    machine = {"type": "LINUX_CONTAINER", "image": "i", "computeType": f"BUILD_GENERAL1_{size}"}
    times = {"startTime": at(start)} | ({"endTime": at(end)} if end else {})
    return {"id": number, "buildComplete": end is not None, "environment": machine, **times}


def test_builds_count_by_the_machine_that_they_had_and_beyond_the_first_page():
    """A small one costs half of a medium one; the second page is all counted already, and no third one is asked for."""
    client, stub = stubbed("codebuild")
    asked = {"projectName": "k", "sortOrder": "DESCENDING"}
    first = [built("b:4", NOW - 500, NOW - 400), built("b:3", NOW - 700, NOW - 640, size="SMALL")]
    second = [built("b:2", NOW - 7300, NOW - 7200), built("b:1", NOW - 9000, NOW - 8000)]
    for page, token in ((first, {}), (second, {"nextToken": "2"})):
        ids = [each["id"] for each in page]
        more = "3" if token else "2"
        stub.add_response("list_builds_for_project", {"ids": ids, "nextToken": more}, asked | token)
        stub.add_response("batch_get_builds", {"builds": page}, {"ids": ids})
    found = jobs.Jobs(NOW - 7200, NOW)
    with stub:
        jobs.of_builds(found, client, "k")
        stub.assert_no_pending_responses()
    assert [each.dollars for each in found.ended] == [2 * 0.01, 0.005]


def test_builds_count_whole_minutes():
    client, stub = stubbed("codebuild")
    stub.add_response(
        "list_builds_for_project", {"ids": ["b:1", "b:2", "b:3"]}, {"projectName": "k", "sortOrder": "DESCENDING"}
    )
    builds = [
        built("b:1", NOW - 500, NOW - 400),
        built("b:2", NOW - 61),
        built("b:3", DECEMBER - 900, DECEMBER - 800),
    ]
    stub.add_response("batch_get_builds", {"builds": builds}, {"ids": ["b:1", "b:2", "b:3"]})
    found = jobs.Jobs(DECEMBER, NOW)
    with stub:
        jobs.of_builds(found, client, "k")
    assert [each.dollars for each in found.ended] == [0.02]  # 100 seconds are two minutes.
    assert [each.dollars for each in found.running] == [0.02]


def batch_job(name, *spans, runs_since=None, status="SUCCEEDED", machine=""):
    """A job as ListJobs and DescribeJobs tell of it: its own times are those of its last attempt."""
    millis = [(int(start * 1000), int(end * 1000)) for start, end in spans]
    job = {"jobId": name, "jobName": name, "createdAt": 0, "status": status}
    if runs_since:
        job["startedAt"] = int(runs_since * 1000)
    elif spans and status in ("SUCCEEDED", "FAILED"):
        job |= dict(zip(("startedAt", "stoppedAt"), millis[-1], strict=True))
    attempts = [{"startedAt": start, "stoppedAt": end} for start, end in millis]
    return job, {
        **job,
        "jobQueue": "q",
        "jobDefinition": "d",
        "startedAt": job.get("startedAt", 0),
        "attempts": attempts,
        "container": {"environment": [{"name": "INSTANCE_TYPE", "value": machine}] if machine else []},
    }


def counted_on_ec2(listed):
    """Let the meter count these jobs, lists by queue and status."""
    client, stub = stubbed("batch")
    for queue in ("arn:spot", "arn:demand"):
        described = {}
        for status in ("RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"):
            found = listed.get((queue, status), [])
            stub.add_response(
                "list_jobs", {"jobSummaryList": [job for job, _ in found]}, {"jobQueue": queue, "jobStatus": status}
            )
            described |= {
                job["jobId"]: detail
                for job, detail in found
                if job["jobName"].startswith("dogs-") and job.get("stoppedAt", 9e15) > DECEMBER * 1000
            }
        if described:
            stub.add_response("describe_jobs", {"jobs": list(described.values())}, {"jobs": list(described)})
    found = jobs.Jobs(DECEMBER, NOW)
    with stub:
        jobs.on_ec2(found, client, {"arn:spot": True, "arn:demand": False}, "c7i.xlarge", "dogs")
        stub.assert_no_pending_responses()
    return found


def test_jobs_on_ec2_count_by_their_queue():
    runs = [batch_job(name, runs_since=NOW - 3600, status="RUNNING") for name in ("dogs-a-ec2", "cats-a-ec2")]
    old = batch_job("dogs-old-ec2", (DECEMBER - 3600, DECEMBER - 60))
    found = counted_on_ec2(
        {
            ("arn:spot", "RUNNING"): runs,
            ("arn:spot", "FAILED"): [batch_job("dogs-b-ec2", status="FAILED")],  # It never got a machine.
            ("arn:demand", "SUCCEEDED"): [batch_job("dogs-c-ec2", (NOW - 1900, NOW - 100)), old],
        }
    )
    assert [each.dollars for each in found.running] == [pytest.approx(0.1785 / 2)]
    assert [each.dollars for each in found.ended] == [pytest.approx(0.1785 / 2)]


def test_jobs_on_ec2_cost_what_the_machine_cost_that_they_had_whatever_the_stack_has_now():
    """The stack has c7i.xlarge now, $0.1785 an hour; two ran on a c7i.large at half of it, the third tells nothing."""
    found = counted_on_ec2(
        {
            ("arn:demand", "SUCCEEDED"): [
                batch_job("dogs-a-ec2", (NOW - 3700, NOW - 100), machine="c7i.large"),
                batch_job("dogs-b-ec2", (NOW - 3700, NOW - 100)),
            ],
            ("arn:spot", "SUCCEEDED"): [batch_job("dogs-c-ec2", (NOW - 3700, NOW - 100), machine="c7i.large")],
        }
    )
    assert [each.dollars for each in found.ended] == [
        pytest.approx(0.08925 / 2),
        pytest.approx(0.08925),
        pytest.approx(0.1785),
    ]


@pytest.mark.parametrize(("status", "runs_since"), [("RUNNABLE", None), ("RUNNING", NOW - 30)])
def test_machines_that_a_job_on_ec2_has_lost_are_paid_too(status, runs_since):
    """Two hours on spot capacity, then ten seconds, which are paid as a minute; the next machine is awaited or runs."""
    spans = ((DECEMBER + 3600, DECEMBER + 10_800), (NOW - 400, NOW - 390))
    job = batch_job("dogs-a-ec2", *spans, runs_since=runs_since, status=status)
    found = counted_on_ec2({("arn:spot", status): [job]})
    hour = 0.1785 / 2
    assert [each.dollars for each in found.ended] == [pytest.approx(2 * hour), pytest.approx(hour / 60)]
    assert [each.dollars for each in found.running] == ([pytest.approx(hour / 60)] if runs_since else [])


def endpoint(name, config, count, **more):
    return {
        "EndpointName": name,
        "EndpointArn": f"{ACCOUNT}:endpoint/{name}",
        "EndpointConfigName": config,
        "ProductionVariants": [{"VariantName": "main", "CurrentInstanceCount": count, "DesiredInstanceCount": count}],
        "EndpointStatus": "InService",
        "CreationTime": at(DECEMBER),
        "LastModifiedTime": at(DECEMBER),
        **more,
    }


def configuration(name, instance_type):
    return {
        "EndpointConfigName": name,
        "EndpointConfigArn": f"{ACCOUNT}:endpoint-config/{name}",
        "ProductionVariants": [{"VariantName": "main", "InstanceType": instance_type}],
        "CreationTime": at(DECEMBER),
    }


def test_fleets_are_those_of_production_staging_and_an_update_and_not_of_other_stacks():
    client, stub = stubbed("sagemaker")
    listed = [
        {
            "EndpointName": name,
            "EndpointArn": f"{ACCOUNT}:endpoint/{name}",
            "CreationTime": at(DECEMBER),
            "LastModifiedTime": at(DECEMBER),
            "EndpointStatus": "InService",
        }
        for name in ("dogs", "dogs-1-s", "hotdogs", "dogs2")
    ]
    stub.add_response("list_endpoints", {"Endpoints": listed}, {"NameContains": "dogs", "MaxResults": 100})
    pending = {
        "EndpointConfigName": "dogs-2",
        "ProductionVariants": [{"VariantName": "main", "CurrentInstanceCount": 0, "DesiredInstanceCount": 3}],
        "StartTime": at(NOW - 60),
    }
    stub.add_response(
        "describe_endpoint", endpoint("dogs", "dogs-1", 2, PendingDeploymentSummary=pending), {"EndpointName": "dogs"}
    )
    stub.add_response(
        "describe_endpoint_config", configuration("dogs-1", "ml.c7i.large"), {"EndpointConfigName": "dogs-1"}
    )
    stub.add_response(
        "describe_endpoint_config", configuration("dogs-2", "ml.c7i.xlarge"), {"EndpointConfigName": "dogs-2"}
    )
    stub.add_client_error(
        "describe_endpoint", "ValidationException", "Could not find endpoint"
    )  # It is gone meanwhile.
    with stub:
        found = usage.fleets(client, "dogs")
        stub.assert_no_pending_responses()
    assert found == {
        "dogs": Seen(Fleet(instance_type="ml.c7i.large", count=2), DECEMBER),
        "dogs, new": Seen(Fleet(instance_type="ml.c7i.xlarge", count=3), NOW - 60),
    }


def test_fleet_with_more_variants_costs_by_their_types_and_one_without_configuration_keeps_its_type():
    client, stub = stubbed("sagemaker")
    listed = {
        "EndpointName": "dogs",
        "EndpointArn": f"{ACCOUNT}:endpoint/dogs",
        "CreationTime": at(DECEMBER),
        "LastModifiedTime": at(DECEMBER),
        "EndpointStatus": "InService",
    }
    counts = {"main": 2, "other": 3, "shadow": 1, "serverless": 0}
    running = [{"VariantName": name, "CurrentInstanceCount": count} for name, count in counts.items()]
    serves = endpoint("dogs", "dogs-1", 0) | {
        "ProductionVariants": [running[0], running[1], running[3]],
        "ShadowProductionVariants": [running[2]],
    }
    config = configuration("dogs-1", "ml.c7i.large")
    config["ProductionVariants"].append({"VariantName": "other", "InstanceType": "ml.g5.xlarge"})
    config["ShadowProductionVariants"] = [{"VariantName": "shadow", "InstanceType": "ml.m5.large"}]
    for _ in range(2):
        stub.add_response("list_endpoints", {"Endpoints": [listed]}, {"NameContains": "dogs", "MaxResults": 100})
        stub.add_response("describe_endpoint", serves, {"EndpointName": "dogs"})
        if config:
            stub.add_response("describe_endpoint_config", config, {"EndpointConfigName": "dogs-1"})
            config = None
    stub.add_client_error("describe_endpoint_config", "ValidationException", "Could not find endpoint configuration")
    with stub:
        found, later = usage.fleets(client, "dogs"), usage.fleets(client, "dogs")
    assert found == {
        "dogs": Seen(Fleet(instance_type="ml.c7i.large", count=2), DECEMBER),
        "dogs, other": Seen(Fleet(instance_type="ml.g5.xlarge", count=3), DECEMBER),
        "dogs, shadow": Seen(Fleet(instance_type="ml.m5.large", count=1), DECEMBER),
    }
    # The endpoint outlives its configuration, and so does what it costs.
    before = advance(Spending(at=DECEMBER), Observation(now=DECEMBER + 3600, fleets=found))
    after = advance(before, Observation(now=DECEMBER + 7200, fleets=later))
    assert after.fleets == before.fleets
    assert after.dollars("2026-12") == pytest.approx(2 * before.dollars("2026-12"))
    assert before.dollars("2026-12") == pytest.approx(2 * 0.107 + 3 * 1.408 + 0.115 + 3 * 20 * 0.14 / 730)
    unknown = advance(Spending(at=DECEMBER), Observation(now=DECEMBER + 3600, fleets=later))
    assert unknown.unpriced == ["hosting/an instance type that its deleted configuration had"]


@pytest.mark.parametrize(("now", "end"), [(DECEMBER + 0.4, DECEMBER + 60), (DECEMBER + 61.5, DECEMBER + 61.5)])
def test_first_seconds_of_a_month_are_a_time_that_cloudwatch_takes(now, end):
    asked = mock.Mock(return_value={"Datapoints": []})
    names = usage.Names("dogs", "k", "arn:p", (), ())
    usage.Usage(mock.Mock(get_metric_statistics=asked), mock.Mock(), names).dollars(now)
    assert {call.kwargs["EndTime"] for call in asked.call_args_list} == {at(end)}


def test_usage_is_asked_for_the_whole_month_and_priced_by_the_book():
    values = {  # sum and number of values
        ("AWS/Lambda", "k-classify"): (2_000_000.0, 50_000.0),
        ("AWS/Lambda", "k-meter"): (1_000_000.0, 600.0),
        ("AWS/Lambda", "k-admit"): (0.0, 0.0),  # of a stack without SignIn
        ("AWS/States", "arn:p"): (3.0, 3.0),
        ("AWS/ApiGateway", "k"): (50_000.0, 50_000.0),
        ("AWS/SageMaker", "dogs"): (50_000.0, 900.0),
        ("AWS/Logs", "/aws/lambda/k-classify"): (3e9, 1.0),
    }

    def statistics(Namespace, MetricName, Dimensions, StartTime, EndTime, Period, Statistics):
        assert (StartTime, EndTime, Period) == (at(DECEMBER), at(NOW), 86_400)
        assert MetricName in {*("Duration", "ExecutionsStarted", "Count", "Invocations", "IncomingBytes")}
        total, number = values[Namespace, Dimensions[0]["Value"]]
        return {"Datapoints": [{"Sum": total / 2, "SampleCount": number / 2}] * 2}

    lambdas = mock.Mock(get_function_configuration=mock.Mock(return_value={"MemorySize": 1024}))
    names = usage.Names("dogs", "k", "arn:p", ("k-classify", "k-admit"), ("/aws/lambda/k-classify",))
    metered = usage.Usage(mock.Mock(get_metric_statistics=statistics), lambdas, names)
    metered.megabytes["k-meter"] = 512
    for _ in range(2):
        found = metered.dollars(NOW)
    lambdas.get_function_configuration.assert_called_once_with(FunctionName="k-classify")
    assert found == {
        "functions": pytest.approx((2000 + 500) * 1.66667e-05 + 50_600 * 2e-7 + 3 * 0.02),
        "requests": pytest.approx(50_000 * 3.5e-6),
        "photos in and out": pytest.approx(5.0 * 0.016 + 0.031 * 0.016),  # 100 KB each, and answers of 620 bytes
        "logs": pytest.approx(1.5),
        "key and alarms": pytest.approx((1 + 12 * 0.1 + 2 * 0.3) * 10 / (31 * 24)),
    }
    assert metered.unpriced == set()
    small = usage.Usage(mock.Mock(get_metric_statistics=statistics), lambdas, replace(names, shrinks=True))
    assert small.dollars(NOW)["photos in and out"] == pytest.approx(1.0 * 0.016 + 0.031 * 0.016)  # 20 KB each
    warm = usage.Usage(mock.Mock(get_metric_statistics=statistics), lambdas, replace(names, warm_function="k-classify"))
    kept_warm = warm.dollars(NOW)
    assert kept_warm["key and alarms"] == pytest.approx((1 + 14 * 0.1 + 2 * 0.3) * 10 / (31 * 24))
    arm = usage.Usage(mock.Mock(get_metric_statistics=statistics), lambdas, replace(names, architecture="arm64"))
    assert arm.dollars(NOW)["functions"] == pytest.approx(2000 * 1.33334e-05 + 50_000 * 2e-7 + 3 * 0.02)


class Target:
    """A scalable target with its registry and pointer."""

    def __init__(self, least, most, promoted="3"):
        self.range, self.promoted = [least, most], promoted
        pointer = '{"model_package_arn": "arn:p/1"}' if promoted else "none"
        ssm = mock.Mock(get_parameter=lambda **_: {"Parameter": {"Value": pointer, "Version": 1}})
        package = {"CustomerMetadataProperties": {"max_instances": promoted}}
        sagemaker = mock.Mock(describe_model_package=lambda **_: package)
        self.scaling = of_endpoint(self, sagemaker, ssm, "dogs", "/k/champion")

    def describe_scalable_targets(self, ResourceIds, **_):
        assert ResourceIds == ["endpoint/dogs/variant/main"]
        found = [{"MinCapacity": self.range[0], "MaxCapacity": self.range[1]}] if self.range else []
        return {"ScalableTargets": found}

    def register_scalable_target(self, MinCapacity, MaxCapacity, **_):
        self.range = [MinCapacity, MaxCapacity]


def test_cap_holds_the_smallest_number_and_is_lifted_to_what_was_promoted():
    target = Target(2, 5)
    noted = target.scaling.cap(None)
    assert (noted, target.range) == (5, [2, 2])
    assert target.scaling.cap(noted) == 5
    target.range = [2, 4]  # A run that was at work has registered its own range.
    noted = target.scaling.cap(noted)
    assert (noted, target.range) == (4, [2, 2])
    target.scaling.lift(noted)
    assert target.range == [2, 3]


@pytest.mark.parametrize(
    ("target", "noted", "expected"),
    [
        (Target(1, 1, promoted=None), 6, [1, 6]),  # an endpoint whose version says nothing
        (Target(1, 4), 6, [1, 4]),  # Somebody has set the range meanwhile.
        (Target(2, 2, promoted="2"), None, [2, 2]),  # It never scaled.
        (Target(1, 1, promoted="3"), None, [1, 3]),  # The run that promoted it has kept the cap.
    ],
)
def test_cap_is_lifted_where_it_holds(target, noted, expected):
    target.scaling.lift(noted)
    assert target.range == expected


def test_endpoint_without_a_scalable_target_is_left_alone():
    target = Target(1, 2)
    target.range = []
    assert target.scaling.cap(None) is None
    target.scaling.lift(None)
    assert target.range == []
