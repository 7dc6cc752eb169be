"""The execution environments of functions from images: one for each request in progress, kept for the next ones.

An environment that failed is never used again. One that has had no request for five minutes ends, unless it belongs to
provisioned concurrency, which is replaced whenever it fails. AWS does not say how long it keeps idle environments.
"""

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cloud.core import clock, processes
from cloud.ecr.images import Images
from cloud.lambdas import report
from cloud.lambdas.environment import Ended, Environment
from cloud.lambdas.function_version import FunctionVersion
from cloud.lambdas.runtime_api import Event, Reply

log = logging.getLogger("kennel.functions")

IDLE_SECONDS = 300.0
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
INIT_SECONDS = 10.0
PROVISIONED_INIT_SECONDS = 900.0
_INIT_FAILURE = "FUNCTION_ERROR_INIT_FAILURE"  # seen in a public report of CloudFormation's words

Credentials = Callable[[FunctionVersion], Mapping[str, str]]
Target = tuple[str, str, str, str]  # account, region, function and qualifier


class Outcome(NamedTuple):
    """What an invocation gives.

    Attributes:
        reply: The answer or the error.
        log: The lines of the log.
        seconds: How long the function's process had the request.
    """

    reply: Reply
    log: str
    seconds: float


class Use(NamedTuple):
    """How much of the provisioned concurrency of a version or an alias is in use.

    Attributes:
        target: What has the provisioned concurrency.
        in_use: How many of its environments have a request.
        allocated: How many there are.
        version: The version that answers a request which has just begun; empty when none has.
        is_spillover: Whether that request found no free environment.
    """

    target: Target
    in_use: int
    allocated: int
    version: str = ""
    is_spillover: bool = False


@dataclass
class _Provisioned:
    """Provisioned concurrency of a version or an alias.

    Attributes:
        record: The configuration as GetProvisionedConcurrencyConfig describes it.
        wanted: Number of environments by version.
        environments: Those that are ready or serving; a later configuration of the same target shares the list.
        working: Held while environments are started for the target.
        context: Region and account of the request.
    """

    record: dict[str, Any]
    wanted: dict[FunctionVersion, int]
    environments: list[Environment]
    working: threading.Lock
    context: contextvars.Context

    def tell(self, status: str, reason: str = "") -> None:
        """Bring the record up to date."""
        count = len(self.environments)
        self.record |= {
            "AvailableProvisionedConcurrentExecutions": count,
            "AllocatedProvisionedConcurrentExecutions": count,
            "Status": status,
        }
        self.record.pop("StatusReason", None)
        if reason:
            self.record["StatusReason"] = reason


