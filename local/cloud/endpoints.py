"""Endpoint configurations and endpoints: create, blue/green update, scale, heal, delete.

Everything that starts or stops an instance of an endpoint happens on that endpoint's own thread,
one thing after the other; the API only sets a status and leaves an order. The router reads
``fleet`` and ``Variant.instances``, which are replaced whole, never changed in place.
"""

import logging
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from local.cloud import hosting, iam, ministack, permissions, rules
from local.cloud.api import ApiError, Operation, Request, invalid
from local.cloud.hosting import Artifact, Instance
from local.cloud.images import ImageError, Images
from local.cloud.metering import SAMPLE_SECONDS, Answered, Meter
from local.cloud.registry import Model, Models, data_uri
from local.cloud.s3uri import StorageError
from local.cloud.store import Record, Store, now, page

log = logging.getLogger("kennel.endpoints")

_TICK_SECONDS = 0.2
_POLL_SECONDS = 0.05
_DRAIN_SECONDS = 10.0
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


class StartError(Exception):
    """Instances did not become ready; the message is the endpoint's FailureReason."""


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
        instances: those that are ready; replaced whole.
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
    instances: tuple[Instance, ...] = ()
    answered: deque[Answered] = field(default_factory=lambda: deque(maxlen=100_000))

    def description(self) -> dict[str, Any]:
        """As DescribeEndpoint gives it."""
        return {
            "VariantName": self.name,
            "DeployedImages": [{"SpecifiedImage": self.image, "ResolvedImage": self.image}],
            "CurrentWeight": self.weight,
            "DesiredWeight": self.weight,
            "CurrentInstanceCount": len(self.instances),
            "DesiredInstanceCount": self.desired,
        }


class Endpoint:
    """An endpoint and the thread that looks after its instances."""

    def __init__(self, arn: str, name: str, home: Path, images: Images, closing: threading.Event) -> None:
        self.arn = arn
        self.name = name
        self.created = self.modified = now()
        self.status = "Creating"
        self.failure_reason: str | None = None
        self.config_name = ""
        self.deployment: dict[str, Any] | None = None
        self.pending: dict[str, Any] | None = None
        self.fleet: dict[str, Variant] = {}
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
                if self.status in ("Creating", "Updating"):
                    self._settle("InService" if self.fleet else "Failed", f"{type(error).__name__}: {error}")

    def measure(self) -> None:
        """The endpoint's second thread: its variants' metrics, whatever the first one waits for."""
        meters: dict[str, Meter] = {}
        while not self._gone:
            for variant in self.fleet.values():
                meter = meters.setdefault(variant.name, Meter(self.name, variant.name, time.time()))
                meter.sample([each.in_flight for each in variant.instances], variant.answered, time.time())
            time.sleep(SAMPLE_SECONDS)

    def deploy(self, config_name: str, variants: Sequence[Variant]) -> None:
        """Bring up a whole new fleet, switch to it, drain and end the old one.

        When the new fleet does not come up, the old one stays, and the reason is told.
        """
        started: list[Variant] = []
        try:
            for variant in variants:
                started.append(variant)
                variant.instances = tuple(self._start(variant, variant.desired))
        except Exception as error:
            hosting.end([instance for variant in started for instance in variant.instances])
            if not isinstance(error, StartError):
                raise
            self._settle("InService" if self.fleet else "Failed", str(error))
            return
        old, self.fleet = self.fleet, {variant.name: variant for variant in variants}
        self.config_name = config_name
        self._settle("InService", None)
        hosting.end([i for variant in old.values() for i in variant.instances], _DRAIN_SECONDS)

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
            hosting.end([i for variant in fleet.values() for i in variant.instances], _DRAIN_SECONDS)
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
            "LastDeploymentConfig": self.deployment,
            "PendingDeploymentSummary": self.pending,
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

    def _settle(self, status: str, reason: str | None) -> None:
        with self._lock:
            self.status, self.failure_reason, self.pending, self.modified = status, reason, None, now()

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
            self._report()
            time.sleep(_POLL_SECONDS)

    def _fill(self, variant: Variant) -> None:
        """Start what a variant lacks, end what it has too much."""
        missing = variant.desired - len(variant.instances)
        if missing > 0:
            variant.instances += tuple(self._start(variant, missing))
        elif missing < 0:
            surplus = variant.instances[variant.desired :]
            variant.instances = variant.instances[: variant.desired]
            hosting.end(surplus, _DRAIN_SECONDS)

    def _heal(self) -> None:
        """Replace instances that died."""
        if self._closing.is_set():
            return
        for variant in self.fleet.values():
            dead = [instance for instance in variant.instances if not instance.alive]
            if dead:
                variant.instances = tuple(instance for instance in variant.instances if instance.alive)
                hosting.end(dead)
                log.warning("endpoint %s: %d instance(s) of %s died", self.name, len(dead), variant.name)
            if len(variant.instances) < variant.desired:
                self._refill(variant)

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
        for variant in self.fleet.values():
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
        rules.deployment(request.get("DeploymentConfig", {}), _counts(variants), None)
        taken = invalid(f'Cannot create already existing endpoint "{arn}".')
        if name.lower() in (each.name.lower() for each in self._store.of(Endpoint)):
            raise taken
        self._store.add(endpoint, taken)
        endpoint.config_name, endpoint.deployment = config.name, request.get("DeploymentConfig")
        endpoint.order(lambda: endpoint.deploy(config.name, variants))
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
        rules.deployment(request.get("DeploymentConfig", {}), _counts(variants), endpoint.fleet)
        types = {variant.name: variant.instance_type for variant in variants}
        self._refuse_scaled(endpoint, _MUST_BE_DEREGISTERED, lambda old: types.get(old.name) != old.instance_type)
        endpoint.begin("Updating")
        endpoint.pending = {
            "EndpointConfigName": config.name,
            "ProductionVariants": [
                {"VariantName": each.name, "DesiredInstanceCount": each.desired} for each in variants
            ],
            "StartTime": now(),
        }
        if not request.get("RetainDeploymentConfig"):
            endpoint.deployment = request.get("DeploymentConfig")
        endpoint.order(lambda: endpoint.deploy(config.name, variants))
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


def _counts(variants: Sequence[Variant]) -> dict[str, int]:
    return {variant.name: variant.desired for variant in variants}


def _retain(variants: Sequence[Variant], fleet: Mapping[str, Variant], excluded: set[str]) -> None:
    """Carry counts and weights of the serving variants over to the new ones of the same names."""
    for variant in variants:
        old = fleet.get(variant.name)
        if old and "DesiredInstanceCount" not in excluded:
            variant.desired = old.desired
        if old and "DesiredWeight" not in excluded:
            variant.weight = old.weight
