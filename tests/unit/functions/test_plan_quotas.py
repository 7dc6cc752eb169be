"""Plan compares the account's quotas with what a run needs, before anything costs."""

import importlib
import json
import re
import shlex
import threading
from dataclasses import replace
from types import SimpleNamespace

import awscli.clidriver
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, EndpointConnectionError

import prices
from cloud.core import quotas as account
from cloud.core.protocol import ApiError
from plan import quota_check
from plan.quota_ask import CONFIG, QuotaUnknownError
from plan.quota_ask import Asked as Asking
from plan.run import decide, decide_promotion, with_reused_model
from quotas import Quota, of_instances
from shared.contracts import ImageBuild, Request, TrainedModel
from shared.errors import QuotaError
from shared.tuning import Tune
from tests.unit.functions.service_quotas import Asked, Endpoints, laptop
from tests.unit.functions.test_plan import DATASET, IMAGES, SETTINGS, VERSION, WEIGHTS

ON_DEMAND = replace(SETTINGS, training_spot="false")
EC2 = replace(ON_DEMAND, ec2_spot_queue="arn:spot", ec2_on_demand_queue="arn:demand")
NEW = IMAGES.model_copy(update={"training_build": ImageBuild(targets=["train"], content_hash="1")})
TRAINING, SPOT, PROCESSING, ENDPOINT = (
    f"ml.c7i.{size} for {use} usage"
    for size, use in (
        ("xlarge", "training job"),
        ("xlarge", "spot training job"),
        ("large", "processing job"),
        ("large", "endpoint"),
    )
)


@pytest.fixture
def limit(monkeypatch):
    """Return a function that sets quotas of the laptop's account by name."""
    return lambda **values: monkeypatch.setattr(account, "_QUOTAS", values)


def run_of(settings=ON_DEMAND, images=NEW, **fields):
    return decide(Request(**fields), settings, "x", DATASET, WEIGHTS, images, None)


def check(run, asked=None, sagemaker=None, settings=ON_DEMAND):
    # The machine of the tests may be busy, so nothing here depends on Plan's two seconds.
    return quota_check.check((asked or Asked()).client, sagemaker or Endpoints(), run, settings, seconds=120)


def refused(run, **options):
    with pytest.raises(QuotaError) as error:
        check(run, **options)
    return str(error.value)


def test_account_with_enough_is_asked_by_code_and_within_the_rate_of_service_quotas(limit):
    limit()
    asked = Asked()
    assert check(run_of(), asked) == []
    assert sorted(asked.questions) == sorted(
        ("GetServiceQuota", code)
        for code in (
            *("L-2DC20C30", "L-194981EA", "L-00C91CB5", "L-24BF08D5", "L-F311B08F", "L-9FCA2A26", "L-7A3DF611"),
        )
    )
    # Service Quotas takes 10 such requests at once. A search by jobs asks for the most.
    asked = Asked()
    check(run_of(tune=Tune(where="jobs", trials=4), max_instances=5), asked)
    assert len(asked.questions) == 9


IN_ECR = NEW.model_copy(update={"serve": f"{SETTINGS.image_repository}@sha256:1"})


def test_a_function_needs_instances_that_train_and_judge_but_none_that_serves(limit):
    """A new account has no instances of an endpoint and ten functions at once."""
    limit(**{ENDPOINT: 0, "Number of instances across active endpoints": 0, "Concurrent executions": 10})
    asked = Asked()
    assert check(run_of(images=IN_ECR, hosting="function"), asked) == []
    assert {code for _, code in asked.questions} == {
        *("L-2DC20C30", "L-194981EA", "L-00C91CB5", "L-24BF08D5"),
        "L-F311B08F",
    }
    assert PROCESSING in refused_without(limit, PROCESSING, hosting="function")
    # What is measured as instances, too, may have to serve as instances.
    for hosting in ("auto", "instances"):
        said = refused_without(limit, ENDPOINT, hosting=hosting)
        assert f"the quota '{ENDPOINT}' (sagemaker, L-9FCA2A26) is 0, and 5 are needed" in said
        assert 'or go on with {"hosting": "function"}, which starts no instance of an endpoint' in said


def refused_without(limit, name, **fields):
    limit(**{name: 0})
    return refused(run_of(images=IN_ECR, **fields))


