"""The functions can read what the jobs write: the writers' real output fits the readers' models."""

import re

from shared.contracts import Champion, Request
from shared.evaluation import Distribution
from tests.contract.conftest import ROOT
from training.artifact import ddp_document


def test_proof_of_the_training_job_fits_the_gates_model():
    document = ddp_document(["algo-1", "algo-2"], "gloo", 5, [3, 2], 7, ["a", "a"])
    read = Distribution.model_validate(document)
    assert (read.world_size, read.num_train, read.samples_per_rank, read.in_sync) == (2, 5, [3, 2], True)
    apart = Distribution.model_validate(ddp_document(["algo-1", "algo-2"], "gloo", 5, [3, 2], 7, ["a", "b"]))
    assert not apart.in_sync


def test_champion_pointer_of_promote_is_the_one_that_plan_reads(machines):
    expression = machines["pipeline"]["States"]["Promote"]["Arguments"]["Value"]
    assert set(re.findall(r"'(\w+)':", expression)) == set(Champion.model_fields)


def test_every_field_of_the_request_is_in_the_reference():
    table = (ROOT / "docs/reference.md").read_text().partition("| input | meaning | default |")[2].partition("\n\n")[0]
    inputs = [row.split("|")[1] for row in table.splitlines()[2:]]
    assert sorted(re.findall(r"`(\w+)`", " ".join(inputs))) == sorted(Request.model_fields)
