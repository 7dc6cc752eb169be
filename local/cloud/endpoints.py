"""Endpoint configurations and endpoints: create, blue/green update, scale, heal, delete.

Everything that starts or stops an instance of an endpoint happens on that endpoint's own thread,
one thing after the other; the API only sets a status and leaves an order. The router reads
``green``, then ``fleet``, and ``Variant.instances``, which are replaced whole, never changed in place.
"""

import logging
import math
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from local.cloud import hosting, iam, ministack, permissions, rules
from local.cloud.api import ApiError, Operation, Request, invalid
from local.cloud.clock import scaled
from local.cloud.deployment import WHOLE, Stage, stages
from local.cloud.hosting import Artifact, Instance
from local.cloud.images import ImageError, Images
from local.cloud.metering import SAMPLE_SECONDS, Answered, Meter
from local.cloud.permissions import Place
from local.cloud.registry import Model, Models, data_uri
from local.cloud.s3uri import StorageError
from local.cloud.store import Record, Store, now, page

log = logging.getLogger("kennel.endpoints")

_TICK_SECONDS = 0.2
_POLL_SECONDS = 0.05
_DRAIN_SECONDS = 60.0  # the longest that a request may take
_HEAL_PAUSE_SECONDS = 5.0
_STARTUP_MEMBER = "ContainerStartupHealthCheckTimeoutInSeconds"
_STARTUP_SECONDS = 120.0  # unless the variant has that member
_MUST_BE_DEREGISTERED = (
    'The variant(s) "{variants}" must be deregistered as scalable targets with AutoScaling before they '
    "can be removed or have their instance type updated."
)
# AWS deregisters by itself if the caller may, and refuses so if not.
_MUST_BE_DEREGISTERED_FIRST = (
    "An Application AutoScaling scalable target exists for a variant being deleted, {variants}; the laptop cloud "
    "deregisters none by itself, so do that first."
)
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


class EndpointConfig(Record):
    """An endpoint configuration: the request that made it."""

    @property
    def variants(self) -> list[dict[str, Any]]:
        variants: list[dict[str, Any]] = self.request["ProductionVariants"]
        return variants


@dataclass
class Variant:
    """A production variant that serves, or is about to.

    Attributes:
        desired: number of instances it should have.
        share: of the traffic of its name, what it takes; the old fleet's variant of that name takes the rest.
        instances: those that are ready; replaced whole.
        status: what a deployment does with it, as DescribeEndpoint gives it.
        answered: requests since the last look at them.
    """

    name: str
    image: str
    role: str
    instance_type: str
    artifact: Artifact
    environment: Mapping[str, str]
    weight: float
    desired: int
    startup_seconds: float
    share: Fraction = Fraction(0)
    instances: tuple[Instance, ...] = ()
    status: dict[str, Any] | None = None
    answered: deque[Answered] = field(default_factory=lambda: deque(maxlen=100_000))

    @property
    def active(self) -> tuple[Instance, ...]:
        """The instances that take traffic: as large a part as its share, in whole instances."""
        return self.instances[: math.ceil(self.share * self.desired)]

    def enter(self, status: str, message: str) -> None:
        """Say what a deployment does with it now."""
        self.status = {"Status": status, "StatusMessage": message, "StartTime": now()}

    def take(self, stage: Stage) -> None:
        """Take the share of the traffic that a deployment's stage gives it."""
        self.share = stage.shares[self.name]
        part = "full" if self.share == WHOLE else "canary"
        capacity = f"{part} capacity of {len(self.active)} instance(s)."
        if stage.seconds:
            self.enter(
                "Baking", f"Baking for {stage.seconds} seconds ({stage.wait}) with traffic enabled on {capacity}"
            )
        else:
            self.enter("ActivatingTraffic", f"Activating traffic on {capacity}")

    def description(self) -> dict[str, Any]:
        """As DescribeEndpoint gives it."""
        return {
            "VariantName": self.name,
            "DeployedImages": [{"SpecifiedImage": self.image, "ResolvedImage": self.image}],
            "CurrentWeight": self.weight,
            "DesiredWeight": self.weight,
            "CurrentInstanceCount": len(self.active),
            "DesiredInstanceCount": self.desired,
            **({"VariantStatus": [self.status]} if self.status else {}),
        }


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
            hosting.end(_instances(self.green))
            raise
        # In this order: who finds no new fleet finds it as the one that serves.
        old, self.fleet = self.fleet, self.green
        self.config_name = self.pending["EndpointConfigName"]
        self._settle("InService", None)
        hosting.end(_instances(old), _DRAIN_SECONDS)

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
            hosting.end(_instances(fleet), _DRAIN_SECONDS)
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
        for stage in stages(policy, _counts(self.green.values())):
            for variant in self.green.values():
                variant.take(stage)
            self._bake(scaled(stage.seconds), _alarm_names(deployment), expires)

    def _bake(self, seconds: float, alarms: Sequence[str], expires: float) -> None:
        """Watch both fleets for a while.

        Raises:
            RollbackError: an alarm goes off, or the deployment takes too long.
        """
        over = time.monotonic() + seconds
        while True:
            self._heal()
            self._report()
            if tripped := [name for name, state in _alarm_states(alarms).items() if state == "ALARM"]:
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
        hosting.end(_instances(self.green), _DRAIN_SECONDS)
        self._settle("InService" if self.fleet else "Failed", reason)

    def _start(self, variant: Variant, count: int) -> list[Instance]:
        """Start instances and wait until all are ready; none is left when one is not."""
        instances: list[Instance] = []
        try:
            caller = iam.assume(variant.role, permissions.SAGEMAKER, "SageMaker")
            iam.authorize(caller, [*permissions.pull(variant.image), permissions.read(variant.artifact.uri)])
            code, folder = self._images.workdir(variant.image), variant.artifact.folder(caller)
            for _ in range(count):
                instances.append(
                    Instance(self.name, variant.name, folder, variant.environment, self._home, code, caller)
                )
            self._await_ready(variant, instances)
        except BaseException as error:
            hosting.end(instances)
            if isinstance(error, iam.DeniedError):
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


