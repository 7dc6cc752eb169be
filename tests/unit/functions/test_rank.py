"""The ranking of a search's training jobs, with SageMaker's answers in the form of its API's model."""

import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from rank import finals, jobs
from rank.jobs import Result
from shared.errors import TuningError
from shared.tuning import TuningPlan, TuningQuote

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
    checkpoint_uri="s3://bucket/checkpoints/trials",
    document_uri="s3://bucket/runs/x/report/tuned.json",
    inside=None,
    jobs=TuningQuote(minutes=1.0, dollars=0.1),
)


DESCRIPTION: dict[str, Any] = {
    "TrainingJobName": "t-001",
    "TrainingJobArn": "arn:aws:sagemaker:us-east-1:000000000000:training-job/t-001",
    "ModelArtifacts": {"S3ModelArtifacts": "s3://b/model.tar.gz"},
    "TrainingJobStatus": "Stopped",
    "SecondaryStatus": "Stopped",
    "AlgorithmSpecification": {"TrainingInputMode": "File"},
    "ResourceConfig": {"InstanceType": "ml.c7i.xlarge", "InstanceCount": 1},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
}


def trial(pull: str, top1: float | None, loss: float = 1.0) -> Result:
    ended = "trained to the end" if top1 is not None else "AlgorithmError: no dogs"
    return Result(f"j-{pull}", {"pull": pull}, top1, None if top1 is None else loss, 9.0, top1 is not None, ended)


TRIALS = [trial("0.1", 0.7, 2.0), trial("0.2", None), trial("0.3", 0.9, 3.0), trial("0.4", 0.8), trial("0.5", 0.6)]


def texts(search: Any) -> list[dict[str, str]]:
    (searched,) = search.parameter_ranges["CategoricalParameterRanges"]
    assert searched["Name"] == "candidate"
    return [json.loads(text) for text in searched["Values"]]


def test_the_best_three_and_the_training_without_a_search_are_trained_with_two_new_seeds() -> None:
    search = finals.again(PLAN, TRIALS, {"epochs": "5", "seed": "7"})
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


def test_the_smallest_loss_is_the_best_where_it_decides() -> None:
    plan = PLAN.model_copy(update={"goal": "Minimize", "objective": "valid_loss"})
    # The trials with 0.4 and 0.5 have the same loss; the more accurate one comes first.
    assert [each.get("pull") for each in texts(finals.again(plan, TRIALS, {}))][::2] == ["0.4", "0.5", "0.1", None]


def test_of_equally_accurate_trials_the_surer_is_better() -> None:
    trials = [trial("0.1", 1.0, 0.3), trial("0.2", 1.0, 0.1), trial("0.3", 1.0, 0.2)]
    assert [each.get("pull") for each in texts(finals.again(PLAN, trials, {}))][::2] == ["0.2", "0.3", "0.1", None]


def test_a_search_without_any_objective_says_what_to_do() -> None:
    with pytest.raises(
        TuningError, match=r"none of 1 trials reported valid_top1 within 2 minutes; .*tune\.minutes or max_dollars"
    ):
        finals.again(PLAN.model_copy(update={"minutes": 2.0}), [trial("0.1", None)], {})


WIDE_PLAN = PLAN.model_copy(
    update={"ranges": {f"hyperparameter_{number:02}": {"min": 0.0, "max": 1.0, "scale": "log"} for number in range(16)}}
)
WIDE = [
    trial("0.1", top1)._replace(hyperparameters=dict.fromkeys(WIDE_PLAN.ranges, f"{top1}12345678901234567"))
    for top1 in (0.5, 0.7)
]


def test_sets_that_are_too_long_for_a_category_are_hyperparameters_of_their_own() -> None:
    search = finals.again(WIDE_PLAN, WIDE, {"epochs": "5"})
    best, second = WIDE[1].hyperparameters, WIDE[0].hyperparameters
    assert search.static.keys() == {"epochs", "candidate_0", "candidate_1"}
    assert (json.loads(search.static["candidate_0"]), json.loads(search.static["candidate_1"])) == (best, second)
    assert all(len(text) <= 2500 for text in search.static.values())  # SageMaker's limit of a value
    assert texts(search) == [
        {"of": "candidate_0", "seed": "1"},
        {"of": "candidate_0", "seed": "2"},
        {"of": "candidate_1", "seed": "1"},
        {"of": "candidate_1", "seed": "2"},
        {"seed": "1"},
        {"seed": "2"},
    ]
    again = [
        trial("0", 0.9 if values.get("of") == "candidate_1" else 0.8)._replace(
            hyperparameters={"candidate": json.dumps(values)}
        )
        for values in texts(search)
    ]
    tuned = finals.decide(WIDE_PLAN, WIDE, again, {"epochs": "5"}, 100)
    assert (tuned.winner, tuned.train_again) == (1, {"hyperparameters": {"epochs": "5", **second}})
    assert [each.trial for each in tuned.finalists] == [1, 2, 0]


@pytest.mark.parametrize(
    ("seed", "seeds"),
    [("2147483645", ["2147483646", "2147483647"]), ("2147483647", ["0", "1"]), ('"5"', ["6", "7"])],
)
def test_the_seeds_of_the_finals_are_seeds_that_a_training_takes(seed: str, seeds: list[str]) -> None:
    assert [each["seed"] for each in texts(finals.again(PLAN, TRIALS[:1], {"seed": seed}))] == seeds * 2


def repeated(pull: str | None, seed: str, top1: float | None) -> Result:
    values = {"seed": seed} | ({"pull": pull} if pull else {})
    return trial("0", top1)._replace(hyperparameters={"candidate": json.dumps(values)})


