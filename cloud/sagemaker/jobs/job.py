"""What training and processing jobs share: hosts as process groups, a life, and its operations."""

import logging
import shutil
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from cloud.core import emulator, processes
from cloud.core.protocol import ApiError, Operation, Request, invalid
from cloud.core.store import Store, now, page
from cloud.core.uris import S3Uri, StorageError
from cloud.ecr.images import Images
from cloud.iam import authorization, permissions
from cloud.logs import streams
from cloud.s3 import objects
from cloud.sagemaker.jobs.opt_ml import Tree

log = logging.getLogger("kennel.jobs")

_POLL_SECONDS = 0.05
_TICK_SECONDS = 0.25


class JobError(Exception):
    """The job fails; the message is its FailureReason."""


class Context(NamedTuple):
    """What every job needs.

    home: folder for ``training-jobs/<name>`` and ``processing-jobs/<name>``.
    images: what an image carries.
    store: the resources.
    """

    home: Path
    images: Images
    store: Store


class Host:
    """One instance of a job: a tree, a process group, a log.

    Attributes:
        exit_code: of the process; negative for a signal; None while it runs.
    """

    def __init__(self, name: str, folder: Path, log_group: str, job: str, caller: str) -> None:
        self.name = name
        self._folder = folder / name
        self.tree = Tree(self._folder / "opt" / "ml")
        self.tree.root.mkdir(parents=True)
        self._scratch = self._folder / "tmp"
        self._mark = processes.mark_of(folder.parent.name, job, name)
        self._log = streams.LogStream(log_group, f"{job}/{name}-{int(time.time())}", folder / f"{name}.log", caller)
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None

    def start(self, command: Sequence[str], environment: Mapping[str, str], *takers: Callable[[str], None]) -> None:
        """Start the process; each taker gets every line it writes.

        Raises:
            JobError: the program cannot be started.
        """
        variables = processes.clean_environment(self._scratch) | self.tree.environment(environment)
        try:
            self._process = processes.spawn(command, variables, self._mark, self.tree.root)
        except OSError as error:
            raise JobError(f"ClientError: cannot start {command[0]}: {error.strerror}") from error
        assert self._process.stdout is not None
        self._pump = streams.pump(self._process.stdout, self._log.write, *takers)

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def flush(self) -> None:
        """Hand the log's pending lines on."""
        self._log.flush()

    def terminate(self) -> None:
        """SIGTERM to the process group."""
        if self._process is not None:
            processes.signal_group(self._process, signal.SIGTERM)

    def close(self) -> None:
        """Kill whatever is left of the tree, and finish the log."""
        processes.kill_marked(self._mark)
        if self._process is not None:
            self._process.wait()
        if self._pump is not None:
            self._pump.join(timeout=5)
        self._log.close()

    def vanish(self) -> None:
        """Lose the instance without notice: its processes by SIGKILL, and its disk with them."""
        while processes.marked(self._mark):  # again and again, for one may have started another meanwhile
            processes.kill_marked(self._mark)
            time.sleep(0.01)
        self.close()
        shutil.rmtree(self._folder)


def start_together(
    hosts: Sequence[Host],
    specification: Mapping[str, Any],
    environment: Mapping[str, str],
    *takers: Callable[[str], None],
) -> None:
    """Start the ContainerEntrypoint and ContainerArguments of a specification on every host.

    Raises:
        JobError: a program cannot be started.
    """
    for host in hosts:
        command = host.tree.command(specification["ContainerEntrypoint"], specification.get("ContainerArguments", []))
        host.start(command, environment, *takers)


def wait_together(
    hosts: Sequence[Host], seconds: float, stop: threading.Event, tick: Callable[[], None] = lambda: None
) -> Host | None:
    """Wait for started hosts: until all ended, one failed, time is up or a stop is asked for.

    Hosts still running then get SIGTERM, and SIGKILL after ``processes.GRACE_SECONDS``. Meanwhile logs are handed
    on and ``tick`` is called, now and then and at the end.

    Returns:
        The host that failed first, or None.

    Raises:
        TimeoutError: time was up.
    """
    deadline, ticked = time.monotonic() + seconds, 0.0
    try:
        while any(host.exit_code is None for host in hosts):
            if failed := next((host for host in hosts if host.exit_code), None):
                return failed
            if stop.is_set():
                return None
            if time.monotonic() > deadline:
                raise TimeoutError
            if time.monotonic() - ticked > _TICK_SECONDS:
                ticked = time.monotonic()
                for host in hosts:
                    host.flush()
                tick()
            time.sleep(_POLL_SECONDS)
        return next((host for host in hosts if host.exit_code), None)
    finally:
        _end(hosts)
        tick()


def _end(hosts: Sequence[Host]) -> None:
    for host in hosts:
        if host.exit_code is None:
            host.terminate()
    deadline = time.monotonic() + processes.GRACE_SECONDS
    while any(host.exit_code is None for host in hosts) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    for host in hosts:
        host.close()


