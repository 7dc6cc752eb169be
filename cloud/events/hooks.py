"""EventBridge and EventBridge Scheduler: a rule or a schedule needs the right to start its state machine."""

from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import eventbridge

from cloud.core.emulator import Hooks

HOOKS: Hooks = ((eventbridge, ("_invoke_target",)),)


def authorize_rules(is_allowed: Callable[[str, str, bool], bool]) -> None:
    """Let a rule or a schedule start a state machine only with permission.

    Args:
        is_allowed: Called before each start with the target's role, the state machine's ARN, and whether a schedule
            starts it.
    """
    invoke_target = eventbridge._invoke_target

    def invoke_if_allowed(target: Mapping[str, Any], event: Any, rule: Any, view: Any = None) -> None:
        arn, scheduled = target.get("Arn", ""), event.get("Source") == "aws.scheduler"
        if ":states:" not in arn or is_allowed(target.get("RoleArn", ""), arn, scheduled):
            invoke_target(target, event, rule, view)

    eventbridge._invoke_target = invoke_if_allowed
