"""The dollars of a million answers, of a day and of a month: AWS's own examples, and sums worked out by hand."""

import json
from dataclasses import replace

import pytest

import prices
from prices import per_million
from prices.per_million import FUNCTION_URL, REST_API, SIGN_IN, Call, Endpoint, Standing

# A book with round prices, so that sums can be worked out by hand.
BOOK = {
    "hosting/ml.x": 0.36,
    "hosting/volume": 0.14,
    "invoke/in": 0.01,
    "invoke/out": 0.02,
    "lambda/gb-second": 0.00002,
    "lambda/request": 0.0000002,
    "lambda/provisioned-gb-second": 0.000004,
    "lambda/provisioned-duration-gb-second": 0.00001,
    "api-gateway/rest-request": 0.0000035,
    "data-transfer/out": 0.09,
    "logs/ingest": 0.5,
    "logs/storage": 0.03,
    "xray/trace": 0.000005,
    "s3/get": 0.0000004,
    "s3/storage": 0.02,
    "kms/request": 0.000003,
    "kms/key": 1.0,
    "ecr/storage": 0.1,
    "cloudwatch/alarm": 0.1,
    "cloudwatch/fast-alarm": 0.3,
    "cloudwatch/dashboard": 3.0,
}
ENDPOINT = Endpoint("ml.x", rate=100, answer_ms=15, min_instances=1, max_instances=3)
CALL = Call(100_000, 20_000, shrink_cpu_ms=2, answer_bytes=1_000, own_cpu_ms=3, megabytes=512)


@pytest.fixture
def book(monkeypatch):
    """Put the round prices into the book, and return them."""
    book = dict(BOOK)

    def dollars(item, quantity=1, region=""):
        assert region == ""
        return None if item not in book else book[item] * quantity

    monkeypatch.setattr(prices, "dollars", dollars)
    return book


def test_lambda_time_is_that_of_awss_example():
    """512 MB, 3 million times a second, of which 400,000 GB-s are free, so 2.2 million calls are charged: $18.34.

    https://aws.amazon.com/lambda/pricing/, example 1; two million requests beyond the free ones are $0.40.
    """
    home = prices.HOME_REGION
    assert per_million.function_time(1000, 512, home, calls=2_200_000) == pytest.approx(18.34, abs=0.01)
    assert prices.dollars("lambda/request", 2_000_000, home) == pytest.approx(0.40)


def test_the_door_and_data_to_callers_are_those_of_awss_example():
    """Five million calls of a REST API whose answers have 3 KB: $17.50, and $1.29 for 14.3 GB.

    https://aws.amazon.com/api-gateway/pricing/; with the first tier's price, as AWS's example has it.
    """
    home = prices.HOME_REGION
    assert prices.dollars("api-gateway/rest-request", 5_000_000, home) == pytest.approx(17.50)
    assert per_million.transfer(3 * 1024, home, calls=5_000_000) == pytest.approx(1.29, abs=0.005)


def test_the_volume_is_that_of_a_bill():
    """8.208 hours of ml.m5.xlarge in a month of 744: 0.222 GB-months of "Endpoint ML storage".

    aws-samples/sagemaker-ssh-helper, Sample_Costs.md: an AWS bill of December 2023.
    """
    months = 8.208 / 744
    assert per_million.VOLUME_GB * months == pytest.approx(0.222, abs=0.003)


def test_traces_are_those_of_awss_example():
    """2,000 requests an hour of which a tenth is recorded, 100,000 traces free: $0.24 (aws.amazon.com/xray/pricing)."""
    assert prices.dollars("xray/trace", 2_000 * 24 * 31 * 0.1 - 100_000, prices.HOME_REGION) == pytest.approx(
        0.24, abs=0.005
    )


@pytest.mark.parametrize(("rate", "share"), [(0.5, 1.0), (1, 1.0), (2, 0.525), (101, 6 / 101)])
def test_one_request_a_second_and_a_twentieth_of_the_others_are_traced(rate, share):
    assert per_million.traced(rate) == pytest.approx(share)


