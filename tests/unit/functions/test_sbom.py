"""Bills of materials: valid CycloneDX, complete, and laid beside the build context of the images."""

import json
import re
import shutil
from importlib.resources import files
from types import SimpleNamespace

import jsonschema_rs  # It came with schemathesis, and takes a hundredth of the time of CycloneDX's own validator.
import pytest

from plan import images, sbom
from tests.contract.conftest import ROOT
from tests.unit.functions.test_plan import SETTINGS

BASE = f"python:3.11@sha256:{'0' * 64}"
LISTS = {
    part: [ROOT / name.format(device=device) for name in names]
    for part, names in sbom.LISTS.items()
    for device in ("cpu", "cuda")
}

OTHER_SCHEMAS = ("spdx", "cryptography-defs", "jsf-0.82")


def texts(part):
    return [path.read_text() for path in LISTS[part]]


def packages(bill):
    return {
        (each["name"], each["version"]): {
            one["content"] for reference in each["externalReferences"] for one in reference["hashes"]
        }
        for each in bill["components"]
        if each["type"] == "library"
    }


@pytest.fixture(scope="module")
def schema():
    """CycloneDX's schema with the ones that it refers to, which takes no members that it does not know."""
    bom, *others = (
        json.loads((files("cyclonedx.schema._res") / f"{name}.SNAPSHOT.schema.json").read_text())
        for name in ("bom-1.6", *OTHER_SCHEMAS)
    )
    addresses = [f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json" for name in OTHER_SCHEMAS]
    registry = jsonschema_rs.Registry(list(zip(addresses, others, strict=True)))
    return jsonschema_rs.Draft7Validator(bom, registry=registry, validate_formats=True)


def test_schema_refuses_what_is_no_bill(schema):
    bill = sbom.bill("x", "1", texts("layer"))
    assert schema.is_valid(bill)
    assert not schema.is_valid(bill | {"unknown": 1})
    assert not schema.is_valid(bill | {"serialNumber": "1"})
    (first, *_), one = bill["components"], {"license": {"id": "No-Such-Licence"}}
    assert not schema.is_valid(bill | {"components": [first | {"licenses": [one]}]})
    assert not schema.is_valid(bill | {"components": [first, first]})


@pytest.mark.parametrize("part", LISTS)
def test_a_bill_is_valid_and_names_every_package_of_the_lists_with_all_its_hashes(schema, part):
    bill = sbom.bill(f"kennel-{part}", "12ab", texts(part), BASE if part in ("serve", "evaluate", "train") else "")
    schema.validate(json.loads(json.dumps(bill)))
    lines = "".join(texts(part))
    pins = re.findall(r"^([\w.-]+)==([\w.+!]+)", lines, re.MULTILINE)
    assert len(pins) >= 2
    found = packages(bill)
    assert found.keys() == {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in pins}
    assert set().union(*found.values()) == set(re.findall(r"sha256:(\w{64})", lines))
    assert all(found.values())


def test_a_bill_of_an_image_names_its_base_by_digest():
    base, *_ = sbom.bill("kennel-serve", "12ab", texts("serve"), BASE)["components"]
    assert base == {
        "type": "container",
        "bom-ref": BASE,
        "name": "python:3.11",
        "version": f"sha256:{'0' * 64}",
    }


def test_a_package_is_told_as_tools_look_it_up():
    hashed = f"Torch_Vision==1.0+cpu \\\n    --hash=sha256:{'a' * 64}\n    # via x\n"
    text = f"{hashed}other==2 ; python_version > '3'\n"
    first, second = sbom.bill("x", "1", [text])["components"]
    assert (first["purl"], second["purl"]) == ("pkg:pypi/other@2", "pkg:pypi/torch-vision@1.0%2Bcpu")


def test_the_same_content_has_the_same_bill_and_another_one_another_number():
    one, same, other = (sbom.bill("x", version, texts("functions")) for version in ("1", "1", "2"))
    assert one == same
    assert one["serialNumber"] != other["serialNumber"]


@pytest.fixture
def layer(tmp_path, monkeypatch):
    for folder in ("serving", "training"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    assert sbom.main(str(ROOT), str(tmp_path / "sbom")) == 0
    monkeypatch.setattr(images, "LAYER", tmp_path)
    monkeypatch.setattr(images, "upload_context", lambda *_: ("images/0123.zip", "v7"))
    monkeypatch.setattr(images, "content_hash", lambda target, *_: f"{target}hash")
    return tmp_path


@pytest.mark.usefixtures("layer")
def test_bills_of_all_that_is_built_lie_beside_the_builds_context():
    put = {}
    s3 = SimpleNamespace(
        list_objects_v2=lambda Prefix, **_: {"KeyCount": int(Prefix in put)},
        put_object=lambda Key, Body, **_: put.update({Key: json.loads(Body)}),
    )
    there = {"images": [{"imageId": {"imageTag": "train-trainhash", "imageDigest": "sha256:1"}}]}
    images.prepare(s3, SimpleNamespace(batch_get_image=lambda **_: there), SETTINGS)
    names = sorted(put)
    assert [re.sub(r"-[0-9a-f]{16}\.", "-HASH.", name) for name in names] == [
        "images/admit-HASH.cdx.json",
        "images/evaluate-evaluatehash.cdx.json",
        "images/functions-HASH.cdx.json",
        "images/layer-HASH.cdx.json",
        "images/serve-servehash.cdx.json",
    ]
    assert put["images/serve-servehash.cdx.json"] == sbom.bill(
        "kennel-serve", "servehash", texts("serve"), SETTINGS.base_image
    )
    assert packages(put[names[2]]) == packages(sbom.bill("x", "1", texts("functions")))
    assert ("jmespath", "1.1.0") in packages(put[names[2]])
