"""The search by tuning jobs in the pipeline's branch that trains, run with scripted answers of an account."""

import json
from collections import ChainMap
from typing import Any

import pytest

from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.interpreter import Interpreter, Scope
from shared.tuning import repeated_job_name
from tests.contract.conftest import evaluated, states_of
from tests.contract.test_training_branch import MODEL, OUTPUT, PIN, RUN, VPC, Account, job, train  # noqa: F401 - a fixture

RANGES = {"ContinuousParameterRanges": [{"Name": "pull", "MinValue": "0", "MaxValue": "1", "ScalingType": "Linear"}]}
TUNING: dict[str, Any] = {
    "where": "jobs",
    "job_name": "kennel-x",
    "checkpoint_uri": "s3://bucket/checkpoints/trials",
    "strategy": "bayesian",
    "trials": 8,
    "max_parallel": 2,
    "minutes": None,
    "objective": "valid_top1",
    "goal": "Maximize",
    "parameter_ranges": RANGES,
    "job_seconds": 14400,
}
AGAIN = {
    "job_name": "kennel-x-r",
    "strategy": "Grid",
    "trials": 8,
    "parameter_ranges": {"CategoricalParameterRanges": [{"Name": "candidate", "Values": ["{}"]}]},
    "static": {"epochs": "3"},
    "early_stopping": "Off",
}
RANKED = [
    {"Payload": {"again": AGAIN, "hyperparameters": None}},
    {"Payload": {"again": None, "hyperparameters": {"epochs": "3", "pull": "0.2"}}},
]


def tuning(status: str, output: str = f"{OUTPUT}/trials", **more: str) -> dict[str, Any]:
    definition = {"OutputDataConfig": {"S3OutputPath": output}}
    return {"HyperParameterTuningJobStatus": status, "TrainingJobDefinition": definition, **more}


def account(*statuses: dict[str, Any]) -> Account:
    return Account(
        createHyperParameterTuningJob=[{}],
        describeHyperParameterTuningJob=list(statuses),
        stopHyperParameterTuningJob=[{}],
        invoke=[dict(each) for each in RANKED],
        createTrainingJob=[{}],
        describeTrainingJob=[job("Completed")],
    )


