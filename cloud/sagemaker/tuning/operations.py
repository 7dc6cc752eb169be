"""The operations of SageMaker's API on hyperparameter tuning jobs."""

import math
import threading
from collections.abc import Sequence
from typing import Any

from cloud.core import emulator, quotas
from cloud.core.protocol import ApiError, Operation, Request, invalid
from cloud.sagemaker.jobs.job import JobContext
from cloud.sagemaker.jobs.operations import JobOperations
from cloud.sagemaker.jobs.training import TrainingJob
from cloud.sagemaker.store import page
from cloud.sagemaker.tuning import definitions, ranges, rules
from cloud.sagemaker.tuning.tuning_job import TERMINAL, Trial, TuningJob

_MAX_TUNING_JOBS = 100  # at the same time
_DEFAULTS = {"SortBy": "Name", "MaxResults": 10}  # of both lists
_PROBE = "probe"  # the name of a training job that is checked and never started


class TuningOperations:
    """Create, Describe, List, Stop and Delete of tuning jobs, and the list of a tuning job's training jobs."""

    def __init__(self, context: JobContext, trainings: JobOperations, closing: threading.Event) -> None:
        """Create the operations.

        Args:
            context: what jobs need of the cloud.
            trainings: the operations on training jobs.
            closing: set when the cloud ends.
        """
        self._context, self._trainings, self._closing = context, trainings, closing
        self._store = context.store

    def table(self) -> dict[str, Operation]:
        """Return the operations by name."""
        return {
            "CreateHyperParameterTuningJob": self.create,
            "DescribeHyperParameterTuningJob": self.describe,
            "ListHyperParameterTuningJobs": self.list,
            "ListTrainingJobsForHyperParameterTuningJob": self.list_training_jobs,
            "StopHyperParameterTuningJob": self.stop,
            "DeleteHyperParameterTuningJob": self.delete,
        }

    def create(self, request: Request) -> dict[str, Any]:
        """Start a tuning job on a thread of its own."""
        rules.tuning_job(request)
        parents = self._parents(request)
        if parents:
            rules.warm_start(request, [(each.request, len(each.trials)) for each in parents])
        self._check_training_jobs(request)
        name, tags = request["HyperParameterTuningJobName"], request.get("Tags", [])
        arn = self._arn(name)
        at_work = [each for each in self._store.of(TuningJob) if each.status not in TERMINAL]
        if len(at_work) >= _MAX_TUNING_JOBS:
            raise ApiError(
                "ResourceLimitExceeded",
                f"The account-level service limit 'Number of concurrent hyperparameter tuning jobs' is "
                f"{_MAX_TUNING_JOBS}, with current utilization of {len(at_work)} and a request delta of 1.",
            )
        members = {key: value for key, value in request.items() if key != "Tags"}

        def start(training: Request, tuning_job: str) -> TrainingJob:
            job = self._trainings.start(training, tuning_job)
            assert isinstance(job, TrainingJob)
            self._store.tag(job.arn, tags)
            return job

        job = TuningJob(arn, members, parents, start, self._closing)
        self._store.add(
            job,
            taken=ApiError(
                "ResourceInUse",
                f"Hyperparameter tuning job names must be unique within an "
                f"AWS account and region, and a hyperparameter tuning job with this name already exists ({arn})",
            ),
        )
        emulator.spawn_thread(job.run, name=f"tuning-{name}")
        return {"HyperParameterTuningJobArn": arn}

    def describe(self, request: Request) -> dict[str, Any]:
        """Return a tuning job's description."""
        return self._find(request["HyperParameterTuningJobName"]).description()

    def list(self, request: Request) -> dict[str, Any]:
        """List tuning jobs."""
        jobs, token = page({**_DEFAULTS, **request}, self._store.of(TuningJob), order="Ascending")
        return {"HyperParameterTuningJobSummaries": [job.summary() for job in jobs], "NextToken": token}

    def list_training_jobs(self, request: Request) -> dict[str, Any]:
        """List the training jobs of a tuning job."""
        trials = {each.job.name: each for each in self._find(request["HyperParameterTuningJobName"]).trials}
        asked = {**_DEFAULTS, **request}
        jobs = [each.job for each in trials.values()]
        if asked["SortBy"] == "FinalObjectiveMetricValue":
            with_objective = [each for each in trials.values() if each.objective is not None]
            jobs = [each.job for each in with_objective]
            selected, token = page(asked, jobs, order="Ascending", key=lambda job: _objective(trials[job.name]))
        else:
            selected, token = page(asked, jobs, order="Ascending")
        return {"TrainingJobSummaries": [trials[job.name].summary() for job in selected], "NextToken": token}

    def stop(self, request: Request) -> dict[str, Any]:
        """Ask a tuning job and its training jobs to stop."""
        self._find(request["HyperParameterTuningJobName"]).request_stop()
        return {}

    def delete(self, request: Request) -> dict[str, Any]:
        """Delete a tuning job that has ended; its training jobs stay."""
        job = self._find(request["HyperParameterTuningJobName"])
        if job.status not in TERMINAL:
            raise invalid(
                f"The request was rejected because the hyperparameter tuning job is in status {job.status}; stop it "
                "first."
            )
        self._store.remove(job.arn)
        return {}

    def _parents(self, request: Request) -> Sequence[TuningJob]:
        """Return the parents of a warm start; none when it is no warm start.

        Raises:
            ApiError: one does not exist, or has not ended.
        """
        config = request.get("WarmStartConfig", {})
        names = [
            each.get("HyperParameterTuningJobName", "") for each in config.get("ParentHyperParameterTuningJobs", [])
        ]
        parents = [self._find(name) for name in names]
        for each in parents:
            if each.status not in TERMINAL:
                raise invalid(f"Parent tuning job {each.name} must have ended; it is {each.status}.")
        return parents

    def _check_training_jobs(self, request: Request) -> None:
        """Check the training jobs that a tuning job would start, before it starts any.

        Raises:
            ApiError: CreateTrainingJob would refuse one, or the account's quota of instances does not suffice.
        """
        parallel = request["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxParallelTrainingJobs"]
        for each in definitions.of(request):
            values = {one.name: _any_value(one) for one in each.ranges}
            job = self._trainings.check(each.training_job(_PROBE, values))
            more = {job.instance_type: job.instances * parallel}
            if problem := quotas.beyond(job.use, {}, more) or quotas.beyond_each(job.use, job.instances):
                raise ApiError("ResourceLimitExceeded", problem)

    def _find(self, name: str) -> TuningJob:
        try:
            return self._store.get(self._arn(name), TuningJob, "")
        except ApiError:
            raise ApiError("ResourceNotFound", f"Could not find hyperparameter tuning job with name: {name}") from None

    def _arn(self, name: str) -> str:
        return self._store.arn("hyper-parameter-tuning-job", name.lower())  # Names are not case-sensitive.


def _objective(trial: Trial) -> float:
    return -math.inf if trial.objective is None else trial.objective


def _any_value(each: ranges.Range) -> str:
    return each.values[0] if isinstance(each, ranges.Categories) else each.text(each.low)
