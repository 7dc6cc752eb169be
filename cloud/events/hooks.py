"""EventBridge and its Scheduler: rates are written as AWS requires, and a start needs the right to start its target."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import eventbridge, scheduler

from cloud.core.clock import scaled
from cloud.core.emulator import Hooks

HOOKS: Hooks = (
    (eventbridge, ("_invoke_target", "_parse_rate_seconds", "_validate_schedule_expression")),
    (scheduler, ("_SCHEDULE_TICK_INTERVAL", "_create_schedule", "_error", "_update_schedule")),
)
_RATE = re.compile(r"rate\((1 (minute|hour|day)|(?!0*1? )\d+ (minutes|hours|days))\)")
_UNTRUSTING = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."


def is_rate(expression: str) -> bool:
    """Whether a rate is one for AWS: a whole number above 0, and a unit that is singular for 1 only."""
    return _RATE.fullmatch(expression) is not None


def check_rates() -> None:
    """Refuse rules and schedules whose rate has the wrong unit for its number, such as ``rate(1 minutes)``.

    AWS documents this for rules. Of schedules it is not known, so what works here works in both cases.
    """
    validate = eventbridge._validate_schedule_expression
    create, update = scheduler._create_schedule, scheduler._update_schedule

    def is_valid(expression: str) -> bool:
        return bool(validate(expression)) and (not expression.startswith("rate(") or is_rate(expression))

    def refusal(request: Mapping[str, Any]) -> Any:
        expression = request.get("ScheduleExpression", "")
        if not expression.startswith("rate(") or is_rate(expression):
            return None
        return scheduler._error(400, "ValidationException", f"Invalid Schedule Expression {expression}.")

    eventbridge._validate_schedule_expression = is_valid
    scheduler._create_schedule = lambda name, request: refusal(request) or create(name, request)
    scheduler._update_schedule = lambda name, request: refusal(request) or update(name, request)


def scale_rates() -> None:
    """Let rates of rules and schedules pass by the laptop cloud's clock, as the periods of alarms do."""
    parse = eventbridge._parse_rate_seconds

    def parse_scaled(expression: str) -> float | None:
        seconds = parse(expression)
        return None if seconds is None else scaled(seconds)

    eventbridge._parse_rate_seconds = parse_scaled
    scheduler._SCHEDULE_TICK_INTERVAL = scaled(scheduler._SCHEDULE_TICK_INTERVAL)


def check_roles(is_trusting: Callable[[str], bool]) -> None:
    """Refuse schedules with a role that the Scheduler cannot assume.

    Args:
        is_trusting: Called with the role's ARN; whether the role exists and trusts the Scheduler.
    """
    create, update = scheduler._create_schedule, scheduler._update_schedule

    def refusal(request: Mapping[str, Any]) -> Any:
        role = (request.get("Target") or {}).get("RoleArn")
        if not role or is_trusting(role):
            return None
        return scheduler._error(400, "ValidationException", _UNTRUSTING)

    scheduler._create_schedule = lambda name, request: refusal(request) or create(name, request)
    scheduler._update_schedule = lambda name, request: refusal(request) or update(name, request)


def authorize_rules(is_allowed: Callable[[str, str, bool], bool]) -> None:
    """Let a rule start a state machine, and a schedule a state machine or a function, only with permission.

    Args:
        is_allowed: Called before each start with the target's role, the target's ARN, and whether a schedule starts it.
    """
    invoke_target = eventbridge._invoke_target

    def invoke_if_allowed(target: Mapping[str, Any], event: Any, rule: Any, view: Any = None) -> None:
        arn, scheduled = target.get("Arn", ""), event.get("Source") == "aws.scheduler"
        # A rule starts a function by the function's own policy, a schedule by its role alone.
        has_role = ":states:" in arn or (scheduled and ":lambda:" in arn)
        if not has_role or is_allowed(target.get("RoleArn", ""), arn, scheduled):
            invoke_target(target, event, rule, view)

    eventbridge._invoke_target = invoke_if_allowed
