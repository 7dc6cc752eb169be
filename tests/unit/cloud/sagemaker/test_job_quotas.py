"""Jobs hold the account's quotas of instances, each use of a type by itself."""

from types import SimpleNamespace
from typing import Any

import pytest

from cloud.core import emulator, quotas
from cloud.core.protocol import ApiError
from cloud.sagemaker.jobs.operations import JobOperations
from cloud.sagemaker.store import Store


class FakeJob:
    """A job that stays as it was created."""

    KIND, IN_USE = "Training", "{arn} is in use"

    def __init__(self, name: str, arn: str, request: dict[str, Any], _context: Any) -> None:
        self.name, self.arn, self.request, self.status = name, arn, request, "InProgress"

    def run(self) -> None: ...


class FakeProcessingJob(FakeJob):
    KIND = "Processing"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(emulator, "spawn_thread", lambda *_, **__: None)
    limits = {f"ml.c7i.xlarge for {use} job usage": 2 for use in ("training", "spot training", "processing")}
    monkeypatch.setattr(quotas, "_QUOTAS", limits)
    return Store(lambda: ("us-east-1", "000000000000"))


def create(store: Store, name: str, count: int, spot: bool = False, processing: bool = False) -> None:
    kind: Any = FakeProcessingJob if processing else FakeJob
    context: Any = SimpleNamespace(store=store)
    cluster = {"InstanceType": "ml.c7i.xlarge", "InstanceCount": count}
    request: dict[str, Any] = {f"{kind.KIND}JobName": name, "EnableManagedSpotTraining": spot}
    request |= {"ProcessingResources": {"ClusterConfig": cluster}} if processing else {"ResourceConfig": cluster}
    JobOperations(kind, context).create(request)


def test_job_beyond_the_quota_is_refused_and_leaves_no_trace(store: Store) -> None:
    create(store, "first", 1)
    with pytest.raises(ApiError) as refused:
        create(store, "second", 2)
    assert refused.value.code == "ResourceLimitExceeded"
    assert refused.value.message.startswith(
        "The account-level service limit 'ml.c7i.xlarge for training job usage' is 2 Instances, with current "
        "utilization of 1 Instances and a request delta of 2 Instances."
    )
    kind: Any = FakeJob
    assert [job.name for job in store.of(kind)] == ["first"]
    store.of(kind)[0].status = "Completed"
    create(store, "second", 2)  # The name is free, and a job that has ended does not count.


def test_each_use_of_a_type_has_a_quota_of_its_own(store: Store) -> None:
    create(store, "a", 2)
    create(store, "b", 2, spot=True)
    create(store, "c", 2, processing=True)
    for options in ({}, {"spot": True}, {"processing": True}):
        with pytest.raises(ApiError, match="current utilization of 2 Instances"):
            create(store, "d", 1, **options)


@pytest.mark.parametrize(
    ("name", "spot"),
    [
        ("Number of instances across all training jobs", False),
        ("Number of instances across all spot training jobs", True),
        ("Maximum number of instances per training job", False),
    ],
)
def test_all_types_together_and_each_job_have_quotas_too(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str, spot: bool
) -> None:
    monkeypatch.setattr(quotas, "_QUOTAS", {name: 2})
    create(store, "a", 2, spot=spot)
    create(store, "b", 2, processing=True)
    with pytest.raises(ApiError, match=f"'{name}' is 2 Instances"):
        create(store, "c", 1 if "across" in name else 3, spot=spot)
