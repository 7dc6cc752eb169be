"""The operations on jobs, and the placement of jobs on instances."""

import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloud.batch import instance_types
from cloud.batch.job import BatchJob, Placement
from cloud.batch.resources import Record, Resources, check_retries, page, refused
from cloud.core import clock, emulator
from cloud.core.clock import now
from cloud.core.protocol import Operation, Request
from cloud.ecr.images import Images

_INVALID = "ACTION_REQUIRED - CE(s) associated with the job queue are invalid"
# Reasons for which a job waits for ever. The codes are AWS's, and jobStateTimeLimitActions names them.
_MAX_RESOURCE = "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"
_REQUIREMENT = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"


class Jobs:
    """All jobs, by id.

    Args:
        resources: Queues, compute environments and job definitions.
        images: The images in ECR.
        home: Folder of the cloud; jobs get ``batch-jobs/<id>`` in it.
    """

    def __init__(self, resources: Resources, images: Images, home: Path) -> None:
        self._resources, self._images, self._home = resources, images, home
        self._jobs: dict[str, BatchJob] = {}
        self._lock, self._placing = threading.Lock(), threading.Lock()
        resources.vcpus_in_use, resources.end_jobs = self.vcpus_in_use, self.end_all

    def table(self) -> dict[str, Operation]:
        """Return the operations by name."""
        return {
            "SubmitJob": self._submit,
            "DescribeJobs": self._describe,
            "ListJobs": self._list,
            "CancelJob": lambda request: self._cancel(request, terminate=False),
            "TerminateJob": lambda request: self._cancel(request, terminate=True),
        }

    def vcpus_in_use(self, environment: str) -> int:
        """Return the vCPUs of the instances of a compute environment; an idle instance ends at once here."""
        with self._lock:
            places = [job.placement for job in self._jobs.values()]
        return sum(p.instance_type.vcpus for p in places if p and p.environment["computeEnvironmentArn"] == environment)

    def end_all(self, queue: str) -> None:
        """End all jobs of a queue that is deleted."""
        for job in self._of(queue):
            job.cancel("Job queue was deleted", terminate=True)

    def _submit(self, request: Request) -> Mapping[str, Any]:
        check_retries(request)
        queue = self._resources.queue(request["jobQueue"])
        if queue["state"] != "ENABLED":
            raise refused(f"Job queue {queue['jobQueueName']} is not in state ENABLED")
        definition = self._resources.definition(request["jobDefinition"])
        job_id = str(uuid.uuid4())
        job = BatchJob(job_id, self._resources.arn("job", job_id), request, definition, queue)
        kinds = {each["computeResources"]["type"] for each in self._resources.environments_of(queue)}
        if job.is_multinode and "EC2" in kinds:
            raise refused("The laptop cloud runs jobs of one node only.")
        with self._lock:
            self._jobs[job_id] = job
        emulator.spawn_thread(job.run, self._place, self._images, self._home, name=f"batch-{job.name}")
        return {"jobArn": job.arn, "jobName": job.name, "jobId": job_id}

    def _describe(self, request: Request) -> Mapping[str, Any]:
        wanted = [each.rpartition("/")[2] for each in request["jobs"]]
        return {"jobs": [self._jobs[each].description() for each in wanted if each in self._jobs]}

    def _list(self, request: Request) -> Mapping[str, Any]:
        if not request.get("jobQueue"):
            raise refused("jobQueue must be given; the laptop cloud has neither array jobs nor jobs of several nodes")
        jobs = sorted(self._of(self._resources.queue(request["jobQueue"])["jobQueueArn"]), key=lambda j: -j.created)
        if filters := request.get("filters"):  # AWS then ignores jobStatus.
            jobs = [job for job in jobs if all(_passes(job, each) for each in filters)]
        else:
            jobs = [job for job in jobs if job.status == request.get("jobStatus", "RUNNING")]
        return page(request, "jobSummaryList", [job.summary() for job in jobs])

    def _cancel(self, request: Request, terminate: bool) -> Mapping[str, Any]:
        job = self._jobs.get(request["jobId"])
        if job is not None:  # AWS succeeds for a job that does not exist, or has ended.
            job.cancel(request["reason"], terminate)
        return {}

    def _of(self, queue: str) -> list[BatchJob]:
        with self._lock:
            return [job for job in self._jobs.values() if job.queue == queue]

    # --- placement ----------------------------------------------------------------------------------

    def _place(self, job: BatchJob) -> Placement | None:
        """Return where a job may run now, or say why it waits; a job waits behind the older ones of its queue."""
        if any(each.status == "RUNNABLE" and each.created < job.created for each in self._of(job.queue)):
            return None
        queue = self._resources.queue(job.queue)
        environments = [each for each in self._resources.environments_of(queue) if each["state"] == "ENABLED"]
        valid = [each for each in environments if each["status"] == "VALID"]
        reason = _never(job, valid)
        if reason:
            job.wait_with(reason)
            self._limit_time(job, queue)
            return None
        with self._placing:  # Two jobs must not take the last vCPUs both.
            for environment in valid:
                resources = environment["computeResources"]
                fitting = [t for t in instance_types.expand(resources["instanceTypes"]) if t.fits(*_triple(job.needs))]
                used = self.vcpus_in_use(environment["computeEnvironmentArn"])
                if fitting and used + fitting[0].vcpus <= resources["maxvCpus"]:
                    role = self._resources.instance_role(environment)
                    job.placement = Placement(environment, fitting[0], role)
                    return job.placement
        return None

    def _limit_time(self, job: BatchJob, queue: Record) -> None:
        """Cancel a job that has waited longer than the queue's jobStateTimeLimitActions allow."""
        for action in queue["jobStateTimeLimitActions"]:
            waited = now() - job.runnable_since
            if job.status_reason.startswith(action["reason"]) and waited > clock.scaled(action["maxTimeSeconds"]):
                reason = f"Canceled by JobStateTimeLimit action due to reason: {action['reason']}"
                job.cancel(reason, terminate=False)


