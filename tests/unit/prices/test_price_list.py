"""The parser of the price list, held against facts of real answers (recorded.py)."""

import json
from datetime import date

import pytest

from prices.catalogue import CATALOGUE
from prices.price_list import Listed, read_products
from tests.unit.prices.recorded import IRELAND, document, product, term

TODAY = date(2026, 11, 30)


def listed(*texts: str) -> dict[str, Listed]:
    found, unclear = read_products(texts, CATALOGUE_OF[json.loads(texts[0])["serviceCode"]], TODAY)
    assert not unclear
    return found


CATALOGUE_OF = {
    service: {item: offer for item, offer in CATALOGUE.items() if offer.service == service}
    for service in {offer.service for offer in CATALOGUE.values()}
}


def test_lambda_has_the_first_tier_that_is_paid_and_those_after_it_and_not_arms_nor_the_free_one():
    found = listed(*IRELAND["AWSLambda"])
    assert found == {
        "lambda/request": Listed(2e-07, "Request"),
        "lambda/gb-second": Listed(1.66667e-05, "Lambda-GB-Second", ((6e9, 1.5e-05), (15e9, 1.33334e-05))),
        "lambda/gb-second-arm": Listed(1.33334e-05, "Lambda-GB-Second", ((7.5e9, 1.20001e-05), (18.75e9, 1.06667e-05))),
    }


def test_rest_api_has_four_tiers_and_is_not_the_http_api():
    found = listed(*IRELAND["AmazonApiGateway"])
    assert found == {
        "api-gateway/rest-request": Listed(3.5e-06, "Requests", ((333e6, 3.19e-06), (1e9, 2.71e-06), (20e9, 1.72e-06)))
    }


@pytest.mark.parametrize(
    ("service", "item", "dollars"),
    [("AmazonSNS", "sns/request", 5e-07), ("AmazonStates", "states/transition", 2.5e-05)],
)
def test_free_tier_is_no_price(service, item, dollars):
    assert listed(*IRELAND[service]) == {item: Listed(dollars, listed(*IRELAND[service])[item].unit)}


def test_builds_on_linux_are_those_of_intel_and_not_reserved():
    assert listed(*IRELAND["CodeBuild"]) == {"codebuild/general1.medium": Listed(0.01, "minutes")}


def test_hosting_training_and_studio_are_told_apart_where_their_prices_differ():
    found = listed(*IRELAND["AmazonSageMaker"])
    assert found["hosting/ml.g4dn.xlarge"].dollars == 0.821
    assert found["training/ml.g4dn.xlarge"].dollars == 0.822
    assert found["hosting/volume"].dollars == 0.154
    assert found["processing/volume"].dollars == 0.11
    assert found.keys() == {
        *(f"{part}/ml.{size}.xlarge" for part in ("hosting", "training") for size in ("m5", "g4dn")),
        "hosting/volume",
        "processing/volume",
    }


def test_the_same_usage_type_in_ohio_has_its_own_prefix():
    ohio = product("AmazonSageMaker", "USE2-Host:ml.g6.xlarge", "Hrs", [(0, "1.1267000000")])
    assert listed(ohio) == {"hosting/ml.g6.xlarge": Listed(1.1267, "Hrs")}


def test_standard_alarm_is_not_the_fast_one():
    fast = product(
        "AmazonCloudWatch", "EU-CW:HighResAlarmMonitorUsage", "Alarms", [(0, "0.3")], alarmType="High Resolution"
    )
    composite = product("AmazonCloudWatch", "EU-CW:CompositeAlarmMonitorUsage", "Alarms", [(0, "0.5")])
    found = listed(*IRELAND["AmazonCloudWatch"], fast, composite)
    assert (found["cloudwatch/alarm"].dollars, found["cloudwatch/fast-alarm"].dollars) == (0.1, 0.3)
    assert (found["logs/ingest"].dollars, found["logs/storage"].dollars) == (0.57, 0.03)


