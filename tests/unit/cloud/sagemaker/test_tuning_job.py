"""When a tuning job starts, stops and gives up, with training jobs that only pretend to train."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from cloud.core.protocol import ApiError
from cloud.sagemaker.tuning import rules, tuning_job
from cloud.sagemaker.tuning.tuning_job import TuningJob
from tests.unit.cloud.sagemaker.test_tuning_rules import hyperband, limits, only, request, several

Plot = Callable[[dict[str, str]], list[float]]  # the values of the objective by the hyperparameters


class FakeTraining:
    """A training job that reports one value each time somebody looks, and then completes."""

    def __init__(self, asked: dict[str, Any], values: list[float]) -> None:
        self.name, self.arn, self.request = asked["TrainingJobName"], f"arn:{asked['TrainingJobName']}", asked
        self.created = self.modified = self.started = time.time()
        self.ended: float | None = None
        self.failure_reason: str | None = None
        self.status = "InProgress"
        self._left, self._reported = list(values), list[float]()

    def metric_values(self, _name: str) -> list[float]:
        if self.status == "InProgress":
            if self._left:
                self._reported.append(self._left.pop(0))
            else:
                self.status, self.ended = "Completed", time.time()
        return list(self._reported)

    def request_stop(self) -> None:
        self.status, self.ended = "Stopped", time.time()


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch) -> Callable[..., TuningJob]:
    """Return a function that runs a tuning job to its end."""
    monkeypatch.setattr(tuning_job, "_POLL_SECONDS", 0.001)

    def run(asked: dict[str, Any], plot: Plot = lambda _: [0.5], refusals: list[ApiError] | None = None) -> TuningJob:
        def start(training: dict[str, Any], _arn: str) -> Any:
            if refusals:
                raise refusals.pop()
            return FakeTraining(training, plot(training["HyperParameters"]))

        rules.tuning_job(asked)
        job = TuningJob("arn:t", asked, [], start, threading.Event())
        job.run()
        return job

    return run


def test_every_training_job_has_another_combination_and_no_more_are_started(tune: Any) -> None:
    job = tune(request(Strategy="Random", ResourceLimits=limits(6, 3)))
    assert (job.status, len(job.trials)) == ("Completed", 6)
    assert len({trial.values["lr"] for trial in job.trials}) == 6
    assert [trial.job.name[:5] for trial in job.trials[:2]] == ["t-001", "t-002"]


def test_jobs_that_do_not_improve_end_the_search(tune: Any) -> None:
    criteria = {"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}}
    job = tune(request(Strategy="Random", ResourceLimits=limits(50), TuningJobCompletionCriteria=criteria))
    assert (job.status, len(job.trials)) == ("Completed", 4)
    assert job.description()["TuningJobCompletionDetails"] == {"NumberOfTrainingJobsObjectiveNotImproving": 3}


def test_convergence_ends_the_search_where_it_is_asked_for(tune: Any) -> None:
    criteria = {"ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}}
    job = tune(request(Strategy="Random", ResourceLimits=limits(50), TuningJobCompletionCriteria=criteria))
    assert len(job.trials) == 11
    assert job.description()["TuningJobCompletionDetails"]["ConvergenceDetectedTime"] == pytest.approx(
        time.time(), abs=9
    )
    assert len(tune(request(Strategy="Random", ResourceLimits=limits(20))).trials) == 20


def test_the_time_of_the_tuning_job_is_limited(tune: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]

    def now() -> float:
        clock[0] += 10
        return clock[0]

    monkeypatch.setattr(tuning_job, "now", now)
    job = tune(request(ResourceLimits=limits(50) | {"MaxRuntimeInSeconds": 120}), lambda _: [0.5] * 1000)
    assert (job.status, [trial.job.status for trial in job.trials]) == ("Completed", ["Stopped"])


def test_hyperband_stops_those_that_are_not_among_the_best_third(tune: Any) -> None:
    asked = request(**hyperband(MinResource=1, MaxResource=3), ResourceLimits=limits(12))
    job = tune(asked, lambda parameters: [float(parameters["lr"])] * 3)
    stopped = [trial for trial in job.trials if trial.job.status == "Stopped"]
    assert stopped
    assert all(trial.objectives[0] < job.best().objective for trial in stopped)
    assert job.best().objective == max(trial.objective for trial in job.trials if trial.job.status == "Completed")


def test_definitions_take_turns_and_each_has_its_objective(tune: Any) -> None:
    job = tune(several("a", "b", Strategy="Random", ResourceLimits=limits(4)), lambda p: [float(p["lr"])])
    assert [trial.definition.name for trial in job.trials] == ["a", "b", "a", "b"]
    summary = job.description()["BestTrainingJob"]
    assert summary["TrainingJobDefinitionName"] in ("a", "b")
    assert summary["FinalHyperParameterTuningJobObjectiveMetric"]["Type"] == "Maximize"


def test_a_full_quota_is_waited_for_and_another_refusal_fails_the_tuning_job(tune: Any) -> None:
    full = [ApiError("ResourceLimitExceeded", "full") for _ in range(3)]
    assert tune(request(), refusals=full).status == "Completed"
    job = tune(request(), refusals=[ApiError("ValidationException", "the role is gone")])
    assert (job.status, job.description()["FailureReason"]) == ("Failed", "the role is gone")


def test_the_smallest_is_the_best_where_it_is_minimized(tune: Any) -> None:
    objective = {"Type": "Minimize", "MetricName": "top1"}
    values = {"ParameterRanges": {"CategoricalParameterRanges": [{"Name": "x", "Values": ["3", "1", "2"]}]}}
    asked = request(Strategy="Grid", HyperParameterTuningJobObjective=objective, **values)
    job = tune(asked, lambda parameters: [float(parameters["x"])])
    assert job.best().values == {"x": "1"}


def test_a_whole_integer_range_is_tried_and_then_the_tuning_job_ends(tune: Any) -> None:
    depth = {"Name": "depth", "MinValue": "1", "MaxValue": "3"}
    job = tune(request(Strategy="Bayesian", **only("Integer", depth)))
    assert sorted(trial.values["depth"] for trial in job.trials) == ["1", "2", "3"]


def test_no_training_job_is_started_when_the_cloud_ends() -> None:
    closing = threading.Event()
    closing.set()
    job = TuningJob("arn:t", request(), [], lambda *_: pytest.fail("started"), closing)
    job.run()
    assert job.trials == []
