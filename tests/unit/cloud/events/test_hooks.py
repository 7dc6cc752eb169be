"""The rates of rules and schedules."""

import json

import pytest
from ministack.services import eventbridge, scheduler

from cloud.events import hooks
from cloud.events.hooks import check_rates, is_rate

SINGULAR = ("rate(1 minute)", "rate(1 hour)", "rate(1 day)")
PLURAL = ("rate(2 minutes)", "rate(10 minutes)", "rate(12 hours)", "rate(100 days)")
WRONG = ("rate(1 minutes)", "rate(1 days)", "rate(2 hour)", "rate(0 minutes)", "rate(-1 minute)", "rate(1 second)")


def test_rate_has_the_unit_of_its_number():
    assert [rate for rate in (*SINGULAR, *PLURAL) if not is_rate(rate)] == []
    assert [rate for rate in (*WRONG, "rate(01 minutes)", "rate(1 minute) ") if is_rate(rate)] == []


@pytest.mark.parametrize("expression", WRONG)
def test_rules_and_schedules_refuse_another_unit(expression, monkeypatch):
    for module, names in (
        (scheduler, ("_create_schedule", "_update_schedule")),
        (eventbridge, ("_validate_schedule_expression",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))  # It is restored at the end.
    check_rates()
    assert not eventbridge._validate_schedule_expression(expression)
    for write in (scheduler._create_schedule, scheduler._update_schedule):
        status, _, body = write("lease", {"ScheduleExpression": expression})
        assert status == 400
        assert json.loads(body)["Message" if "Message" in json.loads(body) else "message"] == (
            f"Invalid Schedule Expression {expression}."
        )
    assert eventbridge._validate_schedule_expression("rate(1 minute)")
    assert eventbridge._validate_schedule_expression("cron(0 12 * * ? *)")
    assert (
        b"scheduleExpression" not in scheduler._create_schedule("x", {"ScheduleExpression": "at(2026-01-01T00:00)"})[2]
    )


def test_rates_pass_by_the_clouds_clock(monkeypatch):
    for module, name in ((eventbridge, "_parse_rate_seconds"), (scheduler, "_SCHEDULE_TICK_INTERVAL")):
        monkeypatch.setattr(module, name, getattr(module, name))  # It is restored at the end.
    monkeypatch.setattr(hooks, "scaled", lambda seconds: seconds / 10)
    hooks.scale_rates()
    assert eventbridge._parse_rate_seconds("rate(5 minutes)") == 30
    assert eventbridge._parse_rate_seconds("rate(1 hour)") == 360
    assert eventbridge._parse_rate_seconds("cron(0 12 * * ? *)") is None
    assert scheduler._SCHEDULE_TICK_INTERVAL == 1
