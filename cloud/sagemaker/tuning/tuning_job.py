"""A hyperparameter tuning job: it starts training jobs, follows their objective, and ends by AWS's criteria."""

import itertools
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cloud.core.clock import now
from cloud.core.protocol import ApiError, Request, invalid
from cloud.sagemaker.jobs.training import TrainingJob
from cloud.sagemaker.tuning import definitions, rules, stopping
from cloud.sagemaker.tuning.definitions import Definition
from cloud.sagemaker.tuning.strategies import Strategy, Values, strategy

log = logging.getLogger("kennel.tuning")

TERMINAL = ("Completed", "Failed", "Stopped")
_POLL_SECONDS = 0.2
_ATTEMPTS = 5  # training jobs without any success, after which SageMaker gives up
_MAX_NAME = 32  # characters, by SageMaker's API model
_NO_SUCCESS = (
    "No training job succeeded after {count} attempts. For additional details, please take a look at the training job "
    "failures by listing training jobs for the hyperparameter tuning job."
)
_NO_OBJECTIVE = (
    "No objective metrics found after running {count} training jobs. Please ensure that the custom algorithm is "
    "emitting the objective metric as defined by the regular expression provided."
)

# Starts a training job by the request of CreateTrainingJob, for the tuning job with an ARN.
StartTraining = Callable[[Request, str], TrainingJob]


class Trial(NamedTuple):
    """One training job of a tuning job.

    Attributes:
        job: the training job.
        definition: what it was made of.
        values: its hyperparameters from the ranges.
    """

    job: TrainingJob
    definition: Definition
    values: Values

    @property
    def has_ended(self) -> bool:
        """Whether the training job is in a final state."""
        return self.job.status in TERMINAL

    @property
    def objectives(self) -> list[float]:
        """All values of the objective so far, one for each epoch."""
        return self.job.metric_values(self.definition.metric)

    @property
    def objective(self) -> float | None:
        """The final objective: the last value of a training job that has ended and not failed."""
        values = self.objectives
        return values[-1] if values and self.job.status in ("Completed", "Stopped") else None

    @property
    def objective_status(self) -> str:
        """Succeeded, Pending or Failed."""
        if not self.has_ended:
            return "Pending"
        return "Failed" if self.objective is None else "Succeeded"

    def summary(self) -> dict[str, Any]:
        """Return the HyperParameterTrainingJobSummary."""
        members: dict[str, Any] = {
            "TrainingJobDefinitionName": self.definition.name or None,
            "TrainingJobName": self.job.name,
            "TrainingJobArn": self.job.arn,
            "CreationTime": self.job.created,
            "TrainingStartTime": self.job.started,
            "TrainingEndTime": self.job.ended,
            "TrainingJobStatus": self.job.status,
            "TunedHyperParameters": dict(self.values),
            "FailureReason": self.job.failure_reason,
            "ObjectiveStatus": self.objective_status,
        }
        if self.objective is not None:
            metric = {"MetricName": self.definition.metric, "Value": self.objective}
            if self.definition.name:
                metric["Type"] = "Maximize" if self.definition.maximize else "Minimize"
            members["FinalHyperParameterTuningJobObjectiveMetric"] = metric
        return {name: value for name, value in members.items() if value is not None}


