"""The reference implementation of JSONata is the file that its makers published."""

import hashlib

from tests.contract.conftest import ROOT

FOLDER = ROOT / "cloud/stepfunctions/jsonata"
# Of jsonata.min.js in https://registry.npmjs.org/jsonata/-/jsonata-2.0.6.tgz
PUBLISHED = "3616231ac3b165ea2b3e0840c94bbc0bf86b4c73202b644576693fd74dfbd762"


def test_jsonata_is_the_published_file():
    assert hashlib.sha256((FOLDER / "jsonata.min.js").read_bytes()).hexdigest() == PUBLISHED


def test_jsonata_comes_with_its_licence():
    assert (FOLDER / "LICENSE").read_text().startswith("MIT license")
    assert "jsonata 2.0.6" in (ROOT / "NOTICE").read_text()