def _never(job: BatchJob, environments: list[Record]) -> str:
    """Return why AWS would never place a job in these compute environments; empty if it would."""
    if not environments:
        return _INVALID
    if job.is_multinode:
        return (
            f"{_REQUIREMENT} - AWS Batch starts jobs of several nodes on compute resources of type EC2, never on SPOT"
        )
    needs = job.needs
    fitting = {
        environment["computeEnvironmentArn"]: [
            each
            for each in instance_types.expand(environment["computeResources"]["instanceTypes"])
            if each.fits(*_triple(needs))
        ]
        for environment in environments
    }
    if not any(fitting.values()):
        types = sorted({name for each in environments for name in each["computeResources"]["instanceTypes"]})
        gpus = f" and {needs['GPU']} GPUs" if needs["GPU"] else ""
        return (
            f"{_REQUIREMENT} - The job needs {needs['VCPU']} vCPUs, {needs['MEMORY']} MiB of memory{gpus}, and no "
            f"instance type of the compute environments has as much: {', '.join(types)}"
        )
    most = {each["computeEnvironmentArn"]: each["computeResources"]["maxvCpus"] for each in environments}
    if all(each.vcpus > most[arn] for arn, types in fitting.items() for each in types):
        return f"{_MAX_RESOURCE} - The job needs {needs['VCPU']} vCPUs, above every compute environment's maxvCpus"
    return ""


def _triple(needs: Mapping[str, int]) -> tuple[int, int, int]:
    return needs["VCPU"], needs["MEMORY"], needs["GPU"]


def _passes(job: BatchJob, rule: Mapping[str, Any]) -> bool:
    """Return whether a job passes a filter of ListJobs."""
    values = rule.get("values", [])
    match rule.get("name"):
        case "JOB_NAME":
            return any(
                job.name.lower().startswith(v[:-1].lower()) if v.endswith("*") else job.name.lower() == v.lower()
                for v in values
            )
        case "BEFORE_CREATED_AT":
            return all(job.created * 1000 < int(value) for value in values)
        case "AFTER_CREATED_AT":
            return all(job.created * 1000 > int(value) for value in values)
    raise refused(f"The laptop cloud has no filter {rule.get('name')} of ListJobs")