def test_each_part_of_a_million_answers_by_hand(book):
    """Half of 100 requests/s: an instance answers a million in 20,000 s. The function takes 20 ms of half a GB."""
    parts = per_million.parts(ENDPOINT, CALL, FUNCTION_URL)
    log_bytes = per_million.LOG_BYTES[FUNCTION_URL] + 26
    header_bytes = per_million._HEADER_BYTES
    assert parts == pytest.approx(
        {
            "instances": 0.36 * 20_000 / 3600,
            "volume": 20 * 0.14 * 20_000 / 3600 / 730,
            "data_in": 20 * 0.01,
            "data_out": 1 * 0.02,
            "function_time": 0.2,
            "function_requests": 0.2,
            "door": 0,
            "transfer": (1_000 + header_bytes) * 1e6 / 2**30 * 0.09,
            "logs": log_bytes / 1e3 * (0.5 + 0.15 * 0.03),  # What is kept for a month is compressed.
        }
    )
    assert per_million.total(parts) == pytest.approx(sum(parts.values()))


def test_each_door_costs_what_it_adds(book):
    url, rest, people = (per_million.parts(ENDPOINT, CALL, door) for door in (FUNCTION_URL, REST_API, SIGN_IN))
    assert rest["door"] == people["door"] == 3.5
    assert rest["traces"] == pytest.approx(5 * (1 + 0.05 * 49) / 50)  # of 50 requests/s
    assert "traces" not in url
    assert people["authorizer"] == pytest.approx(0.2 + 0.01 * 0.5 * 20)
    few = per_million.parts(ENDPOINT, Call(1, 1, requests_per_token=10), SIGN_IN)
    assert few["authorizer"] == pytest.approx(people["authorizer"] / 10)


def test_a_photo_in_the_bucket_costs_its_reading(book):
    call = Call(100_000, 20_000, from_bucket=True)
    assert per_million.parts(ENDPOINT, call, FUNCTION_URL)["bucket"] == pytest.approx(0.4 + 0.03)


def test_time_is_charged_in_whole_milliseconds(book):
    """15 and 2 and 2.2 ms are 20."""
    call = Call(1, 1, shrink_cpu_ms=2, own_cpu_ms=2.2, megabytes=1024)
    assert per_million.parts(ENDPOINT, call, FUNCTION_URL)["function_time"] == pytest.approx(0.4)


@pytest.mark.parametrize("item", ["hosting/ml.x", "invoke/in", "logs/storage", "lambda/gb-second"])
def test_a_price_that_is_not_known_leaves_no_sum(book, item):
    del book[item]
    parts = per_million.parts(ENDPOINT, CALL, FUNCTION_URL)
    assert list(parts.values()).count(None) == 1
    assert per_million.total(parts) is None


def test_the_load_and_the_sizes_of_photos_move_their_own_part(book):
    half, full = (per_million.parts(ENDPOINT, CALL, FUNCTION_URL, load) for load in (0.5, 1.0))
    assert half["instances"] == 2 * full["instances"]
    assert {name for name in half if half[name] != full[name]} == {"instances", "volume"}
    larger = per_million.parts(ENDPOINT, Call(500_000, 40_000, 4, 1_000, 6, 512), FUNCTION_URL)
    assert larger["data_in"] == pytest.approx(2 * half["data_in"])


def test_a_day_pays_the_fewest_instances_around_the_clock(book):
    """86,400 requests a day are 1 a second: 24 hours of one instance for them, 24 x 0.36 = $8.64."""
    day = per_million.on_a_day(ENDPOINT, CALL, FUNCTION_URL, 86_400)
    assert day["instances"] == pytest.approx(8.64 / 0.0864)
    two = Endpoint("ml.x", 100, 10, min_instances=2, max_instances=3)
    assert per_million.on_a_day(two, CALL, FUNCTION_URL, 86_400)["instances"] == pytest.approx(2 * 8.64 / 0.0864)


def test_a_busy_day_pays_for_more_instances_while_it_is_busy(book):
    """150 requests/s need three instances that are planned for 70 each; at night one stays."""
    requests = 150 * 6 * 3600
    day = per_million.on_a_day(ENDPOINT, CALL, FUNCTION_URL, requests, busy_hours=6)
    assert day["instances"] == pytest.approx((3 * 6 + 18) * 0.36 / (requests / 1e6))


def test_a_day_that_the_range_cannot_answer_is_refused(book):
    with pytest.raises(ValueError, match=r"3 x ml\.x cannot answer 400\.0 requests/s"):
        per_million.on_a_day(ENDPOINT, CALL, FUNCTION_URL, 400 * 86_400)


