"""The measurement of one instance: the search on one whose limits are known, and what follows from it."""

import itertools
import random
import threading

import pytest

from measure import probe
from measure.knee import concurrency, knee, scaling, search
from measure.probe import Load, open_loop, quantile
from shared.contracts import Measurement
from shared.errors import MeasurementError


def instance(capacity, alone_ms=5.0, hiccups=(), late_from=float("inf")):
    """One whose every request takes alone_ms / (1 - rate / capacity), and which refuses half of them beyond that."""
    turns = itertools.count()

    def load_at(rate):
        late_ms = 20.0 if rate >= late_from else 0.1
        if rate >= capacity or next(turns) in hiccups:
            return Load(rate, [], [alone_ms] * 200, 200, late_ms)
        return Load(rate, [], [alone_ms / (1 - rate / capacity)] * 400, 0, late_ms)

    return load_at


def rates(trials):
    return [(trial.rate, trial.borne) for trial in trials]


def test_search_closes_in_on_the_rate_from_which_the_limit_is_left():
    """It is left above 90 requests/s."""
    trials, is_senders_limit = search(instance(capacity=100), first_rate=100, alone_ms=5, max_p99_ms=50)
    assert rates(trials) == [
        (100.0, False),
        (100.0, False),
        (50.0, True),
        (70.7, True),
        (84.1, True),
    ]
    assert knee(trials) == 84.1
    assert not is_senders_limit


def test_search_takes_a_hiccup_for_none():
    trials, _ = search(instance(capacity=1000, hiccups=(0,)), first_rate=100, alone_ms=5, max_p99_ms=50)
    assert rates(trials)[:3] == [(100.0, False), (100.0, True), (200.0, True)]


def test_search_says_when_it_is_the_sender_that_can_do_no_more():
    trials, is_senders_limit = search(instance(capacity=1000, late_from=200), first_rate=100, alone_ms=5, max_p99_ms=50)
    assert rates(trials) == [(100.0, True)]
    assert is_senders_limit


@pytest.mark.parametrize(("alone_ms", "capacity", "words"), [(60, 1e9, "alone takes 60 ms"), (5, 1e-3, "even at")])
def test_search_says_what_to_do_about_an_instance_that_is_too_slow(alone_ms, capacity, words):
    with pytest.raises(MeasurementError, match=f"{words}.*faster instance"):
        search(instance(capacity), 100, alone_ms, max_p99_ms=50)


@pytest.mark.parametrize(("overhead_ms", "most"), [(0, 3), (200, 2), (2000, 0)])
def test_concurrency_is_the_most_requests_at_once_within_the_container(overhead_ms, most):
    """Three overlap from 0.9 to 1.0 s, but not for as long as they are on their way; the last two follow each other."""
    spans = [(0.0, 1.0), (0.5, 1.5), (0.9, 2.0), (2.0, 3.0), (3.0, 4.0)]
    assert concurrency(Load(rate=1, spans=spans, latencies=[], failed=0, late_ms=0), overhead_ms) == most


def measurement(**changed):
    known = {"run": "r", "knee_per_second": 100, "rate_per_second": 70, "concurrency": 6, "limited_by": "endpoint"}
    return Measurement(**known | changed, trials=[])


def test_scaling_keeps_what_was_measured():
    found = scaling(measurement(), reused=False, start_seconds=187, price=0.126, max_instances=3)
    assert (found.target_value, found.burst_value) == (6, 12)
    assert (found.scale_out_cooldown, found.scale_in_cooldown) == (190, 380)
    assert [row.requests_per_second for row in found.capacity] == [70, 140, 210]
    assert [row.dollars_per_hour for row in found.capacity] == [0.126, 0.252, 0.378]
    assert {row.dollars_per_million for row in found.capacity} == {0.5}  # 0.126 $ for 252,000 requests


def test_scaling_without_a_price_says_so():
    found = scaling(measurement(), reused=True, start_seconds=2, price=None, max_instances=1)
    assert found.capacity[0].dollars_per_million is None
    assert (found.scale_out_cooldown, found.scale_in_cooldown) == (10, 300)


def test_open_loop_sends_what_is_due_however_slow_the_answers_are():
    """No request waits for an answer: none is given before the last one was sent."""
    asked, everyone = [], threading.Semaphore(0)
    due = sum(1 for moment in itertools.takewhile(lambda m: m < 0.4, arrivals(7, 50)))

    def ask():
        asked.append(0)
        if len(asked) == due:
            for _ in range(due):
                everyone.release()
        everyone.acquire()
        return 200

    load = open_loop(ask, rate=50, seconds=0.4, seed=7)
    assert len(asked) == due == len(load.latencies)
    assert load.failed == 0


def arrivals(seed, rate):
    chance = random.Random(seed)
    return itertools.accumulate(chance.expovariate(rate) for _ in itertools.count())


def test_open_loop_counts_refusals_apart():
    answers = itertools.cycle([200, 503])
    load = open_loop(lambda: next(answers), rate=200, seconds=0.2, seed=0)
    assert abs(len(load.latencies) - load.failed) <= 1


def test_open_loop_gives_up_on_an_endpoint_that_is_stuck(monkeypatch):
    monkeypatch.setattr(probe, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(probe, "THREADS", 2)
    over = threading.Event()
    threading.Timer(0.3, over.set).start()
    asked = []

    def ask():
        asked.append(0)
        over.wait()
        return 200

    load = open_loop(ask, rate=200, seconds=0.2, seed=0)
    assert len(asked) == len(load.latencies) == 2
    assert load.failed == sum(1 for _ in itertools.takewhile(lambda m: m < 0.2, arrivals(0, 200))) - 2


def test_quantile_of_nothing_keeps_no_limit():
    assert quantile([], 0.99) == float("inf")
    assert quantile(list(range(100)), 0.99) == 99
