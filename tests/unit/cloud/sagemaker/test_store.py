"""Resources by ARN: uniqueness, regions, tags, filters, pages."""

from dataclasses import dataclass
from typing import Any

import pytest

from cloud.core.protocol import ApiError, invalid
from cloud.sagemaker.store import Store, page


@dataclass
class Thing:
    arn: str
    name: str
    created: float
    modified: float = 0.0
    status: str = "InService"


class Other(Thing):
    pass


THINGS = [
    Thing("1", "beagle", 10.0),
    Thing("2", "Pug", 20.0, status="Failed"),
    Thing("3", "basset", 30.0, modified=5.0),
]


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        ({}, ["basset", "Pug", "beagle"]),
        ({"SortOrder": "Ascending"}, ["beagle", "Pug", "basset"]),
        ({"SortBy": "Name", "SortOrder": "Ascending"}, ["Pug", "basset", "beagle"]),
        ({"NameContains": "BA"}, ["basset"]),
        ({"StatusEquals": "Failed"}, ["Pug"]),
        ({"CreationTimeAfter": 10.0}, ["basset", "Pug"]),
        ({"CreationTimeBefore": 20.0}, ["beagle"]),
        ({"LastModifiedTimeAfter": 1.0}, ["basset"]),
    ],
)
def test_lists_are_filtered_and_sorted(request_: dict[str, Any], names: list[str]) -> None:
    things, token = page(request_, THINGS)
    assert [thing.name for thing in things] == names
    assert token is None


def test_pages_follow_one_another() -> None:
    first, token = page({"MaxResults": 2}, THINGS)
    second, end = page({"MaxResults": 2, "NextToken": token}, THINGS)
    assert [thing.name for thing in first + second] == ["basset", "Pug", "beagle"]
    assert end is None
    with pytest.raises(ApiError, match="Invalid pagination token"):
        page({"NextToken": "not a token"}, THINGS)


def test_store_keeps_regions_and_kinds_apart() -> None:
    scope = ("us-east-1", "000000000000")
    store = Store(lambda: scope)
    here = Thing(store.arn("thing", "a"), "a", 0.0)
    store.add(here, invalid("taken"))
    with pytest.raises(ApiError, match="taken"):
        store.add(Thing(here.arn, "a", 0.0), invalid("taken"))
    assert store.get(here.arn, Thing, "missing") is here
    with pytest.raises(ApiError, match="missing"):
        store.get(here.arn, Other, "missing")
    assert (store.of(Thing), store.of(Other)) == ([here], [])
    scope = ("eu-west-1", "000000000000")
    assert store.of(Thing) == []
    assert store.arn("thing", "a") == "arn:aws:sagemaker:eu-west-1:000000000000:thing/a"


def test_tags_end_with_their_resource() -> None:
    store = Store(lambda: ("us-east-1", "000000000000"))
    thing = Thing(store.arn("thing", "a"), "a", 0.0)
    tags = store.operations()
    with pytest.raises(ApiError, match="Could not find resource"):
        tags["ListTags"]({"ResourceArn": thing.arn})
    store.add(thing, invalid("taken"))
    store.tag(thing.arn, [{"Key": "a", "Value": "1"}])
    store.remove(thing.arn)
    store.add(thing, invalid("taken"))
    assert tags["ListTags"]({"ResourceArn": thing.arn}) == {"Tags": []}
