"""The meter's sums and decisions: months, lost ticks, clocks that jump, limits that change, prices that are missing."""

from types import SimpleNamespace

import boto3
import pytest

from meter import limits, lock
from meter.sums import ENDPOINTS, JOBS, RUNNING, Charge, Observation, Seen, advance
from shared.spending import Fleet, Spending

DECEMBER = 1_796_083_200.0  # 2026-12-01 00:00 UTC
HOUR, MONTH = 3600.0, "2026-12"
VOLUME = 20 * 0.14 / 730  # an hour of the volume that each instance without disks of its own gets
PRICE = 0.107 + VOLUME  # an hour of an ml.c7i.large
SSM = boto3.client("ssm", region_name="us-east-1").exceptions


def seen(now, count=1, created=0.0, instance_type="ml.c7i.large", name="dogs", **more):
    fleets = {name: Seen(Fleet(instance_type=instance_type, count=count), created)} if count else {}
    return Observation(now=now, fleets=fleets, ended_until=now, **more)


def test_instances_are_paid_from_tick_to_tick():
    spent = Spending(at=DECEMBER)
    for tick in range(1, 13):
        spent = advance(spent, seen(DECEMBER + 300 * tick, count=2))
    assert spent.months == {MONTH: {ENDPOINTS: pytest.approx(2 * PRICE, abs=1e-4), RUNNING: 0}}
    assert spent.at == DECEMBER + HOUR


def test_first_tick_counts_from_the_creation_of_an_endpoint_but_not_before_the_month():
    middle = DECEMBER + 10 * 24 * HOUR
    late = advance(Spending(), seen(middle, created=middle - HOUR))
    assert late.dollars(MONTH) == pytest.approx(PRICE, abs=1e-6)
    old = advance(Spending(), seen(middle, created=DECEMBER - 90 * 24 * HOUR))
    assert old.dollars(MONTH) == pytest.approx(240 * PRICE)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (3, 0)])
def test_lost_ticks_are_caught_up_with_the_larger_number_of_instances(before, after):
    spent = advance(Spending(at=DECEMBER), seen(DECEMBER + 1, count=before))
    spent = advance(spent, seen(DECEMBER + 5 * HOUR, count=after))
    assert spent.dollars(MONTH) == pytest.approx(5 * 3 * PRICE, rel=1e-3)


def test_endpoint_that_was_made_since_the_last_tick_counts_from_its_creation():
    spent = advance(Spending(at=DECEMBER), seen(DECEMBER + 5 * HOUR, created=DECEMBER + 4 * HOUR))
    assert spent.dollars(MONTH) == pytest.approx(PRICE, abs=1e-6)


def test_month_that_turns_between_two_ticks_divides_what_was_spent():
    before = Spending(
        at=DECEMBER - HOUR,
        months={"2026-11": {ENDPOINTS: 50.0, RUNNING: 7.0, "requests": 1.0}, "2026-10": {ENDPOINTS: 9.0}},
        fleets={"dogs": Fleet(instance_type="ml.c7i.large", count=1)},
    )
    job = Charge(dollars=4.0, start=DECEMBER - 3 * HOUR, end=DECEMBER + HOUR)
    spent = advance(before, seen(DECEMBER + HOUR, ended=[job], usage={"requests": 0.25}))
    assert spent.months["2026-11"] == {ENDPOINTS: pytest.approx(50 + PRICE), JOBS: pytest.approx(3.0), "requests": 1.0}
    assert spent.months[MONTH] == {
        ENDPOINTS: pytest.approx(PRICE, abs=1e-6),
        JOBS: pytest.approx(1.0),
        RUNNING: 0,
        "requests": 0.25,
    }
    assert set(spent.months) == {"2026-11", MONTH}