@pytest.mark.parametrize(
    ("fields", "reserved", "value", "needed", "instead"),
    [
        ({"provisioned_concurrency": 5}, "0", 109, 110, "up to 10 environments are kept warm, and Lambda leaves 100"),
        ({"provisioned_concurrency": 5}, "0", 109, 110, 'or go on with {"provisioned_concurrency": 4}'),
        ({"provisioned_concurrency": 5}, "0", 50, 110, 'or go on with {"provisioned_concurrency": 0}'),
        ({}, "40", 139, 140, "ModelReservedConcurrency is 40, and Lambda leaves 100"),
        ({"provisioned_concurrency": 5}, "40", 139, 140, "go on with a smaller ModelReservedConcurrency of the stack"),
    ],
)
def test_concurrency_that_a_function_takes_from_the_account_is_compared(
    limit, fields, reserved, value, needed, instead
):
    settings = replace(ON_DEMAND, model_reserved_concurrency=reserved)
    limit(**{"Concurrent executions": value})
    said = refused(run_of(settings, IN_ECR, hosting="auto", **fields))
    assert f"the quota 'Concurrent executions' (lambda, L-B99A9384) is {value}, and {needed} are needed" in said
    assert f"--service-code lambda --quota-code L-B99A9384 --desired-value {needed}" in said
    assert instead in said
    limit(**{"Concurrent executions": needed})
    assert check(run_of(settings, IN_ECR, hosting="auto", **fields)) == []
    limit(**{"Concurrent executions": 1})
    assert check(run_of(settings, IN_ECR, hosting="instances")) == []


@pytest.mark.parametrize(
    ("fields", "name", "value", "code", "needed"),
    [
        ({}, TRAINING, 1, "L-194981EA", 2),
        ({"spot": True}, SPOT, 0, "L-9723DD27", 2),
        ({}, "Number of instances across all training jobs", 1, "L-00C91CB5", 2),
        ({"spot": True}, "Number of instances across all spot training jobs", 1, "L-93958082", 2),
        ({"training_instance_count": 21}, "Maximum number of instances per training job", 20, "L-622CFD70", 21),
        ({"tune": Tune(where="jobs", trials=4)}, TRAINING, 7, "L-194981EA", 8),
        (
            {"tune": Tune(where="jobs", trials=4)},
            "Maximum number of training jobs each hyper parameter tuning job can run in parallel at once",
            3,
            "L-11294128",
            4,
        ),
        ({}, PROCESSING, 0, "L-24BF08D5", 1),
        ({}, "Number of instances across all processing jobs", 0, "L-F311B08F", 1),
        ({}, ENDPOINT, 4, "L-9FCA2A26", 5),
        ({"max_instances": 3}, ENDPOINT, 6, "L-9FCA2A26", 7),
        ({}, "Number of instances across active endpoints", 4, "L-7A3DF611", 5),
        ({"max_instances": 5}, "Maximum number of instances per endpoint", 4, "L-ED8DEE9B", 5),
        ({}, "Concurrently running builds for Linux/Medium environment", 0, "L-2DC20C30", 1),
    ],
)
def test_each_quota_that_is_too_small_is_named_with_the_command_that_asks_for_more(
    limit, fields, name, value, code, needed
):
    limit(**{name: value})
    said = refused(run_of(**fields))
    assert "a quota of the account is too small for this run, so nothing was started\n(1) " in said
    are = "is" if needed == 1 else "are"
    service = "codebuild" if "builds" in name else "sagemaker"
    assert f"the quota '{name}' ({service}, {code}) is {value}, and {needed} {are} needed, because " in said
    assert (
        f"aws service-quotas request-service-quota-increase --region us-east-1 --service-code {service} "
        f"--quota-code {code} --desired-value {needed}" in said
    )
    assert said.count("request-service-quota-increase") == 1
    assert '{"check_quotas": false}' in said
    limit(**{name: needed})
    assert check(run_of(**fields)) == []