def test_functions_on_arm_cost_their_own_price_in_every_part(book):
    """On arm64 a GB-second costs four fifths, for the check of tokens and the functions that are kept warm, too."""
    book |= {"lambda/gb-second-arm": 0.8 * book["lambda/gb-second"], "lambda/provisioned-gb-second-arm": 0.0000033}
    arm = replace(CALL, architecture="arm64")
    before, after = (per_million.parts(ENDPOINT, call, SIGN_IN) for call in (CALL, arm))
    assert after.pop("function_time") == pytest.approx(0.8 * before.pop("function_time"))
    requests = book["lambda/request"] * 1e6
    assert after.pop("authorizer") - requests == pytest.approx(0.8 * (before.pop("authorizer") - requests))
    assert after == before
    warm = per_million.idle(Standing("ml.x", 1, warm_functions=2, architecture="arm64"))
    assert warm["warm_functions"] == pytest.approx(2 * 0.5 * 730 * 3600 * 0.0000033)


def test_the_card_of_a_stack_on_arm_tells_its_own_prices():
    home = prices.HOME_REGION
    cards = [per_million.for_the_card("ml.c7i.large", home, each) for each in ("x86_64", "arm64")]
    assert cards[1]["ms"] == pytest.approx(0.8 * cards[0]["ms"], rel=1e-3)
    fifth = 0.2 * 1e6 * 3e-3 * prices.known("lambda/gb-second", 0.5, home)  # of 3 ms with half a GB
    assert cards[0]["doors"][FUNCTION_URL][0] - cards[1]["doors"][FUNCTION_URL][0] == pytest.approx(fifth, abs=2e-3)


def test_the_meter_of_a_stack_costs_its_ticks_and_its_alarms(book):
    book |= {"cloudwatch/get-metric": 0.00001, "scheduler/invocation": 0.000001}
    without, having = (per_million.idle(Standing("ml.x", 1, has_meter=each)) for each in (False, True))
    tick = book["lambda/gb-second"] + book["lambda/request"] + 0.000001 + 14 * 0.00001
    assert having.pop("meter") == pytest.approx(8760 * tick)  # each five minutes of 730 hours, 2 s with half a GB
    assert having.pop("alarms") - without.pop("alarms") == pytest.approx(0.2)
    assert having == without


def test_an_idle_month_by_hand(book):
    parts = per_million.idle(Standing("ml.x", 2, dashboards=1, log_gb=1, image_gb=2, bucket_gb=5))
    assert parts == pytest.approx(
        {
            "endpoint": 2 * 730 * 0.36,
            "volume": 2 * 20 * 0.14,
            "key": 1,
            "alarms": (per_million.STACK_ALARMS + per_million.ENDPOINT_ALARMS) * 0.1,
            "fast_alarms": per_million.FAST_ALARMS * 0.3,
            "dashboards": 3,
            "logs": 0.03,
            "images": 0.2,
            "bucket": 0.1,
        }
    )
    assert "dashboards" not in per_million.idle(Standing("ml.x", 2))


def test_functions_that_are_kept_warm_cost_their_memory_and_two_alarms(book):
    cold, warm = (per_million.idle(Standing("ml.x", 1, warm_functions=count)) for count in (0, 3))
    assert warm["warm_functions"] == pytest.approx(3 * 0.5 * 730 * 3600 * 0.000004)
    assert warm["alarms"] - cold["alarms"] == pytest.approx(0.2)


def test_no_more_than_three_versions_of_the_key_are_charged(book):
    assert [per_million.idle(Standing("ml.x", 1, key_versions=count))["key"] for count in (1, 3, 5)] == [1, 3, 3]


def test_tripled_prices_triple_everything(book):
    whole = [per_million.parts(ENDPOINT, CALL, SIGN_IN), per_million.idle(Standing("ml.x", 1, warm_functions=1))]
    book.update({item: 3 * price for item, price in book.items()})
    tripled = [per_million.parts(ENDPOINT, CALL, SIGN_IN), per_million.idle(Standing("ml.x", 1, warm_functions=1))]
    for before, after in zip(whole, tripled, strict=True):
        assert after == pytest.approx({name: 3 * amount for name, amount in before.items()})


@pytest.mark.parametrize("door", per_million.DOORS)
def test_what_the_card_computes_is_what_the_parts_say(door):
    """50 requests/s, the share of traces that the card assumes, and 12 ms."""
    given = per_million.for_the_card("ml.c7i.large", prices.HOME_REGION)
    endpoint = Endpoint("ml.c7i.large", rate=100, answer_ms=12)
    for index, call in enumerate(per_million.CALLS.values()):
        computed = given["hour"] / 3600 / (100 * given["load"]) * 1e6 + given["ms"] * 12 + given["doors"][door][index]
        parts = per_million.parts(endpoint, call, door, region=prices.HOME_REGION)
        assert computed == pytest.approx(per_million.total(parts), rel=5e-3)