def test_the_winner_of_two_searches_is_trained_like_any_other(train: Any) -> None:  # noqa: F811
    cloud = account(tuning("InProgress"), tuning("Completed"))
    assert train(cloud, tuning=TUNING) == {"job": "kennel-x", "model_uri": MODEL, **PIN}
    first, second = cloud.of("createHyperParameterTuningJob")
    config, definition = first["HyperParameterTuningJobConfig"], first["TrainingJobDefinition"]
    assert (first["HyperParameterTuningJobName"], config["Strategy"]) == ("kennel-x", "Bayesian")
    assert config["ParameterRanges"] == RANGES
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Maximize", "MetricName": "valid:top1"}
    assert config["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 8, "MaxParallelTrainingJobs": 2}
    assert definition["StaticHyperParameters"] == {"epochs": "3"}
    assert config["TrainingJobEarlyStoppingType"] == "Auto"
    assert second["HyperParameterTuningJobName"] == "kennel-x-r"
    assert second["HyperParameterTuningJobConfig"]["Strategy"] == "Grid"
    (training,) = cloud.of("createTrainingJob")
    assert training["HyperParameters"] == {"epochs": "3", "pull": "0.2"}
    same = ("InputDataConfig", "ResourceConfig", "StoppingCondition", "EnableManagedSpotTraining", "RoleArn")
    assert [definition[field] for field in same] == [training[field] for field in same]
    assert definition["AlgorithmSpecification"]["TrainingImage"] == RUN["images"]["train"]
    payloads = [arguments["Payload"] for arguments in cloud.of("invoke")]
    asked = [payload["job"] for payload in payloads]
    assert {(payload["photos"], payload["uri"]) for payload in payloads} == {(150, f"{OUTPUT}/tuned.json")}
    assert asked == ["kennel-x", "kennel-x-r"]


def test_each_search_keeps_its_checkpoints_where_no_training_downloads_them(train: Any) -> None:  # noqa: F811
    cloud = account(tuning("Completed"))
    train(cloud, tuning=TUNING)
    searches = [each["TrainingJobDefinition"] for each in cloud.of("createHyperParameterTuningJob")]
    below = "s3://bucket/checkpoints/trials"
    kept = [each["CheckpointConfig"]["S3Uri"] for each in searches]
    assert kept == [f"{below}/kennel-x/", f"{below}/kennel-x-r/"]
    (training,) = cloud.of("createTrainingJob")
    assert not below.startswith(training["CheckpointConfig"]["S3Uri"])


def test_a_search_in_a_vpc_sends_the_same_request_and_the_network(train: Any) -> None:  # noqa: F811
    plain, in_vpc = account(tuning("Completed")), account(tuning("Completed"))
    train(plain, tuning=TUNING)
    train(in_vpc, tuning=TUNING, network=VPC)
    one, other = plain.calls[0][1], in_vpc.calls[0][1]
    assert other == one | {"TrainingJobDefinition": one["TrainingJobDefinition"] | VPC}


def test_a_failed_search_fails_the_run_with_its_reason(train: Any) -> None:  # noqa: F811
    cloud = account(tuning("Failed", FailureReason="No training job succeeded after 5 attempts."))
    with pytest.raises(StatesError) as failure:
        train(cloud, tuning=TUNING)
    reason = "the tuning job kennel-x failed: No training job succeeded after 5 attempts."
    assert (failure.value.error, failure.value.cause) == ("TrainingFailed", reason)


def test_a_lost_answer_finds_the_search_that_the_first_request_started(train: Any) -> None:  # noqa: F811
    cloud = account(tuning("Completed"))
    taken = StatesError("SageMaker.ResourceInUseException", "names must be unique")
    cloud._answers["createHyperParameterTuningJob"] = [taken, {}]
    train(cloud, tuning=TUNING)
    assert len(cloud.of("createTrainingJob")) == 1


@pytest.mark.parametrize("status", ["InProgress", "Completed", "Failed"])
@pytest.mark.parametrize("network", [{}, VPC])
def test_an_older_search_of_the_same_name_is_not_taken(train: Any, status: str, network: Any) -> None:  # noqa: F811
    for other in ("s3://bucket/training/9999/trials", f"{OUTPUT}9/trials", OUTPUT):
        cloud = account(tuning(status, other))
        cloud._answers["createHyperParameterTuningJob"] = [StatesError("SageMaker.ResourceInUseException", "taken")]
        with pytest.raises(StatesError) as failure:
            train(cloud, tuning=TUNING, network=network)
        reason = "there is an older tuning job kennel-x; start the run again"
        assert (failure.value.error, failure.value.cause) == ("TrainingFailed", reason)
        assert cloud.of("invoke") == []


def test_an_older_search_of_the_second_ones_name_is_not_taken_either(train: Any) -> None:  # noqa: F811
    cloud = account(tuning("Completed"), tuning("Completed", "s3://bucket/training/9999/trials"))
    with pytest.raises(StatesError, match="there is an older tuning job kennel-x-r; start the run again"):
        train(cloud, tuning=TUNING)


@pytest.mark.parametrize(
    ("max_parallel", "hours_before", "hours"),
    [
        (8, 0, 4),  # The eight trainings train at once.
        (4, 0, 8),
        (3, 1, 11),  # Three rounds would take 12 hours, of which 11 are left.
        (1, 8, 4),
    ],
)
def test_the_second_search_has_time_for_its_rounds_within_the_time_of_both(
    machines: Any, max_parallel: int, hours_before: float, hours: float
) -> None:
    states, hour = dict(states_of(machines["pipeline"])), 3_600_000

    def at(expression: str, now: int, **variables: Any) -> Any:
        return evaluated(expression.replace("$millis()", str(now)), **variables)

    end = at(states["BeginSearch"]["Assign"]["searchesEnd"], 0)
    variables = {"searchesEnd": end, "run": {"tuning": {"max_parallel": max_parallel, "job_seconds": 14_400}}}
    states_variable = {"input": {"again": AGAIN}}
    now, expression = hours_before * hour, states["IsRanked"]["Assign"]["searchDeadline"]
    assert at(expression, now, states=states_variable, **variables) == now + hours * hour


def test_when_the_time_is_over_the_trials_until_then_decide(train: Any, monkeypatch: Any) -> None:  # noqa: F811
    cloud = account(tuning("InProgress"), tuning("InProgress"), tuning("Stopping"), tuning("Stopped"))
    evaluate, now = cloud.evaluate, [1_000_000]

    def later(expression: str, scope: Any) -> Any:
        now[0] += 40_000 * ("> $searchDeadline and" in expression)  # 40 seconds pass between two checks.
        return evaluate(expression.replace("$millis()", str(now[0])), scope)

    monkeypatch.setattr(cloud, "evaluate", later)
    train(cloud, tuning=TUNING | {"minutes": 1})
    assert cloud.of("stopHyperParameterTuningJob") == [{"HyperParameterTuningJobName": "kennel-x"}]
    assert len(cloud.of("createTrainingJob")) == 1


def part(machine: dict[str, Any], start: str, *names: str, end: str) -> dict[str, Any]:
    """Return a machine of some states of another; the state ``end`` is one that does nothing."""
    states = {name: machine["States"][name] for name in (start, *names)}
    return {**machine, "StartAt": start, "States": {**states, end: {"Type": "Pass", "End": True}}}


def test_a_failure_beside_the_search_stops_both_tuning_jobs_before_the_training(machines: Any) -> None:
    gone = StatesError("SageMaker.ResourceNotFoundException", "no such tuning job")
    cloud = Account(stopHyperParameterTuningJob=[{}, gone], stopTrainingJob=[{}])
    stops = part(
        machines["pipeline"], "WasTraining", "StopSearch", "StopRepeatedTrials", "StopTraining", end="FindStaging"
    )
    variables = {"run": RUN | {"tuning": TUNING}, "failure": {"state": "TrainAndBuildImages"}}
    Interpreter(cloud).run(stops, {}, Scope({}, ChainMap(variables)))  # type: ignore[arg-type]
    assert [list(arguments.values()) for _, arguments in cloud.calls] == [
        ["kennel-x"],
        [repeated_job_name("kennel-x")],
        ["kennel-x"],
    ]


def test_teardown_stops_the_searches_of_an_abandoned_run_before_its_trainings(machines: Any) -> None:
    names = ["kennel-x", "kennel-x-r", "other-kennel-x", "kennelx"]
    listed = {"HyperParameterTuningJobSummaries": [{"HyperParameterTuningJobName": name} for name in names]}
    gone = StatesError("SageMaker.SageMakerException", "it is in status Stopped")
    cloud = Account(listHyperParameterTuningJobs=[listed], stopHyperParameterTuningJob=[gone, {}])
    text = json.dumps(part(machines["teardown"], "ListSearches", "StopSearches", end="ListTrainings"))
    Interpreter(cloud).run(json.loads(text.replace("${EndpointName}", "kennel")), {}, Scope({}, ChainMap({})))  # type: ignore[arg-type]
    stopped = {arguments["HyperParameterTuningJobName"] for arguments in cloud.of("stopHyperParameterTuningJob")}
    assert stopped == {"kennel-x", "kennel-x-r"}
