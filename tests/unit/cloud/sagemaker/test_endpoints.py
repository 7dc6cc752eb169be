"""Endpoints when something fails: no new instance stays, the old fleet serves, and the endpoint can be deleted."""

import random
import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloud.ecr.images import ContainerImage
from cloud.iam import authorization
from cloud.sagemaker.endpoints import endpoint as endpoint_module
from cloud.sagemaker.endpoints.endpoint import Endpoint
from cloud.sagemaker.endpoints.router import _choose_variant
from cloud.sagemaker.endpoints.variant import Variant


class FakeInstance:
    """An instance that raises when it must drain; the third one raises when it is created."""

    created: list["FakeInstance"]

    def __init__(self, *_: Any) -> None:
        if len(self.created) == 2:
            raise ValueError("embedded null byte")
        self.created.append(self)
        self.closed = self.draining = False
        self.alive = True

    def drain(self, seconds: float) -> None:
        if seconds:
            raise RuntimeError("no draining")

    def terminate(self) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    monkeypatch.setattr(authorization, "assume", lambda *_: "key")
    monkeypatch.setattr(authorization, "authorize", lambda *_: None)
    monkeypatch.setattr(endpoint_module, "EndpointInstance", FakeInstance)
    monkeypatch.setattr(Endpoint, "_await_ready", lambda *_: None)
    monkeypatch.setattr(FakeInstance, "created", [], raising=False)
    images: Any = SimpleNamespace(find=lambda _: ContainerImage(tmp_path, "/", {}, (), ()))
    return Endpoint("arn", "dogs", tmp_path, images, threading.Event())


def variant(name: str, desired: int, share: Fraction = Fraction(0)) -> Variant:
    model_data: Any = SimpleNamespace(uri="s3://b/model.tar.gz", folder=lambda _: None)
    return Variant(name, "image", "role", "ml.c7i.large", model_data, {}, 1.0, desired, 1.0, share=share)


def test_no_instance_is_left_when_another_cannot_be_started(endpoint: Endpoint) -> None:
    endpoint.prepare("config", [variant("a", 1), variant("b", 2)])
    with pytest.raises(ValueError, match="null byte"):
        endpoint.deploy({})
    assert [each.closed for each in FakeInstance.created] == [True, True]
    assert endpoint.fleet == {}


def test_endpoint_is_forgotten_even_if_its_instances_do_not_end(endpoint: Endpoint) -> None:
    endpoint.prepare("config", [variant("a", 1)])
    endpoint.deploy({})
    forgotten: list[str] = []
    endpoint.enqueue(lambda: endpoint.tear_down(lambda: forgotten.append("dogs")))
    endpoint.run()  # It returns, so the endpoint's thread ends.
    assert forgotten == ["dogs"]


def test_instance_that_dies_while_another_starts_stays_out(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint.prepare("config", [variant("a", 1)])
    endpoint.deploy({})

    def die_meanwhile(*_: Any) -> None:
        FakeInstance.created[0].alive = False
        endpoint._remove_dead()

    monkeypatch.setattr(Endpoint, "_await_ready", die_meanwhile)
    endpoint.resize({"a": {"desired": 2}})
    assert endpoint.fleet["a"].instances == (FakeInstance.created[1],)


def test_update_that_takes_too_long_is_rolled_back(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[str] = []
    monkeypatch.setattr(FakeInstance, "drain", lambda *_: statuses.append(endpoint.status))
    endpoint.prepare("first", [variant("a", 1)])
    endpoint.deploy({})
    endpoint.prepare("second", [variant("a", 1)])
    endpoint.deploy({"BlueGreenUpdatePolicy": {"MaximumExecutionTimeoutInSeconds": 0}})
    old, new = FakeInstance.created
    assert (old.closed, new.closed) == (False, True)
    assert statuses == ["RollingBack"]
    assert (endpoint.status, endpoint.config_name, endpoint.green) == ("InService", "first", {})
    assert "MaximumExecutionTimeoutInSeconds" in (endpoint.failure_reason or "")


@pytest.mark.parametrize(("share", "num_active"), [(Fraction(3, 10), 1), (Fraction(1, 2), 2), (Fraction(1), 3)])
def test_share_of_the_traffic_activates_whole_instances(share: Fraction, num_active: int) -> None:
    new = variant("a", 3, share)
    new.instances = tuple(object() for _ in range(3))  # type: ignore[misc]
    assert new.active == new.instances[:num_active]


def test_new_variant_takes_its_share_of_the_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", random.Random(0).random)
    old, new = {"a": variant("a", 4, Fraction(1))}, {"a": variant("a", 4, Fraction(1, 4))}
    chosen = [_choose_variant(new, old, None) for _ in range(4000)]
    assert 900 < chosen.count(new["a"]) < 1100  # The expected count is 1000, its standard deviation 27.
    assert _choose_variant({}, old, "a") is old["a"]
    assert _choose_variant(new, old, "b") is None