def test_reserved_terms_are_no_price():
    """m5.large as GetProducts answered it in July 2020: on demand, and reserved for a year at 0.06."""
    text = document("AmazonEC2", "BoxUsage:m5.large", "Hrs", [(0, "0.0960000000")], "2020-07-01")
    sku = text["product"]["sku"]
    text["terms"]["Reserved"] = {f"{sku}.38NPMPTW36": term(sku, "Hrs", [(0, "0.0600000000")], "2020-04-01")}
    assert listed(json.dumps(text)) == {"ec2/m5.large": Listed(0.096, "Hrs")}
    del text["terms"]["OnDemand"]
    assert listed(json.dumps(text)) == {}


def test_of_several_terms_the_latest_that_has_begun_holds():
    text = document("AmazonEC2", "BoxUsage:m5.large", "Hrs", [(0, "0.1000000000")], "2020-07-01")
    sku = text["product"]["sku"]
    text["terms"]["OnDemand"][f"{sku}.NEW"] = term(sku, "Hrs", [(0, "0.0960000000")], "2026-11-30")
    text["terms"]["OnDemand"][f"{sku}.LATER"] = term(sku, "Hrs", [(0, "0.0900000000")], "2026-12-01")
    assert listed(json.dumps(text))["ec2/m5.large"].dollars == 0.096


def test_prices_in_another_currency_are_none():
    text = document("AmazonEC2", "BoxUsage:m5.large", "Hrs", [(0, "0.0960000000")])
    for dimension in next(iter(text["terms"]["OnDemand"].values()))["priceDimensions"].values():
        dimension["pricePerUnit"] = {"CNY": "0.6230000000"}
    assert listed(json.dumps(text)) == {}


def test_two_different_prices_for_one_id_are_unclear_and_two_equal_ones_are_not():
    texts = [product("AmazonEC2", "BoxUsage:m5.large", "Hrs", [(0, each)]) for each in ("0.096", "0.096", "0.2")]
    assert read_products(texts[:2], CATALOGUE_OF["AmazonEC2"], TODAY)[0] == {"ec2/m5.large": Listed(0.096, "Hrs")}
    found, unclear = read_products(texts, CATALOGUE_OF["AmazonEC2"], TODAY)
    assert (found, [each.dollars for each in unclear["ec2/m5.large"]]) == ({}, [0.096, 0.2])


@pytest.mark.parametrize(
    ("service", "usage"),
    [
        ("AmazonEC2", "APS1-EBS:VolumeUsage.piops"),  # the AWS CLI's own example of an answer
        ("AmazonEC2", "EU-DedicatedUsage:m5.large"),
        ("AmazonEC2", "EU-UnusedBox:m5.large"),
        ("AWSLambda", "EU-Lambda-Edge-GB-Second"),
        ("AmazonS3", "EU-TimedStorage-SIA-ByteHrs"),
        ("AmazonS3", "EU-Requests-SIA-Tier1"),
        ("AmazonStates", "EU-StepFunctions-GB-Second"),
        ("awskms", "eu-west-1-KMS-Requests-Asymmetric"),
        ("awswaf", "EU-ShieldProtected-WebACLV2"),
        ("AmazonSageMaker", "EU-Host:ml.m5.xlarge-ManagedSpot"),
    ],
)
def test_neighbours_in_the_price_list_are_not_taken_for_ours(service, usage):
    assert listed(product(service, usage, "Hrs", [(0, "1.0")])) == {}


def test_data_into_an_endpoint_is_told_from_data_out_of_it():
    found = listed(
        product("AmazonSageMaker", "USE1-Hst:Data-Bytes-In", "GB", [(0, "0.0160000000")], group="Hosting:IN"),
        product("AmazonSageMaker", "USE1-Hst:Data-Bytes-Out", "GB", [(0, "0.0170000000")], group="Hosting:OUT"),
    )
    assert found == {"invoke/in": Listed(0.016, "GB"), "invoke/out": Listed(0.017, "GB")}


def test_keys_have_a_prefix_of_small_letters():
    assert listed(product("awskms", "eu-west-1-KMS-Keys", "Keys", [(0, "1.0000000000")])) == {
        "kms/key": Listed(1.0, "Keys")
    }
