"""What was trained and judged is compared again, by values that no writer of the bucket can change."""

from typing import Any

import pytest

from tests.contract.conftest import evaluated, states_of

KEY = "runs/x/model.tar.gz"
TRAINED = {"job": "j", "model_uri": f"s3://${{Bucket}}/{KEY}", "etag": '"1"', "version_id": "v1"}


def version(key: str = KEY, etag: str = '"1"', number: str = "v1", latest: bool = True) -> dict[str, Any]:
    return {"Key": key, "ETag": etag, "VersionId": number, "IsLatest": latest}


@pytest.mark.parametrize(
    ("versions", "pinned", "same"),
    [
        ([version()], {}, 1),
        ([version(), version(f"{KEY}.bak", '"2"', "v9")], {}, 1),
        ([version(etag='"2"', number="v2"), version(latest=False)], {}, 0),  # replaced
        ([version(number="v2"), version(latest=False)], {}, 0),  # replaced by the same bytes
        ([version(latest=False)], {}, 0),  # deleted, with a marker
        ([], {}, 0),
        ([version(number="null")], {"version_id": ""}, 1),  # as Plan finds it, which knows the ETag
        ([version(etag='"2"')], {"version_id": ""}, 0),
    ],
)
def test_trained_model_is_the_one_that_was_pinned(machines, versions, pinned, same):
    expression = machines["pipeline"]["States"]["FindTrainedModel"]["Output"]["found"]
    found = evaluated(expression, trained=TRAINED | pinned, states={"result": {"Versions": versions}})
    assert len(found) == same


def test_trained_model_without_any_version_is_not_the_same(machines):
    """S3 leaves out the list where it is empty."""
    expression = machines["pipeline"]["States"]["FindTrainedModel"]["Output"]["found"]
    assert evaluated(expression, trained=TRAINED, states={"result": {}}) == []


@pytest.mark.parametrize("manifest", ["", 64 * "a"])
def test_model_is_made_with_the_manifest_of_the_verdict(machines, manifest):
    """It is empty for a version of a release that did not record it; the server then takes any artifact."""
    for name in ("CreateModel", "CreateModelInVpc"):
        container = machines["pipeline"]["States"][name]["Arguments"]["PrimaryContainer"]
        made = evaluated(container["Environment"], verdict={"manifest": manifest}, run={"endpoint": {"name": "dogs"}})
        assert made["KENNEL_MANIFEST"] == manifest


def test_version_is_registered_with_both_digests(machines):
    arguments = machines["pipeline"]["States"]["RegisterModel"]["Arguments"]
    (container,) = arguments["InferenceSpecification"]["Containers"]
    assert container["Environment"] == {"KENNEL_MANIFEST": "{% $verdict.manifest %}"}
    assert arguments["CustomerMetadataProperties"]["report"] == "{% $verdict.report %}"


def test_no_state_changes_what_a_version_was_registered_with(machines):
    """An update may change the approval and adds to the metadata; the digests stay."""
    updates = [
        state["Arguments"]
        for machine in machines.values()
        for _, state in states_of(machine)
        if state.get("Resource", "").endswith(":updateModelPackage")
    ]
    assert len(updates) >= 3
    for arguments in updates:
        assert "InferenceSpecification" not in arguments
        assert "report" not in arguments.get("CustomerMetadataProperties", {})