class Job(ABC):
    """A job's life. Subclasses say what it does; ``status`` is one of SageMaker's five.

    Class attributes:
        KIND: ``Training`` or ``Processing``; the operations and their members are named after it.
        NOT_FOUND, IN_USE: AWS's sentences, with ``{name}`` and ``{arn}``.
        LOG_GROUP: of CloudWatch Logs.
    """

    KIND: ClassVar[str]
    NOT_FOUND: ClassVar[str]
    IN_USE: ClassVar[str]
    LOG_GROUP: ClassVar[str]

    def __init__(self, name: str, arn: str, request: Request, context: Context) -> None:
        """Check what the service model cannot; nothing is started yet.

        Raises:
            ApiError: AWS would refuse it, or the laptop cloud cannot do it.
        """
        self.name = name
        self.arn = arn
        self.request = request
        self.context = context
        self.caller = authorization.assume_for_sagemaker(request["RoleArn"])
        # Two kinds may share a name: they are unique within a kind only.
        self.folder = context.home / f"{self.KIND.lower()}-jobs" / name
        self.created = self.modified = now()
        self.started: float | None = None
        self.ended: float | None = None
        self.status = "InProgress"
        self.failure_reason: str | None = None
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._hosts: list[Host] = []
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Raises ApiError: what the service model cannot know is wrong with the request."""

    @abstractmethod
    def work(self) -> None:
        """Do the job, on a thread of its own.

        Raises:
            JobError: it failed.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The description's members beyond those every job has."""

    def run(self) -> None:
        """Do the job and leave a final status."""
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
        """Ask the job to end; it does so on its own thread.

        Raises:
            ApiError: it has ended already.
        """
        with self._lock:
            if self.status != "InProgress":
                job = f"the {self.KIND.lower()} job is in status {self.status}"
                raise invalid(f"The request was rejected because {job}.")
            self.status = "Stopping"
        self.stop.set()

    def finish(self, status: str, reason: str | None = None) -> None:
        """Set the final status; the last thing that happens to a job."""
        with self._lock:
            self.ended = self.modified = now()
            self.failure_reason = reason[:1024] if reason else None
            self.status = status

    def hosts(self, num_instances: int) -> list[Host]:
        """Make the instances' trees: ``algo-1``, ``algo-2``, …"""
        names = [f"algo-{number}" for number in range(1, num_instances + 1)]
        self._hosts = [Host(name, self.folder, self.LOG_GROUP, self.name, self.caller) for name in names]
        return self._hosts

    def check_pull(self, image: str) -> None:
        """Raises ApiError: the job's role may not read its image."""
        try:
            authorization.authorize(self.caller, permissions.pull(image))
        except authorization.DeniedError:
            registry, _, rest = image.partition("/")
            raise invalid(
                f"Access denied for repository: {rest.partition(':')[0]} in registry ID: {registry.partition('.')[0]}. "
                f"Please check if your ECR repository exists and role {self.request['RoleArn']} has proper pull "
                f"permissions for SageMaker: {', '.join(permissions.PULL)}"
            ) from None

    def check_volumes(self, cluster: Mapping[str, Any]) -> None:
        """Raises ApiError: the job's role may not let the key be used that encrypts its instances' volumes."""
        try:
            authorization.authorize(self.caller, permissions.encrypt_volumes(cluster.get("VolumeKmsKeyId", "")))
        except authorization.DeniedError as error:
            raise invalid(str(error)) from None

    def description(self) -> dict[str, Any]:
        """The Describe operation's answer."""
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
            **self.describe(),
        }

    def summary(self) -> dict[str, Any]:
        """The job in a list."""
        members = {
            f"{self.KIND}JobName": self.name,
            f"{self.KIND}JobArn": self.arn,
            f"{self.KIND}JobStatus": self.status,
            f"{self.KIND}EndTime": self.ended,
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
        }
        return {name: value for name, value in members.items() if value is not None}


class JobOperations:
    """Create, Describe, List and Stop of one kind of job."""

    def __init__(self, kind: type[Job], context: Context) -> None:
        self._kind = kind
        self._context = context

    def table(self) -> dict[str, Operation]:
        """The operations by name."""
        job = f"{self._kind.KIND}Job"
        return {
            f"Create{job}": self.create,
            f"Describe{job}": self.describe,
            f"List{job}s": self.list,
            f"Stop{job}": self.stop,
        }

    def create(self, request: Request) -> dict[str, Any]:
        """Start a job; it runs on a thread of its own."""
        kind, store = self._kind, self._context.store
        name = request[f"{kind.KIND}JobName"]
        arn = store.arn(f"{kind.KIND.lower()}-job", name)
        members = {key: value for key, value in request.items() if key != "Tags"}
        job = kind(name, arn, members, self._context)
        store.add(job, taken=ApiError("ResourceInUse", kind.IN_USE.format(arn=arn)))
        emulator.spawn_thread(job.run, name=f"job-{name}")
        return {f"{kind.KIND}JobArn": arn}

    def describe(self, request: Request) -> dict[str, Any]:
        """A job's state."""
        return self._find(request).description()

    def list(self, request: Request) -> dict[str, Any]:
        """Jobs, newest last unless asked otherwise."""
        found, token = page(request, self._context.store.of(self._kind), order="Ascending")
        return {f"{self._kind.KIND}JobSummaries": [job.summary() for job in found], "NextToken": token}

    def stop(self, request: Request) -> dict[str, Any]:
        """Ask a job to end."""
        self._find(request).request_stop()
        return {}

    def _find(self, request: Request) -> Job:
        kind, store = self._kind, self._context.store
        name = request[f"{kind.KIND}JobName"]
        arn = store.arn(f"{kind.KIND.lower()}-job", name)
        return store.get(arn, kind, kind.NOT_FOUND.format(name=name))


def deliver(uri: str, folder: Path, caller: str) -> None:
    """Download an S3Prefix input.

    Raises:
        JobError: in AWS's words when nothing is there, or the job's role may not read it.
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
