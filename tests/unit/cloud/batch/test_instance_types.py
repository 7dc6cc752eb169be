"""What EC2's instance types have, by the rules of their names; the figures are those of AWS's pages."""

import pytest

from cloud.batch import instance_types
from cloud.batch.instance_types import find


@pytest.mark.parametrize(
    ("name", "vcpus", "gib", "gpus"),
    [
        ("c7i.large", 2, 4, 0),
        ("c7i.xlarge", 4, 8, 0),
        ("m5.2xlarge", 8, 32, 0),
        ("r6i.4xlarge", 16, 128, 0),
        ("t3.medium", 2, 4, 0),
        ("t3.xlarge", 4, 16, 0),
        ("g4dn.xlarge", 4, 16, 1),
        ("g5.12xlarge", 48, 192, 4),
        ("g5.48xlarge", 192, 768, 8),
    ],
)
def test_type_has_what_aws_lists(name, vcpus, gib, gpus):
    found = find(name)
    assert (found.vcpus, found.memory, found.gpus) == (vcpus, gib * 1024, gpus)


@pytest.mark.parametrize("name", ["c7i", "c7i.tiny", "g5.large", "p5.48xlarge", "", "ml.c7i.xlarge"])
def test_unknown_type_is_not_guessed(name):
    assert find(name) is None


def test_family_and_optimal_stand_for_types_the_smallest_first():
    assert [each.name for each in instance_types.expand(["c7i.2xlarge", "c7i.large"])] == ["c7i.large", "c7i.2xlarge"]
    assert instance_types.expand(["m5"])[0].name == "m5.large"
    assert {each.name.partition(".")[0] for each in instance_types.expand(["optimal"])} == {"c5", "m5", "r5"}


def test_no_job_gets_all_of_the_memory():
    machine = find("c7i.xlarge")
    assert machine.fits(4, 7168, 0)
    assert not machine.fits(4, 8192, 0)
    assert not machine.fits(5, 1024, 0)
    assert not machine.fits(1, 1024, 1)