@pytest.mark.parametrize(
    ("instance_type", "spot", "name", "code", "vcpus"),
    [
        ("c7i.xlarge", None, "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", "L-34B43A08", 4),
        ("c7i.xlarge", False, "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", "L-1216C47A", 4),
        ("g6.2xlarge", None, "All G and VT Spot Instance Requests", "L-3819A6DF", 8),
        ("g6.2xlarge", False, "Running On-Demand G and VT instances", "L-DB2E81BA", 8),
    ],
)
def test_machine_of_ec2_needs_vcpus_and_no_instances_of_sagemaker_to_train(
    limit, instance_type, spot, name, code, vcpus
):
    settings = replace(EC2, training_instance_type=f"ml.{instance_type}", training_device="cuda")
    run = run_of(settings, train_on="ec2", spot=spot)
    enough = {f"ml.{instance_type} for {use} usage": 0 for use in ("training job", "spot training job")}
    limit(**enough)
    assert check(run) == []
    limit(**enough, **{name: vcpus - 1})
    said = refused(run)
    assert (
        f"the quota '{name}' (ec2, {code}) is {vcpus - 1}, and {vcpus} are needed, because one {instance_type}" in said
    )
    assert '{"train_on": "sagemaker"}' in said


def test_all_quotas_that_are_too_small_are_told_at_once(limit):
    limit(**dict.fromkeys((TRAINING, PROCESSING, ENDPOINT), 0))
    said = refused(run_of())
    assert said.startswith("3 quotas of the account are too small for this run, so nothing was started\n(1) ")
    assert [line[:4] for line in said.splitlines()[1:4]] == ["(1) ", "(2) ", "(3) "]
    assert all(f"'{name}'" in said for name in (TRAINING, PROCESSING, ENDPOINT))


def test_the_nearest_types_that_fit_are_advised_with_their_prices(limit):
    small = {TRAINING: 0, ENDPOINT: 0}
    limit(**small)
    said = refused(run_of())
    # Four vCPUs and no GPU, as c7i.xlarge has; two vCPUs, and quotas for evaluation and endpoint, as c7i.large has.
    assert '{"training_instance_type": "ml.c6i.xlarge"}, whose own quota suffices ($0.204 an hour each)' in said
    assert '{"serving_instance_type": "ml.m5.large"}, whose own quota suffices ($0.115 an hour each)' in said
    limit(**small, **{"ml.c6i.xlarge for training job usage": 1, "ml.m5.large for processing job usage": 0})
    said = refused(run_of())
    assert '"training_instance_type": "ml.c6i.xlarge"' not in said
    assert '"serving_instance_type": "ml.m5.large"' not in said
    said = refused(run_of(), settings=replace(ON_DEMAND, allowed_training_types="ml.t3.*, ml.c7i.*"))
    assert '{"training_instance_type": "ml.c7i.large"}' in said  # the only one that the stack allows and the book has
    said = refused(run_of(), settings=replace(ON_DEMAND, allowed_training_types="ml.c7i.xlarge"))
    assert "training_instance_type" not in said


@pytest.mark.parametrize(
    ("fields", "quotas", "way"),
    [
        ({"training_instance_count": 4}, {TRAINING: 3}, '{"training_instance_count": 3}'),
        ({"tune": Tune(where="jobs", trials=8)}, {TRAINING: 7}, '{"tune": {"max_parallel": 3}}'),
        ({"max_instances": 3}, {ENDPOINT: 5}, '{"max_instances": 2}'),
        ({}, {ENDPOINT: 3}, '{"max_instances": 1}'),
        ({"max_instances": 6}, {"Maximum number of instances per endpoint": 4}, '{"max_instances": 4}'),
    ],
)
def test_fewer_instances_are_advised_where_they_fit(limit, fields, quotas, way):
    limit(**quotas)
    assert f"or go on with {way}" in refused(run_of(**fields))


def test_fewer_instances_are_not_advised_below_the_minimum(limit):
    limit(**{ENDPOINT: 3})
    assert '"max_instances"' not in refused(run_of(min_instances=2))
    limit(**{ENDPOINT: 2})
    assert '"max_instances"' not in refused(run_of())


def test_promotion_needs_the_endpoint_alone_and_a_reused_training_none(limit):
    limit(**dict.fromkeys((TRAINING, PROCESSING), 0))
    assert check(decide_promotion(Request(promote=3), ON_DEMAND, "x", VERSION)) == []
    limit(**{TRAINING: 0})
    model = TrainedModel(job="dogs-y", model_uri="s3://b/training/1/model.tar.gz")
    assert check(with_reused_model(run_of(images=IMAGES), model)) == []


