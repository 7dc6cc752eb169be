"""The meter's ticks: what they do when a limit is passed, what they keep, and what a failure costs."""

import importlib
from types import SimpleNamespace

import pytest

from meter.sums import Observation, Seen
from shared.spending import Fleet, Spending
from tests.unit.functions.test_meter import DECEMBER, HOUR, MONTH

ENVIRONMENT = {
    "STACK": "k",
    "ENDPOINT_NAME": "dogs",
    "MONTHLY_DOLLARS": "100",
    "ON_OVERSPEND": "cap",
    "SPENDING_PARAMETER": "/k/spending",
    "LOCK_PARAMETER": "/k/meter-lock",
    "CHAMPION_PARAMETER": "/k/champion",
    "TOPIC_ARN": "arn:t",
    "TEARDOWN_ARN": "arn:teardown",
    "PIPELINE_ARN": "arn:p",
    "IMAGE_BUILDER": "k-images",
    "FUNCTIONS": "k-classify,k-page",
    "LOG_GROUPS": "/aws/lambda/k-classify",
    "ARCHITECTURE": "x86_64",
    "WARM_FUNCTION": "",
    "SHRINK_PHOTOS": "auto",
    "HAS_DASHBOARD": "false",
    "EC2_SPOT_QUEUE": "",
    "EC2_ON_DEMAND_QUEUE": "",
    "TRAINING_INSTANCE_TYPE": "ml.c7i.xlarge",
}


class Stack:
    """The account behind the meter: what it keeps, whom it told, and the range of the endpoint."""

    def __init__(self, module, monkeypatch, spent, **settings):
        self.app, self.mails, self.range, self.torn_down = module, [], [1, 4], 0
        self.kept, self.refuse, self.holder = Spending(at=DECEMBER, months={MONTH: {"endpoints": spent}}), "", False
        self.serves, self.function_megabytes = 1, 0
        environment = {name.lower(): value for name, value in (ENVIRONMENT | settings).items()}
        monkeypatch.setattr(module, "settings", module.MeterSettings(**environment))
        monkeypatch.setattr(module, "_look", lambda *given: self.look(given[-1]))
        monkeypatch.setattr(module, "_keep", lambda document: setattr(self, "kept", document))
        monkeypatch.setattr(module.spending, "read", lambda *_: self.kept)
        monkeypatch.setattr(module, "topic", SimpleNamespace(publish=self.publish))
        monkeypatch.setattr(module, "instances", self)
        self.ready = SimpleNamespace(cap=lambda _: self.asked.append("cap"), lift=lambda _: self.asked.append("lift"))
        self.asked = []  # of the functions that are kept ready
        monkeypatch.setattr(module, "kept_ready", self.ready)
        monkeypatch.setattr(module, "states", SimpleNamespace(start_execution=self.start_execution))
        self.locked = []
        monkeypatch.setattr(module.lock, "take", lambda *_: not self.holder)
        monkeypatch.setattr(module.lock, "release", lambda *given: self.locked.append(given[-1]))

    def look(self, now):
        if self.refuse == "look":
            raise RuntimeError("throttled")
        fleet = Fleet(instance_type="ml.c7i.large", count=self.serves)
        fleets = {"dogs": Seen(fleet, 0.0)}
        return Observation(now=now, fleets=fleets, function_megabytes=self.function_megabytes)

    def publish(self, TopicArn, Subject, Message):
        assert TopicArn == "arn:t"
        if self.refuse == "publish":
            raise RuntimeError("no mail")
        assert len(Subject) < 100
        self.mails.append((Subject.removeprefix("Kennel: "), Message))

    def cap(self, before):
        if self.refuse == "cap":
            raise RuntimeError("being scaled")
        least, most = self.range
        self.range = [least, least]
        return most if most > least else before

    def lift(self, before):
        if self.range[0] == self.range[1]:
            self.range = [self.range[0], before]

    def start_execution(self, stateMachineArn, input):
        assert (stateMachineArn, input) == ("arn:teardown", '{"overspend":true}')
        self.torn_down += 1


@pytest.fixture
def stack(monkeypatch):
    for name, value in {**ENVIRONMENT, "AWS_DEFAULT_REGION": "us-east-1", "POWERTOOLS_SERVICE_NAME": "k"}.items():
        monkeypatch.setenv(name, value)
    module = importlib.reload(importlib.import_module("meter.app"))
    return lambda spent, **settings: Stack(module, monkeypatch, spent, **settings)


def test_limit_that_is_passed_caps_scaling_tells_once_a_day_and_ends_nothing(stack):
    account = stack(1e9)
    for tick in range(1, 4):
        account.app.tick(DECEMBER + 300 * tick)
    assert account.range == [1, 1]
    assert [subject for subject, _ in account.mails] == ["MonthlyDollars is reached"]
    assert account.torn_down == 0
    assert account.asked == ["cap"] * 3
    assert (account.kept.capped, account.kept.max_instances) == (True, 4)
    account.range = [1, 6]  # A run that was at work has lifted the cap.
    account.app.tick(DECEMBER + 25 * HOUR)
    assert (account.range, account.kept.max_instances) == ([1, 1], 6)
    assert len(account.mails) == 2