def test_what_the_card_gets_fits_into_an_argument_of_a_job():
    """SageMaker takes 256 characters for one."""
    assert len(json.dumps(per_million.for_the_card("ml.g4dn.12xlarge"), separators=(",", ":"))) <= 256


def test_instances_with_disks_of_their_own_pay_no_volume():
    home = prices.HOME_REGION
    parts = per_million.parts(Endpoint("ml.g5.xlarge", 100, 10), CALL, FUNCTION_URL, region=home)
    assert parts["volume"] == 0
    assert "volume" not in per_million.idle(Standing("ml.g5.xlarge", 1), home)
    hour = per_million.for_the_card("ml.g5.xlarge", home)["hour"]
    assert hour == prices.known("hosting/ml.g5.xlarge", 1, home)


# Two GB for 40 ms, and for another second after one of a hundred requests: 50 ms, so 100,000 GB-seconds a million.
HOST = per_million.ModelFunction(2048, 40, hop_ms=0, cold_share=0.01, cold_ms=1000)
MILLION_A_MONTH = 24e6 / 730  # requests a day


def test_each_part_of_a_month_of_a_function_by_hand(book):
    month = per_million.month_of_function(HOST, CALL, "", MILLION_A_MONTH)
    transfer = (1_000 + per_million._HEADER_BYTES) * 1e6 / 2**30 * 0.09
    told = {name: month[name] for name in ("model_time", "model_requests", "transfer")}
    assert told == pytest.approx({"model_time": 2.0, "model_requests": 0.2, "transfer": transfer})
    assert not {"function_time", "function_requests", "door", "instances"} & month.keys()
    half = per_million.month_of_function(HOST, CALL, "", MILLION_A_MONTH / 2)
    assert per_million.total(half) == pytest.approx(per_million.total(month) / 2)


def test_function_before_the_models_function_waits_for_it_without_a_fee_for_data(book):
    """50 ms, and 3 of its own with half a GB: it sends photos as they came."""
    month = per_million.month_of_function(HOST, CALL, REST_API, MILLION_A_MONTH)
    assert month["function_time"] == pytest.approx(0.53)
    assert (month["function_requests"], month["door"]) == pytest.approx((0.2, 3.5))
    assert month["model_time"] == pytest.approx(2.0)
    assert not {"data_in", "data_out", "instances", "volume", "provisioned"} & month.keys()


def test_provisioned_concurrency_costs_all_month_and_makes_the_time_cheaper(book):
    month = per_million.month_of_function(replace(HOST, provisioned=3), CALL, "", MILLION_A_MONTH)
    assert month["model_time"] == pytest.approx(1.0)
    assert month["provisioned"] == pytest.approx(3 * 2 * 730 * 3600 * 0.000004)
    del book["lambda/provisioned-gb-second"]
    unknown = per_million.month_of_function(replace(HOST, provisioned=3), CALL, "", MILLION_A_MONTH)
    assert unknown["provisioned"] is per_million.total(unknown) is None


def test_month_of_an_endpoint_has_its_instances_around_the_clock(book):
    """1,000 requests a day keep one instance, 150 requests a second three: 70 are planned for each."""
    few = per_million.month_of_endpoint(ENDPOINT, CALL, FUNCTION_URL, 1_000)
    many = per_million.month_of_endpoint(ENDPOINT, CALL, FUNCTION_URL, 150 * 86_400)
    assert (few["instances"], few["volume"]) == pytest.approx((0.36 * 730, 2.8))
    assert (many["instances"], many["volume"]) == pytest.approx((3 * 0.36 * 730, 3 * 2.8))
    assert few["function_requests"] == pytest.approx(1_000 * 730 / 24 * 2e-7)
    with pytest.raises(ValueError, match=r"3 x ml\.x cannot answer"):
        per_million.month_of_endpoint(ENDPOINT, CALL, FUNCTION_URL, 301 * 86_400)


def test_cold_share_is_that_of_gaps_longer_than_five_minutes():
    """With 288 requests a day there is one in five minutes on average, and none in e^-1 of all five minutes."""
    assert per_million.cold_share(288) == pytest.approx(0.3679, abs=1e-4)
    assert per_million.cold_share(1_000) == pytest.approx(0.0310, abs=1e-4)
    assert per_million.cold_share(1_000_000) == 0.001
