"""Endpoints when something fails that nobody expects: no instance is left, and no endpoint that cannot be deleted."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local.cloud import endpoints, iam
from local.cloud.endpoints import Endpoint, Variant


class FakeInstance:
    """An instance that does not drain; the third cannot be started."""

    made: list["FakeInstance"]

    def __init__(self, *_: Any) -> None:
        if len(self.made) == 2:
            raise ValueError("embedded null byte")
        self.made.append(self)
        self.closed = False

    def drain(self, seconds: float) -> None:
        if seconds:
            raise RuntimeError("no draining")

    def terminate(self) -> None: ...

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    monkeypatch.setattr(iam, "assume", lambda *_: "key")
    monkeypatch.setattr(iam, "authorize", lambda *_: None)
    monkeypatch.setattr(endpoints, "Instance", FakeInstance)
    monkeypatch.setattr(Endpoint, "_await_ready", lambda *_: None)
    monkeypatch.setattr(FakeInstance, "made", [], raising=False)
    images: Any = SimpleNamespace(workdir=lambda _: tmp_path)
    return Endpoint("arn", "dogs", tmp_path, images, threading.Event())


def variant(name: str, desired: int) -> Variant:
    artifact: Any = SimpleNamespace(uri="s3://b/model.tar.gz", folder=lambda _: None)
    return Variant(name, "image", "role", "ml.c7i.large", artifact, {}, 1.0, desired, 1.0)


def test_no_instance_is_left_when_another_cannot_be_started(endpoint: Endpoint) -> None:
    with pytest.raises(ValueError, match="null byte"):
        endpoint.deploy("config", [variant("a", 1), variant("b", 2)])
    assert [each.closed for each in FakeInstance.made] == [True, True]
    assert endpoint.fleet == {}


def test_endpoint_is_forgotten_even_if_its_instances_do_not_end(endpoint: Endpoint) -> None:
    endpoint.deploy("config", [variant("a", 1)])
    forgotten: list[str] = []
    endpoint.order(lambda: endpoint.dismantle(lambda: forgotten.append("dogs")))
    endpoint.run()  # returns
    assert forgotten == ["dogs"]