def test_teardown_is_asked_at_every_tick_where_it_was_chosen_because_a_run_may_be_at_work(stack):
    account = stack(200.0, ON_OVERSPEND="teardown")
    for tick in range(1, 4):
        account.app.tick(DECEMBER + 300 * tick)
    assert (account.torn_down, len(account.mails)) == (3, 1)
    account.serves = 0
    account.app.tick(DECEMBER + 1200)
    assert account.torn_down == 3
    account.function_megabytes = 1769  # What a function answers costs, too, though it costs nothing by the hour.
    account.app.tick(DECEMBER + 1500)
    assert account.torn_down == 4


def test_mail_at_80_percent_changes_nothing_else(stack):
    account = stack(85.0)
    for tick in range(1, 4):
        account.app.tick(DECEMBER + 300 * tick)
    assert [subject for subject, _ in account.mails] == ["80 % of MonthlyDollars"]
    assert (account.range, account.kept.capped) == ([1, 4], False)


@pytest.mark.parametrize(("limit", "later"), [("200", 2 * HOUR), ("100", 32 * 24 * HOUR)], ids=["raised", "month"])
def test_cap_is_lifted_when_the_limit_is_raised_or_the_month_turns(stack, limit, later, monkeypatch):
    account = stack(120.0)
    account.app.tick(DECEMBER + HOUR)
    assert account.range == [1, 1]
    raised = {name.lower(): value for name, value in (ENVIRONMENT | {"MONTHLY_DOLLARS": limit}).items()}
    monkeypatch.setattr(account.app, "settings", account.app.MeterSettings(**raised))
    # The endpoint must not spend the new month's limit in the time that this test skips.
    account.kept = account.kept.model_copy(update={"at": DECEMBER + later - 1})
    account.app.tick(DECEMBER + later)
    assert account.range == [1, 4]
    assert account.asked == ["cap", "lift"]
    assert (account.kept.capped, account.kept.told) == (False, "")


def test_cap_that_a_run_puts_back_after_it_was_lifted_is_lifted_again_as_long_as_a_run_may_last(stack, monkeypatch):
    account = stack(120.0)
    account.app.tick(DECEMBER + HOUR)
    raised = {name.lower(): value for name, value in (ENVIRONMENT | {"MONTHLY_DOLLARS": "200"}).items()}
    monkeypatch.setattr(account.app, "settings", account.app.MeterSettings(**raised))
    account.app.tick(DECEMBER + 2 * HOUR)
    for later in (2.1, 25.9):
        account.range = [1, 1]  # A run had looked at the range while it was capped, and restores it now.
        account.app.tick(DECEMBER + later * HOUR)
        assert account.range == [1, 4]
    account.app.tick(DECEMBER + 26.1 * HOUR)
    account.range = [1, 1]  # Now only a person can have set it.
    account.app.tick(DECEMBER + 27 * HOUR)
    assert account.range == [1, 1]
    assert (account.kept.lifted, account.kept.max_instances) == (0, None)


def test_tick_that_cannot_look_keeps_nothing_and_the_next_one_catches_up(stack):
    account = stack(0.0)
    account.refuse = "look"
    before = account.kept
    with pytest.raises(RuntimeError, match="throttled"):
        account.app.tick(DECEMBER + HOUR)
    assert account.kept == before
    account.refuse = ""
    account.app.tick(DECEMBER + 2 * HOUR)
    assert account.kept.dollars(MONTH) == pytest.approx(2 * (0.107 + 20 * 0.14 / 730), abs=1e-6)


@pytest.mark.parametrize("refused", ["cap", "publish"])
def test_action_that_fails_is_an_error_stops_no_other_and_is_done_again(stack, refused):
    account = stack(150.0)
    account.refuse = refused
    with pytest.raises(RuntimeError):
        account.app.tick(DECEMBER + HOUR)
    assert account.kept.capped  # so that no new run starts
    assert bool(account.mails) == (refused == "cap")
    assert (account.range == [1, 1]) == (refused == "publish")
    account.refuse = ""
    account.app.tick(DECEMBER + 2 * HOUR)
    assert account.range == [1, 1]
    assert len(account.mails) == 1


def test_second_tick_at_the_same_time_does_nothing_and_every_tick_releases_its_lock(stack):
    account = stack(150.0)
    account.holder = True
    assert account.app.handler({}, CONTEXT_OF_LAMBDA) == {}
    assert (account.mails, account.locked) == ([], [])
    account.holder, account.refuse = False, "look"
    with pytest.raises(RuntimeError):
        account.app.handler({}, CONTEXT_OF_LAMBDA)
    assert account.locked == ["/k/meter-lock"]


CONTEXT_OF_LAMBDA = SimpleNamespace(
    function_name="k-meter",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:k-meter",
    get_remaining_time_in_millis=lambda: 119_000,
    aws_request_id="1",
)