class Fleet:
    """All environments of functions from images."""

    def __init__(
        self, images: Images, home: Path, credentials_of: Credentials, meter: Callable[[Use], None] = lambda _use: None
    ) -> None:
        """Start with no environment.

        Args:
            images: The images that this machine has built.
            home: The cloud's folder.
            credentials_of: Called before an environment starts, it returns variables with the credentials of the
                function's role; it raises an exception, which ends the request, when Lambda may not assume the role.
            meter: Called in the context of each request to what has provisioned concurrency, and now and then while
                requests go on.
        """
        self._images, self._credentials_of, self._meter = images, credentials_of, meter
        self._folder = home / "image-functions"
        self._folder.mkdir()
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str, str, str], list[Environment]] = {}
        self._busy: set[Environment] = set()
        self._provisioned: dict[Target, _Provisioned] = {}
        threading.Thread(target=self._end_idle, name="idle-functions", daemon=True).start()

    def invoke(self, function: FunctionVersion, payload: bytes, request_id: str, arn: str, trace: str) -> Outcome:
        """Answer a request in an environment of its own.

        Args:
            function: The version that answers.
            payload: The event, JSON.
            request_id: Id of the request.
            arn: ARN by which the function was invoked.
            trace: X-Ray's header; empty without one.

        Raises:
            Exception: What ``credentials_of`` raises.
            ImageError: The function's image is no longer there.
        """
        lines, spent, failed = [report.start(request_id, function.version)], 0.0, None
        environment = self._take(function)
        if use := self._use_by(function, environment):
            self._meter(use)
        if not environment:
            environment, written, failed = self._initialized(function, INIT_SECONDS)
            lines.insert(0, written)
        event = Event(request_id, payload, arn, time.time() + function.timeout, trace)
        if failed:  # Lambda initializes once more, within the request's time.
            lines.insert(1, report.init(failed.seconds, failed.status, failed.error_type))
            begin = time.monotonic()
            environment, written, failed = self._initialized(function, function.timeout, request_id)
            environment.has_served = True  # This initialization is told as a part of the request.
            lines.append(written)
            spent = time.monotonic() - begin
        if failed:
            return self._told(environment, event, lines, failed._replace(seconds=spent))
        return self._run(environment, event, lines, spent)

    def _initialized(
        self, function: FunctionVersion, seconds: float, request_id: str = ""
    ) -> tuple[Environment, str, Ended | None]:
        """Start an environment; return it, what it has written, and how it failed, if it did."""
        environment = Environment(function)
        with self._lock:
            self._busy.add(environment)
        failed = self._initialize(environment, seconds, request_id)
        return environment, environment.take_log(), failed

    def _initialize(self, environment: Environment, seconds: float, request_id: str = "") -> Ended | None:
        try:
            image = self._images.find(environment.function.image)
            credentials = self._credentials_of(environment.function)
            failed = environment.initialize(image, credentials, self._folder, seconds, request_id)
        except BaseException:
            self._forget(environment)
            raise
        if failed:
            self._forget(environment)
        return failed

    def _run(self, environment: Environment, event: Event, lines: list[str], spent: float) -> Outcome:
        init_seconds = None if environment.has_served else environment.init_seconds
        try:
            ended = environment.invoke(event)
            lines.append(environment.take_log())
        finally:
            self._give_back(environment)
        return self._told(environment, event, lines, ended._replace(seconds=ended.seconds + spent), init_seconds)

    @staticmethod
    def _told(
        environment: Environment, event: Event, lines: list[str], ended: Ended, init_seconds: float | None = None
    ) -> Outcome:
        """Return the outcome of a request with the whole log."""
        function = environment.function
        if ended.status == "timeout":
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            lines.append(f"{moment} {event.id} Task timed out after {function.timeout:.2f} seconds")
        failure = None if ended.status == "success" else (ended.status, ended.error_type)
        memory, is_billed = (function.memory, environment.max_memory), not environment.is_provisioned
        lines.append(report.end(event.id))
        lines.append(report.report(event.id, ended.seconds, memory, init_seconds, is_billed, failure))
        return Outcome(ended.reply, "\n".join(filter(None, lines)), ended.seconds)

    def _take(self, function: FunctionVersion) -> Environment | None:
        """Return an environment that waits for a request, a provisioned one first; None when there is none."""
        with self._lock:
            idle = self._idle.setdefault(function.key, [])
            stale = [each for each in idle if each.function.revision != function.revision or not each.is_alive]
            fresh = sorted((each for each in idle if each not in stale), key=lambda each: not each.is_provisioned)
            environment = fresh.pop(0) if fresh else None
            self._idle[function.key] = fresh
            if environment:
                self._busy.add(environment)
        self._end(stale)
        return environment

    def _give_back(self, environment: Environment) -> None:
        with self._lock:
            is_wanted = environment in self._busy and environment.is_alive
            self._busy.discard(environment)
            if is_wanted:
                self._idle.setdefault(environment.function.key, []).append(environment)
        if not is_wanted:
            self._end([environment])

    def _forget(self, environment: Environment) -> None:
        with self._lock:
            self._busy.discard(environment)

    def _end(self, environments: list[Environment]) -> None:
        for environment in environments:
            environment.end()
        with self._lock:
            lacking = [
                target
                for target, provisioned in self._provisioned.items()
                if any(environment in provisioned.environments for environment in environments)
            ]
        for target in lacking:
            self._start_reconciling(target)

    def retire(self, account: str, region: str, name: str, version: str | None = None) -> None:
        """End the environments of a function, or of one of its versions; those that are busy end with their request."""

        def is_meant(function: FunctionVersion) -> bool:
            return function.key[:3] == (account, region, name) and version in (None, function.version)

        with self._lock:
            keys = [key for key in self._idle if key[:3] == (account, region, name) and version in (None, key[3])]
            doomed = [environment for key in keys for environment in self._idle.pop(key)]
            self._busy -= {environment for environment in self._busy if is_meant(environment.function)}
            if version is None:
                for target in [target for target in self._provisioned if target[:3] == (account, region, name)]:
                    del self._provisioned[target]
        threading.Thread(target=self._end, args=(doomed,), name="retire-functions", daemon=True).start()

    def _end_idle(self) -> None:
        """End environments that have been idle for long, and meter those that are busy, until the cloud ends."""
        while True:
            time.sleep(clock.scaled(IDLE_SECONDS) / 10)
            self._meter_busy()
            oldest = time.monotonic() - clock.scaled(IDLE_SECONDS)
            with self._lock:
                doomed = [
                    environment
                    for idle in self._idle.values()
                    for environment in idle
                    if not environment.is_alive or (not environment.is_provisioned and environment.last_used < oldest)
                ]
                for environment in doomed:
                    self._idle[environment.function.key].remove(environment)
            self._end(doomed)

    # Provisioned concurrency

    def provision(self, target: Target, record: dict[str, Any], wanted: Mapping[FunctionVersion, int]) -> None:
        """Keep environments ready for a version or an alias, and keep their configuration's record up to date.

        Args:
            target: What they are for.
            record: The configuration, as GetProvisionedConcurrencyConfig describes it.
            wanted: Number of environments by version.
        """
        with self._lock:
            before = self._provisioned.get(target)
            working = before.working if before else threading.Lock()
            environments = before.environments if before else []
            fresh = _Provisioned(record, dict(wanted), environments, working, contextvars.copy_context())
            fresh.tell("IN_PROGRESS")
            self._provisioned[target] = fresh
        self._start_reconciling(target)

    def _use_by(self, function: FunctionVersion, environment: Environment | None) -> Use | None:
        """Return the use of the provisioned concurrency that serves a request, or had no free environment for it."""
        is_spillover = not (environment and environment.is_provisioned)
        with self._lock:
            for target, each in self._provisioned.items():
                if each.wanted.get(function) if is_spillover else environment in each.environments:
                    return self._use_of(target)._replace(version=function.version, is_spillover=is_spillover)
        return None

    def _meter_busy(self) -> None:
        with self._lock:
            uses = [(self._use_of(target), each.context.copy()) for target, each in self._provisioned.items()]
        for use, context in uses:
            if use.in_use:
                context.run(self._meter, use)

    def _use_of(self, target: Target) -> Use:
        """Return how much of a target's provisioned concurrency is in use; the lock is held."""
        environments = self._provisioned[target].environments
        return Use(target, len(self._busy.intersection(environments)), len(environments))

    def is_provisioned(self, target: Target) -> bool:
        """Whether a version or an alias has provisioned concurrency."""
        with self._lock:
            return target in self._provisioned

    def release(self, target: Target) -> None:
        """Give up the provisioned concurrency of a version or an alias."""
        with self._lock:
            provisioned = self._provisioned.pop(target, None)
        if provisioned:
            self._drop(provisioned.environments)

    def _start_reconciling(self, target: Target) -> None:
        threading.Thread(target=self._reconcile, args=(target,), name="provisioned-concurrency", daemon=True).start()

    def _reconcile(self, target: Target) -> None:
        """Start the environments that a target lacks, and then end those that nobody wants any more."""
        with self._lock:
            current = self._provisioned.get(target)
        if not current:
            return
        with current.working:
            with self._lock:  # Another configuration may have come meanwhile.
                current = self._provisioned.get(target)
            if not current:
                return
            is_ready = self._fill(current)
            with self._lock:
                is_given_up = target not in self._provisioned
                surplus = list(current.environments) if is_given_up else self._surplus(current) if is_ready else []
                current.environments[:] = [each for each in current.environments if each not in surplus]
                # A later configuration of the target has the same record, and tells of itself.
                if self._provisioned.get(target) is current:
                    current.tell(*(("READY",) if is_ready else ("FAILED", _INIT_FAILURE)))
        self._drop(surplus)

    def _fill(self, provisioned: _Provisioned) -> bool:
        """Start what is missing, and return whether all of it is ready."""
        with self._lock:
            provisioned.environments[:] = [each for each in provisioned.environments if each.is_alive]
            missing = [
                function
                for function, count in provisioned.wanted.items()
                for _ in range(count - sum(each.function == function for each in provisioned.environments))
            ]
            if missing:
                provisioned.tell("IN_PROGRESS")

        def start(function: FunctionVersion) -> bool:
            environment = Environment(function, is_provisioned=True)
            with self._lock:
                self._busy.add(environment)
            try:
                failed = self._initialize(environment, PROVISIONED_INIT_SECONDS)
            except Exception as error:  # Whatever keeps it from starting is the configuration's failure.
                log.warning("provisioned concurrency of %s: %s", function.name, error)
                return False
            if failed:
                log.warning("provisioned concurrency of %s: %s", function.name, failed.reply.payload.decode())
                return False
            with self._lock:
                provisioned.environments.append(environment)
                provisioned.tell("IN_PROGRESS")
            self._give_back(environment)
            return True

        with ThreadPoolExecutor(processes.num_cores()) as pool:
            return all([*pool.map(lambda function: provisioned.context.copy().run(start, function), missing)])

    @staticmethod
    def _surplus(provisioned: _Provisioned) -> list[Environment]:
        surplus, left = [], dict(provisioned.wanted)
        for environment in provisioned.environments:
            left[environment.function] = left.get(environment.function, 0) - 1
            if left[environment.function] < 0:
                surplus.append(environment)
        return surplus

    def _drop(self, environments: list[Environment]) -> None:
        """End environments that are no longer wanted; those that are busy end with their request."""
        with self._lock:
            idle = [each for each in environments if each in self._idle.get(each.function.key, [])]
            for environment in idle:
                self._idle[environment.function.key].remove(environment)
            self._busy -= set(environments)
        threading.Thread(target=self._end, args=(idle,), name="drop-functions", daemon=True).start()
