"""One job of Batch: its attempts, each a container on an instance of a compute environment."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cloud.batch.instance_types import InstanceType
from cloud.batch.resources import Record, requirements
from cloud.core import clock, emulator, processes, spot
from cloud.core.clock import now
from cloud.core.protocol import Request
from cloud.ecr.images import ImageError, Images
from cloud.iam import authorization, permissions
from cloud.logs import streams
from cloud.sagemaker.jobs.host import JobError, JobHost

LOG_GROUP = "/aws/batch/job"
ENDED = ("SUCCEEDED", "FAILED")
_POLL_SECONDS = 0.05
_FLUSH_SECONDS = 0.25
_STOP_SECONDS = max(5.0, clock.scaled(30.0))  # between SIGTERM and SIGKILL, the ECS agent's default
_EXITED = "Essential container in task exited"
_TIMED_OUT = "Job attempt duration exceeded timeout"


class Placement(NamedTuple):
    """An instance on which a job runs.

    Attributes:
        environment: Record of the compute environment.
        instance_type: The instance's type.
        role: ARN of the role of the instance.
    """

    environment: Record
    instance_type: InstanceType
    role: str


class Attempt(NamedTuple):
    """How an attempt ended.

    Attributes:
        status_reason: Why it ended, in Batch's words.
        reason: The container's reason; empty when it ran.
        exit_code: The container's exit code; None when it has none.
        detail: The attempt in the form of DescribeJobs.
        is_final: Whether no retry may follow: somebody stopped the job, or its time was up.
    """

    status_reason: str
    reason: str
    exit_code: int | None
    detail: Record
    is_final: bool = False


class BatchJob:
    """One job.

    Attributes:
        arn, id, name, queue: Of the job; ``queue`` is the ARN of its queue.
        status: SUBMITTED, PENDING, RUNNABLE, STARTING, RUNNING, SUCCEEDED or FAILED.
        status_reason: Why it is in this status; empty if there is nothing to say.
        created: Epoch seconds of its submission.
        runnable_since: Epoch seconds since which it waits with the present reason.
        placement: Where it runs; None while it waits.
    """

    def __init__(self, job_id: str, arn: str, request: Request, definition: Record, queue: Record) -> None:
        self.id, self.arn, self.name = job_id, arn, str(request["jobName"])
        self.queue: str = queue["jobQueueArn"]
        self._queue_name: str = queue["jobQueueName"]
        self._definition = definition
        self._request = request
        self._parameters = {**definition.get("parameters", {}), **request.get("parameters", {})}
        self.container = _merged(definition.get("containerProperties", {}), request.get("containerOverrides", {}))
        self.is_multinode: bool = definition["type"] == "multinode"
        self.status, self.status_reason = "SUBMITTED", ""
        self.created = self.runnable_since = now()
        self.placement: Placement | None = None
        self.is_cancelled = self.is_terminated = False
        self._stop_reason = ""
        self._started: float | None = None
        self._stopped: float | None = None
        self._attempts: list[Record] = []
        self._detail: Record = {}  # the container of the attempt that runs
        self._stop = threading.Event()

    @property
    def needs(self) -> dict[str, int]:
        """VCPU, MEMORY and GPU that the job needs; a job of several nodes says nothing here."""
        return {"VCPU": 1, "MEMORY": 4, "GPU": 0, **requirements(self.container)}

    def run(self, place: Callable[["BatchJob"], Placement | None], images: Images, home: Path) -> None:
        """Wait for an instance and run there, until an attempt succeeds or no other may follow.

        Args:
            place: Sets ``placement`` and returns it when the job may run; None as long as it must wait.
            images: The images in ECR.
            home: The cloud's folder; the job gets ``batch-jobs/<id>`` in it.
        """
        self._enter("PENDING")
        while True:
            self._enter("RUNNABLE")
            while (placement := None if self._stop.is_set() else place(self)) is None:
                if self._stop.wait(_POLL_SECONDS):
                    self._end("FAILED", self._stop_reason)
                    return
            self._enter("STARTING")
            try:
                attempt = self._attempt(placement, images, home)
            finally:
                self.placement = None
            self._attempts.append(attempt.detail)
            if attempt.exit_code == 0 and not attempt.is_final:
                self._end("SUCCEEDED", attempt.status_reason)
                return
            if attempt.is_final or not self._is_retried(attempt):
                self._end("FAILED", attempt.status_reason)
                return

    def cancel(self, reason: str, terminate: bool) -> None:
        """Ask the job to end.

        Args:
            reason: Becomes the job's status reason.
            terminate: Whether a job that has an instance ends too.
        """
        if self.status in ENDED or (not terminate and self.placement is not None):
            return
        self.is_terminated, self.is_cancelled = terminate, not terminate
        self._stop_reason = reason
        self._stop.set()

    def wait_with(self, reason: str) -> None:
        """Say why the job waits."""
        if reason != self.status_reason:
            self.status_reason, self.runnable_since = reason, now()

    def _enter(self, status: str) -> None:
        self.status, self.status_reason, self.runnable_since = status, "", now()

    def _end(self, status: str, reason: str) -> None:
        self._stopped = now()
        self.status, self.status_reason = status, reason

    def _is_retried(self, attempt: Attempt) -> bool:
        """Return whether another attempt follows: the first rule that matches decides, and without a match yes."""
        strategy = self._request.get("retryStrategy") or self._definition.get("retryStrategy") or {}
        if len(self._attempts) >= strategy.get("attempts", 1):
            return False
        code = "" if attempt.exit_code is None else str(attempt.exit_code)
        values = {"onStatusReason": attempt.status_reason, "onReason": attempt.reason, "onExitCode": code}
        for rule in strategy.get("evaluateOnExit", []):
            if all(_matches(rule.get(name, "*"), value) for name, value in values.items()):
                return bool(rule["action"].upper() == "RETRY")
        return True

    # --- one attempt --------------------------------------------------------------------------------

    def _attempt(self, placement: Placement, images: Images, home: Path) -> Attempt:
        """Run the container once."""
        region, account = emulator.scope()
        task, begin = uuid.uuid4().hex, now()
        cluster = f"AWSBatch-{placement.environment['computeEnvironmentName']}"
        container: Record = {
            "containerInstanceArn": f"arn:aws:ecs:{region}:{account}:container-instance/{cluster}/{uuid.uuid4().hex}",
            "taskArn": f"arn:aws:ecs:{region}:{account}:task/{cluster}/{task}",
            "networkInterfaces": [],
        }
        self._detail = container

        def ended(status_reason: str, reason: str = "", code: int | None = None, final: bool = False) -> Attempt:
            members = {"exitCode": code, "reason": reason or None}
            container.update({key: value for key, value in members.items() if value is not None})
            detail = {"container": container, "startedAt": _millis(begin), "stoppedAt": _millis(now())}
            return Attempt(status_reason, reason, code, {**detail, "statusReason": status_reason}, final)

        folder = home / "batch-jobs" / self.id / str(len(self._attempts) + 1)
        try:
            instance = authorization.assume(placement.role, permissions.EC2, "i-" + task[:17])
            authorization.authorize(instance, permissions.pull(self.container["image"]))
            image = images.find(self.container["image"])
            credentials = self._credentials(task)
        except authorization.DeniedError as error:
            return ended("Task failed to start", f"CannotPullContainerError: {error}")
        except ImageError as error:
            return ended("Task failed to start", f"CannotPullContainerError: {error}")
        stream = f"{self._definition['jobDefinitionName']}/default/{task}"
        container["logStreamName"] = stream
        log = streams.LogStream(LOG_GROUP, stream, folder.with_suffix(".log"), instance)
        host = JobHost("container", folder, log, processes.mark_of("batch-jobs", self.id), image)
        try:
            words = with_parameters(self.container.get("command", []), self._parameters)
            command = [*image.entrypoint, *(words or image.cmd)]
            variables = {each["name"]: each["value"] for each in self.container.get("environment", [])}
            host.start(command, {}, {**variables, **self._variables(placement), **credentials}, [])
        except (OSError, JobError) as error:
            host.close()
            return ended("Task failed to start", f"CannotStartContainerError: {error}")
        self._enter("RUNNING")
        self._started = self._started or now()
        return self._watch(host, placement, ended, folder.parent)

    def _watch(self, host: JobHost, placement: Placement, ended: Callable[..., Attempt], folder: Path) -> Attempt:
        """Wait until the container has ended, or must end."""
        timeout = self._request.get("timeout") or self._definition.get("timeout") or {}
        deadline = time.monotonic() + timeout.get("attemptDurationSeconds", float("inf"))
        is_spot = placement.environment["computeResources"]["type"] == "SPOT"
        flushed, stopping, final = 0.0, 0.0, ""
        while host.exit_code is None:
            clock_now = time.monotonic()
            if is_spot and spot.take_interruption(folder) is not None:
                host.vanish()
                return ended(f"Host EC2 (instance i-{uuid.uuid4().hex[:17]}) terminated.")
            if not stopping and (self._stop.is_set() or clock_now > deadline):
                final, stopping = self._stop_reason if self._stop.is_set() else _TIMED_OUT, clock_now + _STOP_SECONDS
                host.terminate()
            elif stopping and clock_now > stopping:
                host.end()
            if clock_now - flushed > _FLUSH_SECONDS:
                flushed = clock_now
                host.flush()
            time.sleep(_POLL_SECONDS)
        host.close()
        code = host.exit_code
        code = 128 - code if code < 0 else code  # A container reports signal n as exit code 128 + n.
        return ended(final or _EXITED, code=code, final=bool(final))

    def _variables(self, placement: Placement) -> dict[str, str]:
        return {
            "AWS_BATCH_JOB_ID": self.id,
            "AWS_BATCH_JOB_ATTEMPT": str(len(self._attempts) + 1),
            "AWS_BATCH_JQ_NAME": self._queue_name,
            "AWS_BATCH_CE_NAME": placement.environment["computeEnvironmentName"],
            "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
            # Not on AWS: where the laptop cloud answers. By number, so that no name must be resolved in the container.
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}",
        }

    def _credentials(self, task: str) -> dict[str, str]:
        """Return the job role's credentials, which a container on AWS fetches from an address of the instance.

        Raises:
            DeniedError: The role does not exist or does not trust ECS's tasks.
        """
        if not (role := self.container.get("jobRoleArn")):
            return {}
        lent = authorization.lend(role, permissions.ECS_TASKS, task)
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        return dict(zip(names, lent, strict=True))

    # --- descriptions -------------------------------------------------------------------------------

    def summary(self) -> Record:
        """Return the job's entry in ListJobs."""
        members = ("jobArn", "jobId", "jobName", "createdAt", "status", "statusReason", "startedAt", "stoppedAt")
        described = self.description()
        container = {k: v for k, v in described["container"].items() if k in ("exitCode", "reason")}
        found = {name: described[name] for name in members if name in described}
        return {**found, "container": container, "jobDefinition": described["jobDefinition"]}

    def description(self) -> Record:
        """Return the job's entry in DescribeJobs."""
        last = self._attempts[-1]["container"] if self._attempts and self.placement is None else {}
        running = self._detail if self.placement is not None else {}
        members: Record = {
            "jobArn": self.arn,
            "jobId": self.id,
            "jobName": self.name,
            "jobQueue": self.queue,
            "status": self.status,
            "statusReason": self.status_reason or None,
            "attempts": list(self._attempts),
            "createdAt": _millis(self.created),
            "startedAt": None if self._started is None else _millis(self._started),
            "stoppedAt": None if self._stopped is None else _millis(self._stopped),
            "dependsOn": [],
            "jobDefinition": self._definition["jobDefinitionArn"],
            "parameters": self._parameters,
            "retryStrategy": self._request.get("retryStrategy") or self._definition.get("retryStrategy"),
            "timeout": self._request.get("timeout") or self._definition.get("timeout"),
            "container": {
                "volumes": [],
                "mountPoints": [],
                "ulimits": [],
                "environment": [],
                "secrets": [],
                "command": [],
                **self.container,
                **last,
                **running,
            },
            "tags": self._request.get("tags", {}),
            "propagateTags": self._request.get("propagateTags", False),
            "platformCapabilities": ["EC2"],
            "isCancelled": self.is_cancelled,
            "isTerminated": self.is_terminated,
        }
        return {name: value for name, value in members.items() if value is not None}


def _matches(pattern: str, value: str) -> bool:
    """Return whether a value fits a rule's pattern, which may end in ``*``."""
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern


def _merged(properties: Mapping[str, Any], overrides: Mapping[str, Any]) -> Record:
    """Return a definition's container properties with those of a request: variables by name, needs by type."""
    merged: Record = {**properties}
    for member, key in (("environment", "name"), ("resourceRequirements", "type")):
        both = {each[key]: each for each in [*properties.get(member, []), *overrides.get(member, [])]}
        if both:
            merged[member] = list(both.values())
    for member in ("command", "vcpus", "memory", "instanceType"):
        if overrides.get(member) is not None:
            merged[member] = overrides[member]
    return merged


def with_parameters(command: Sequence[str], parameters: Mapping[str, str]) -> list[str]:
    """Return a command with the values of its parameters, each a whole word such as ``Ref::colour``.

    A word whose parameter has no value stays.
    https://docs.aws.amazon.com/batch/latest/userguide/job_definition_parameters.html
    """
    return [parameters.get(word[5:], word) if word.startswith("Ref::") else word for word in command]


def _millis(seconds: float) -> int:
    return round(seconds * 1000)
