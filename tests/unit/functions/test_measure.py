"""The search on an instance with known limits, the derived scaling, and the open-loop load."""

import itertools
import random
import threading
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

import prices
from measure import kept, probe
from measure.max_rate import concurrency, max_rate, scaling, search
from measure.probe import ProbeLoad, open_loop, quantile
from prices import per_million
from shared.errors import MeasurementError
from shared.s3 import Location
from shared.scaling import Measurement, Trial
from tests.unit.functions.buckets import Bucket


def instance(capacity, alone_ms=5.0, hiccups=(), late_from=float("inf")):
    """An instance whose requests take alone_ms / (1 - rate / capacity). Beyond its capacity it refuses half of them."""
    turns = itertools.count()

    def load_at(rate):
        late_ms = 20.0 if rate >= late_from else 0.1
        if rate >= capacity or next(turns) in hiccups:
            return ProbeLoad(rate, [], [alone_ms] * 200, 200, late_ms)
        return ProbeLoad(rate, [], [alone_ms / (1 - rate / capacity)] * 400, 0, late_ms)

    return load_at


def rates(trials):
    return [(trial.rate, trial.within_limits) for trial in trials]


def test_search_narrows_the_gap_around_the_limit():
    """The p99 of this instance exceeds 50 ms above 90 requests/s."""
    trials, is_senders_limit = search(instance(capacity=100), first_rate=100, alone_ms=5, max_p99_ms=50)
    assert rates(trials) == [
        (100.0, False),
        (100.0, False),
        (50.0, True),
        (70.7, True),
        (84.1, True),
    ]
    assert max_rate(trials) == 84.1
    assert not is_senders_limit


def test_search_repeats_a_trial_after_a_hiccup():
    trials, _ = search(instance(capacity=1000, hiccups=(0,)), first_rate=100, alone_ms=5, max_p99_ms=50)
    assert rates(trials)[:3] == [(100.0, False), (100.0, True), (200.0, True)]


def test_search_reports_that_the_sender_is_the_limit():
    trials, is_senders_limit = search(instance(capacity=1000, late_from=200), first_rate=100, alone_ms=5, max_p99_ms=50)
    assert rates(trials) == [(100.0, True)]
    assert is_senders_limit


@pytest.mark.parametrize(
    ("alone_ms", "capacity", "words"), [(60, 1e9, "alone takes 60 ms"), (5, 1e-3, "exceeds a p99 of 50 ms even at")]
)
def test_search_says_how_to_fix_an_instance_that_is_too_slow(alone_ms, capacity, words):
    with pytest.raises(MeasurementError, match=f"{words}.*faster instance"):
        search(instance(capacity), 100, alone_ms, max_p99_ms=50)


@pytest.mark.parametrize(("overhead_ms", "most"), [(0, 3), (200, 2), (2000, 0)])
def test_concurrency_is_the_most_requests_at_once_inside_the_container(overhead_ms, most):
    """Three overlap from 0.9 to 1.0 s, which is shorter than 200 ms of overhead. The last two do not overlap."""
    spans = [(0.0, 1.0), (0.5, 1.5), (0.9, 2.0), (2.0, 3.0), (3.0, 4.0)]
    assert concurrency(ProbeLoad(rate=1, spans=spans, latencies=[], failed=0, late_ms=0), overhead_ms) == most


def measurement(**changed):
    fields = {"run": "r", "knee_per_second": 100, "rate_per_second": 70, "concurrency": 6, "limited_by": "endpoint"}
    trials = [trial(50, 12.5), trial(100, 30.0), trial(200, None, within=False)]
    return Measurement(**fields | changed, trials=trials)


def trial(rate, p50_ms, within=True):
    return Trial(rate=rate, p50_ms=p50_ms, p99_ms=p50_ms, failed=0, within_limits=within)


def test_scaling_follows_from_the_measurement():
    document = scaling(
        measurement(), "ab", reused=False, start_seconds=187, instance_type="ml.c7i.large", max_instances=3
    )
    assert (document.target_value, document.burst_value) == (6, 12)
    assert (document.scale_out_cooldown, document.scale_in_cooldown) == (190, 380)
    assert [row.requests_per_second for row in document.capacity] == [70, 140, 210]
    hour = prices.known("hosting/ml.c7i.large", region=prices.HOME_REGION)
    assert [row.dollars_per_hour for row in document.capacity] == [round(count * hour, 4) for count in (1, 2, 3)]
    # At half load an instance answers 50 requests/s, 180,000 an hour.
    assert {row.instance_dollars_per_million for row in document.capacity} == {round(hour / 0.18, 4)}


def test_scaling_tells_dollars_per_million_with_everything_by_door():
    """At half load an answer takes 12.5 ms, the median of the trial that was closest to it."""
    row = scaling(measurement(), "ab", False, 2, "ml.c7i.large", 1).capacity[0]
    endpoint = per_million.Endpoint("ml.c7i.large", 100, 12.5)
    expected = {
        door: per_million.total(per_million.parts(endpoint, per_million.CALLS[100_000], door))
        for door in ("rest_api", "function_url")
    }
    assert row.dollars_per_million == pytest.approx(expected, abs=1e-4)
    assert row.dollars_per_million["rest_api"] > row.dollars_per_million["function_url"] + 3.5
    assert row.dollars_per_million["function_url"] > row.instance_dollars_per_million + 0.5


