"""The input of an execution: what Plan accepts, and its sentence about each mistake."""

import json
from types import SimpleNamespace

import boto3
import pytest

from plan import instances, request
from shared.contracts import Request
from shared.errors import RequestError


def refusal(fields):
    with pytest.raises(RequestError) as error:
        request.parse(fields)
    return str(error.value)


def test_empty_request_is_complete():
    assert request.parse({}) == Request()


@pytest.mark.parametrize(
    "added", [{"Comment": "Insert your JSON here"}, {"AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID": "arn:x"}]
)
def test_what_aws_adds_to_an_input_is_let_be(added):
    assert request.parse({**added, "min_top1": 0.9}) == Request(min_top1=0.9)


@pytest.mark.parametrize("fields", ["{}", [], None, 3])
def test_input_that_is_no_object_is_refused(fields):
    assert refusal(fields) == f"the execution's input must be a JSON object such as {{}}, not {json.dumps(fields)}"


def test_an_event_is_one_short_sentence():
    names = ("version", "id", "detail-type", "source", "account", "time", "region")
    event = {**dict.fromkeys(names, "x"), "resources": [], "detail": {}}
    for fields in (event, {"detail-type": "x"}, {"source": "x", "detail": {}}, event | {"min_top1": 0.5}):
        message = refusal(fields)
        assert message.startswith("the execution's input is an event of EventBridge; give the rule's target")
        assert len(message) < 120


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"Records": [{"eventSource": "aws:s3"}]}, "a notification of S3, SNS or SQS"),
        ({"resource": "/", "httpMethod": "POST", "body": "{}"}, "a request to API Gateway or Lambda"),
        ({"input": "{}"}, "wrapped in 'input'"),
        ({"body": "{}"}, "wrapped in 'body'"),
    ],
)
def test_a_document_that_is_meant_for_something_else_is_named(fields, words):
    message = refusal(fields)
    assert message.startswith(f"the execution's input is {words}; ")
    assert len(message) < 130


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"drop_breeds": "Beagle"}, 'drop_breeds: must be a list of names such as ["Beagle"], not "Beagle"'),
        ({"drop_breeds": None}, 'drop_breeds: must be a list of names such as ["Beagle"], not null'),
        ({"drop_breeds": [1]}, "drop_breeds.0: must be a text, not 1"),
        ({"version": 1}, "version: unknown field (did you mean 'promote'?)"),
        ({"region": "x"}, "region: unknown field (docs/reference.md lists the fields)"),
        ({"id": 1}, "id: unknown field (docs/reference.md lists the fields)"),
        ({"a": 1}, "a: unknown field (docs/reference.md lists the fields)"),
        ({"_comment": "x"}, "_comment: a note is written in the field Comment of the whole input"),
        ({"$schema": "x"}, "$schema: a note is written in the field Comment of the whole input"),
    ],
)
def test_a_sentence_is_short_and_says_how_to_mend_it(fields, message):
    assert refusal(fields) == message


def test_whole_numbers_as_jsonata_and_javascript_write_them_are_taken():
    fields = {"training_instance_count": 2.0, "max_instances": 3.0, "hyperparameters": {"epochs": 5.0, "seed": 7.0}}
    parsed = request.parse({**fields, "tune": {"trials": 8.0}})
    assert (parsed.training_instance_count, parsed.max_instances, parsed.tune and parsed.tune.trials) == (2, 3, 8)
    assert parsed.hyperparameters == {"epochs": 5, "seed": 7}
    assert request.parse({"promote": 1.0}).promote == 1


