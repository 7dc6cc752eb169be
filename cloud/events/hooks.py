"""EventBridge and its Scheduler: a rule or a schedule needs the right to start its state machine."""

from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import eventbridge

from cloud.core.emulator import Hooks

HOOKS: Hooks = ((eventbridge, ("_invoke_target",)),)


def authorize_rules(allows: Callable[[str, str, bool], bool]) -> None:
    """Ask before a rule or a schedule starts a state machine: ``allows(role, state machine, whether a schedule)``."""
    invoke_target = eventbridge._invoke_target

    def asking(target: Mapping[str, Any], event: Any, rule: Any, view: Any = None) -> None:
        arn, scheduled = target.get("Arn", ""), event.get("Source") == "aws.scheduler"
        if ":states:" not in arn or allows(target.get("RoleArn", ""), arn, scheduled):
            invoke_target(target, event, rule, view)

    eventbridge._invoke_target = asking