class Endpoints:
    """The operations on endpoint configurations and endpoints.

    Attributes:
        is_scaled: whether (endpoint name, variant name) is a scalable target; set by who knows.
        closing: set when the cloud ends, so that nothing is started or replaced any more.
    """

    def __init__(self, store: Store, models: Models, home: Path, images: Images) -> None:
        self._store, self._models, self._home, self._images = store, models, home, images
        self._artifacts: WeakValueDictionary[tuple[str, float], Artifact] = WeakValueDictionary()
        self.is_scaled: Callable[[str, str], bool] = lambda _endpoint, _variant: False
        self.closing = threading.Event()

    def table(self) -> dict[str, Operation]:
        """The operations by name."""
        return {
            "CreateEndpointConfig": self.create_config,
            "DescribeEndpointConfig": self.describe_config,
            "ListEndpointConfigs": self.list_configs,
            "DeleteEndpointConfig": self.delete_config,
            "CreateEndpoint": self.create,
            "DescribeEndpoint": self.describe,
            "ListEndpoints": self.list,
            "UpdateEndpoint": self.update,
            "UpdateEndpointWeightsAndCapacities": self.resize,
            "DeleteEndpoint": self.delete,
        }

    def create_config(self, request: Request) -> dict[str, Any]:
        """Keep a configuration whose models exist."""
        rules.endpoint_config(request)
        for variant in request["ProductionVariants"]:
            self._models.find(variant["ModelName"])
        name = request["EndpointConfigName"]
        arn = self._store.arn("endpoint-config", name)
        members = {key: value for key, value in request.items() if key != "Tags"}
        taken = invalid(f'Cannot create already existing endpoint configuration "{arn}".')
        self._store.add(EndpointConfig(arn, name, members), taken)
        return {"EndpointConfigArn": arn}

    def describe_config(self, request: Request) -> dict[str, Any]:
        """A configuration as it was created."""
        config = self._config(request["EndpointConfigName"])
        return {**config.request, "EndpointConfigArn": config.arn, "CreationTime": config.created}

    def list_configs(self, request: Request) -> dict[str, Any]:
        """Configurations, newest first unless asked otherwise."""
        found, token = page(request, self._store.of(EndpointConfig))
        summaries = [
            {"EndpointConfigName": each.name, "EndpointConfigArn": each.arn, "CreationTime": each.created}
            for each in found
        ]
        return {"EndpointConfigs": summaries, "NextToken": token}

    def delete_config(self, request: Request) -> dict[str, Any]:
        """Forget a configuration; endpoints made with it keep serving."""
        self._store.remove(self._config(request["EndpointConfigName"]).arn)
        return {}

    def create(self, request: Request) -> dict[str, Any]:
        """Start an endpoint."""
        name = request["EndpointName"]
        config = self._config(request["EndpointConfigName"])
        arn = self._store.arn("endpoint", name)
        endpoint = Endpoint(arn, name, self._home, self._images, self.closing)
        variants = [self._variant(variant) for variant in config.variants]
        deployment = request.get("DeploymentConfig", {})  # of the next update, should that retain it
        rules.deployment(deployment, _counts(variants), None)
        taken = invalid(f'Cannot create already existing endpoint "{arn}".')
        if name.lower() in (each.name.lower() for each in self._store.of(Endpoint)):
            raise taken
        self._store.add(endpoint, taken)
        endpoint.config_name, endpoint.deployment = config.name, deployment
        endpoint.announce(config.name, variants)
        endpoint.order(lambda: endpoint.deploy({}))
        ministack.spawn_thread(endpoint.run, name=f"endpoint-{name}")
        ministack.spawn_thread(endpoint.measure, name=f"endpoint-{name}-metrics")
        return {"EndpointArn": arn}

    def describe(self, request: Request) -> dict[str, Any]:
        """An endpoint's state."""
        return self.find(request["EndpointName"]).description()

    def list(self, request: Request) -> dict[str, Any]:
        """Endpoints, newest first unless asked otherwise."""
        found, token = page(request, self._store.of(Endpoint))
        return {"Endpoints": [endpoint.summary() for endpoint in found], "NextToken": token}

    def update(self, request: Request) -> dict[str, Any]:
        """Replace the fleet by one of another configuration, blue/green."""
        endpoint = self.find(request["EndpointName"])
        config = self._config(request["EndpointConfigName"])
        variants = [self._variant(variant) for variant in config.variants]
        endpoint.refuse_unless_free()
        if self._config(endpoint.config_name) is config:
            raise invalid(
                f'Endpoint "{endpoint.arn}" runs endpoint configuration "{config.arn}"; to update it, you must create '
                "a new one."
            )
        if request.get("RetainAllVariantProperties"):
            excluded = {each["VariantPropertyType"] for each in request.get("ExcludeRetainedVariantProperties", [])}
            _retain(variants, endpoint.fleet, excluded)
        deployment = (
            endpoint.deployment if request.get("RetainDeploymentConfig") else request.get("DeploymentConfig", {})
        )
        rules.deployment(deployment, _counts(variants), endpoint.fleet)
        _check_alarms(deployment, variants)
        types = {variant.name: variant.instance_type for variant in variants}
        self._refuse_scaled(endpoint, _MUST_BE_DEREGISTERED, lambda old: types.get(old.name) != old.instance_type)
        endpoint.begin("Updating")
        endpoint.deployment = deployment
        endpoint.announce(config.name, variants)
        endpoint.order(lambda: endpoint.deploy(deployment))
        return {"EndpointArn": endpoint.arn}

    def resize(self, request: Request) -> dict[str, Any]:
        """Change weights and instance counts."""
        endpoint = self.find(request["EndpointName"])
        rules.capacities(request["DesiredWeightsAndCapacities"])
        changes = {}
        for each in request["DesiredWeightsAndCapacities"]:
            if each["VariantName"] not in endpoint.fleet:
                raise invalid(f'Could not find variant "{each["VariantName"]}" of endpoint "{endpoint.arn}".')
            wanted = {"weight": each.get("DesiredWeight"), "desired": each.get("DesiredInstanceCount")}
            changes[each["VariantName"]] = {key: value for key, value in wanted.items() if value is not None}
        endpoint.begin("Updating")
        endpoint.order(lambda: endpoint.resize(changes))
        return {"EndpointArn": endpoint.arn}

    def delete(self, request: Request) -> dict[str, Any]:
        """End an endpoint; it is gone when its instances are."""
        endpoint = self.find(request["EndpointName"])
        self._refuse_scaled(endpoint, _MUST_BE_DEREGISTERED_FIRST, lambda _: True)
        endpoint.begin("Deleting")
        endpoint.order(lambda: endpoint.dismantle(lambda: self._store.remove(endpoint.arn)))
        return {}

    def find(self, name: str) -> Endpoint:
        """Raises ApiError: no such endpoint in the caller's account and region."""
        arn = self._store.arn("endpoint", name)
        return self._store.get(arn, Endpoint, f'Could not find endpoint "{arn}".')

    def config_of(self, name: str) -> str:
        """The name of an endpoint's configuration; ``*`` of one that does not exist, which nobody may name."""
        try:
            return self.find(name).config_name
        except ApiError:
            return "*"

    def _config(self, name: str) -> EndpointConfig:
        arn = self._store.arn("endpoint-config", name)
        return self._store.get(arn, EndpointConfig, f'Could not find endpoint configuration "{arn}".')

    def _variant(self, specification: Mapping[str, Any]) -> Variant:
        model = self._models.find(specification["ModelName"])
        given = model.request["PrimaryContainer"]
        container = self._models.container(given)
        return Variant(
            name=specification["VariantName"],
            image=container["Image"],
            role=model.request["ExecutionRoleArn"],
            instance_type=specification["InstanceType"],
            artifact=self._artifact(model, container),
            environment=given.get("Environment", {}),
            weight=specification.get("InitialVariantWeight", 1.0),
            desired=specification["InitialInstanceCount"],
            startup_seconds=specification.get(_STARTUP_MEMBER, _STARTUP_SECONDS),
        )

    def _artifact(self, model: Model, container: Mapping[str, Any]) -> Artifact:
        # By time as well: a model deleted and created again under its name may have other data.
        key = (model.arn, model.created)
        artifact = self._artifacts.get(key)
        if artifact is None:
            folder = self._home / "models" / f"{model.name}-{uuid.uuid4().hex[:8]}"
            artifact = self._artifacts[key] = Artifact(data_uri(container), folder)
        return artifact

    def _refuse_scaled(self, endpoint: Endpoint, message: str, affected: Callable[[Variant], bool]) -> None:
        variants = [
            variant.name
            for variant in endpoint.fleet.values()
            if affected(variant) and self.is_scaled(endpoint.name, variant.name)
        ]
        if variants:
            raise invalid(message.format(variants=", ".join(variants)))