def test_request_names_every_mistake_at_once():
    message = refusal(
        {
            "datset": "x",
            "min_top1": 2,
            "training_instance_type": "c7i",
            "hyperparameters": {"epochs": "five", "pull": None},
            "max_latency_ms": float("inf"),
        }
    )
    assert sorted(message.split("; ")) == [
        "datset: unknown field (did you mean 'dataset'?)",
        "hyperparameters.epochs: must be a whole number, not 'five'",
        "hyperparameters.pull: must be a number, a text or true/false, not null",
        "max_latency_ms: must be a finite number, not Infinity",
        "min_top1: must be a number from 0 to 1, not 2",
        'training_instance_type: must be like ml.c7i.xlarge, not "c7i"',
    ]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"hyperparameters": {"epochs": [1]}},
            "hyperparameters.epochs: must be a number, a text or true/false, not [1]",
        ),
        ({"hyperparameters": [1]}, 'hyperparameters: must be an object such as {"epochs": 20}, not [1]'),
        ({"training_instance_count": "2"}, 'training_instance_count: must be a whole number from 1 to 100, not "2"'),
        ({"training_instance_count": 1.5}, "training_instance_count: must be a whole number from 1 to 100, not 1.5"),
        ({"min_instances": True}, "min_instances: must be a whole number from 1 to 100, not true"),
        ({"leaks": "keep"}, 'leaks: must be refuse or drop, not "keep"'),
        ({"split": [80, 10, 10]}, "split: must be a text, not [80, 10, 10]"),
        (
            {"split": "80/20"},
            "split: '80/20' must be three whole percentages of train, valid and test that add up to 100, such as "
            "80/10/10",
        ),
        ({"promote": 0}, "promote: must be a whole number of at least 1, not 0"),
        ({"reuse": "no"}, 'reuse: must be true or false, not "no"'),
        ({"dataset": None}, "dataset: must be a text, not null"),
        ({"train_on": "EC2"}, 'train_on: must be sagemaker or ec2, not "EC2"'),
        ({"tune": 5}, 'tune: must be an object such as {"trials": 64}, not 5'),
        (
            {"tune": {"ranges": "abc"}},
            'tune.ranges: must be an object such as {"epochs": {"min": 8, "max": 24}}, not "abc"',
        ),
        (
            {"tune": {"strategy": "Grid"}},
            'tune.strategy: must be auto, bayesian, random, hyperband or grid, not "Grid"',
        ),
        ({"tune": {"seed": 2**31}}, "tune.seed: must be a whole number from 0 to 2,147,483,647, not 2147483648"),
        ({"preprocess": {"mean": [1, 2]}}, "preprocess.mean: must be a list of 3 numbers, not [1, 2]"),
        ({"preprocess": {"mean": [0, 1, "x"]}}, 'preprocess.mean.2: must be a number, not "x"'),
        ({"min_instances": 3, "max_instances": 2}, "min_instances (3) is above max_instances (2)"),
        ({"dataset": ["x" * 99]}, f'dataset: must be a text, not ["{"x" * 38}…'),
    ],
)
def test_a_wrong_value_is_one_sentence_in_the_words_of_the_request(fields, sentence):
    assert refusal(fields) == sentence


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("datset", "unknown field (did you mean 'dataset'?)"),
        ("TrainingInstanceType", "unknown field (did you mean 'training_instance_type'?)"),
        ("instance_type", "training_instance_type or serving_instance_type?"),
        ("instances", "min_instances or max_instances?"),
        ("epochs", "belongs into hyperparameters"),
        ("trials", "belongs into tune"),
        ("seed", "belongs into hyperparameters or tune"),
        ("image_size", "belongs into preprocess"),
        ("learning-rate", "unknown field (did you mean 'hyperparameters.learning_rate'?)"),
    ],
)
def test_an_unknown_field_is_told_where_it_belongs(name, sentence):
    assert refusal({name: 1}) == f"{name}: {sentence}"


def test_known_fields_are_listed_once_and_only_if_nothing_is_like_the_unknown_ones():
    assert refusal({"zzz": 1, "qqq": 2}).startswith("zzz, qqq: unknown fields (docs/reference.md lists the fields)")
    assert refusal({"zzz": 1, "qqq": 2, "datset": 3}).count("docs/reference.md") == 1
    assert refusal({f"zzz{number}": 1 for number in range(99)}).startswith(
        "zzz0, zzz1, zzz2, zzz3, zzz4, zzz5, zzz6, zz"
    )
    assert "zzz9 and 89 more: unknown fields" in refusal({f"zzz{number}": 1 for number in range(99)})
    assert "x" * 41 not in refusal({"x" * 9999: 1})
    assert refusal({"tune": {"qq": 1}}) == (
        "tune.qq: unknown field (known fields: trials, ranges, strategy, max_parallel, minutes, where, objective, seed)"
    )
    wrong = refusal({"hyperparameters": {"zzz": 1, "qqq": 2, "lr": 3}})
    assert wrong.count("docs/reference.md") == 1


