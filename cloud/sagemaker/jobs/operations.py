"""The operations of SageMaker's API on one kind of job."""

from collections import Counter
from typing import Any, NamedTuple

from cloud.core import emulator, quotas
from cloud.core.protocol import ApiError, Operation, Request
from cloud.sagemaker.jobs.job import Job, JobContext
from cloud.sagemaker.store import page


class Usage(NamedTuple):
    """The instances that a job takes.

    Attributes:
        use: what they do, a key of ``quotas.USES``.
        instance_type: for example ``ml.c7i.xlarge``.
        instances: number of instances.
    """

    use: str
    instance_type: str
    instances: int


class JobOperations:
    """The operations Create, Describe, List and Stop of one kind of job."""

    def __init__(self, kind: type[Job], context: JobContext) -> None:
        self._kind = kind
        self._context = context

    def table(self) -> dict[str, Operation]:
        """Return the operations by name."""
        job = f"{self._kind.KIND}Job"
        return {
            f"Create{job}": self.create,
            f"Describe{job}": self.describe,
            f"List{job}s": self.list,
            f"Stop{job}": self.stop,
        }

    def create(self, request: Request) -> dict[str, Any]:
        """Start a job on a thread of its own."""
        return {f"{self._kind.KIND}JobArn": self.start(request).arn}

    def start(self, request: Request, tuning_job: str | None = None) -> Job:
        """Start a job on a thread of its own.

        Args:
            request: the request that creates it.
            tuning_job: the ARN of the tuning job that starts it, if one does.

        Raises:
            ApiError: the request is refused.
        """
        job = self._new(request)
        job.tuning_job_arn = tuning_job
        self._refuse_beyond_quota(job)
        self._context.store.add(job, taken=ApiError("ResourceInUse", self._kind.IN_USE.format(arn=job.arn)))
        emulator.spawn_thread(job.run, name=f"job-{job.name}")
        return job

    def check(self, request: Request) -> Usage:
        """Check a request without starting the job; return which instances it would take.

        Raises:
            ApiError: the request is refused.
        """
        return _usage(self._new(request))

    def _new(self, request: Request) -> Job:
        kind = self._kind
        name = request[f"{kind.KIND}JobName"]
        members = {key: value for key, value in request.items() if key != "Tags"}
        return kind(name, self._context.store.arn(f"{kind.KIND.lower()}-job", name), members, self._context)

    def describe(self, request: Request) -> dict[str, Any]:
        """Return a job's description."""
        return self._find(request).description()

    def list(self, request: Request) -> dict[str, Any]:
        """List jobs, the newest last unless the request says otherwise."""
        # The laptop cloud has neither warm pools nor training plans, so no job has one.
        none = {"WarmPoolStatusEquals", "TrainingPlanArnEquals"} & request.keys()
        jobs, token = page(request, [] if none else self._context.store.of(self._kind), order="Ascending")
        return {f"{self._kind.KIND}JobSummaries": [job.summary() for job in jobs], "NextToken": token}

    def stop(self, request: Request) -> dict[str, Any]:
        """Ask a job to stop."""
        self._find(request).request_stop()
        return {}

    def _refuse_beyond_quota(self, job: Job) -> None:
        """Refuse a job whose instances the account's quota does not allow beside those of the jobs at work.

        Raises:
            ApiError: the quota is too small.
        """
        needed = _usage(job)
        at_work = [each for each in self._context.store.of(self._kind) if each.status in ("InProgress", "Stopping")]
        used = Counter[str]()
        for other in map(_usage, at_work):
            if other.use == needed.use:
                used[other.instance_type] += other.instances
        more = {needed.instance_type: needed.instances}
        if problem := quotas.beyond(needed.use, used, more) or quotas.beyond_each(needed.use, needed.instances):
            raise ApiError("ResourceLimitExceeded", problem)

    def _find(self, request: Request) -> Job:
        kind, store = self._kind, self._context.store
        name = request[f"{kind.KIND}JobName"]
        arn = store.arn(f"{kind.KIND.lower()}-job", name)
        return store.get(arn, kind, kind.NOT_FOUND.format(name=name))


def _usage(job: Job) -> Usage:
    """Return which instances a job takes."""
    request = job.request
    cluster = request.get("ResourceConfig") or request["ProcessingResources"]["ClusterConfig"]
    use = "spot" if request.get("EnableManagedSpotTraining") else job.KIND.lower()
    return Usage(use, cluster["InstanceType"], cluster["InstanceCount"])
