"""The operations of SageMaker's API on endpoint configurations and endpoints."""

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from cloud.core import emulator
from cloud.core.protocol import ApiError, Operation, Request, invalid
from cloud.core.store import Record, Store, page
from cloud.ecr.images import Images
from cloud.sagemaker import rules
from cloud.sagemaker.endpoints.endpoint import Endpoint
from cloud.sagemaker.endpoints.hosting import Artifact
from cloud.sagemaker.endpoints.rollback import check_alarms
from cloud.sagemaker.endpoints.variant import Variant, counts
from cloud.sagemaker.registry import Model, Models, data_uri

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


class EndpointConfig(Record):
    """An endpoint configuration: the request that made it."""

    @property
    def variants(self) -> list[dict[str, Any]]:
        variants: list[dict[str, Any]] = self.request["ProductionVariants"]
        return variants


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
        rules.deployment(deployment, counts(variants), None)
        taken = invalid(f'Cannot create already existing endpoint "{arn}".')
        if name.lower() in (each.name.lower() for each in self._store.of(Endpoint)):
            raise taken
        self._store.add(endpoint, taken)
        endpoint.config_name, endpoint.deployment = config.name, deployment
        endpoint.announce(config.name, variants)
        endpoint.order(lambda: endpoint.deploy({}))
        emulator.spawn_thread(endpoint.run, name=f"endpoint-{name}")
        emulator.spawn_thread(endpoint.measure, name=f"endpoint-{name}-metrics")
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
        rules.deployment(deployment, counts(variants), endpoint.fleet)
        check_alarms(deployment, variants)
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


def _retain(variants: Sequence[Variant], fleet: Mapping[str, Variant], excluded: set[str]) -> None:
    """Carry counts and weights of the serving variants over to the new ones of the same names."""
    for variant in variants:
        old = fleet.get(variant.name)
        if old and "DesiredInstanceCount" not in excluded:
            variant.desired = old.desired
        if old and "DesiredWeight" not in excluded:
            variant.weight = old.weight