def test_endpoints_that_serve_count(limit):
    limit(**{ENDPOINT: 6})
    assert check(run_of(), sagemaker=Endpoints(dogs=(2, "ml.c7i.large"))) == []  # That is the fleet to be updated.
    said = refused(run_of(), sagemaker=Endpoints(cats=(2, "ml.c7i.large"), mice=(9, "ml.m5.large")))
    assert "is 6, and 7 are needed" in said
    assert "2 instances of ml.c7i.large serve elsewhere in the account" in said
    # More instances serve than this run's max_instances allows, and an update keeps their number.
    said = refused(run_of(), sagemaker=Endpoints(dogs=(3, "ml.c7i.large")))
    assert (
        "is 6, and 7 are needed, because an update starts a second fleet beside the first (3 instances serve now)"
        in said
    )
    limit(**{"Number of instances across active endpoints": 12})
    said = refused(run_of(), sagemaker=Endpoints(mice=(8, "ml.m5.large")))
    assert "is 12, and 13 are needed" in said
    # The old fleet of another type counts until the update has ended: 9 + 2 + staging.
    assert check(run_of(), sagemaker=Endpoints(dogs=(9, "ml.m5.large"))) == []
    assert "is 12, and 13 are needed" in refused(run_of(), sagemaker=Endpoints(dogs=(10, "ml.m5.large")))


def test_endpoint_of_the_run_counts_however_old_and_so_do_shadow_variants_and_fleets_without_configuration(limit):
    limit(**{ENDPOINT: 6})
    sagemaker = Endpoints(dogs=(3, "ml.c7i.large"))
    sagemaker.unlisted = {"dogs"}  # Twenty others are newer.
    assert "is 6, and 7 are needed" in refused(run_of(), sagemaker=sagemaker)
    sagemaker = Endpoints(cats=(1, "ml.c7i.large"))
    sagemaker.shadowed = {"cats"}
    assert "is 6, and 7 are needed" in refused(run_of(), sagemaker=sagemaker)
    limit(**{"Number of instances across active endpoints": 12})
    sagemaker = Endpoints(cats=(8, "ml.c7i.large"))
    sagemaker.without_config = {"cats"}
    assert "is 12, and 13 are needed" in refused(run_of(), sagemaker=sagemaker)


def test_fewer_instances_and_other_types_are_not_advised_where_they_do_not_fit_either(limit):
    limit(**{ENDPOINT: 6})
    # Three serve, and an update keeps them, whatever max_instances is.
    assert '"max_instances"' not in refused(run_of(), sagemaker=Endpoints(dogs=(3, "ml.c7i.large")))
    # Ten of the type that would be the nearest serve on this endpoint, and the update back would need twice as many.
    small = {"ml.m5.large for endpoint usage": 20, "ml.m5.large for processing job usage": 5}
    limit(**{ENDPOINT: 4}, **small)
    fleet = Endpoints(dogs=(10, "ml.m5.large"))
    assert '"serving_instance_type": "ml.m5.large"' not in refused(run_of(), sagemaker=fleet)
    limit(**{ENDPOINT: 4}, **small | {"ml.m5.large for endpoint usage": 21})
    assert '"serving_instance_type": "ml.m5.large"' in refused(run_of(), sagemaker=fleet)


def test_price_of_another_region_is_told_as_such(limit, monkeypatch):
    limit(**{TRAINING: 0})
    monkeypatch.setenv("AWS_REGION", "xx-nowhere-1")
    assert 'ml.c6i.xlarge"}, whose own quota suffices ($0.204 an hour each in us-east-1)' in refused(run_of())


def test_advised_types_exist_for_what_they_would_do():
    model = botocore.session.get_session().get_service_model("sagemaker")
    shapes = {
        "training": ["TrainingInstanceType"],
        "hosting": ["ProductionVariantInstanceType", "ProcessingInstanceType"],
    }
    uses = {"training": ["training"], "hosting": ["endpoint", "processing"]}
    for priced, names in shapes.items():
        kinds = [
            each
            for each in prices.items(priced, "us-east-1")
            if all(of_instances(use, each).code for use in uses[priced])
        ]
        assert len(kinds) > 20
        for name in names:
            assert set(kinds) <= set(model.shape_for(name).enum)


def test_answer_without_a_member_stops_no_run(limit):
    limit(**{TRAINING: 0})
    answer = laptop()

    def poor(operation, request):
        quota = answer(operation, request)["Quota"]
        del quota["QuotaName"]
        return {"Quota": quota}

    assert f"the quota '{TRAINING}' could not be compared: the answer has no QuotaName" in check(run_of(), Asked(poor))


