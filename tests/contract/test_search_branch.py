"""The search by tuning jobs in the pipeline's branch that trains, run with scripted answers of an account."""

import json
from collections import ChainMap
from typing import Any

import pytest

from cloud.stepfunctions.executions import StatesError
from cloud.stepfunctions.interpreter import Interpreter, Scope
from shared.tuning import repeated_job_name
from tests.contract.test_training_branch import MODEL, OUTPUT, RUN, VPC, Account, job, train  # noqa: F401 - a fixture

RANGES = {"ContinuousParameterRanges": [{"Name": "pull", "MinValue": "0", "MaxValue": "1", "ScalingType": "Linear"}]}
TUNING: dict[str, Any] = {
    "where": "jobs",
    "job_name": "kennel-x",
    "strategy": "bayesian",
    "trials": 8,
    "max_parallel": 2,
    "minutes": None,
    "objective": "valid_top1",
    "goal": "Maximize",
    "parameter_ranges": RANGES,
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


def tuning(status: str, **more: str) -> dict[str, Any]:
    return {"HyperParameterTuningJobStatus": status, **more}


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
    assert train(cloud, tuning=TUNING) == {"job": "kennel-x", "model_uri": MODEL}
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


def test_hyperband_is_told_the_epochs_and_stops_by_itself(train: Any) -> None:  # noqa: F811
    cloud = account(tuning("Completed"))
    training = RUN["training"] | {"hyperparameters": {"pull": "0.1"}}
    train(cloud, tuning=TUNING | {"strategy": "hyperband"}, training=training)
    first = cloud.of("createHyperParameterTuningJob")[0]
    assert first["HyperParameterTuningJobConfig"]["TrainingJobEarlyStoppingType"] == "Off"
    assert first["TrainingJobDefinition"]["StaticHyperParameters"] == {"epochs": "20", "pull": "0.1"}


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
