"""The base class of training and processing jobs: permissions, status and descriptions."""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from cloud.core import containers, emulator, processes
from cloud.core.clock import now
from cloud.core.protocol import Request, invalid
from cloud.core.uris import S3Uri, StorageError
from cloud.ecr.images import ContainerImage, ImageError, Images
from cloud.iam import authorization, permissions
from cloud.logs import streams
from cloud.s3 import objects
from cloud.sagemaker.jobs.host import WITHOUT_NAMESPACES, JobError, JobHost
from cloud.sagemaker.store import Store

log = logging.getLogger("kennel.jobs")

_MAX_REASON = 1024  # characters of a FailureReason, by SageMaker's API model


class JobContext(NamedTuple):
    """What every job needs of the cloud.

    home: the cloud's home folder; jobs get the folders ``training-jobs/<name>`` and ``processing-jobs/<name>`` in it.
    images: the images in ECR.
    store: all SageMaker resources.
    """

    home: Path
    images: Images
    store: Store


class Job(ABC):
    """One training or processing job; a subclass implements ``check``, ``work`` and ``extra_members``.

    Class attributes:
        KIND: ``Training`` or ``Processing``; names of operations and members begin with it.
        NOT_FOUND, IN_USE: AWS's error messages; they may contain ``{name}`` and ``{arn}``.
        LOG_GROUP: the log group in CloudWatch Logs.

    Attributes:
        caller: access key of a session of the job's role.
        status: InProgress, Stopping, Completed, Failed or Stopped.
        stop: set when somebody asks the job to stop.
        tuning_job_arn: the ARN of the tuning job that started it, if one did.
    """

    KIND: ClassVar[str]
    NOT_FOUND: ClassVar[str]
    IN_USE: ClassVar[str]
    LOG_GROUP: ClassVar[str]

    def __init__(self, name: str, arn: str, request: Request, context: JobContext) -> None:
        """Check the request beyond the service model; nothing is started yet.

        Raises:
            ApiError: AWS would refuse the request, or the laptop cloud cannot run such a job.
        """
        self.name = name
        self.arn = arn
        self.request = request
        self.context = context
        self.caller = authorization.assume_for_sagemaker(request["RoleArn"])
        # Names are unique within a kind only: a training and a processing job may share one.
        self.folder = context.home / f"{self.KIND.lower()}-jobs" / name
        self.created = self.modified = now()
        self.started: float | None = None
        self.ended: float | None = None
        self.status = "InProgress"
        self.failure_reason: str | None = None
        self.stop = threading.Event()
        self.tuning_job_arn: str | None = None
        self._lock = threading.Lock()
        self._hosts: list[JobHost] = []
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Check the request beyond the service model.

        Raises:
            ApiError: the request is refused.
        """

    @abstractmethod
    def work(self) -> None:
        """Do the job; runs on the job's own thread.

        Raises:
            JobError: the job failed.
        """

    @abstractmethod
    def extra_members(self) -> dict[str, Any]:
        """Return the members of the description that only this kind of job has."""

    def run(self) -> None:
        """Do the job and set its final status."""
        try:
            self.work()
            self.finish("Stopped" if self.stop.is_set() else "Completed")
        except (JobError, StorageError) as error:
            self.finish("Failed", str(error))
        except Exception as error:
            log.exception("job %s failed inside the laptop cloud", self.name)
            self.finish("Failed", f"InternalServerError: {type(error).__name__}: {error}")
        finally:
            for host in self._hosts:
                host.close()

    def request_stop(self) -> None:
        """Ask the job to stop; its own thread does so a little later.

        Raises:
            ApiError: the job is not in progress.
        """
        with self._lock:
            if self.status != "InProgress":
                job = f"the {self.KIND.lower()} job is in status {self.status}"
                raise invalid(f"The request was rejected because {job}.")
            self.status = "Stopping"
        self.stop.set()

    def finish(self, status: str, reason: str | None = None) -> None:
        """Set the final status."""
        with self._lock:
            self.ended = self.modified = now()
            self.failure_reason = reason[:_MAX_REASON] if reason else None
            self.status = status

    def create_hosts(self, num_hosts: int, image: ContainerImage | None) -> list[JobHost]:
        """Create the hosts ``algo-1``, ``algo-2``, …, which replace those of an earlier attempt."""
        self._hosts = []
        for name in (f"algo-{number}" for number in range(1, num_hosts + 1)):
            stream = f"{self.name}/{name}-{int(time.time())}"
            log_stream = streams.LogStream(self.LOG_GROUP, stream, self.folder / f"{name}.log", self.caller)
            mark = processes.mark_of(self.folder.parent.name, self.name, name)
            self._hosts.append(JobHost(name, self.folder, log_stream, mark, image))
        return self._hosts

    def find_image(self, uri: str) -> ContainerImage | None:
        """Return the image of a job's containers.

        Returns:
            None for an image of another account, in whose place this machine's packages stand.

        Raises:
            JobError: there is no such image on this machine.
        """
        if not self.context.images.is_own(uri):
            return None
        try:
            return self.context.images.find(uri)
        except ImageError as error:
            raise JobError(f"ClientError: {error}") from None

    def tell_empty(self, host: JobHost, folder: str) -> None:
        """Say that a job that succeeded left a result's folder empty; AWS completes such a job without a word.

        Args:
            host: the host whose log says so.
            folder: the folder, with the container's path.

        Raises:
            JobError: this machine has no containers, so the result may have gone elsewhere.
        """
        empty = f"the job succeeded, but left nothing in {folder}"
        if not containers.available():
            raise JobError(f"ClientError: {empty}, which is {host.opt_ml.path(folder)}. {WITHOUT_NAMESPACES}")
        log.warning("job %s: %s", self.name, empty)
        host.say(f"{empty}; SageMaker completes such a job, too")

    def check_image_access(self, image: str) -> None:
        """Check that the job's role may pull its image.

        Raises:
            ApiError: the role may not.
        """
        try:
            authorization.authorize(self.caller, permissions.pull(image))
        except authorization.DeniedError:
            registry, _, rest = image.partition("/")
            raise invalid(
                f"Access denied for repository: {rest.partition(':')[0]} in registry ID: {registry.partition('.')[0]}. "
                f"Please check if your ECR repository exists and role {self.request['RoleArn']} has proper pull "
                f"permissions for SageMaker: {', '.join(permissions.PULL)}"
            ) from None

    def check_volume_key_access(self, cluster: Mapping[str, Any]) -> None:
        """Check that the job's role may use the KMS key that encrypts the volumes of its instances.

        Args:
            cluster: ResourceConfig or ClusterConfig of the request.

        Raises:
            ApiError: the role may not.
        """
        try:
            authorization.authorize(self.caller, permissions.encrypt_volumes(cluster.get("VolumeKmsKeyId", "")))
        except authorization.DeniedError as error:
            raise invalid(str(error)) from None

    def description(self) -> dict[str, Any]:
        """Return the answer of DescribeTrainingJob or DescribeProcessingJob."""
        return {
            **self.request,
            f"{self.KIND}JobName": self.name,
            f"{self.KIND}JobArn": self.arn,
            f"{self.KIND}JobStatus": self.status,
            f"{self.KIND}StartTime": self.started,
            f"{self.KIND}EndTime": self.ended,
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
            "FailureReason": self.failure_reason,
            **self.extra_members(),
        }

    def summary(self) -> dict[str, Any]:
        """Return the job's entry in a list."""
        members = {
            f"{self.KIND}JobName": self.name,
            f"{self.KIND}JobArn": self.arn,
            f"{self.KIND}JobStatus": self.status,
            f"{self.KIND}EndTime": self.ended,
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
        }
        return {name: value for name, value in members.items() if value is not None}


def download_input(uri: str, folder: Path, caller: str) -> None:
    """Download an S3Prefix input of a job.

    Args:
        uri: the prefix.
        folder: the objects are written below it; it is created.
        caller: access key of the job's role.

    Raises:
        JobError: there are no objects, or the role may not read them; the message is AWS's.
    """
    source = S3Uri.parse(uri)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        count = objects.download_prefix(source, folder, caller)
    except StorageError as error:
        raise JobError(f"ClientError: Data download failed:{error}") from error
    if not count:
        region, _ = emulator.scope()
        raise JobError(
            f'ClientError: Data download failed:No S3 objects found under S3 URL "{uri}" given in input '
            f"data source. Please ensure that the bucket exists in the selected region ({region}) and that "
            "objects exist under that S3 prefix."
        )
