"""CloudFormation's changes: names have the lengths that AWS's schemas allow."""

import pytest
from ministack.services import cloudformation
from ministack.services.cloudformation import provisioners

from cloud.cloudformation.hooks import _SHARED, NAME_LIMITS, limit_names


@pytest.fixture
def made(monkeypatch):
    """What the makers of resources, all replaced, were called with."""
    calls = []
    for each, _ in NAME_LIMITS:
        makers = dict.fromkeys(("create", "update"), lambda *arguments: calls.append(arguments))
        monkeypatch.setitem(provisioners._RESOURCE_HANDLERS, each, makers)
    return calls


@pytest.mark.parametrize(("kind", "key"), sorted(NAME_LIMITS))
def test_resource_with_too_long_a_name_is_refused(kind, key, made):
    limit_names()
    create, limit = provisioners._RESOURCE_HANDLERS[kind]["create"], NAME_LIMITS[kind, key]
    create("Short", {key: "n" * limit}, "stack")
    create("Unnamed", {}, "stack")
    message = f"resource Long with message: #/{key}: expected maxLength: {limit}, actualLength: {limit + 1}"
    with pytest.raises(ValueError, match=message):
        create("Long", {key: "n" * (limit + 1)}, "stack")
    update = provisioners._RESOURCE_HANDLERS[kind]["update"]
    with pytest.raises(ValueError, match=message):
        update("id", {key: "n"}, {key: "n" * (limit + 1)}, "stack", "Long")
    assert [each[0] for each in made] == ["Short", "Unnamed"]


@pytest.mark.parametrize(("kind", "key"), sorted(NAME_LIMITS))
def test_resource_of_another_stack_is_refused_unless_it_can_be_shared(kind, key, made, monkeypatch):
    monkeypatch.setattr(
        cloudformation,
        "_stacks",
        {
            name: {
                "StackName": name,
                "StackId": f"arn:{name}",
                "StackStatus": status,
                "_resources": {
                    "L": {"ResourceType": kind, "ResourceStatus": "CREATE_COMPLETE", "Properties": {key: name}}
                },
            }
            for name, status in (("first", "CREATE_COMPLETE"), ("gone", "DELETE_COMPLETE"), ("second", "X_IN_PROGRESS"))
        },
    )
    limit_names()
    create, update = (provisioners._RESOURCE_HANDLERS[kind][each] for each in ("create", "update"))
    for name in ("gone", "second", "new"):
        create(name, {key: name}, "second")
    update("id", {key: "second"}, {key: "new"}, "second")
    update("id", {key: "first"}, {key: "first", "Tags": []}, "second")  # The name is not what this update changes.
    for change in (
        lambda: create("first", {key: "first"}, "second"),
        lambda: update("id", {key: "second"}, {key: "first"}, "second"),
    ):
        if kind in _SHARED:
            change()
        else:
            with pytest.raises(ValueError, match="first already exists in stack arn:first"):
                change()
    assert len(made) == 5 + 2 * (kind in _SHARED)
