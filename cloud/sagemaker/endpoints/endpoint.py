"""An endpoint and its two threads: one starts, updates, resizes, heals and ends its instances, one measures them.

Instances of an endpoint are started and ended on the first thread only, one task after the other. The API
operations set a status and put a task into the thread's queue. The router reads ``green``, then ``fleet``, and
``Variant.instances`` without a lock, so each of them is replaced as a whole and never changed.
"""

import logging
import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from cloud.core.clock import now, scaled
from cloud.core.protocol import invalid
from cloud.core.uris import StorageError
from cloud.ecr.images import ImageError, Images
from cloud.iam import authorization, permissions
from cloud.sagemaker.endpoints.blue_green import traffic_stages
from cloud.sagemaker.endpoints.instance import EndpointInstance, end_instances
from cloud.sagemaker.endpoints.rollback_alarms import alarm_names, alarm_states
from cloud.sagemaker.endpoints.variant import Variant, desired_counts, instances_of
from cloud.sagemaker.endpoints.variant_metrics import SAMPLE_SECONDS, VariantMeter

log = logging.getLogger("kennel.endpoints")

_TICK_SECONDS = 0.2
_POLL_SECONDS = 0.05
_DRAIN_SECONDS = 60.0  # the longest that a request may take on SageMaker
_REPLACE_PAUSE_SECONDS = 5.0  # the pause before the next try when a replacement did not start
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
_MAX_REASON = 1024  # characters of a FailureReason, by SageMaker's API model


class StartError(Exception):
    """Instances did not become ready; the message becomes the endpoint's FailureReason."""


class RollbackError(Exception):
    """The new fleet must not take over; the message becomes the endpoint's FailureReason."""


