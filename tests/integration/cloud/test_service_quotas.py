"""Service Quotas of a running laptop cloud: by HTTP, with rights, and for Plan."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from plan import quota_ask, quota_check
from plan.run import decide
from shared.contracts import Request
from shared.errors import QuotaError
from tests.integration.laptop import REGION, Cloud, endpoint_with, make_config, serving_cloud
from tests.unit.functions.test_plan import DATASET, IMAGES, SETTINGS, WEIGHTS

TRAINING = {"ServiceCode": "sagemaker", "QuotaCode": "L-194981EA"}
# The test cloud's model server runs on this type.
ENDPOINTS = "ml.c6i.large for endpoint usage"
SMALL = f"ml.c7i.xlarge for training job usage=1, ml.c7i.large for processing job usage=0, {ENDPOINTS}=1"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A laptop cloud whose account may have little."""
    with serving_cloud(tmp_path_factory.mktemp("small") / "home", KENNEL_QUOTAS=SMALL) as running:
        yield running


def client(cloud: Cloud, **keys: str) -> Any:
    """Return a client such as Plan makes, but with the patience that a busy machine needs."""
    make: Any = boto3.client
    return make(
        "service-quotas",
        endpoint_url=cloud.url,
        region_name=REGION,
        config=quota_ask.CONFIG.merge(Config(connect_timeout=60, read_timeout=60)),
        **(keys or cloud.credentials),
    )


def check(cloud: Cloud, quotas: Any = None, **fields: Any) -> list[str]:
    """Compare the quotas of a cloud with what a run with these fields needs."""
    settings = replace(SETTINGS, training_spot="false")
    run = decide(Request(**fields), settings, "x", DATASET, WEIGHTS, IMAGES, None)
    return quota_check.check(quotas or client(cloud), cloud.client("sagemaker"), run, settings, seconds=120)


def test_quotas_are_told_to_whom_a_policy_lets(cloud: Cloud) -> None:
    quotas = cloud.client("service-quotas")
    assert quotas.get_service_quota(**TRAINING)["Quota"]["Value"] == 32
    pages = quotas.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    names = [each["QuotaName"] for page in pages for each in page["Quotas"]]
    assert "ml.c7i.xlarge for training job usage" in names
    assert len(names) > 400
    requested = quotas.request_service_quota_increase(**TRAINING, DesiredValue=40)["RequestedQuota"]
    assert (requested["Status"], requested["QuotaCode"]) == ("PENDING", "L-194981EA")
    may = {"Effect": "Allow", "Action": "servicequotas:GetServiceQuota", "Resource": "*"}
    reader = cloud.client("service-quotas", role=cloud.make_role("reader-of-quotas", may))
    assert reader.get_service_quota(**TRAINING)["Quota"]["QuotaCode"] == "L-194981EA"
    with pytest.raises(ClientError, match="not authorized to perform: servicequotas:ListServiceQuotas"):
        reader.list_service_quotas(ServiceCode="sagemaker")


def test_plan_finds_enough_on_the_laptop_and_goes_on_without_the_right(cloud: Cloud) -> None:
    assert check(cloud) == []
    role = cloud.make_role("no-quotas", {"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    keys = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="plan")["Credentials"]
    session = client(
        cloud,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    sentences = check(cloud, session)
    assert len(sentences) == 6
    assert all(each.endswith("could not be compared: AccessDeniedException") for each in sentences)


def test_plan_names_what_is_too_small_and_sagemaker_refuses_with_the_same_numbers(small: Cloud) -> None:
    with pytest.raises(QuotaError) as refused:
        check(small, serving_instance_type="ml.c6i.large")
    said = str(refused.value)
    assert "the quota 'ml.c7i.xlarge for training job usage' (sagemaker, L-194981EA) is 1, and 2 are needed" in said
    assert f"the quota '{ENDPOINTS}' (sagemaker, L-3C2EBC55) is 1, and 5 are needed" in said
    with pytest.raises(QuotaError, match=r"'ml.c7i.large for processing job usage' \(sagemaker, L-24BF08D5\) is 0"):
        check(small)
    sagemaker = small.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="cats", EndpointConfigName=make_config(small, "1"))
    with pytest.raises(ClientError, match=f"ResourceLimitExceeded.*'{ENDPOINTS}' is 1 Instances, with current util"):
        sagemaker.create_endpoint(EndpointName="mice", EndpointConfigName=make_config(small, "1"))
    endpoint_with(sagemaker, "cats")
    with pytest.raises(QuotaError, match=r"is 1, and 6 are needed.*; 1 instance of ml.c6i.large serves elsewhere"):
        check(small, serving_instance_type="ml.c6i.large")
