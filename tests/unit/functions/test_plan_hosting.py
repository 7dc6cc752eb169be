"""What answers: the request's or the stack's choice, the function of the run, and what does not fit together."""

from dataclasses import replace

import pytest

from plan import caps, request
from plan.run import decide, decide_promotion
from plan.versions import Version
from shared.errors import RequestError
from tests.unit.functions.test_plan import DATASET, IMAGES, SETTINGS, WEIGHTS

REGISTRY = "1.dkr.ecr.r.amazonaws.com"
OURS = IMAGES.model_copy(update={"serve": f"{REGISTRY}/kennel@sha256:12"})


def decided(fields=None, images=OURS, **parameters):
    settings = replace(SETTINGS, **parameters)
    parsed = caps.apply(request.parse(fields or {}), settings)
    return decide(parsed, settings, "x", DATASET, WEIGHTS, images, None)


def refusal(fields, images=OURS, **parameters):
    with pytest.raises(RequestError) as error:
        decided(fields, images, **parameters)
    return str(error.value)


def test_the_request_decides_and_else_the_stack():
    assert decided().hosting == "instances"
    assert decided(hosting="function").hosting == "function"
    assert decided({"hosting": "auto"}, hosting="function").hosting == "auto"
    assert decided({"hosting": None}, hosting="auto").hosting == "auto"


def test_the_function_has_the_names_and_limits_of_the_stack_and_the_request():
    function = decided({"hosting": "function", "max_p99_ms": 400, "requests_per_day": 5000}).function
    assert function.model_dump() == {
        "name": "dogs-model",
        "alias": "live",
        "architecture": "x86_64",
        "memory_mb": 1769,
        "timeout_seconds": 30,
        "reserved": 0,
        "provisioned": 0,
        "provisioned_max": 0,
        "requests_per_day": 5000,
        "network": {"SubnetIds": [], "SecurityGroupIds": []},
        "max_p99_ms": 400,
        "bake_seconds": 300,
    }
    warm = decided({"hosting": "function", "provisioned_concurrency": 3}, model_reserved_concurrency="7").function
    assert (warm.reserved, warm.provisioned, warm.provisioned_max) == (7, 3, 6)


def test_the_function_joins_the_subnets_of_the_stack():
    function = decided(hosting="function", vpc_subnets="subnet-1,subnet-2", vpc_security_groups="sg-1").function
    assert function.network == {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}


def test_the_functions_architecture_is_that_of_the_image():
    """An image that the stack does not build is for the machines on which it is evaluated."""
    own = {"serving_image": OURS.serve, "evaluation_image": OURS.evaluate, "serving_instance_type": "ml.c7g.large"}
    assert decided(hosting="function", **own).function.architecture == "arm64"


def test_a_function_starts_no_instance_and_has_no_lease():
    run = decided({"hosting": "function", "lease_hours": 0}, max_lease_hours="10", lease_hours="72")
    assert (run.endpoint.min_instances, run.endpoint.max_instances, run.endpoint.lease_hours) == (0, 0, 0)
    assert run.endpoint.instance_type == "ml.c7i.large"  # on which it is evaluated
    both = decided({"hosting": "auto"})
    assert (both.endpoint.min_instances, both.endpoint.max_instances, both.endpoint.lease_hours) == (1, 2, 72)


def test_a_promotion_may_change_what_answers():
    version = Version(3, "arn:package/3", "s3://b/runs/old", OURS.serve, 0.91)
    parsed = request.parse({"promote": 3, "hosting": "auto", "requests_per_day": 10, "provisioned_concurrency": 1})
    run = decide_promotion(parsed, SETTINGS, "x", version)
    assert (run.hosting, run.function.provisioned_max, run.endpoint.max_instances) == ("auto", 2, 2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"hosting": "lambda"}, 'hosting: must be instances, function or auto, not "lambda"'),
        ({"requests_per_day": 0}, "requests_per_day: must be a number from 1 to 1,000,000,000, not 0"),
        ({"provisioned_concurrency": 101}, "provisioned_concurrency: must be a whole number from 0 to 100, not 101"),
        ({"hosting": "function", "min_instances": 1}, 'min_instances: decides nothing with hosting "function"'),
        ({"hosting": "function", "max_instances": 4}, 'max_instances: decides nothing with hosting "function"'),
        ({"hosting": "function", "lease_hours": 5}, 'lease_hours: decides nothing with hosting "function"'),
        ({"hosting": "instances", "requests_per_day": 5}, 'requests_per_day: decides nothing with hosting "instances"'),
        ({"provisioned_concurrency": 2}, 'provisioned_concurrency: decides nothing with hosting "instances"'),
    ],
)
def test_fields_that_do_not_fit_are_refused_with_a_sentence(fields, words):
    assert words in refusal(fields)


def test_all_fields_that_do_not_fit_are_named_at_once():
    told = refusal({"max_instances": 3, "lease_hours": 2}, hosting="function")
    assert told.count("decides nothing") == 2
    assert '{"hosting": "instances"}' in told


def test_fields_that_say_the_same_as_nothing_are_let_be():
    assert decided({"provisioned_concurrency": 0}).function.provisioned == 0
    assert decided({"hosting": "auto", "max_instances": 3, "lease_hours": 5}).endpoint.lease_hours == 5


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"max_serving_instances": "3"}, "2 may become 4 under load, and the stack's MaxServingInstances is 3"),
        ({"model_reserved_concurrency": "4"}, "ModelReservedConcurrency is 4, of which the version that a run tries"),
        ({"max_lease_hours": "10"}, "cost by the hour until they are torn down, and the stack's MaxLeaseHours is 10"),
    ],
)
def test_warm_environments_stay_within_what_the_stack_allows(parameters, words):
    fields = {"hosting": "function", "provisioned_concurrency": 2}
    assert words in refusal(fields, **parameters)
    assert decided(fields, max_serving_instances="4", model_reserved_concurrency="5").function.provisioned_max == 4


@pytest.mark.parametrize(
    "serve",
    [
        "1.dkr.ecr.other.amazonaws.com/kennel@sha256:12",
        "2.dkr.ecr.r.amazonaws.com/theirs@sha256:12",  # No role of the stack may read it there.
        "docker.io/kennel:1",
        "kennel",
    ],
)
def test_an_image_that_lambda_or_the_stack_cannot_read_is_refused(serve):
    elsewhere = OURS.model_copy(update={"serve": serve})
    told = refusal({"hosting": "auto"}, elsewhere)
    assert told.startswith("hosting: a function takes its image from the account's own ECR in its own region (1.dkr.")
    assert serve in told
    assert decided({}, elsewhere).hosting == "instances"


def test_an_image_of_another_repository_of_the_account_is_taken():
    assert decided({"hosting": "function"}, OURS.model_copy(update={"serve": f"{REGISTRY}/another@sha256:12"}))


def test_the_quote_has_no_instance_but_the_environments_that_are_kept_warm():
    quote = decided({"hosting": "function", "provisioned_concurrency": 2}).quote
    # 2 x 1,769 MB for 3,600 s, at $0.0000041667 a GB-second
    assert (quote.endpoint_per_hour, quote.function_per_hour) == (0, 0.0518)
    both = decided({"hosting": "auto"}).quote
    assert (both.endpoint_per_hour, both.function_per_hour) == (0.107, 0)