def test_job_that_runs_counts_until_now_and_once_when_it_has_ended():
    running = Charge(dollars=2.0, start=DECEMBER - HOUR, end=DECEMBER + HOUR)
    spent = advance(Spending(at=DECEMBER), seen(DECEMBER + HOUR, count=0, running=[running]))
    assert spent.dollars(MONTH) == pytest.approx(1.0)
    spent = advance(
        spent, seen(DECEMBER + 2 * HOUR, count=0, ended=[Charge(3.0, DECEMBER - HOUR, DECEMBER + 2 * HOUR)])
    )
    assert spent.months[MONTH] == {JOBS: pytest.approx(2.0), RUNNING: 0}
    assert spent.months["2026-11"] == {JOBS: pytest.approx(1.0)}


def test_tick_that_runs_twice_counts_once():
    before = Spending(at=DECEMBER)
    once = advance(before, seen(DECEMBER + HOUR, usage={"requests": 1.0}))
    assert advance(before, seen(DECEMBER + HOUR, usage={"requests": 1.0})) == once
    assert advance(once, seen(DECEMBER + HOUR, usage={"requests": 1.0})) == once


def test_clock_that_goes_back_counts_no_time_twice_and_one_that_was_far_ahead_is_corrected():
    spent = advance(Spending(at=DECEMBER), seen(DECEMBER + HOUR))
    behind = advance(spent, seen(DECEMBER + HOUR - 120))
    assert (behind.dollars(MONTH), behind.at) == (spent.dollars(MONTH), DECEMBER + HOUR)
    ahead = spent.model_copy(update={"at": DECEMBER + 400 * 24 * HOUR})
    corrected = advance(ahead, seen(DECEMBER + 2 * HOUR))
    assert (corrected.dollars(MONTH), corrected.at) == (spent.dollars(MONTH), DECEMBER + 2 * HOUR)


def test_clock_that_was_in_the_next_month_finds_the_old_sums_again():
    november = advance(Spending(at=DECEMBER - HOUR), seen(DECEMBER - 10))
    december = advance(november, seen(DECEMBER + 5))
    back = advance(december, seen(DECEMBER - 5))
    assert back.dollars("2026-11") == pytest.approx(PRICE, rel=0.01)


def test_update_counts_both_fleets_and_a_region_without_prices_a_lower_bound(monkeypatch):
    fleets = {
        "dogs": Seen(Fleet(instance_type="ml.c7i.large", count=2), 0.0),
        "dogs, new": Seen(Fleet(instance_type="ml.c7i.xlarge", count=2), DECEMBER + HOUR / 2),
    }
    observed = Observation(now=DECEMBER + HOUR, fleets=fleets)
    spent = advance(Spending(at=DECEMBER), observed)
    assert spent.dollars(MONTH) == pytest.approx(2 * PRICE + 0.214 + VOLUME)
    assert spent.unpriced == []
    monkeypatch.setenv("AWS_REGION", "xx-nowhere-1")
    unknown = advance(Spending(at=DECEMBER), observed)
    assert unknown.dollars(MONTH) == 0
    assert unknown.unpriced == ["hosting/ml.c7i.large", "hosting/ml.c7i.xlarge", "hosting/volume"]
    decision = limits.decide(unknown, 100, "cap", observed.now)
    assert (decision.tell_gaps, decision.is_over) == (True, False)
    assert "lower bound" in limits.gaps(unknown)
    assert "at least" in limits.spent_words(unknown, 100, observed.now)
    told = unknown.model_copy(update={"gaps_told": MONTH})
    assert not limits.decide(told, 100, "cap", observed.now).tell_gaps


def spent_of(dollars, **more):
    return Spending(months={MONTH: {ENDPOINTS: dollars}}, **more)


def test_mail_at_80_percent_once_a_month_and_limit():
    now = DECEMBER + HOUR
    assert not limits.decide(spent_of(79.9), 100, "cap", now).warn
    assert limits.decide(spent_of(80.0), 100, "cap", now).warn
    warned = spent_of(80.0, warned=limits.warning_of(100, now))
    assert not limits.decide(warned, 100, "cap", now + 24 * HOUR).warn
    assert not limits.decide(spent_of(100.0), 100, "cap", now).warn  # The other mail says more.
    raised = spent_of(170.0, warned=limits.warning_of(100, now))
    assert limits.decide(raised, 200, "cap", now).warn
    turned = Spending(months={"2027-01": {ENDPOINTS: 85.0}}, warned=warned.warned)
    assert limits.decide(turned, 100, "cap", DECEMBER + 32 * 24 * HOUR).warn
    assert "$80.00 of $100 in 2026-12: endpoints $80.00." in limits.warning(spent_of(80.0), 100, now)


