"""The operations of SageMaker's API on endpoint configurations and endpoints."""

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from cloud.core import emulator, quotas
from cloud.core.protocol import ApiError, Operation, Request, invalid
from cloud.ecr.images import Images
from cloud.sagemaker import rules
from cloud.sagemaker.endpoints.endpoint import Endpoint
from cloud.sagemaker.endpoints.model_data import ModelData
from cloud.sagemaker.endpoints.rollback_alarms import check_alarms
from cloud.sagemaker.endpoints.variant import Variant, desired_counts
from cloud.sagemaker.registry import Model, Models, data_uri
from cloud.sagemaker.store import Record, Store, page

_STARTUP_MEMBER = "ContainerStartupHealthCheckTimeoutInSeconds"
_STARTUP_SECONDS = 120.0  # for a variant without that member
_MUST_BE_DEREGISTERED = (
    'The variant(s) "{variants}" must be deregistered as scalable targets with AutoScaling before they '
    "can be removed or have their instance type updated."
)
# AWS deregisters the target itself if the caller has the permission, and refuses with this message if not.
_MUST_BE_DEREGISTERED_FIRST = (
    "An Application AutoScaling scalable target exists for a variant being deleted, {variants}; the laptop cloud does "
    "not deregister it by itself, so deregister it first."
)


class EndpointConfig(Record):
    """An endpoint configuration: the request that created it."""

    @property
    def variants(self) -> list[dict[str, Any]]:
        """The ProductionVariants of the request."""
        variants: list[dict[str, Any]] = self.request["ProductionVariants"]
        return variants