def test_scaling_of_a_stack_on_arm_tells_the_price_of_its_functions():
    """26 ms a request with half a GB: 12.5 for the answer, the rest for 7 of a core."""
    x86, arm = (
        scaling(measurement(), "ab", False, 2, "ml.c7i.large", 1, architecture).capacity[0].dollars_per_million
        for architecture in ("x86_64", "arm64")
    )
    saved = 13_000 * (1.66667e-05 - 1.33334e-05)
    assert {door: x86[door] - arm[door] for door in x86} == pytest.approx(dict.fromkeys(x86, saved), abs=2e-4)


def test_stored_measurement_is_readable_by_both_releases():
    """Release 0.1.0 stores, and reads, ``borne`` instead of ``within_limits`` and takes no other field."""
    trial = {"rate": 84.1, "p50_ms": 5.1, "p99_ms": 31.4, "failed": 0, "borne": True}
    kept = {
        "run": "20261123-101500-0a1b2c",
        "knee_per_second": 84.1,
        "rate_per_second": 58.9,
        "concurrency": 6,
        "limited_by": "endpoint",
        "trials": [trial, {"rate": 100.0, "p50_ms": None, "p99_ms": None, "failed": 200, "borne": False}],
    }
    loaded = Measurement.model_validate(kept)
    assert rates(loaded.trials) == [(84.1, True), (100.0, False)]
    assert loaded.model_dump(by_alias=True) == kept
    assert "borne" not in loaded.model_dump_json()  # in documents between states
    assert Measurement.model_validate_json(loaded.model_dump_json()) == loaded
    with pytest.raises(ValidationError, match="within_limits"):
        Trial.model_validate({name: value for name, value in trial.items() if name != "borne"})


def test_scaling_without_a_price_has_no_costs():
    document = scaling(measurement(), "ab", reused=True, start_seconds=2, instance_type="ml.unknown", max_instances=1)
    row = document.capacity[0]
    assert (row.dollars_per_hour, row.instance_dollars_per_million) == (None, None)
    assert row.dollars_per_million == {"rest_api": None, "function_url": None}
    assert (document.scale_out_cooldown, document.scale_in_cooldown) == (10, 300)


def test_open_loop_sends_what_is_due_however_slow_the_answers_are():
    """No request waits for an answer: the first answer comes after the last request was sent."""
    requests, all_sent = [], threading.Semaphore(0)
    due = sum(1 for moment in itertools.takewhile(lambda m: m < 0.4, arrivals(7, 50)))

    def ask():
        requests.append(0)
        if len(requests) == due:
            for _ in range(due):
                all_sent.release()
        all_sent.acquire()
        return 200

    load = open_loop(ask, rate=50, seconds=0.4, seed=7)
    assert len(requests) == due == len(load.latencies)
    assert load.failed == 0


def arrivals(seed, rate):
    rng = random.Random(seed)
    return itertools.accumulate(rng.expovariate(rate) for _ in itertools.count())


def test_open_loop_counts_refusals_separately():
    answers = itertools.cycle([200, 503])
    load = open_loop(lambda: next(answers), rate=200, seconds=0.2, seed=0)
    assert abs(len(load.latencies) - load.failed) <= 1


def test_open_loop_gives_up_on_an_endpoint_that_is_stuck(monkeypatch):
    monkeypatch.setattr(probe, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(probe, "THREADS", 2)
    over = threading.Event()
    threading.Timer(0.3, over.set).start()
    requests = []

    def ask():
        requests.append(0)
        over.wait()
        return 200

    load = open_loop(ask, rate=200, seconds=0.2, seed=0)
    assert len(requests) == len(load.latencies) == 2
    assert load.failed == sum(1 for _ in itertools.takewhile(lambda m: m < 0.2, arrivals(0, 200))) - 2


def test_quantile_without_values_is_infinite():
    assert quantile([], 0.99) == float("inf")
    assert quantile(list(range(100)), 0.99) == 99


class Registry:
    """Approved versions with their metadata, the newest first."""

    def __init__(self, *metadata):
        self.metadata = metadata

    def get_paginator(self, operation):
        assert operation == "list_model_packages"
        return SimpleNamespace(paginate=self._pages)

    def _pages(self, *, ModelPackageGroupName, ModelApprovalStatus, SortBy, SortOrder):
        assert (ModelApprovalStatus, SortBy, SortOrder) == ("Approved", "CreationTime", "Descending")
        arns = [f"{ModelPackageGroupName}/{number}" for number in range(len(self.metadata))]
        return [{"ModelPackageSummaryList": [{"ModelPackageArn": arn}]} for arn in arns]

    def describe_model_package(self, *, ModelPackageName):
        metadata = self.metadata[int(ModelPackageName.rpartition("/")[2])]
        return {"CustomerMetadataProperties": metadata} if metadata is not None else {}


def test_a_kept_measurement_counts_only_if_the_registry_knows_it():
    place = Location("b", "measurements/0.json")
    body = measurement().model_dump_json(by_alias=True).encode()
    digest = kept.digest(body)
    s3, known = Bucket({place.key: body}), Registry({"top1": "0.9"}, None, {"measurement": digest})

    def find(s3, registry, entry="measurement"):
        return kept.find(s3, registry, "group", place, Measurement, entry)

    assert find(s3, known) == (measurement(), digest)
    assert find(s3, known, "function_measurement") is None
    assert find(Bucket({}), known) is None
    # Whoever can write the bucket states a rate of his own; the registry knows another file.
    foreign = measurement(rate_per_second=1e6).model_dump_json(by_alias=True).encode()
    assert find(Bucket({place.key: foreign}), known) is None
    assert find(s3, Registry({"measurement": "0" * 64})) is None
    assert find(s3, Registry(*[None] * 50, {"measurement": digest})) is None  # fifty are asked