def test_mail_each_day_at_100_percent_and_teardown_only_where_it_was_chosen():
    now = DECEMBER + HOUR
    fleets = {"dogs": Fleet(instance_type="ml.c7i.large", count=1)}
    over = spent_of(1e9, fleets=fleets)
    decision = limits.decide(over, 100, "cap", now)
    assert (decision.is_over, decision.tell, decision.teardown) == (True, True, False)
    told = over.model_copy(update={"told": limits.day_of(now)})
    assert not limits.decide(told, 100, "cap", now + 22 * HOUR).tell
    assert limits.decide(told, 100, "cap", now + 23 * HOUR).tell
    chosen = limits.decide(over, 100, "teardown", now)
    assert (chosen.is_over, chosen.teardown) == (True, True)
    assert not limits.decide(spent_of(1e9), 100, "teardown", now).teardown  # Nothing serves.
    assert "2027-01-01" in limits.message(over, 100, now)


def test_raised_limit_and_turned_month_are_not_over():
    assert not limits.decide(spent_of(100.0), 101, "cap", DECEMBER + HOUR).is_over
    assert not limits.decide(spent_of(100.0), 100, "cap", DECEMBER + 31 * 24 * HOUR).is_over
    none = limits.decide(spent_of(100.0), 0.0, "teardown", DECEMBER + HOUR)
    assert (none.is_over, none.warn, none.tell, none.teardown) == (False, False, False, False)


def parameters(**values):
    """Return a store of parameters that takes a name once, unless it is told to overwrite, and counts versions."""
    versions = dict.fromkeys(values, 1)

    def put_parameter(Name, Value, Type, Overwrite):
        assert Type == "String"
        if Name in values and not Overwrite:
            raise SSM.ParameterAlreadyExists({"Error": {}}, "PutParameter")
        values[Name], versions[Name] = Value, versions.get(Name, 0) + 1
        return {"Version": versions[Name]}

    def get_parameter(Name):
        if Name not in values:
            raise SSM.ParameterNotFound({"Error": {}}, "GetParameter")
        return {"Parameter": {"Value": values[Name], "Version": versions[Name]}}

    def delete_parameter(Name):
        versions.pop(Name, None)
        if values.pop(Name, None) is None:
            raise SSM.ParameterNotFound({"Error": {}}, "DeleteParameter")

    names = {"put_parameter": put_parameter, "get_parameter": get_parameter, "delete_parameter": delete_parameter}
    return SimpleNamespace(**names, exceptions=SSM, values=values)


@pytest.mark.parametrize("value", ["1000.0", "rubbish"])
def test_of_two_ticks_that_find_the_same_old_lock_one_takes_it(value):
    ssm, took = parameters(l=value), []
    get_parameter = ssm.get_parameter

    def get_as_the_other_does(Name):
        found = get_parameter(Name)
        ssm.get_parameter = get_parameter
        took.append(lock.take(ssm, Name, 2000.0))  # The other one looks now, too, and is the first to write.
        return found

    ssm.get_parameter = get_as_the_other_does
    took.append(lock.take(ssm, "l", 2000.1))
    assert took == [True, False]


def test_two_ticks_never_overlap_and_a_lock_whose_holder_died_ends():
    ssm = parameters()
    assert lock.take(ssm, "l", 1000.0)
    assert not lock.take(ssm, "l", 1001.0)
    assert not lock.take(ssm, "l", 1000.0 + lock.SECONDS - 1)
    assert lock.take(ssm, "l", 1000.0 + lock.SECONDS)
    lock.release(ssm, "l")
    lock.release(ssm, "l")
    assert lock.take(ssm, "l", 2000.0)
    assert lock.take(parameters(l="rubbish"), "l", 1.0)
    assert lock.take(parameters(l="1e12"), "l", 1.0)  # of a clock that was wrong