def _counts(variants: Iterable[Variant]) -> dict[str, int]:
    return {variant.name: variant.desired for variant in variants}


def _instances(fleet: Mapping[str, Variant]) -> list[Instance]:
    return [instance for variant in fleet.values() for instance in variant.instances]


def _alarm_names(deployment: Mapping[str, Any]) -> list[str]:
    return [alarm["AlarmName"] for alarm in deployment.get("AutoRollbackConfiguration", {}).get("Alarms", [])]


def _alarm_states(names: Sequence[str]) -> dict[str, str]:
    """CloudWatch's state of each alarm that there is."""
    if not names:
        return {}
    request = {"AlarmNames": names, "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}
    found = ministack.call_json("monitoring", "GraniteServiceVersion20100801.DescribeAlarms", request)
    return {alarm["AlarmName"]: alarm["StateValue"] for alarm in found["MetricAlarms"] + found["CompositeAlarms"]}


def _check_alarms(deployment: Mapping[str, Any], variants: Sequence[Variant]) -> None:
    """Raises ApiError: a role of the models may not look at a deployment's alarms, or there is no such alarm."""
    names = _alarm_names(deployment)
    needed = permissions.describe_alarms(names, Place(*ministack.scope()))
    for role in {variant.role for variant in variants} if names else ():
        try:
            iam.authorize(iam.assume_for_sagemaker(role), needed)
        except iam.DeniedError as error:
            raise invalid(f"The alarms of AutoRollbackConfiguration cannot be read: {error}") from None
    known = _alarm_states(names)
    if missing := [name for name in names if name not in known]:
        raise invalid(f"Could not find alarms {', '.join(missing)} of AutoRollbackConfiguration.")


def _retain(variants: Sequence[Variant], fleet: Mapping[str, Variant], excluded: set[str]) -> None:
    """Carry counts and weights of the serving variants over to the new ones of the same names."""
    for variant in variants:
        old = fleet.get(variant.name)
        if old and "DesiredInstanceCount" not in excluded:
            variant.desired = old.desired
        if old and "DesiredWeight" not in excluded:
            variant.weight = old.weight