def test_plan_waits_for_nobody_when_all_services_hang():
    late = threading.Event()

    def wait(*_, **__):
        late.wait()
        raise ApiError("ServiceException", "too late")

    sagemaker = Endpoints()
    sagemaker.list_endpoints = wait
    try:
        sentences = quota_check.check(Asked(wait).client, sagemaker, run_of(), ON_DEMAND, seconds=0.05)
        assert len(sentences) == 8
        assert all("no answer within 0.05 seconds" in each for each in sentences)
    finally:
        late.set()


def test_command_of_the_message_is_one_that_the_aws_cli_takes(limit, monkeypatch):
    limit(**dict.fromkeys((TRAINING, PROCESSING, ENDPOINT), 0))
    commands = re.findall(r"aws (service-quotas [^;]*?)(?:;|$)", refused(run_of()), re.MULTILINE)
    assert len(commands) == 3
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    sent = []
    for command in commands:
        driver = awscli.clidriver.create_clidriver()
        driver.session.set_credentials("x", "x")
        driver.session.register(
            "before-call.service-quotas.*",
            lambda model, params, **_: (
                sent.append((model.name, json.loads(params["body"]))) or (AWSResponse("", 200, {}, None), {})
            ),
        )
        assert driver.main(shlex.split(command)) == 0
    assert {name for name, _ in sent} == {"RequestServiceQuotaIncrease"}
    assert {(each["QuotaCode"], each["DesiredValue"]) for _, each in sent} == {
        ("L-194981EA", 2),
        ("L-24BF08D5", 1),
        ("L-9FCA2A26", 5),
    }


def test_endpoint_that_is_deleted_meanwhile_does_not_count_and_a_missing_right_is_told():
    class Gone(Endpoints):
        code = "ValidationException"

        def describe_endpoint(self, **_):
            raise ClientError({"Error": {"Code": self.code, "Message": ""}}, "DescribeEndpoint")

    sagemaker = Gone(cats=(40, "ml.c7i.large"))
    assert check(run_of(), sagemaker=sagemaker) == []
    sagemaker.code = "AccessDeniedException"
    assert check(run_of(), sagemaker=sagemaker) == [
        "the account's endpoints could not be counted: AccessDeniedException"
    ]


@pytest.mark.parametrize("code", ["AccessDeniedException", "TooManyRequestsException", "ServiceException"])
def test_run_goes_on_when_service_quotas_refuses_to_answer(limit, code):
    limit(**{TRAINING: 0})

    def refuse(*_):
        raise ApiError(code, "no")

    sentences = check(run_of(), Asked(refuse))
    assert f"the quota '{TRAINING}' could not be compared: {code}" in sentences
    assert len(sentences) == 7


def test_question_that_is_throttled_is_asked_again(limit):
    limit(**{TRAINING: 0})
    answer, throttled = laptop(), set()

    def throttle(operation, request):
        if request["QuotaCode"] not in throttled:
            throttled.add(request["QuotaCode"])
            raise ApiError("TooManyRequestsException", "slow down")
        return answer(operation, request)

    assert "'ml.c7i.xlarge for training job usage' (sagemaker, L-194981EA) is 0" in refused(
        run_of(), asked=Asked(throttle, attempts=CONFIG.retries["total_max_attempts"])
    )


def test_run_goes_on_when_service_quotas_is_not_reached():
    def fail(*_):
        raise EndpointConnectionError(endpoint_url="https://nowhere")

    sentences = check(run_of(), Asked(fail))
    assert len(sentences) == 7
    assert all("EndpointConnectionError" in each for each in sentences)


def test_answer_that_takes_too_long_is_not_waited_for():
    late = threading.Event()

    def wait(*_):
        late.wait()
        raise ApiError("ServiceException", "too late")

    asking = Asking(Asked(wait).client, seconds=0.05)
    quota = of_instances("training", "ml.c7i.xlarge")
    try:
        asking.ask([quota])
        with pytest.raises(QuotaUnknownError, match=r"no answer within 0\.05 seconds"):
            asking.value(quota)
    finally:
        late.set()
        asking.end()


def test_small_quota_is_told_although_others_are_not_known(limit):
    limit(**{TRAINING: 0})
    answer = laptop()

    def some(operation, request):
        if request.get("QuotaCode") != "L-194981EA":
            raise ApiError("TooManyRequestsException", "no")
        return answer(operation, request)

    assert refused(run_of(), asked=Asked(some)).startswith("a quota of the account is too small")


