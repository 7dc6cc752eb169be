"""An endpoint and the threads that look after its instances: deploy blue/green, scale, heal, end.

Everything that starts or stops an instance of an endpoint happens on that endpoint's own thread,
one thing after the other; the API only sets a status and leaves an order. The router reads
``green``, then ``fleet``, and ``Variant.instances``, which are replaced whole, never changed in place.
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from cloud.core.clock import scaled
from cloud.core.protocol import invalid
from cloud.core.store import now
from cloud.core.uris import StorageError
from cloud.ecr.images import ImageError, Images
from cloud.iam import authorization, permissions
from cloud.sagemaker.endpoints import hosting
from cloud.sagemaker.endpoints.deployment import stages
from cloud.sagemaker.endpoints.hosting import Instance
from cloud.sagemaker.endpoints.metering import SAMPLE_SECONDS, Meter
from cloud.sagemaker.endpoints.rollback import alarm_names, alarm_states
from cloud.sagemaker.endpoints.variant import Variant, counts, instances_of

log = logging.getLogger("kennel.endpoints")

_TICK_SECONDS = 0.2
_POLL_SECONDS = 0.05
_DRAIN_SECONDS = 60.0  # the longest that a request may take
_HEAL_PAUSE_SECONDS = 5.0
_UNHEALTHY = (
    "The primary container for production variant {variant} did not pass the ping health check. Please "
    "check CloudWatch logs for this endpoint. Its last line: {line}"
)

_UNREADABLE = (
    "{why}. Please make sure all images included in the model for the production variant {variant} exist, and that the "
    "execution role used to create the model has permissions to access them and the model's data."
)
_TRIPPED = "The update was rolled back: alarm(s) {alarms} in state ALARM during the deployment."
_EXPIRED = "The update was rolled back: it took longer than MaximumExecutionTimeoutInSeconds."
_MAX_REASON = 1024  # characters, SageMaker's model


class StartError(Exception):
    """Instances did not become ready; the message is the endpoint's FailureReason."""


class RollbackError(Exception):
    """The new fleet must not take over; the message is the endpoint's FailureReason."""


