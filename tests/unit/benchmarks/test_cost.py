import pytest

import prices
from benchmarks import cost
from benchmarks.photo_sizes import SizedPhotos
from local.home import LocalError
from prices import per_million

SPEED = cost.Speed(100.0, 17.0)
CALL = per_million.Call(100_000, 20_000, shrink_cpu_ms=5.0, own_cpu_ms=5.0, megabytes=1024)
PHOTOS = {size: SizedPhotos([bytes(size)], [bytes(20_000)], 3.0) for size in cost._SIZES}


def known(item, quantity=1):
    return prices.known(item, quantity, prices.HOME_REGION)


def test_dollars_of_a_million_predictions_by_hand():
    """100 requests/s on 2 cores, half of them asked: 20,000 s of ml.m5.large. 17 + 3 + 5 + 5 = 30 ms of a gigabyte."""
    found = cost.dollars("ml.m5.large", SPEED, CALL, cores=2)
    assert found["requests_per_second"] == 100.0
    assert found["instances"] == pytest.approx(known("hosting/ml.m5.large", 20_000 / 3600), rel=1e-3)
    assert found["data_in"] == pytest.approx(0.32)
    assert found["function_time"] == pytest.approx(30_000 * 0.0000166667, rel=1e-3)
    assert found["door"] == {"rest_api": 3.5, "function_url": 0.0}
    shared = sum(
        found[name] for name in ("instances", "volume", "data_in", "data_out", "function_time", "function_requests")
    )
    assert found["total_function_url"] == pytest.approx(
        shared + found["transfer"] + found["logs"]["function_url"], rel=1e-3
    )
    assert found["total_rest_api"] == pytest.approx(
        shared + found["transfer"] + found["logs"]["rest_api"] + 3.5 + found["traces"]["rest_api"], rel=1e-3
    )


def test_dollars_scale_an_instance_by_its_vcpus():
    """4 vCPUs answer twice as much as 2 cores, at another price an hour."""
    large, xlarge = (cost.dollars(f"ml.c7i.{size}", SPEED, CALL, cores=2) for size in ("large", "xlarge"))
    assert xlarge["requests_per_second"] == 2 * large["requests_per_second"]
    ratio = known("hosting/ml.c7i.xlarge") / (2 * known("hosting/ml.c7i.large"))
    assert xlarge["instances"] == pytest.approx(large["instances"] * ratio, rel=1e-3)


def rounds_of(ours, *usual):
    rounds = {isa: {size: [cost.Speed(ours, 10.0)] for size in cost._SIZES} for isa in cost._KINDS}
    names = ("def", "async def")
    return rounds | {
        name: {size: [cost.Speed(rate, 90.0)] for size in cost._SIZES} for name, rate in zip(names, usual, strict=True)
    }


def report(ours, *usual):
    return cost._report({}, PHOTOS, dict.fromkeys(cost._KINDS, "int8"), rounds_of(ours, *usual))


def test_report_takes_the_better_variant_and_the_cheapest_instance():
    """A tenth of the speed costs ten times as much on the same instance; whole photos cost five times the fee."""
    found = report(400.0, 40.0, 20.0)
    totals = {name: sizes[100_000]["total_function_url"] for name, sizes in found["ours"]["derived"].items()}
    assert totals[found["ours"]["cheapest"]] == min(totals.values())
    (usual,) = found["peers"].values()
    assert usual["measured"]["variant"] == "def"
    same_instance = found["ours"]["derived"]["ml.m5.large"][100_000]
    assert usual["derived"][100_000]["instances"] == pytest.approx(10 * same_instance["instances"], rel=1e-3)
    assert usual["derived"][100_000]["data_in"] == pytest.approx(5 * same_instance["data_in"], rel=1e-3)
    assert found["ratio_function_url"] > found["ratio"] > 1


def test_measured_and_derived_are_told_apart_for_every_size_and_door():
    found = report(400.0, 40.0, 20.0)
    assert found["ours"]["measured"]["photos"][500_000] == {
        "bytes": 500_000,
        "shrunk_bytes": 20_000,
        "shrink_cpu_ms": 3.0,
    }
    assert len(found["ours"]["derived"]) >= 3
    for sizes in (*found["ours"]["derived"].values(), *(peer["derived"] for peer in found["peers"].values())):
        assert set(sizes) == {20_000, 100_000, 500_000}
        assert all(row["total_rest_api"] > row["total_function_url"] > row["data_in"] > 0 for row in sizes.values())
    assert found["ours"]["by_day"][10_000]["function_url"] > found["ours"]["by_day"][1_000_000]["function_url"]
    assert found["ours"]["idle_a_month"]["total"] > known("hosting/ml.c5.large", 700)


@pytest.mark.parametrize(("rate", "met"), [(2_000.0, True), (20.0, False)])
def test_goal_is_the_end_to_end_price_by_the_function_url(rate, met):
    found = report(rate, 10.0, 5.0)
    goal = found["goal"]["dollars_by_the_function_url"]
    cheapest = found["ours"]["derived"][found["ours"]["cheapest"]][100_000]
    assert goal == {"at_most": 1.4, "measured": cheapest["total_function_url"], "met": met}


def test_a_price_that_the_book_lacks_is_no_price_of_nothing(monkeypatch):
    dollars = prices.dollars
    monkeypatch.setattr(
        prices, "dollars", lambda item, *of: None if item == "hosting/ml.c7i.large" else dollars(item, *of)
    )
    with pytest.raises(LocalError, match="lacks a price that instances needs"):
        cost.dollars("ml.c7i.large", SPEED, CALL, cores=2)


def test_arm_cpu_is_refused(monkeypatch):
    monkeypatch.setattr(cost, "cpu_kind", lambda: "Arm")
    with pytest.raises(LocalError, match="use an x86 machine"):
        cost.measure([])
