"""CloudFormation's changes: names have the lengths that AWS's schemas allow."""

import pytest
from ministack.services.cloudformation import provisioners

from cloud.cloudformation.hooks import NAME_LIMITS, limit_names


@pytest.mark.parametrize(("kind", "key"), sorted(NAME_LIMITS))
def test_resource_with_too_long_a_name_is_refused(kind, key, monkeypatch):
    made = []
    for each, _ in NAME_LIMITS:
        monkeypatch.setitem(
            provisioners._RESOURCE_HANDLERS, each, {"create": lambda *arguments: made.append(arguments)}
        )
    limit_names()
    create, limit = provisioners._RESOURCE_HANDLERS[kind]["create"], NAME_LIMITS[kind, key]
    create("Short", {key: "n" * limit}, "stack")
    create("Unnamed", {}, "stack")
    message = f"resource Long with message: #/{key}: expected maxLength: {limit}, actualLength: {limit + 1}"
    with pytest.raises(ValueError, match=message):
        create("Long", {key: "n" * (limit + 1)}, "stack")
    assert [each[0] for each in made] == ["Short", "Unnamed"]