class Endpoints:
    """The operations on endpoint configurations and endpoints.

    Attributes:
        is_scaled: whether a variant is a scalable target, called with (endpoint name, variant name). ``cloud.server``
            replaces this default by the answer of Application Auto Scaling.
        closing: set when the cloud ends; from then on no instance is started or replaced.
    """

    def __init__(self, store: Store, models: Models, home: Path, images: Images) -> None:
        """Create the operations.

        Args:
            store: all SageMaker resources.
            models: the models that variants name.
            home: the cloud's home folder.
            images: the images in ECR.
        """
        self._store, self._models, self._home, self._images = store, models, home, images
        self._model_data: WeakValueDictionary[tuple[str, float], ModelData] = WeakValueDictionary()
        self.is_scaled: Callable[[str, str], bool] = lambda _endpoint, _variant: False
        self.closing = threading.Event()

    def table(self) -> dict[str, Operation]:
        """Return the operations by name."""
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
        """Create a configuration; its models must exist."""
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
        """Return a configuration as it was created."""
        config = self._config(request["EndpointConfigName"])
        return {**config.request, "EndpointConfigArn": config.arn, "CreationTime": config.created}

    def list_configs(self, request: Request) -> dict[str, Any]:
        """List configurations, the newest first unless the request says otherwise."""
        configs, token = page(request, self._store.of(EndpointConfig))
        summaries = [
            {"EndpointConfigName": each.name, "EndpointConfigArn": each.arn, "CreationTime": each.created}
            for each in configs
        ]
        return {"EndpointConfigs": summaries, "NextToken": token}

    def delete_config(self, request: Request) -> dict[str, Any]:
        """Delete a configuration; endpoints that were created with it keep serving."""
        self._store.remove(self._config(request["EndpointConfigName"]).arn)
        return {}

    def create(self, request: Request) -> dict[str, Any]:
        """Create an endpoint; its own thread starts the instances."""
        name = request["EndpointName"]
        config = self._config(request["EndpointConfigName"])
        arn = self._store.arn("endpoint", name)
        endpoint = Endpoint(arn, name, self._home, self._images, self.closing)
        variants = [self._variant(variant) for variant in config.variants]
        # Kept for a later UpdateEndpoint with RetainDeploymentConfig.
        deployment = request.get("DeploymentConfig", {})
        rules.deployment(deployment, desired_counts(variants), None)
        taken = invalid(f'Cannot create already existing endpoint "{arn}".')
        if name.lower() in (each.name.lower() for each in self._store.of(Endpoint)):
            raise taken
        self._refuse_beyond_quota(variants, sum(each.desired for each in variants))
        self._store.add(endpoint, taken)
        endpoint.config_name, endpoint.deployment = config.name, deployment
        endpoint.prepare(config.name, variants)
        endpoint.enqueue(lambda: endpoint.deploy({}))
        emulator.spawn_thread(endpoint.run, name=f"endpoint-{name}")
        emulator.spawn_thread(endpoint.measure, name=f"endpoint-{name}-metrics")
        return {"EndpointArn": arn}

    def describe(self, request: Request) -> dict[str, Any]:
        """Return an endpoint's description."""
        return self.find(request["EndpointName"]).description()

    def list(self, request: Request) -> dict[str, Any]:
        """List endpoints, the newest first unless the request says otherwise."""
        endpoints, token = page(request, self._store.of(Endpoint))
        return {"Endpoints": [endpoint.summary() for endpoint in endpoints], "NextToken": token}

    def update(self, request: Request) -> dict[str, Any]:
        """Replace the fleet by one of another configuration, blue/green; refused while another update runs."""
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
        rules.deployment(deployment, desired_counts(variants), endpoint.fleet)
        check_alarms(deployment, variants)
        types = {variant.name: variant.instance_type for variant in variants}
        self._refuse_scaled(endpoint, _MUST_BE_DEREGISTERED, lambda old: types.get(old.name) != old.instance_type)
        self._refuse_beyond_quota(variants, sum(each.desired for each in variants))
        endpoint.begin("Updating")
        endpoint.deployment = deployment
        endpoint.prepare(config.name, variants)
        endpoint.enqueue(lambda: endpoint.deploy(deployment))
        return {"EndpointArn": endpoint.arn}

    def resize(self, request: Request) -> dict[str, Any]:
        """Change weights and instance counts of the variants that serve."""
        endpoint = self.find(request["EndpointName"])
        rules.capacities(request["DesiredWeightsAndCapacities"])
        changes = {}
        for each in request["DesiredWeightsAndCapacities"]:
            if each["VariantName"] not in endpoint.fleet:
                raise invalid(f'Could not find variant "{each["VariantName"]}" of endpoint "{endpoint.arn}".')
            change = {"weight": each.get("DesiredWeight"), "desired": each.get("DesiredInstanceCount")}
            changes[each["VariantName"]] = {key: value for key, value in change.items() if value is not None}
            variant = endpoint.fleet[each["VariantName"]]
            more = each.get("DesiredInstanceCount", variant.desired) - variant.desired
            size = sum(each.desired for each in endpoint.fleet.values()) + more
            self._refuse_beyond_quota([replace(variant, desired=more)], size if more > 0 else 0)
        endpoint.begin("Updating")
        endpoint.enqueue(lambda: endpoint.resize(changes))
        return {"EndpointArn": endpoint.arn}

    def delete(self, request: Request) -> dict[str, Any]:
        """Delete an endpoint; it exists until its instances have ended."""
        endpoint = self.find(request["EndpointName"])
        self._refuse_scaled(endpoint, _MUST_BE_DEREGISTERED_FIRST, lambda _: True)
        endpoint.begin("Deleting")
        endpoint.enqueue(lambda: endpoint.tear_down(lambda: self._store.remove(endpoint.arn)))
        return {}

    def find(self, name: str) -> Endpoint:
        """Return the endpoint of this name in the caller's account and region.

        Raises:
            ApiError: there is no such endpoint.
        """
        arn = self._store.arn("endpoint", name)
        return self._store.get(arn, Endpoint, f'Could not find endpoint "{arn}".')

    def config_of(self, name: str) -> str:
        """Return the name of an endpoint's configuration; without such an endpoint ``*``, a name that none can have."""
        try:
            return self.find(name).config_name
        except ApiError:
            return "*"

    def _config(self, name: str) -> EndpointConfig:
        arn = self._store.arn("endpoint-config", name)
        return self._store.get(arn, EndpointConfig, f'Could not find endpoint configuration "{arn}".')

    def _variant(self, specification: Mapping[str, Any]) -> Variant:
        model = self._models.find(specification["ModelName"])
        primary_container = rules.container_of(model.request)
        container = self._models.container(primary_container)
        return Variant(
            name=specification["VariantName"],
            image=container["Image"],
            role=model.request["ExecutionRoleArn"],
            instance_type=specification["InstanceType"],
            model_data=self._model_data_of(model, container),
            environment=primary_container.get("Environment", {}),
            weight=specification.get("InitialVariantWeight", 1.0),
            desired=specification["InitialInstanceCount"],
            startup_seconds=specification.get(_STARTUP_MEMBER, _STARTUP_SECONDS),
            resolved=self._images.resolve(container["Image"]),
        )

    def _model_data_of(self, model: Model, container: Mapping[str, Any]) -> ModelData:
        """Return the data of a model; variants of the same model share it."""
        # The time is part of the key because a model that was deleted and created again may have other data.
        key = (model.arn, model.created)
        model_data = self._model_data.get(key)
        if model_data is None:
            folder = self._home / "models" / f"{model.name}-{uuid.uuid4().hex[:8]}"
            model_data = self._model_data[key] = ModelData(data_uri(container), folder)
        return model_data

    def _refuse_beyond_quota(self, variants: Iterable[Variant], size: int) -> None:
        """Refuse further instances that the account's quotas do not allow.

        The fleet that an update replaces counts beside the new one, and so do endpoints that are being deleted.

        Args:
            variants: variants whose ``desired`` instances would be added.
            size: number of instances that the endpoint itself would have in the end.

        Raises:
            ApiError: a quota is too small.
        """
        more = Counter[str]()
        for variant in variants:
            more[variant.instance_type] += variant.desired
        used = Counter[str]()
        for endpoint in self._store.of(Endpoint):
            used += endpoint.occupied_by_type()
        if problem := quotas.beyond("endpoint", used, more) or quotas.beyond_each("endpoint", size):
            raise ApiError("ResourceLimitExceeded", problem)

    def _refuse_scaled(self, endpoint: Endpoint, message: str, affected: Callable[[Variant], bool]) -> None:
        """Refuse a change that affects a variant which is a scalable target.

        Args:
            endpoint: the endpoint to be changed.
            message: AWS's error message, with ``{variants}``.
            affected: whether the change affects a variant.

        Raises:
            ApiError: such a variant exists.
        """
        variants = [
            variant.name
            for variant in endpoint.fleet.values()
            if affected(variant) and self.is_scaled(endpoint.name, variant.name)
        ]
        if variants:
            raise invalid(message.format(variants=", ".join(variants)))


def _retain(variants: Sequence[Variant], fleet: Mapping[str, Variant], excluded: set[str]) -> None:
    """Copy counts and weights of the variants that serve to the new variants of the same names."""
    for variant in variants:
        old = fleet.get(variant.name)
        if old and "DesiredInstanceCount" not in excluded:
            variant.desired = old.desired
        if old and "DesiredWeight" not in excluded:
            variant.weight = old.weight