def test_quota_without_a_code_is_found_by_its_name(limit):
    name = "ml.c8i.xlarge for training job usage"
    run = run_of(training_instance_type="ml.c8i.xlarge")
    limit(**{name: 1})
    asked = Asked()
    said = refused(run, asked=asked)
    assert f"the quota '{name}' (sagemaker, L-" in said
    assert ("ListServiceQuotas", "sagemaker") in asked.questions
    limit()
    assert check(run) == [f"the quota '{name}' could not be compared: Service Quotas does not list it"]


def test_default_value_holds_where_the_account_has_none_of_its_own(limit):
    limit()
    answer = laptop()

    def none(operation, request):
        if operation == "GetServiceQuota" and request["QuotaCode"] == "L-7A3DF611":
            raise ApiError("NoSuchResourceException", "none was applied")
        return answer(operation, request)

    asked = Asked(none)
    assert "'Number of instances across active endpoints' (sagemaker, L-7A3DF611) is 4, and 5 are" in refused(
        run_of(), asked=asked
    )
    assert ("GetAWSDefaultServiceQuota", "L-7A3DF611") in asked.questions


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"QuotaName": "something else"}, "L-194981EA is 'something else' now"),
        ({"Value": None, "ErrorReason": {"ErrorCode": "DEPENDENCY_SERVICE_ERROR"}}, "DEPENDENCY_SERVICE_ERROR"),
    ],
)
def test_answer_about_something_else_or_without_a_value_is_not_compared(limit, change, words):
    limit(**{TRAINING: 0})
    answer = laptop()

    def other(operation, request):
        answered = answer(operation, request)
        if request["QuotaCode"] != "L-194981EA":
            return answered
        quota = {name: value for name, value in (answered["Quota"] | change).items() if value is not None}
        return {"Quota": quota}

    assert check(run_of(), Asked(other)) == [f"the quota '{TRAINING}' could not be compared: {words}"]


def test_quota_that_aws_does_not_raise_has_no_command(limit):
    limit(**{TRAINING: 1})
    answer = laptop()

    def fixed(operation, request):
        return {"Quota": answer(operation, request)["Quota"] | {"Adjustable": False}}

    said = refused(run_of(), asked=Asked(fixed))
    assert "because 2 instances of ml.c7i.xlarge train together; AWS does not raise it; or go on with" in said
    assert "request-service-quota-increase" not in said


@pytest.fixture
def plan(monkeypatch):
    """Return a function that plans a promotion; the second value is whether the lock was released."""
    for name, value in vars(SETTINGS).items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    app = importlib.import_module("plan.app")
    released = []
    monkeypatch.setattr(app.lock, "take", lambda *_: "")
    monkeypatch.setattr(app.lock, "release", lambda *_: released.append(True))
    monkeypatch.setattr(app.versions, "find", lambda *_: VERSION)
    monkeypatch.setattr(app.versions, "check_artifact", lambda *_: None)
    monkeypatch.setattr(app, "agreement", SimpleNamespace(serving=lambda: None))
    monkeypatch.setattr(app.stack, "check_alarms", lambda *_: None)
    monkeypatch.setattr(app.stack, "check_key", lambda *_: None)
    monkeypatch.setattr(app, "sagemaker", Endpoints())
    monkeypatch.setattr(app.instances, "check", lambda *_: None)
    service_quotas, check_in_time = Asked().client, app.quota_check.check
    monkeypatch.setattr(app.boto3, "client", lambda *_, **__: service_quotas)
    monkeypatch.setattr(app.quota_check, "check", lambda *each: check_in_time(*each, seconds=120))
    return lambda request: (app.plan(request, "arn:mine", "x"), released), released


def test_run_that_is_refused_leaves_the_lock_and_can_be_started_without_the_check(limit, plan):
    start, released = plan
    limit(**{ENDPOINT: 4})
    with pytest.raises(QuotaError):
        start({"promote": 3})
    assert released == [True]
    run, _ = start({"promote": 3, "check_quotas": False})
    assert run.promotion.version == 3
    assert released == [True]


def test_quotas_are_told_apart_by_use():
    uses = [of_instances(use, "ml.c7i.xlarge") for use in ("training", "spot", "processing", "endpoint")]
    assert [each.code for each in uses] == ["L-194981EA", "L-9723DD27", "L-719822E7", "L-9A5FC4CF"]
    assert of_instances("endpoint", "ml.unheard.large") == Quota(
        "sagemaker", "", "ml.unheard.large for endpoint usage", instance_type="ml.unheard.large"
    )
