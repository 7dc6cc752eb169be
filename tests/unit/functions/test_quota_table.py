"""The table of quotas agrees with botocore's model of SageMaker and with codes that were read elsewhere."""

import re

import botocore.session
import pytest

import quotas
from cloud.core import quotas as account

SHAPES = {
    "training": "TrainingInstanceType",
    "spot": "TrainingInstanceType",
    "processing": "ProcessingInstanceType",
    "endpoint": "ProductionVariantInstanceType",
}


def test_each_code_is_one_quotas():
    every = list(quotas.everything())
    assert all(re.fullmatch("L-[0-9A-F]{8}", each.code) for each in every)
    assert len({each.code for each in every}) == len({each.name for each in every}) == len(every)


@pytest.mark.parametrize(("use", "shape"), SHAPES.items())
def test_types_of_the_table_are_those_of_sagemaker(use, shape):
    known = set(botocore.session.get_session().get_service_model("sagemaker").shape_for(shape).enum)
    name = quotas.of_instances(use, "x").name.removeprefix("x")
    types = {each.instance_type for each in quotas.everything() if each.instance_type and each.name.endswith(name)}
    types = {each for each in types if quotas.of_instances(use, each).code}
    assert len(types) > 90
    assert types <= known


@pytest.mark.parametrize(
    ("use", "instance_type", "code"),
    [
        ("training", "ml.c7i.xlarge", "L-194981EA"),
        ("processing", "ml.c7i.xlarge", "L-719822E7"),
        ("processing", "ml.c7i.large", "L-24BF08D5"),
        ("spot", "ml.g4dn.xlarge", "L-944F78BB"),
        ("training", "ml.g4dn.xlarge", "L-3F53BF0F"),
        ("training", "ml.g6.xlarge", "L-56AE9D73"),
        ("endpoint", "ml.c7i.large", "L-9FCA2A26"),
    ],
)
def test_codes_that_other_sources_have_too(use, instance_type, code):
    assert quotas.of_instances(use, instance_type).code == code


def test_concurrency_is_the_quota_that_the_laptops_functions_hold():
    assert quotas.concurrency() == quotas.Quota("lambda", "L-B99A9384", account.CONCURRENCY, 1000)


def test_vcpus_are_counted_by_market_and_by_family():
    codes = {(spot, gpus): quotas.vcpus(spot, gpus).code for spot in (False, True) for gpus in (False, True)}
    assert codes == {
        (False, False): "L-1216C47A",
        (True, False): "L-34B43A08",
        (False, True): "L-DB2E81BA",
        (True, True): "L-3819A6DF",
    }