class Endpoint:
    """An endpoint and the thread that looks after its instances.

    Attributes:
        arn: the endpoint's ARN.
        name: the endpoint's name.
        created, modified: epoch seconds.
        status: as DescribeEndpoint returns it.
        failure_reason: why the last transition failed.
        config_name: the configuration of the fleet that serves.
        deployment: the last DeploymentConfig.
        pending: what DescribeEndpoint says about a deployment in progress.
        fleet: the variants that serve, by name.
        green: the variants that a deployment in progress starts, by name.
    """

    def __init__(self, arn: str, name: str, home: Path, images: Images, closing: threading.Event) -> None:
        """Create an endpoint without variants.

        Args:
            arn: its ARN.
            name: its name.
            home: the cloud's home folder.
            images: the images in ECR.
            closing: set when the cloud ends.
        """
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
        self._tasks: queue.Queue[Callable[[], None]] = queue.Queue()
        self._lock = threading.Lock()
        self._ended = False
        self._ending: tuple[Variant, ...] = ()  # the variants that no longer serve but whose instances still end
        self._next_replacement = 0.0  # monotonic seconds

    def occupied_by_type(self) -> Counter[str]:
        """Return how many instances of each type count towards the account's quotas.

        These are all that the endpoint has or starts: during an update both fleets, and during a deletion those that
        have not ended.
        """
        # While a deployment ends, its variants are in two of these.
        variants = {id(each): each for each in (*self.fleet.values(), *self.green.values(), *self._ending)}
        counts = Counter[str]()
        for each in variants.values():
            counts[each.instance_type] += max(each.desired, len(each.instances))
        return counts

    def refuse_unless_free(self, status: str = "Updating") -> None:
        """Refuse a second update, or any other transition, while the endpoint is in one.

        Args:
            status: the status of the transition that is asked for, for example ``Updating``.

        Raises:
            ApiError: the endpoint is in a transition, or it has failed and can only be deleted.
        """
        if self.status not in ("InService", "Failed"):
            raise invalid(f'Cannot update in-progress endpoint "{self.arn}".')
        if self.status == "Failed" and status != "Deleting":
            raise invalid(f'Endpoint "{self.arn}" failed; the only operation that it accepts is DeleteEndpoint.')

    def begin(self, status: str) -> None:
        """Begin a transition.

        Raises:
            ApiError: as ``refuse_unless_free`` does.
        """
        with self._lock:
            self.refuse_unless_free(status)
            self.status, self.modified = status, now()

    def enqueue(self, task: Callable[[], None]) -> None:
        """Put a task into the queue of the endpoint's thread."""
        self._tasks.put(task)

    def run(self) -> None:
        """Run the endpoint's thread: do the tasks as they come, and replace dead instances in between."""
        while not self._ended:
            try:
                task = self._tasks.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                task = self._replace_dead
            try:
                task()
                self._flush_logs()
            except Exception as error:
                log.exception("endpoint %s", self.name)
                if self.status in ("Creating", "Updating", "RollingBack"):
                    self._end_transition("InService" if self.fleet else "Failed", f"{type(error).__name__}: {error}")

    def measure(self) -> None:
        """Run the endpoint's second thread, which measures its variants even while the first one waits."""
        meters: dict[str, VariantMeter] = {}
        while not self._ended:
            for name, variant in self.fleet.items():
                meter = meters.setdefault(name, VariantMeter(self.name, name, time.time()))
                new = self.green.get(name)
                active = [*variant.active, *(new.active if new else ())]
                meter.sample([each.in_flight for each in active], variant.answered, time.time())
            time.sleep(SAMPLE_SECONDS)

    def prepare(self, config_name: str, variants: Sequence[Variant]) -> None:
        """Set the new fleet that ``deploy`` will start.

        Args:
            config_name: name of its endpoint configuration.
            variants: its variants, without instances.
        """
        for variant in variants:
            if variant.name in self.fleet:
                # The metrics of a name count the requests to its old and to its new variant together.
                variant.answered = self.fleet[variant.name].answered
            # Before it can be seen, so that no description of an update lacks its status.
            variant.set_status("Creating", f"Launching {variant.desired} instance(s).")
        self.pending = {"EndpointConfigName": config_name, "StartTime": now()}
        self.green = {variant.name: variant for variant in variants}

    def deploy(self, deployment: Mapping[str, Any]) -> None:
        """Start a whole new fleet, move traffic to it in stages, then drain and end the old one.

        The old fleet gets all traffic back when the new one does not start, when the deployment takes too long, and
        when an alarm goes off.

        Args:
            deployment: DeploymentConfig; empty when the request has none.
        """
        began = time.monotonic()
        try:
            self._start_new_fleet()
            self._shift_traffic(deployment, began)
        except (StartError, RollbackError) as error:
            self._roll_back(str(error))
            return
        except Exception:
            end_instances(instances_of(self.green))
            raise
        # Replace ``fleet`` before clearing ``green``, so that the router always finds the new variants in one of them.
        self._ending = tuple(self.fleet.values())
        old, self.fleet = self.fleet, self.green
        self.config_name = self.pending["EndpointConfigName"]
        self._end_transition("InService", None)
        end_instances(instances_of(old), _DRAIN_SECONDS)
        self._ending = ()

    def resize(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Change weights and instance counts of variants that serve.

        Args:
            changes: ``{"weight": float, "desired": int}``, one of them or both, by variant name.
        """
        reason = None
        for name, change in changes.items():
            variant = self.fleet[name]
            variant.weight = change.get("weight", variant.weight)
            variant.desired = change.get("desired", variant.desired)
            try:
                self._adjust_count(variant)
            except StartError as error:
                variant.desired, reason = len(variant.instances), str(error)
        self._end_transition("InService", reason)

    def tear_down(self, forget: Callable[[], None]) -> None:
        """End all instances and the endpoint's threads.

        Args:
            forget: called at the end; removes the endpoint from the store.
        """
        self._ending = tuple(self.fleet.values())
        fleet, self.fleet = self.fleet, {}
        try:
            end_instances(instances_of(fleet), _DRAIN_SECONDS)
        finally:
            self._ended = True
            forget()

    def description(self) -> dict[str, Any]:
        """Return the answer of DescribeEndpoint."""
        return {
            **self.summary(),
            "EndpointConfigName": self.config_name,
            "ProductionVariants": [variant.description() for variant in self.fleet.values()] or None,
            "FailureReason": self.failure_reason,
            "LastDeploymentConfig": self.deployment or None,
            "PendingDeploymentSummary": self._pending_summary(),
        }

    def summary(self) -> dict[str, Any]:
        """Return the endpoint's entry in the answer of ListEndpoints."""
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

    def _end_transition(self, status: str, reason: str | None) -> None:
        with self._lock:
            self.green = {}
            for variant in self.fleet.values():
                variant.status = None
            self.status, self.failure_reason, self.modified = status, reason and reason[:_MAX_REASON], now()

    def _start_new_fleet(self) -> None:
        for variant in self.green.values():
            variant.instances = tuple(self._start(variant, variant.desired))

    def _shift_traffic(self, deployment: Mapping[str, Any], began: float) -> None:
        """Move traffic to the new fleet, stage by stage.

        Args:
            deployment: DeploymentConfig.
            began: when the deployment began, in monotonic seconds.

        Raises:
            RollbackError: an alarm goes off, or the deployment takes too long.
        """
        policy = deployment.get("BlueGreenUpdatePolicy", {})
        # The time scale does not shorten this limit: it allows for slow instances, and these start as slowly here.
        expires = began + policy.get("MaximumExecutionTimeoutInSeconds", math.inf)
        for stage in traffic_stages(policy, desired_counts(self.green.values())):
            for variant in self.green.values():
                variant.enter_stage(stage)
            self._bake(scaled(stage.seconds), alarm_names(deployment), expires)

    def _bake(self, seconds: float, alarms: Sequence[str], expires: float) -> None:
        """Look after both fleets and watch the alarms for some seconds.

        Args:
            seconds: length of the baking period on this machine.
            alarms: names of the alarms that roll the deployment back.
            expires: when the deployment must have ended, in monotonic seconds.

        Raises:
            RollbackError: an alarm goes off, or the deployment takes too long.
        """
        end = time.monotonic() + seconds
        while True:
            self._replace_dead()
            self._flush_logs()
            if tripped := [name for name, state in alarm_states(alarms).items() if state == "ALARM"]:
                raise RollbackError(_TRIPPED.format(alarms=", ".join(tripped)))
            if time.monotonic() > expires:
                raise RollbackError(_EXPIRED)
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(_TICK_SECONDS, left))

    def _roll_back(self, reason: str) -> None:
        """Give all traffic back to the old fleet and end the new one."""
        self.status = "RollingBack" if self.fleet else self.status
        for variant in self.green.values():
            variant.share = Fraction(0)
            variant.set_status("Deleting", f"Terminating {len(variant.instances)} instance(s).")
        end_instances(instances_of(self.green), _DRAIN_SECONDS)
        self._end_transition("InService" if self.fleet else "Failed", reason)

    def _start(self, variant: Variant, count: int) -> list[EndpointInstance]:
        """Start instances and wait until all of them are ready; when one fails, all of them are ended.

        Raises:
            StartError: an instance did not become ready, or the image or the model's data cannot be read.
        """
        instances: list[EndpointInstance] = []
        try:
            caller = authorization.assume(variant.role, permissions.SAGEMAKER, "SageMaker")
            needed = [*permissions.pull(variant.image), permissions.read(variant.model_data.uri)]
            authorization.authorize(caller, needed)
            image, folder = self._images.find(variant.image), variant.model_data.folder(caller)
            for _ in range(count):
                instances.append(
                    EndpointInstance(self.name, variant.name, folder, variant.environment, self._home, image, caller)
                )
            self._await_ready(variant, instances)
        except BaseException as error:
            end_instances(instances)
            if isinstance(error, authorization.DeniedError):
                raise StartError(_UNREADABLE.format(variant=variant.name, why=error)) from error
            if isinstance(error, ImageError | StorageError | OSError):
                raise StartError(str(error)) from error
            raise
        return instances

    def _await_ready(self, variant: Variant, instances: Sequence[EndpointInstance]) -> None:
        deadline = time.monotonic() + variant.startup_seconds
        waiting = list(instances)
        while waiting:
            for instance in waiting:
                if not instance.alive or time.monotonic() > deadline:
                    end_instances([instance])  # Its log is complete after this, so the last line is known.
                    raise StartError(_UNHEALTHY.format(variant=variant.name, line=instance.last_line))
                instance.flush()
            waiting = [instance for instance in waiting if not instance.ping()]
            self._remove_dead()
            self._flush_logs()
            time.sleep(_POLL_SECONDS)

    def _adjust_count(self, variant: Variant) -> None:
        """Start or end instances until a variant has the desired number.

        Raises:
            StartError: an instance did not become ready.
        """
        missing = variant.desired - len(variant.instances)
        if missing > 0:
            started = self._start(variant, missing)
            # Read ``variant.instances`` after the start only, because dead ones may have been removed meanwhile.
            variant.instances = (*variant.instances, *started)
        elif missing < 0:
            surplus = variant.instances[variant.desired :]
            variant.instances = variant.instances[: variant.desired]
            end_instances(surplus, _DRAIN_SECONDS)

    def _remove_dead(self) -> None:
        """Take instances that died out of their variants."""
        if self._closing.is_set():
            return
        for variant in self._variants():
            dead = [instance for instance in variant.instances if not instance.alive]
            if dead:
                variant.instances = tuple(instance for instance in variant.instances if instance not in dead)
                end_instances(dead)
                log.warning("endpoint %s: %d instance(s) of %s died", self.name, len(dead), variant.name)

    def _replace_dead(self) -> None:
        """Start new instances in place of those that died."""
        self._remove_dead()
        for variant in self._variants():
            if len(variant.instances) < variant.desired and not self._closing.is_set():
                self._refill(variant)

    def _variants(self) -> list[Variant]:
        return [*self.fleet.values(), *self.green.values()]

    def _refill(self, variant: Variant) -> None:
        if time.monotonic() < self._next_replacement:
            return
        try:
            self._adjust_count(variant)
        except StartError as error:
            self._next_replacement = time.monotonic() + _REPLACE_PAUSE_SECONDS
            log.warning("endpoint %s: %s", self.name, error)

    def _flush_logs(self) -> None:
        """Send the pending log lines of all instances to CloudWatch Logs."""
        for variant in self._variants():
            for instance in variant.instances:
                instance.flush()
