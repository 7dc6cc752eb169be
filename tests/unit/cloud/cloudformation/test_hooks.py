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
        monkeypatch.setitem(
            provisioners._RESOURCE_HANDLERS, each, {"create": lambda *arguments: calls.append(arguments)}
        )
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
    create = provisioners._RESOURCE_HANDLERS[kind]["create"]
    for name in ("gone", "second", "new"):
        create(name, {key: name}, "second")
    if kind in _SHARED:
        create("first", {key: "first"}, "second")
    else:
        with pytest.raises(ValueError, match="first already exists in stack arn:first"):
            create("first", {key: "first"}, "second")
    assert len(made) == 3 + (kind in _SHARED)
