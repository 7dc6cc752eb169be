"""The ranking of a search's training jobs, with SageMaker's answers in the form of its API's model."""

import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from rank import candidates, jobs
from shared.errors import TuningError
from shared.tuning import TunedTrial, TuningPlan, TuningQuote

PLAN = TuningPlan(
    where="jobs",
    reason="asked for",
    mode="head",
    trials=4,
    strategy="bayesian",
    max_parallel=2,
    minutes=None,
    seed=0,
    objective="valid_top1",
    goal="Maximize",
    ranges={"pull": {"min": 0.0, "max": 1.0, "scale": "linear"}},
    parameter_ranges={"ContinuousParameterRanges": []},
    job_name="kennel-20261129-101500-c79237",
    document_uri="s3://bucket/runs/x/report/tuned.json",
    inside=None,
    jobs=TuningQuote(minutes=1.0, dollars=0.1),
)


def trial(pull: str, objective: float | None) -> TunedTrial:
    ended = "completed" if objective is not None else "AlgorithmError: no dogs"
    return TunedTrial(job=f"j-{pull}", hyperparameters={"pull": pull}, objective=objective, seconds=9.0, ended=ended)


TRIALS = [trial("0.1", 0.7), trial("0.2", None), trial("0.3", 0.9), trial("0.4", 0.8), trial("0.5", 0.6)]


def texts(search: Any) -> list[dict[str, str]]:
    (searched,) = search.parameter_ranges["CategoricalParameterRanges"]
    assert searched["Name"] == "candidate"
    return [json.loads(text) for text in searched["Values"]]


def test_the_best_three_and_the_training_without_a_search_are_trained_with_two_new_seeds() -> None:
    search = candidates.again(PLAN, TRIALS, {"epochs": "5", "seed": "7"})
    assert (search.job_name, search.strategy, search.trials) == ("kennel-20261129-101500-c79237-r", "Grid", 8)
    assert len(search.job_name) <= 32
    assert search.static == {"epochs": "5"}
    assert [(each.get("pull"), each["seed"]) for each in texts(search)] == [
        ("0.3", "8"),
        ("0.3", "9"),
        ("0.4", "8"),
        ("0.4", "9"),
        ("0.1", "8"),
        ("0.1", "9"),
        (None, "8"),
        (None, "9"),
    ]


def test_a_small_loss_is_the_best_where_it_is_minimized() -> None:
    plan = PLAN.model_copy(update={"goal": "Minimize", "objective": "valid_loss"})
    assert [each.get("pull") for each in texts(candidates.again(plan, TRIALS, {}))][::2] == ["0.5", "0.1", "0.4", None]


def test_a_search_without_any_objective_says_what_to_do() -> None:
    with pytest.raises(TuningError, match="none of 1 trials reported valid_top1 within the 2 minutes"):
        candidates.again(PLAN.model_copy(update={"minutes": 2.0}), [trial("0.1", None)], {})


def test_values_that_are_too_long_for_a_category_are_named() -> None:
    long = TunedTrial(job="j", hyperparameters={"x": "1" * 250}, objective=0.5, seconds=1.0, ended="completed")
    with pytest.raises(TuningError, match=r"have 2\d\d characters as text; SageMaker takes 256"):
        candidates.again(PLAN, [long], {})


def repeated(pull: str | None, seed: str, objective: float | None) -> TunedTrial:
    values = {"seed": seed} | ({"pull": pull} if pull else {})
    candidate = {"candidate": json.dumps(values)}
    return TunedTrial(job="r", hyperparameters=candidate, objective=objective, seconds=9.0, ended="completed")


def test_the_mean_over_seeds_decides_not_luck() -> None:
    again = [
        *(repeated("0.3", seed, value) for seed, value in (("1", 0.95), ("2", 0.6))),
        *(repeated("0.4", seed, value) for seed, value in (("1", 0.8), ("2", 0.82))),
        *(repeated(None, seed, value) for seed, value in (("1", 0.7), ("2", None))),
    ]
    tuned = candidates.decide(PLAN, TRIALS, again, {"epochs": "5"})
    assert tuned.hyperparameters == {"pull": "0.4"}
    assert [(each.hyperparameters, each.mean) for each in tuned.candidates] == [
        ({"pull": "0.4"}, pytest.approx(0.81)),
        ({"pull": "0.3"}, pytest.approx(0.775)),
        ({}, pytest.approx(0.7)),
    ]
    assert len(tuned.trials) == 5
    assert tuned.fixed == {"epochs": "5"}


def test_repeated_trainings_that_all_failed_are_an_error() -> None:
    with pytest.raises(TuningError, match="none of the best trials could be trained again"):
        candidates.decide(PLAN, TRIALS, [repeated("0.3", "1", None)], {})


def test_trials_are_read_from_sagemakers_lists_page_by_page() -> None:
    client = boto3.client("sagemaker", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    begin = datetime(2026, 11, 29, 10, 0, tzinfo=UTC)

    def summary(number: int, status: str, **more: Any) -> dict[str, Any]:
        return {
            "TrainingJobName": f"t-00{number}",
            "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:000000000000:training-job/t-00{number}",
            "CreationTime": begin,
            "TrainingJobStatus": status,
            "TunedHyperParameters": {"pull": str(number)},
            **more,
        }

    metric = {"MetricName": "valid:top1", "Value": 0.5}
    times = {"TrainingStartTime": begin, "TrainingEndTime": begin.replace(minute=1)}
    first = summary(1, "Stopped", FinalHyperParameterTuningJobObjectiveMetric=metric, **times)
    second = summary(2, "Failed", FailureReason="AlgorithmError: no dogs")
    asked = {"HyperParameterTuningJobName": "t", "SortBy": "Name", "SortOrder": "Ascending"}
    operation = "list_training_jobs_for_hyper_parameter_tuning_job"
    with Stubber(client) as stubber:
        stubber.add_response(operation, {"TrainingJobSummaries": [first], "NextToken": "more"}, asked)
        stubber.add_response(operation, {"TrainingJobSummaries": [second]}, {**asked, "NextToken": "more"})
        found = jobs.trials(client, "t")
    assert [each.model_dump() for each in found] == [
        {"job": "t-001", "hyperparameters": {"pull": "1"}, "objective": 0.5, "seconds": 60.0, "ended": "stopped early"},
        {
            "job": "t-002",
            "hyperparameters": {"pull": "2"},
            "objective": None,
            "seconds": None,
            "ended": "AlgorithmError: no dogs",
        },
    ]
