"""What goes on costing after a run, by the receipt."""

from dataclasses import replace

import boto3
import pytest
from botocore.stub import Stubber

from prices import per_million
from prices.per_million import Standing
from receipt import burn, meter
from receipt.burn import Stored
from tests.unit.functions.executions import Execution, at
from tests.unit.functions.test_receipt import (
    QUOTE,
    RUN,
    change,
    client,
    known_prices,  # noqa: F401 (its prices are for these tests, too)
    read,
)


def test_a_staging_endpoint_that_could_not_be_deleted_goes_on_costing():
    execution = Execution()
    change(execution, "CreateStaging", "create", "kennel-r-s", 0, 100)
    assert meter.has_left_staging(read(execution), RUN)
    staging, volume, key, _ = burn.monthly(Standing("", 0, staging_type="ml.c7i.large"), Stored())
    assert staging.what.startswith("the staging endpoint, which could not be deleted")
    assert staging.dollars_per_month == pytest.approx(730 * 0.18)
    assert (volume.dollars_per_month, key.dollars_per_month) == (pytest.approx(2.8), 1)
    change(execution, "RemoveStaging", "delete", "kennel-r-s", 290, 300)
    assert not meter.has_left_staging(read(execution), RUN)


def test_warm_functions_and_the_alarms_of_meter_and_warmth_go_on_costing():
    lines = burn.monthly(Standing("", 0, warm_functions=3, has_meter=True), Stored())
    assert [(line.what, line.dollars_per_month) for line in lines[1:]] == [
        ("13 alarms", pytest.approx(1.3)),  # 9 of the stack, 2 of the meter, 2 of the policy that keeps functions warm
        # A tick each five minutes of 730 hours: two seconds of half a GB, a request, a schedule, fourteen questions.
        (
            "the meter, which looks every five minutes, and its questions to CloudWatch",
            pytest.approx(8760 * (0.00001 + 0.0000002 + 0.000001 + 14 * 0.00001)),
        ),
        ("3 instances of the API's function that are kept warm", pytest.approx(3 * 0.5 * 730 * 3600 * 0.000004)),
    ]


def test_warm_functions_on_arm_cost_their_own_price():
    *_, warm = burn.monthly(Standing("", 0, warm_functions=1, architecture="arm64"), Stored())
    assert warm.dollars_per_month == pytest.approx(0.5 * 730 * 3600 * 0.000003)


def test_instances_with_disks_of_their_own_have_no_volumes_to_pay():
    lines = burn.monthly(Standing("ml.g5.xlarge", 1), Stored())
    assert "the volumes of its instances" not in {line.what for line in lines}
    assert lines[0].dollars_per_month is None  # The book of these tests does not have it.


def pushed(seconds, size):
    """An image as ECR describes it, pushed so many seconds after the beginning of the execution."""
    return {"imageDigest": f"sha256:{seconds}", "imageSizeInBytes": size, "imagePushedAt": at(seconds)}


def test_images_of_earlier_runs_go_on_costing_beside_those_that_this_one_has_built():
    """ECR has two images from before the run, of 350 and 140 MB, and one that the run has pushed."""
    answer = {"imageDetails": [pushed(-900, 350_000_000), pushed(60, 310_000_000), pushed(-9, 140_000_000)]}
    repository = "000000000000.dkr.ecr.us-east-1.amazonaws.com/kennel-images-x"
    found = burn.images_before(client("ecr", ("describe_images", answer)), repository, at(0))
    assert found == (2, 490_000_000)
    *_, before, new = burn.monthly(Standing("", 0), Stored(0, *found), QUOTE["images_per_month"])
    assert (before.what, before.dollars_per_month) == (
        "2 images of earlier runs in ECR, at most 0.49 GB",
        pytest.approx(0.049),
    )
    assert (new.what, new.dollars_per_month) == ("the new images in ECR, estimated", 0.05)


def test_what_goes_on_costing_is_what_an_idle_month_costs():
    stack = Standing("ml.c7i.large", 2, warm_functions=3, has_meter=True, staging_type="ml.c7i.large")
    lines = burn.monthly(stack, Stored(500_000_000, 1, 800_000_000))
    idle = per_million.idle(replace(stack, log_gb=0, bucket_gb=0.5, image_gb=0.8))
    assert [line.dollars_per_month for line in lines] == list(idle.values())
    assert None not in idle.values()


def test_nothing_serves_where_there_is_no_endpoint():
    sagemaker = boto3.client("sagemaker", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(sagemaker) as stubber:
        stubber.add_client_error("describe_endpoint", "ValidationException", 'Could not find endpoint "kennel".')
        assert burn.serving(sagemaker, "kennel") is None


def test_an_endpoint_that_is_being_deleted_costs_nothing_from_now_on():
    described = {
        "EndpointName": "kennel",
        "EndpointArn": "arn:aws:sagemaker:us-east-1:000000000000:endpoint/kennel",
        "EndpointConfigName": "kennel-r",
        "ProductionVariants": [{"VariantName": "main", "DesiredInstanceCount": 1, "CurrentInstanceCount": 1}],
        "EndpointStatus": "Deleting",
        "CreationTime": at(0),
        "LastModifiedTime": at(9),
    }
    assert burn.serving(client("sagemaker", ("describe_endpoint", described)), "kennel") is None
