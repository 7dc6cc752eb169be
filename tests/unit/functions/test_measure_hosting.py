"""What a function and instances cost, and which of both serves, with round prices."""

import json

import pytest

from measure import hosting
from measure.hosting import Instances, cheapest, choose, estimated_instances, priced, rows
from measure.max_rate import scaling
from prices.per_million import Endpoint, ModelFunction, month_of_function, parts_of_function, total
from shared.errors import MeasurementError
from shared.scaling import FunctionMeasurement, HostingQuestion, MemorySize
from tests.unit.functions.test_measure import measurement
from tests.unit.functions.test_per_million import CALL, MILLION_A_MONTH, book

__all__ = ["book"]
INSTANCES = Instances(Endpoint("ml.x", rate=100, answer_ms=12.5, max_instances=3), p99_ms=30)
HOST = ModelFunction(2048, 40, hop_ms=5, cold_share=0.001, cold_ms=2000)  # of ``size()``


@pytest.fixture(autouse=True)
def call(monkeypatch):
    monkeypatch.setattr(hosting, "_CALL", CALL)


def size(memory_mb=2048, **changed):
    """Two GB for 40 ms; a cold start takes 2 s."""
    fields = {
        "cold_ms": [1900, 2100, 2000],
        "init_ms": [1860, 2060, 1960],
        "cold_billed_ms": 2000,
        "warm_p50_ms": 45,
        "warm_p99_ms": 60,
        "billed_ms": 40,
        "hop_ms": 5,
        "is_told": True,
    }
    return MemorySize(memory_mb=memory_mb, **fields | changed)


def at(table, requests):
    return next(row for row in table if row.requests_per_day == requests)


def table(requests_per_day=1_000, limit=1_000, instances=INSTANCES, provisioned=0, warm_p50_ms=45):
    return rows(size(warm_p50_ms=warm_p50_ms), provisioned, limit, instances, requests_per_day)


def test_size_is_priced_by_the_functions_own_url(book):
    """A thousandth of the requests waits 2 s."""
    of_a_million = priced(size(), MILLION_A_MONTH, provisioned=0, max_p99_ms=60)
    assert of_a_million.within_limits
    assert of_a_million.dollars_per_million == pytest.approx(total(parts_of_function(HOST, CALL, "")), abs=1e-4)
    assert not priced(size(), MILLION_A_MONTH, 0, max_p99_ms=59).within_limits


@pytest.mark.parametrize(("provisioned", "chosen"), [(0, 2048), (10, 1024)])
def test_memory_that_is_kept_ready_counts(book, provisioned, chosen):
    """The large one takes fewer GB-seconds for an answer, and twice as many to wait for one."""
    sizes = [priced(each, 1e5, provisioned, 250) for each in (size(1024, billed_ms=85), size(2048))]
    assert cheapest(sizes, 250).memory_mb == chosen


def test_cheapest_size_within_the_limit_is_chosen(book):
    """The small one takes as many GB-seconds, but is too slow; the large one is not faster."""
    sizes = [size(1024, billed_ms=70, warm_p99_ms=120), size(2048), size(3008, warm_p99_ms=59)]

    def chosen(max_p99_ms):
        return cheapest([priced(each, 1e6, 0, max_p99_ms) for each in sizes], max_p99_ms).memory_mb

    assert [chosen(limit) for limit in (250, 100, 59)] == [1024, 2048, 3008]
    with pytest.raises(MeasurementError, match=r"takes 59 ms even with 3,008 MB, but max_p99_ms is 50; raise it"):
        chosen(50)
    del book["lambda/gb-second"]  # The GB-seconds decide where no price is known.
    assert chosen(250) == 1024


def test_table_has_both_hostings_from_a_thousand_to_ten_million_requests_a_day(book):
    found = table(requests_per_day=500)
    assert [row.requests_per_day for row in found] == [500, 1e3, 1e4, 1e5, 1e6, 1e7]
    few, many = at(found, 1_000), at(found, 1e7)
    assert (few.function.cold_share, many.function.cold_share) == (0.031, 0.001)
    assert (few.function.p50_ms, few.function.p99_ms, few.function.cold_ms) == (45, 60, 2000)
    assert (few.instances.p50_ms, few.instances.p99_ms, few.instances.cold_ms) == (12.5, 30, None)
    assert (few.instances.instances, many.instances.instances, few.function.instances) == (1, 2, 0)
    assert not few.function.estimated
    assert not few.instances.estimated


def test_dollars_of_a_month_by_hand(book):
    """A million requests a month, of which a thousandth waits 2 s: 42 ms of two GB, 84,000 GB-seconds.

    At the REST API half a GB of the function before it waits for 42 + 5 ms, and takes 3.
    """
    row = at(table(MILLION_A_MONTH), MILLION_A_MONTH)
    transfer = (1_000 + 450) * 1e6 / 2**30 * 0.09
    model = 84_000 * 0.00002 + 0.2 + transfer
    log = (375 + 26) / 1e3 * (0.5 + 0.03 * 0.15)
    traces = 5 * 1.0  # less than one request a second: each has a trace
    alone = total(month_of_function(HOST, CALL, "", MILLION_A_MONTH))
    assert row.function.dollars_per_month["function_url"] == pytest.approx(alone, abs=1e-4)
    thin = 50 / 1e3 * 1e6 * 0.5 * 0.00002 + 0.2
    assert row.function.dollars_per_month["rest_api"] == pytest.approx(model + thin + 3.5 + log + traces, abs=1e-4)
    instances = 0.36 * 730 + 2.8 + 20 * 0.01 + 1 * 0.02
    thin = 18 / 1e3 * 1e6 * 0.5 * 0.00002 + 0.2  # 12.5 + 5 ms
    expected = instances + thin + transfer + (400 + 26) / 1e3 * (0.5 + 0.03 * 0.15)
    assert row.instances.dollars_per_month["function_url"] == pytest.approx(expected, abs=1e-4)