AGAIN = [
    *(repeated("0.3", seed, value) for seed, value in (("1", 0.95), ("2", 0.6))),
    *(repeated("0.4", seed, value) for seed, value in (("1", 0.8), ("2", 0.82))),
    *(repeated(None, seed, value) for seed, value in (("1", 0.72), ("2", 0.68))),
]


def test_the_mean_over_seeds_decides_not_luck() -> None:
    tuned = finals.decide(PLAN, TRIALS, AGAIN, {"epochs": "5"}, 100)
    assert tuned.train_again == {"hyperparameters": {"epochs": "5", "pull": "0.4"}}
    found = [(each.trial, each.hyperparameters, each.seeds, each.valid_top1) for each in tuned.finalists]
    assert found == [
        (4, {"pull": 0.4}, [1, 2], [0.8, 0.82]),
        (3, {"pull": 0.3}, [1, 2], [0.95, 0.6]),
        (0, {}, [1, 2], [0.72, 0.68]),
    ]
    assert (tuned.winner, len(tuned.trials), tuned.trials[1].valid_top1) == (4, 5, [])
    assert tuned.seconds == pytest.approx(9.0 * 11)


def test_a_gain_that_the_photos_cannot_show_is_none() -> None:
    """0.81 and 0.7 of 100 photos: 1.96 * sqrt((0.81 * 0.19 + 0.7 * 0.3) / 100) = 0.1182, more than 0.11."""
    few = finals.decide(PLAN, TRIALS, AGAIN, {}, 100).gain
    assert few.interval == pytest.approx([0.11 - 0.1182, 0.11 + 0.1182], abs=1e-4)
    assert (few.gained, few.sentence[:15]) == (False, "nothing gained:")
    many = finals.decide(PLAN, TRIALS, AGAIN, {}, 1000).gain
    assert many.gained
    assert many.sentence.startswith("the winner gains +11.00 points on 1,000 validation photos")
    assert many.sentence.endswith("with 95% confidence, as if each training had photos of its own)")


def test_without_a_training_to_compare_with_nothing_is_said_to_be_gained() -> None:
    gain = finals.decide(PLAN, TRIALS, AGAIN[:4], {}, 100).gain
    assert (gain.top1, gain.interval, gain.gained) == (None, None, False)
    assert "no training without a search to compare with" in gain.sentence


def test_when_the_training_without_a_search_wins_nothing_is_gained() -> None:
    again = [repeated(pull, seed, top1) for pull, top1 in (("0.3", 0.5), (None, 0.9)) for seed in "12"]
    tuned = finals.decide(PLAN, TRIALS, again, {"epochs": "5"}, 100)
    assert tuned.train_again == {"hyperparameters": {"epochs": "5"}}
    assert (tuned.winner, tuned.gain.gained) == (0, False)
    assert tuned.gain.sentence.startswith("nothing gained: no other hyperparameters are better")


def test_a_finalist_counts_only_if_it_trained_to_the_end_with_every_seed() -> None:
    best = repeated("0.3", "1", 0.99)
    halves = [best._replace(finished=False, ended="stopped early"), repeated("0.3", "2", 0.99)]
    tuned = finals.decide(PLAN, TRIALS, [*halves, *AGAIN[2:]], {}, 100)
    assert [each.trial for each in tuned.finalists] == [4, 0]
    for broken in (halves, [best], [best, repeated("0.3", "2", None)]):
        with pytest.raises(TuningError, match="none of the best trials trained again to the end with 2 seeds"):
            finals.decide(PLAN, TRIALS, broken, {}, 100)


def test_repeated_trainings_that_all_failed_are_an_error_with_their_reasons() -> None:
    with pytest.raises(TuningError, match=r"\(AlgorithmError: no dogs\); look into the logs of .*-c79237-r-…"):
        finals.decide(PLAN, TRIALS, [repeated("0.3", "1", None), repeated("0.3", "2", None)], {}, 100)


def test_of_equal_trials_among_the_best_only_the_first_is_trained_again() -> None:
    twins = [trial("0.3", 0.85), *TRIALS, trial("0.3", 0.9, 2.0)]
    pulls = [each.get("pull") for each in texts(finals.again(PLAN, twins, {}))]
    assert pulls[::2] == ["0.3", "0.4", "0.1", None]
    tuned = finals.decide(PLAN, twins, [repeated("0.3", seed, 0.9) for seed in "12"], {}, 100)
    assert tuned.winner == 7  # the best of the three with these hyperparameters


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

    times = {"TrainingStartTime": begin, "TrainingEndTime": begin.replace(minute=1)}
    first = summary(1, "Stopped", **times)
    second = summary(2, "Failed", FailureReason="AlgorithmError: no dogs")
    asked = {"HyperParameterTuningJobName": "t", "SortBy": "Name", "SortOrder": "Ascending"}
    operation = "list_training_jobs_for_hyper_parameter_tuning_job"
    figures = [{"MetricName": "valid:top1", "Value": 0.5}, {"MetricName": "valid:loss", "Value": 1.5}]
    described = {**DESCRIPTION, "CreationTime": begin, "FinalMetricDataList": figures}
    with Stubber(client) as stubber:
        stubber.add_response(operation, {"TrainingJobSummaries": [first], "NextToken": "more"}, asked)
        stubber.add_response(operation, {"TrainingJobSummaries": [second]}, {**asked, "NextToken": "more"})
        stubber.add_response("describe_training_job", described, {"TrainingJobName": "t-001"})
        found = jobs.results(client, "t")
    assert found == [
        Result("t-001", {"pull": "1"}, 0.5, 1.5, 60.0, False, "stopped early"),
        Result("t-002", {"pull": "2"}, None, None, None, False, "AlgorithmError: no dogs"),
    ]