@pytest.mark.parametrize("tune", [{}, {"tune": {"trials": 4}}])
@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("lr", 0.1, "is unknown (did you mean 'learning_rate'?)"),
        ("learning-rate", 0.1, "is unknown (did you mean 'learning_rate'?)"),
        ("batch_size", 8, "is unknown (did you mean 'global_batch_size'?)"),
        ("epochs", "five", "must be a whole number, not 'five'"),
        ("epochs", "nan", "must be a whole number, not 'nan'"),
        ("epochs", 1e9, "must be between 0 and 10000, not 1000000000"),
        ("epochs", 10**9, "must be between 0 and 10000, not 1000000000"),
        ("epochs", -5, "must be between 0 and 10000, not -5"),
        ("epochs", True, "must be a whole number, not 'true'"),
        ("epochs", "9" * 5000, f"must be between 0 and 10000, not {'9' * 40}…"),
        ("epochs", 10**400, f"must be below 1e308, not 1{'0' * 39}…"),
        ("learning_rate", "nan", "must be between 1e-08 and 10, not nan"),
        ("learning_rate", "fast", "must be a number, not 'fast'"),
        ("mode", "Head", "must be auto or head or full, not 'Head'"),
        ("seed", 2**31, "must be between 0 and 2147483647, not 2147483648"),
        ("tune", "{}", "a search is the request's field tune; leave it out here"),
    ],
)
def test_hyperparameters_that_the_training_would_refuse_are_refused(name, value, problem, tune):
    assert refusal({"hyperparameters": {name: value}, **tune}) == f"hyperparameters.{name}: {problem}"


def test_right_hyperparameters_are_taken_in_every_way_that_the_training_reads():
    values = {"epochs": '"7"', "learning_rate": 1, "mode": "head", "pull": "1e-2", "seed": 2**31 - 1}
    assert request.parse({"hyperparameters": values}).hyperparameters == values


@pytest.mark.parametrize(
    ("fields", "path", "text"),
    [
        ({"min_top1": float("nan")}, "min_top1", "NaN"),
        ({"max_latency_ms": json.loads("1e999")}, "max_latency_ms", "Infinity"),
        ({"lease_hours": -float("inf")}, "lease_hours", "-Infinity"),
        ({"hyperparameters": {"pull": float("nan")}}, "hyperparameters.pull", "NaN"),
        ({"tune": {"minutes": float("inf")}}, "tune.minutes", "Infinity"),
        ({"tune": {"ranges": {"pull": {"min": float("nan"), "max": 1}}}}, "tune.ranges.pull.min", "NaN"),
        ({"tune": {"ranges": {"pull": [0.1, float("inf")]}}}, "tune.ranges.pull.1", "Infinity"),
    ],
)
def test_numbers_are_finite_wherever_they_are(fields, path, text):
    assert refusal(fields) == f"{path}: must be a finite number, not {text}"


def test_null_means_not_given_where_nothing_is_the_default():
    optional = [name for name, field in Request.model_fields.items() if field.default is None]
    assert {"tune", "spot", "promote", "training_instance_type", "lease_hours"} <= set(optional)
    assert request.parse(dict.fromkeys(optional)) == Request()
    assert request.parse({"trained_model": "m.pth", "backbone": "resnet50", "tune": None}).tune is None
    assert request.parse({"promote": 3, "tune": None, "spot": None}).promote == 3


SAGEMAKER = boto3.client("sagemaker", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


def instance_refusal(**fields):
    with pytest.raises(RequestError) as error:
        instances.check(SAGEMAKER, request.parse(fields))
    return str(error.value)


@pytest.mark.parametrize("kind", ["ml.c5.0xlarge", "ml.x9.large", "ml.c7i.metal", "ml.c5.large"])
def test_instance_types_that_cannot_train_are_refused(kind):
    message = instance_refusal(training_instance_type=kind)
    assert message.startswith(f"training_instance_type: no {kind} trains on SageMaker (did you mean 'ml.")
    assert message.endswith("can be the stack's TrainingInstanceType")


def test_instance_types_are_those_of_their_use():
    # ml.c5.large serves, and the evaluation, a processing job on the same type, cannot use it.
    assert "no ml.c5.large evaluates" in instance_refusal(serving_instance_type="ml.c5.large")
    assert "no ml.c5.0xlarge serves" in instance_refusal(promote=1, serving_instance_type="ml.c5.0xlarge")
    instances.check(SAGEMAKER, request.parse({"promote": 1, "serving_instance_type": "ml.c5.large"}))
    both = {"training_instance_type": "ml.c7i.xlarge", "serving_instance_type": "ml.c7i.large"}
    instances.check(SAGEMAKER, request.parse(both))
    instances.check(SimpleNamespace(meta=SAGEMAKER.meta), request.parse({}))
