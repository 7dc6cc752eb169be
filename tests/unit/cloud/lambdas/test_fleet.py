"""Whose provisioned concurrency a request uses, and how much of it is in use."""

import contextvars
import threading
from types import SimpleNamespace

import pytest

from cloud.lambdas.fleet import Fleet, Use, _Provisioned

LIVE = ("000000000000", "us-east-1", "f", "live")


class Function:
    """A version that can be the key of a table."""

    def __init__(self, version):
        self.version = version


class Hashable(SimpleNamespace):
    """An environment that a set can contain."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


@pytest.fixture
def fleet(tmp_path):
    """The alias ``live`` has two environments of version 2, one of them busy, and none of version 1."""
    used = []
    fleet = Fleet(None, tmp_path, lambda _function: {}, used.append)
    fleet.used = used
    fleet.old, fleet.new = Function("1"), Function("2")
    fleet.environments = [Hashable(function=fleet.new, is_provisioned=True) for _ in range(2)]
    fleet._provisioned[LIVE] = _Provisioned(
        {}, {fleet.new: 2, fleet.old: 0}, fleet.environments, threading.Lock(), contextvars.copy_context()
    )
    fleet._busy.add(fleet.environments[0])
    return fleet


def test_a_request_in_a_provisioned_environment_uses_it(fleet):
    use = fleet._use_by(fleet.new, fleet.environments[0])
    assert use == Use(LIVE, 1, 2, "2", False)


def test_a_request_without_a_free_environment_spills_over(fleet):
    fleet._busy.add(fleet.environments[1])
    assert fleet._use_by(fleet.new, None) == Use(LIVE, 2, 2, "2", True)
    on_demand = Hashable(function=fleet.new, is_provisioned=False)
    assert fleet._use_by(fleet.new, on_demand) == Use(LIVE, 2, 2, "2", True)


def test_a_version_without_provisioned_concurrency_uses_none(fleet):
    assert fleet._use_by(Function("3"), None) is None
    assert fleet._use_by(fleet.old, None) is None  # The alias gives it no environment.


def test_requests_that_go_on_are_metered_and_idle_environments_are_not(fleet):
    fleet._meter_busy()
    assert fleet.used == [Use(LIVE, 1, 2)]
    fleet._busy.clear()
    fleet._meter_busy()
    assert len(fleet.used) == 1
