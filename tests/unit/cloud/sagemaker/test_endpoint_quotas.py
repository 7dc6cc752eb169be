"""Endpoints hold the account's quotas of instances: an update counts twice, and a deletion until it is complete."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloud.core import emulator, quotas
from cloud.core.protocol import ApiError
from cloud.sagemaker.endpoints import endpoint as endpoint_module
from cloud.sagemaker.endpoints.endpoint import Endpoint
from cloud.sagemaker.endpoints.operations import Endpoints
from cloud.sagemaker.store import Store

QUOTA = "ml.c7i.large for endpoint usage"
MODEL = SimpleNamespace(
    arn="model", name="model", created=0.0, request={"PrimaryContainer": {}, "ExecutionRoleArn": "role"}
)


@pytest.fixture
def endpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Endpoints:
    """Endpoints whose threads do nothing: every transition stays where it began."""
    monkeypatch.setattr(emulator, "spawn_thread", lambda *_, **__: None)
    models: Any = SimpleNamespace(
        find=lambda _: MODEL, container=lambda _: {"Image": "image", "ModelDataUrl": "s3://b/model.tar.gz"}
    )
    images: Any = SimpleNamespace(resolve=lambda _uri: None)
    return Endpoints(Store(lambda: ("us-east-1", "000000000000")), models, tmp_path, images)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda number: monkeypatch.setattr(quotas, "_QUOTAS", {QUOTA: number})


def configure(endpoints: Endpoints, name: str, count: int, instance_type: str = "ml.c7i.large") -> None:
    variant = {"VariantName": "main", "ModelName": "m", "InstanceType": instance_type, "InitialInstanceCount": count}
    endpoints.create_config({"EndpointConfigName": name, "ProductionVariants": [variant]})


def create(endpoints: Endpoints, name: str, count: int) -> Endpoint:
    """Create an endpoint and let it serve."""
    configure(endpoints, f"{name}-config", count)
    endpoints.create({"EndpointName": name, "EndpointConfigName": f"{name}-config"})
    made = endpoints.find(name)
    made.fleet, made.green, made.status, made.config_name = made.green, {}, "InService", f"{name}-config"
    return made


def test_creation_beyond_the_quota_is_refused_in_awss_words(endpoints: Endpoints, limit: Callable[[int], None]) -> None:
    limit(2)
    create(endpoints, "dogs", 1)
    with pytest.raises(ApiError) as refused:
        create(endpoints, "cats", 2)
    assert refused.value.code == "ResourceLimitExceeded"
    assert refused.value.message == (
        "The account-level service limit 'ml.c7i.large for endpoint usage' is 2 Instances, with current utilization "
        "of 1 Instances and a request delta of 2 Instances. Please use AWS Service Quotas to request an increase for "
        "this quota. If AWS Service Quotas is not available, contact AWS support to request an increase for this quota."
    )
    with pytest.raises(ApiError, match="Could not find endpoint"):
        endpoints.find("cats")


def test_quotas_of_other_types_are_others(endpoints: Endpoints, limit: Callable[[int], None]) -> None:
    limit(0)
    configure(endpoints, "other", 2, "ml.c7i.xlarge")
    endpoints.create({"EndpointName": "dogs", "EndpointConfigName": "other"})


@pytest.mark.parametrize(("number", "allowed"), [(3, False), (4, True)])
def test_update_needs_both_fleets(
    endpoints: Endpoints, limit: Callable[[int], None], number: int, allowed: bool
) -> None:
    limit(number)
    dogs = create(endpoints, "dogs", 2)
    configure(endpoints, "next", 1)
    update = {"EndpointName": "dogs", "EndpointConfigName": "next", "RetainAllVariantProperties": True}
    if allowed:
        endpoints.update(update)
        assert dogs.occupied_by_type()["ml.c7i.large"] == 4  # The new fleet keeps the old one's two instances.
    else:
        with pytest.raises(ApiError, match="current utilization of 2 Instances and a request delta of 2 Instances"):
            endpoints.update(update)
        assert (dogs.status, dogs.green) == ("InService", {})


def test_deleted_endpoint_counts_until_its_instances_have_ended(
    endpoints: Endpoints, limit: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(1)
    dogs = create(endpoints, "dogs", 1)
    endpoints.delete({"EndpointName": "dogs"})
    with pytest.raises(ApiError, match="current utilization of 1 Instances"):
        create(endpoints, "cats", 1)
    during = []
    monkeypatch.setattr(
        endpoint_module, "end_instances", lambda *_: during.append(dogs.occupied_by_type()["ml.c7i.large"])
    )
    dogs.tear_down(lambda: endpoints._store.remove(dogs.arn))
    assert during == [1]
    endpoints.create({"EndpointName": "cats", "EndpointConfigName": "cats-config"})


def test_scaling_beyond_the_quota_is_refused_and_scaling_in_is_not(
    endpoints: Endpoints, limit: Callable[[int], None]
) -> None:
    limit(3)
    create(endpoints, "dogs", 2)

    def scale(count: int) -> None:
        change = {"VariantName": "main", "DesiredInstanceCount": count}
        endpoints.resize({"EndpointName": "dogs", "DesiredWeightsAndCapacities": [change]})

    with pytest.raises(ApiError, match="current utilization of 2 Instances and a request delta of 2 Instances"):
        scale(4)
    limit(0)
    scale(1)


def test_all_types_together_and_each_endpoint_have_quotas_too(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "_QUOTAS", {"Number of instances across active endpoints": 3})
    create(endpoints, "dogs", 2)
    configure(endpoints, "other", 2, "ml.c7i.xlarge")
    with pytest.raises(ApiError, match="'Number of instances across active endpoints' is 3 Instances, with current u"):
        endpoints.create({"EndpointName": "cats", "EndpointConfigName": "other"})
    monkeypatch.setattr(quotas, "_QUOTAS", {"Maximum number of instances per endpoint": 2})
    change = {"VariantName": "main", "DesiredInstanceCount": 3}
    with pytest.raises(ApiError, match="'Maximum number of instances per endpoint' is 2 Instances"):
        endpoints.resize({"EndpointName": "dogs", "DesiredWeightsAndCapacities": [change]})