class Endpoint:
    """An endpoint and the thread that looks after its instances.

    Attributes:
        fleet: the variants that serve, by name.
        green: the variants that a deployment in progress brings up, by name.
    """

    def __init__(self, arn: str, name: str, home: Path, images: Images, closing: threading.Event) -> None:
        self.arn = arn
        self.name = name
        self.created = self.modified = now()
        self.status = "Creating"
        self.failure_reason: str | None = None
        self.config_name = ""
        self.deployment: dict[str, Any] = {}
        self.pending: dict[str, Any] = {}
        self.fleet: dict[str, Variant] = {}
        self.green: dict[str, Variant] = {}
        self._home, self._images, self._closing = home, images, closing
        self._orders: queue.Queue[Callable[[], None]] = queue.Queue()
        self._lock = threading.Lock()
        self._gone = False
        self._heal_after = 0.0

    def begin(self, status: str) -> None:
        """Take the endpoint into a transition.

        Raises:
            ApiError: it is in one already.
        """
        with self._lock:
            self.refuse_unless_free(status)
            self.status, self.modified = status, now()

    def refuse_unless_free(self, status: str = "Updating") -> None:
        """Raises ApiError: the endpoint cannot go into this transition now."""
        if self.status not in ("InService", "Failed"):
            raise invalid(f'Cannot update in-progress endpoint "{self.arn}".')
        if self.status == "Failed" and status != "Deleting":
            raise invalid(f'Endpoint "{self.arn}" failed; DeleteEndpoint is all that can be done with it.')

    def order(self, work: Callable[[], None]) -> None:
        """Leave something for the endpoint's thread to do."""
        self._orders.put(work)

    def run(self) -> None:
        """The endpoint's thread: orders as they come, and in between logs and healing."""
        while not self._gone:
            try:
                work = self._orders.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                work = self._heal
            try:
                work()
                self._report()
            except Exception as error:
                log.exception("endpoint %s", self.name)
                if self.status in ("Creating", "Updating", "RollingBack"):
                    self._settle("InService" if self.fleet else "Failed", f"{type(error).__name__}: {error}")

    def measure(self) -> None:
        """The endpoint's second thread: its variants' metrics, whatever the first one waits for."""
        meters: dict[str, Meter] = {}
        while not self._gone:
            for name, variant in self.fleet.items():
                meter = meters.setdefault(name, Meter(self.name, name, time.time()))
                new = self.green.get(name)
                active = [*variant.active, *(new.active if new else ())]
                meter.sample([each.in_flight for each in active], variant.answered, time.time())
            time.sleep(SAMPLE_SECONDS)

    def announce(self, config_name: str, variants: Sequence[Variant]) -> None:
        """Say which fleet ``deploy`` will bring up."""
        for variant in variants:
            if variant.name in self.fleet:
                variant.answered = self.fleet[variant.name].answered  # metrics go by the name
        self.pending = {"EndpointConfigName": config_name, "StartTime": now()}
        self.green = {variant.name: variant for variant in variants}

    def deploy(self, deployment: Mapping[str, Any]) -> None:
        """Bring up a whole new fleet, shift traffic to it in stages, then drain and end the old one.

        When the new fleet does not come up, takes too long or an alarm goes off, the old one gets all traffic back.

        Args:
            deployment: DeploymentConfig; empty when the request has none.
        """
        began = time.monotonic()
        try:
            self._launch()
            self._shift(deployment, began)
        except (StartError, RollbackError) as error:
            self._roll_back(str(error))
            return
        except Exception:
            hosting.end(instances_of(self.green))
            raise
        # In this order: who finds no new fleet finds it as the one that serves.
        old, self.fleet = self.fleet, self.green
        self.config_name = self.pending["EndpointConfigName"]
        self._settle("InService", None)
        hosting.end(instances_of(old), _DRAIN_SECONDS)

    def resize(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Change weights and instance counts of variants that serve.

        Args:
            changes: ``{"weight": float, "desired": int}``, either or both, by variant name.
        """
        reason = None
        for name, change in changes.items():
            variant = self.fleet[name]
            variant.weight = change.get("weight", variant.weight)
            variant.desired = change.get("desired", variant.desired)
            try:
                self._fill(variant)
            except StartError as error:
                variant.desired, reason = len(variant.instances), str(error)
        self._settle("InService", reason)

    def dismantle(self, then: Callable[[], None]) -> None:
        """End every instance and the thread; ``then`` forgets the endpoint."""
        fleet, self.fleet = self.fleet, {}
        try:
            hosting.end(instances_of(fleet), _DRAIN_SECONDS)
        finally:
            self._gone = True
            then()

    def description(self) -> dict[str, Any]:
        """As DescribeEndpoint gives it."""
        return {
            **self.summary(),
            "EndpointConfigName": self.config_name,
            "ProductionVariants": [variant.description() for variant in self.fleet.values()] or None,
            "FailureReason": self.failure_reason,
            "LastDeploymentConfig": self.deployment or None,
            "PendingDeploymentSummary": self._pending_summary(),
        }

    def summary(self) -> dict[str, Any]:
        """As ListEndpoints gives it."""
        return {
            "EndpointName": self.name,
            "EndpointArn": self.arn,
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
            "EndpointStatus": self.status,
        }

    def _pending_summary(self) -> dict[str, Any] | None:
        green = self.green
        variants = [{**each.description(), "InstanceType": each.instance_type} for each in green.values()]
        return {**self.pending, "ProductionVariants": variants} if green else None

    def _settle(self, status: str, reason: str | None) -> None:
        with self._lock:
            self.green = {}
            for variant in self.fleet.values():
                variant.status = None
            self.status, self.failure_reason, self.modified = status, reason and reason[:_MAX_REASON], now()

    def _launch(self) -> None:
        for variant in self.green.values():
            variant.enter("Creating", f"Launching {variant.desired} instance(s).")
            variant.instances = tuple(self._start(variant, variant.desired))

    def _shift(self, deployment: Mapping[str, Any], began: float) -> None:
        """Shift traffic to the new fleet, stage by stage."""
        policy = deployment.get("BlueGreenUpdatePolicy", {})
        # Not scaled: it is there for instances that are slow to start, and they are as slow here.
        expires = began + policy.get("MaximumExecutionTimeoutInSeconds", math.inf)
        for stage in stages(policy, counts(self.green.values())):
            for variant in self.green.values():
                variant.take(stage)
            self._bake(scaled(stage.seconds), alarm_names(deployment), expires)

    def _bake(self, seconds: float, alarms: Sequence[str], expires: float) -> None:
        """Watch both fleets for a while.

        Raises:
            RollbackError: an alarm goes off, or the deployment takes too long.
        """
        over = time.monotonic() + seconds
        while True:
            self._heal()
            self._report()
            if tripped := [name for name, state in alarm_states(alarms).items() if state == "ALARM"]:
                raise RollbackError(_TRIPPED.format(alarms=", ".join(tripped)))
            if time.monotonic() > expires:
                raise RollbackError(_EXPIRED)
            left = over - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(_TICK_SECONDS, left))

    def _roll_back(self, reason: str) -> None:
        """Give the old fleet all traffic and end the new one."""
        self.status = "RollingBack" if self.fleet else self.status
        for variant in self.green.values():
            variant.share = Fraction(0)
            variant.enter("Deleting", f"Terminating {len(variant.instances)} instance(s).")
        hosting.end(instances_of(self.green), _DRAIN_SECONDS)
        self._settle("InService" if self.fleet else "Failed", reason)

    def _start(self, variant: Variant, count: int) -> list[Instance]:
        """Start instances and wait until all are ready; none is left when one is not."""
        instances: list[Instance] = []
        try:
            caller = authorization.assume(variant.role, permissions.SAGEMAKER, "SageMaker")
            authorization.authorize(caller, [*permissions.pull(variant.image), permissions.read(variant.artifact.uri)])
            code, folder = self._images.workdir(variant.image), variant.artifact.folder(caller)
            for _ in range(count):
                instances.append(
                    Instance(self.name, variant.name, folder, variant.environment, self._home, code, caller)
                )
            self._await_ready(variant, instances)
        except BaseException as error:
            hosting.end(instances)
            if isinstance(error, authorization.DeniedError):
                raise StartError(_UNREADABLE.format(variant=variant.name, why=error)) from error
            if isinstance(error, ImageError | StorageError | OSError):
                raise StartError(str(error)) from error
            raise
        return instances

    def _await_ready(self, variant: Variant, instances: Sequence[Instance]) -> None:
        deadline = time.monotonic() + variant.startup_seconds
        waiting = list(instances)
        while waiting:
            for instance in waiting:
                if not instance.alive or time.monotonic() > deadline:
                    hosting.end([instance])  # so that its log is complete
                    raise StartError(_UNHEALTHY.format(variant=variant.name, line=instance.last_line))
                instance.flush()
            waiting = [instance for instance in waiting if not instance.ping()]
            self._bury()
            self._report()
            time.sleep(_POLL_SECONDS)

    def _fill(self, variant: Variant) -> None:
        """Start what a variant lacks, end what it has too much."""
        missing = variant.desired - len(variant.instances)
        if missing > 0:
            started = self._start(variant, missing)  # meanwhile another may have been taken out
            variant.instances = (*variant.instances, *started)
        elif missing < 0:
            surplus = variant.instances[variant.desired :]
            variant.instances = variant.instances[: variant.desired]
            hosting.end(surplus, _DRAIN_SECONDS)

    def _bury(self) -> None:
        """Take out instances that died."""
        if self._closing.is_set():
            return
        for variant in self._variants():
            dead = [instance for instance in variant.instances if not instance.alive]
            if dead:
                variant.instances = tuple(instance for instance in variant.instances if instance not in dead)
                hosting.end(dead)
                log.warning("endpoint %s: %d instance(s) of %s died", self.name, len(dead), variant.name)

    def _heal(self) -> None:
        """Replace instances that died."""
        self._bury()
        for variant in self._variants():
            if len(variant.instances) < variant.desired and not self._closing.is_set():
                self._refill(variant)

    def _variants(self) -> list[Variant]:
        return [*self.fleet.values(), *self.green.values()]

    def _refill(self, variant: Variant) -> None:
        if time.monotonic() < self._heal_after:
            return
        try:
            self._fill(variant)
        except StartError as error:
            self._heal_after = time.monotonic() + _HEAL_PAUSE_SECONDS
            log.warning("endpoint %s: %s", self.name, error)

    def _report(self) -> None:
        """Hand on logs."""
        for variant in self._variants():
            for instance in variant.instances:
                instance.flush()
