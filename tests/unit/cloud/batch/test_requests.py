"""What Batch does with members of requests: parameters fill commands, and lists have pages."""

import pytest

from cloud.batch.job import with_parameters
from cloud.batch.resources import Resources, page
from cloud.core.protocol import ApiError


def test_parameters_replace_whole_words_of_a_command() -> None:
    command = ["paint", "Ref::colour", "--with=Ref::colour", "Ref::brush"]
    assert with_parameters(command, {"colour": "red"}) == ["paint", "red", "--with=Ref::colour", "Ref::brush"]


def test_a_list_is_read_page_by_page() -> None:
    first = page({"maxResults": 2}, "jobs", [1, 2, 3])
    assert first == {"jobs": [1, 2], "nextToken": "2"}
    assert page({"nextToken": first["nextToken"]}, "jobs", [1, 2, 3]) == {"jobs": [3], "nextToken": None}
    with pytest.raises(ApiError, match="nextToken here is none that a list has returned"):
        page({"nextToken": "here"}, "jobs", [])


def test_fargate_is_refused() -> None:
    needs = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "4"}]
    container = {"image": "i", "resourceRequirements": needs}
    request = {"jobDefinitionName": "d", "type": "container", "containerProperties": container}
    register = Resources(lambda: ("us-east-1", "000000000000"), str).table()["RegisterJobDefinition"]
    assert register({**request, "platformCapabilities": ["EC2"]})["revision"] == 1
    with pytest.raises(ApiError, match="no platform capability FARGATE; use EC2"):
        register({**request, "platformCapabilities": ["FARGATE"]})