class TuningJob:
    """One hyperparameter tuning job.

    Attributes:
        status: InProgress, Stopping, Completed, Failed or Stopped.
        trials: its training jobs in the order of their start.
    """

    def __init__(
        self, arn: str, request: Request, parents: Sequence["TuningJob"], start: StartTraining, closing: threading.Event
    ) -> None:
        """Prepare the tuning job; nothing is started yet.

        Args:
            arn: its ARN.
            request: the request, which ``rules`` has checked.
            parents: the tuning jobs of a warm start.
            start: starts training jobs.
            closing: set when the cloud ends; no training job is started after that.
        """
        self.name, self.arn, self.request = request["HyperParameterTuningJobName"], arn, request
        self.created = self.modified = now()
        self.ended: float | None = None
        self.status = "InProgress"
        self.trials: list[Trial] = []
        self._parents, self._start, self._closing = parents, start, closing
        self._config = request["HyperParameterTuningJobConfig"]
        self._definitions = definitions.of(request)
        self._max_jobs = rules.max_jobs(request)
        self._reason: str | None = None
        self._converged: float | None = None
        self._told: set[str] = set()  # names of the training jobs whose results the strategies know
        self._num_seen: dict[str, int] = {}  # values of the objective that early stopping has looked at, by name
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._strategies = self._make_strategies()
        self._turns = itertools.cycle(range(len(self._definitions)))
        self._hyperband = self._make_hyperband()

    def _make_strategies(self) -> list[Strategy]:
        """Return one strategy for each definition; several definitions take turns."""
        seed = self._config.get("RandomSeed", random.SystemRandom().randrange(2**32))
        known = [(trial.values, trial.objective) for each in self._parents for trial in each.trials]
        results = [(values, objective) for values, objective in known if objective is not None]
        name = self._config["Strategy"]
        return [
            strategy(name, each.ranges, seed + number, each.maximize, results)
            for number, each in enumerate(self._definitions)
        ]

    def _make_hyperband(self) -> stopping.Hyperband | None:
        if self._config["Strategy"] != "Hyperband":
            return None
        least = self._config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {}).get("MinResource", 1)
        most = [definitions.max_resource(self._config, each.request) for each in self._definitions]
        return stopping.Hyperband(least, max(each for each in most if each), self._definitions[0].maximize)

    def run(self) -> None:
        """Start training jobs and wait for them until a criterion ends the tuning job; runs on a thread of its own."""
        try:
            while not self._is_over():
                self._tell()
                self._stop_weak_jobs()
                self._start_jobs()
                time.sleep(_POLL_SECONDS)
            self._end_jobs()
            self._finish(*self._verdict())
        except ApiError as error:
            self._end_jobs()
            self._finish("Failed", error.message)
        except Exception as error:
            log.exception("tuning job %s failed inside the laptop cloud", self.name)
            self._end_jobs()
            self._finish("Failed", f"InternalServerError: {type(error).__name__}: {error}")

    def request_stop(self) -> None:
        """Ask the tuning job and its training jobs to stop; the thread does so a little later.

        Raises:
            ApiError: the tuning job is not in progress.
        """
        with self._lock:
            if self.status != "InProgress":
                raise invalid(
                    f"The request was rejected because the hyperparameter tuning job is in status {self.status}."
                )
            self.status, self.modified = "Stopping", now()
        self._stop.set()

    def _is_over(self) -> bool:
        """Whether no training job shall be started or go on any more."""
        if self._stop.is_set() or self._closing.is_set() or self._is_hopeless():
            return True
        criteria = self._config.get("TuningJobCompletionCriteria", {})
        seconds = self._config["ResourceLimits"].get("MaxRuntimeInSeconds")
        if seconds and now() - self.created > seconds:
            return True
        target = criteria.get("TargetObjectiveMetricValue")
        if target is not None and any(self._reaches(each, target) for each in self.trials):
            return True
        most = criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
        if most and self._num_not_improving() >= most:
            return True
        if self._num_not_improving() >= stopping.CONVERGED_AFTER:
            self._converged = self._converged or now()
        if self._converged and self._completes_on_convergence():
            return True
        return len(self.trials) >= self._max_jobs and all(each.has_ended for each in self.trials)

    def _is_hopeless(self) -> bool:
        """Whether so many training jobs have ended without an objective that SageMaker gives up."""
        ended = [each for each in self.trials if each.has_ended]
        return len(ended) >= _ATTEMPTS and all(each.objective is None for each in ended)

    def _completes_on_convergence(self) -> bool:
        given = self._config.get("TuningJobCompletionCriteria", {}).get("ConvergenceDetected", {})
        default = "Enabled" if "Autotune" in self.request else "Disabled"
        return bool(given.get("CompleteOnConvergence", default) == "Enabled")

    def _reaches(self, trial: Trial, target: float) -> bool:
        if trial.objective is None:
            return False
        return trial.objective >= target if trial.definition.maximize else trial.objective <= target

    def _tell(self) -> None:
        """Give the results of training jobs that have ended to the strategies."""
        for trial in self.trials:
            if trial.has_ended and trial.job.name not in self._told:
                self._told.add(trial.job.name)
                self._strategies[self._definitions.index(trial.definition)].observe(trial.values, trial.objective)

    def _stop_weak_jobs(self) -> None:
        """Stop the training jobs that early stopping or Hyperband gives up."""
        automatic = "Auto" if "Autotune" in self.request and not self._hyperband else "Off"
        has_median_rule = self._config.get("TrainingJobEarlyStoppingType", automatic) == "Auto"
        for number, trial in enumerate(self.trials):
            values = trial.objectives
            if trial.job.status != "InProgress" or self._num_seen.get(trial.job.name, 0) == len(values):
                continue
            self._num_seen[trial.job.name] = len(values)
            ended = [each.objectives for each in self.trials if each.has_ended]
            weak = has_median_rule and stopping.is_worse_than_median(values, ended, trial.definition.maximize)
            if weak or (self._hyperband and self._hyperband.is_over(number, values)):
                _request_stop(trial)

    def _start_jobs(self) -> None:
        """Start as many training jobs as may run at the same time.

        Raises:
            ApiError: a training job is refused.
        """
        parallel = self._config["ResourceLimits"]["MaxParallelTrainingJobs"]
        while len(self.trials) < self._max_jobs and sum(not each.has_ended for each in self.trials) < parallel:
            if self._is_over() or not self._start_job():
                return

    def _start_job(self) -> bool:
        """Start one training job; return whether there was one to start.

        Raises:
            ApiError: it is refused.
        """
        for number in itertools.islice(self._turns, len(self._definitions)):
            definition = self._definitions[number]
            if (values := self._strategies[number].suggest()) is None:
                continue
            request = definition.training_job(self._next_name(), values)
            while not self._is_over():
                try:
                    self.trials.append(Trial(self._start(request, self.arn), definition, values))
                    self.modified = now()
                    return True
                except ApiError as error:
                    if error.code != "ResourceLimitExceeded":
                        raise
                # Other jobs use the instances. The request was within the quota, so it waits for them.
                self._stop.wait(_POLL_SECONDS)
            return False
        self._max_jobs = len(self.trials)  # All combinations were tried.
        return False

    def _next_name(self) -> str:
        return f"{self.name[:_MAX_NAME]}-{len(self.trials) + 1:03d}-{uuid.uuid4().hex[:8]}"

    def _end_jobs(self) -> None:
        """Stop the training jobs that still run, and wait for their end."""
        for trial in self.trials:
            if trial.job.status == "InProgress":
                _request_stop(trial)
        while not all(each.has_ended for each in self.trials) and not self._closing.is_set():
            time.sleep(_POLL_SECONDS)

    def _verdict(self) -> tuple[str, str | None]:
        """Return the final status and the reason of a failure."""
        if self._stop.is_set():
            return "Stopped", None
        if self.trials and all(each.objective is None for each in self.trials):
            failed = any(each.job.status == "Failed" for each in self.trials)
            return "Failed", (_NO_SUCCESS if failed else _NO_OBJECTIVE).format(count=len(self.trials[:_ATTEMPTS]))
        return "Completed", None

    def _finish(self, status: str, reason: str | None) -> None:
        with self._lock:
            self.ended = self.modified = now()
            self._reason, self.status = reason, status

    def _num_not_improving(self) -> int:
        ended = sorted(
            (each for each in self.trials if each.objective is not None), key=lambda each: each.job.ended or 0
        )
        objectives = [each.objective for each in ended if each.objective is not None]
        return stopping.not_improving(objectives, self._definitions[0].maximize)

    def best(self) -> Trial | None:
        """Return the training job with the best objective: of those that completed, else of those that were stopped."""
        for status in ("Completed", "Stopped"):
            ended = [each for each in self.trials if each.job.status == status and each.objective is not None]
            if ended:
                sign = 1 if self._definitions[0].maximize else -1
                return max(ended, key=lambda each: sign * (each.objective or 0.0))
        return None

    def description(self) -> dict[str, Any]:
        """Return the answer of DescribeHyperParameterTuningJob."""
        best = self.best()
        members = {
            **self.request,
            **self._described_definitions(),
            **self.summary(),
            "BestTrainingJob": best.summary() if best else None,
            "OverallBestTrainingJob": self._overall_best(),
            "FailureReason": self._reason,
            "TuningJobCompletionDetails": {"NumberOfTrainingJobsObjectiveNotImproving": self._num_not_improving()},
            "ConsumedResources": {"RuntimeInSeconds": round((self.ended or now()) - self.created)},
        }
        if self._converged:
            members["TuningJobCompletionDetails"]["ConvergenceDetectedTime"] = self._converged
        return members

    def summary(self) -> dict[str, Any]:
        """Return the tuning job's entry in a list."""
        jobs = [each.job for each in self.trials]
        internal = [each for each in jobs if (each.failure_reason or "").startswith("InternalServerError")]
        statuses = [each.status for each in jobs]
        objectives = [each.objective_status for each in self.trials]
        members = {
            "HyperParameterTuningJobName": self.name,
            "HyperParameterTuningJobArn": self.arn,
            "HyperParameterTuningJobStatus": self.status,
            "Strategy": self._config["Strategy"],
            "CreationTime": self.created,
            "HyperParameterTuningEndTime": self.ended,
            "LastModifiedTime": max([self.modified, *(each.modified for each in jobs)]),
            "TrainingJobStatusCounters": {
                "Completed": statuses.count("Completed"),
                "InProgress": statuses.count("InProgress") + statuses.count("Stopping"),
                "RetryableError": len(internal),
                "NonRetryableError": statuses.count("Failed") - len(internal),
                "Stopped": statuses.count("Stopped"),
            },
            "ObjectiveStatusCounters": {
                status: objectives.count(status) for status in ("Succeeded", "Pending", "Failed")
            },
            "ResourceLimits": self._config["ResourceLimits"],
        }
        return {name: value for name, value in members.items() if value is not None}

    def _described_definitions(self) -> dict[str, Any]:
        """Return the definitions with the hyperparameter that SageMaker adds."""
        described: list[Mapping[str, Any]] = [
            {**each.request, "StaticHyperParameters": {**each.static, definitions.OBJECTIVE: each.metric}}
            for each in self._definitions
        ]
        if "TrainingJobDefinitions" in self.request:
            return {"TrainingJobDefinitions": described}
        return {"TrainingJobDefinition": described[0]}

    def _overall_best(self) -> dict[str, Any] | None:
        """Return the best of this and the parents' training jobs, for a warm start with the same data and algorithm."""
        if self.request.get("WarmStartConfig", {}).get("WarmStartType") != "IdenticalDataAndAlgorithm":
            return None
        sign = 1 if self._definitions[0].maximize else -1
        bests = [(each.name, best) for each in (self, *self._parents) if (best := each.best())]
        if not bests:
            return None
        name, best = max(bests, key=lambda pair: sign * (pair[1].objective or 0.0))
        return {**best.summary(), "TuningJobName": name}


def _request_stop(trial: Trial) -> None:
    """Ask a training job to stop, unless it ends by itself at this moment."""
    try:
        trial.job.request_stop()
    except ApiError:
        log.debug("training job %s has ended meanwhile", trial.job.name)
