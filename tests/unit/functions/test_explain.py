"""The sentence of a failure, from reports as the services write them."""

import json

import pytest

from shared.sentence import sentence_of

LAMBDA = {"errorMessage": "dataset: there are no photos", "errorType": "DatasetError", "stackTrace": ["line 1"]}
JOB = {"TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: no dogs, exit code: 1", "Tags": []}
EVALUATION = {"FailureReason": "AlgorithmError: see ExitMessage", "ExitMessage": "the artifact is broken"}
BUILD = {"Phases": [{"Contexts": [{"Message": "", "StatusCode": ""}]}, {"Contexts": [{"Message": "exit status 1"}]}]}


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (LAMBDA, "dataset: there are no photos"),
        (JOB, "AlgorithmError: no dogs, exit code: 1"),
        (EVALUATION, "the artifact is broken"),
        (BUILD, "exit status 1"),
        ({**BUILD, "FailureReason": ""}, ""),
    ],
    ids=["function", "training", "evaluation", "build", "empty"],
)
def test_sentence_is_that_of_the_service_that_failed(report, sentence, separators):
    assert sentence_of(json.dumps(report, separators=separators)) == sentence


@pytest.mark.parametrize(
    "sentence",
    [
        'tune.strategy: must be auto or grid, not "Grid"; backbone: missing',
        'tune.where: add {"hyperparameters": {"mode": "head"}}, or leave out train_on',
        'dataset: "a", "b" and C:\\photos\\ are no classes, and \u00e9 is one',
        'ends in a "quote"',
    ],
)
def test_sentence_may_contain_quotes(sentence):
    for field in ("errorMessage", "FailureReason", "Message"):
        assert sentence_of(json.dumps({"a": 1, field: sentence, "b": {"c": "d"}})) == sentence


def test_report_that_is_no_json_is_quoted_as_it_is():
    assert sentence_of(r'"FailureReason": "a \z"') == r"a \z"


def test_sentence_is_found_in_a_report_that_was_cut_off():
    assert sentence_of(json.dumps(JOB)[:100]) == "AlgorithmError: no dogs, exit code: 1"


@pytest.mark.parametrize("cause", ["", "the endpoint failed: out of memory", '{"Message": ""}'])
def test_cause_without_a_known_field_stays_whole(cause):
    assert sentence_of(cause) == cause