def test_function_beyond_the_accounts_concurrency_has_no_price_but_a_reason(book):
    """10 million a day are 116 a second: 5.4 at once with 47 ms each, but Lambda takes ten a second for each of 12."""
    many = at(table(limit=11), 1e7).function
    assert many.dollars_per_month == {"rest_api": None, "function_url": None}
    assert many.reason == (
        "12 requests at once, of which the account allows the function 11; Lambda takes 10 requests a second for each "
        "of them, however short they are"
    )
    assert at(table(limit=12), 1e7).function.reason == ""


def test_long_requests_need_more_at_once_than_lambda_takes_a_second(book):
    """116 a second of 245 and 2 ms are 28.6 at once."""
    slow = at(table(limit=28, warm_p50_ms=245), 1e7).function
    assert slow.reason == "29 requests at once, of which the account allows the function 28"
    assert at(table(limit=29, warm_p50_ms=245), 1e7).function.reason == ""


def test_instances_beyond_their_maximum_have_no_price_but_a_reason(book):
    few = Instances(Endpoint("ml.x", rate=10, answer_ms=12.5, max_instances=3), p99_ms=30)
    many = at(table(instances=few), 1e7).instances
    assert many.dollars_per_month == {"rest_api": None, "function_url": None}
    assert many.reason == "3 x ml.x cannot answer 115.7 requests/s"


def test_instances_that_nobody_measured_are_marked_as_estimated(book):
    guess = estimated_instances("ml.x", 2, {"photos_per_s": 100.0, "latency_ms": 9.0, "digest": "d"})
    row = at(table(instances=guess), 1e7).instances
    assert (row.estimated, row.p50_ms, row.p99_ms, row.instances) == (True, 9.0, None, 2)
    assert row.reason.startswith("nobody has measured instances in this run; the evaluation's 100 photos/s and 9.0 ms")


def test_provisioned_concurrency_spares_the_cold_starts(book):
    row = at(table(provisioned=3), 1_000).function
    assert row.cold_share == 0.001
    assert row.dollars_per_month["function_url"] > 3 * 2 * 730 * 3600 * 0.000004


def function(**changed):
    fields = {
        "run": "r",
        "memory_mb": 2048,
        "sizes": [priced(size(1024), 1_000, 0, 250), priced(size(), 1_000, 0, 250)],
        "left_out": [],
        "measurement_sha256": "",
        "reused": False,
        "instance_type": "ml.x",
        "requests_per_day": 1_000,
        "min_instances": 1,
        "max_p99_ms": 250,
        "provisioned": 0,
        "concurrency_limit": 1_000,
        "table": table(),
    }
    return FunctionMeasurement(**fields | changed)


def question(requests_per_day=1_000, max_p99_ms=250, **changed):
    instances = scaling(measurement(), "ab", False, 180, "ml.x", 3)
    fields = {"function": function(), "instances": instances}
    return HostingQuestion(requests_per_day=requests_per_day, max_p99_ms=max_p99_ms, **fields | changed)


def test_few_requests_choose_the_function_and_many_the_instances(book):
    """One instance costs $266 a month and answers 6 million a day; a function takes $1.68 a million, $10 a day."""
    few, many = choose(question()), choose(question(requests_per_day=5e6))
    assert (few.hosting, many.hosting) == ("function", "instances")
    row = at(few.table, 1_000)
    dollars = [running.dollars_per_month["rest_api"] for running in (row.instances, row.function)]
    assert few.reason == (
        f"at 1,000 requests a day instances would cost ${dollars[0]:,.2f} a month and a function would cost "
        f"${dollars[1]:,.2f} a month by the REST API; 3.1% of the requests to a function would wait 2.0 s for its start"
    )
    assert (row.instances.p50_ms, row.instances.p99_ms) == (12.5, 12.5)  # of the trial at half load
    assert not row.instances.estimated
    assert at(many.table, 5e6).instances.instances == 1


@pytest.mark.parametrize(("max_p99_ms", "hosting"), [(60, "function"), (59, "instances")])
def test_limit_of_the_latency_excludes_the_cheaper_one(book, max_p99_ms, hosting):
    chosen = choose(question(max_p99_ms=max_p99_ms))
    assert chosen.hosting == hosting
    assert ("; a function would exceed max_p99_ms;" in chosen.reason) == (hosting == "instances")
    with pytest.raises(MeasurementError, match="neither instances nor a function keep a p99 of 12 ms; raise"):
        choose(question(max_p99_ms=12))


def test_what_could_not_be_measured_does_not_serve(book):
    alone = choose(question(function=None, refused="60 ms even with 3,008 MB"))
    assert alone.model_dump() == {
        "hosting": "instances",
        "reason": "only instances keep max_p99_ms: 60 ms even with 3,008 MB",
        "table": [],
    }
    other = choose(question(instances=None, refused="one instance exceeds it"))
    assert (other.hosting, other.reason) == ("function", "only a function keeps max_p99_ms: one instance exceeds it")
    assert other.table == function().table
    with pytest.raises(MeasurementError, match="neither a function nor instances keep max_p99_ms: both slow"):
        choose(question(function=None, instances=None, refused="both slow"))
    report = json.dumps({"errorMessage": "60 ms even with 3,008 MB", "errorType": "MeasurementError"})
    assert choose(question(function=None, refused=report)) == alone


def test_unknown_prices_leave_the_instances(book):
    del book["api-gateway/rest-request"]
    chosen = choose(question())
    assert chosen.hosting == "instances"
    assert chosen.reason.count("cannot be priced (the price book lacks a price)") == 2
