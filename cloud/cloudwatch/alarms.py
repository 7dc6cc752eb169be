"""Evaluate CloudWatch's metric alarms, and carry out the scaling policies among their actions.

MiniStack stores alarms and their history, answers their API and notifies their topics. This module decides their
states. The rules are those of CloudWatch's user guide, "Alarm evaluation" and "Configuring how CloudWatch alarms
treat missing data".
"""

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cloud.cloudwatch import hooks
from cloud.cloudwatch.notifications import COMPARISONS, Alarm, is_breaching, reason_of
from cloud.core import emulator
from cloud.core.clock import scaled

log = logging.getLogger("kennel.alarms")

_API = "GraniteServiceVersion20100801"
# An alarm whose period is shorter than a minute is evaluated at each step, every other alarm once a minute.
_STEP_SECONDS = 10
_STEPS_PER_MINUTE = 60 // _STEP_SECONDS
# An alarm looks back over its own periods and these, to replace missing datapoints. The number is taken from the
# guide's examples, because the guide gives no rule.
_EXTRA_PERIODS = 2
_SETTLE_SECONDS = 0.2  # The last metrics of a period may arrive this much later than its end.
_ACTIONS = {"ALARM": "AlarmActions", "OK": "OKActions", "INSUFFICIENT_DATA": "InsufficientDataActions"}


def state_of(alarm: Alarm, datapoints: Sequence[float | None]) -> str | None:
    """Return the state that an alarm enters by its datapoints; None when it keeps its state.

    Args:
        alarm: The alarm.
        datapoints: The datapoints of the evaluation range, oldest first; None where one is missing.
    """
    periods, missing = alarm["EvaluationPeriods"], alarm["TreatMissingData"]
    needed = alarm.get("DatapointsToAlarm") or periods
    present = evaluated(alarm, datapoints)
    if not present and missing == "missing":
        return "INSUFFICIENT_DATA"
    breaches = sum(is_breaching(alarm, value) for value in present)
    if missing == "breaching":
        breaches += periods - len(present)
    if breaches >= needed:
        return "ALARM"
    if missing in ("ignore", "missing") and breaches == len(present) < periods:
        # Every present datapoint is breaching, but there are too few of them. The alarm goes off only when the oldest
        # is at least as many periods old as breaches are needed, so that a short peak does not suffice.
        if missing == "ignore":
            return None
        age = next(age for age in range(len(datapoints), 0, -1) if datapoints[-age] is not None)
        return "ALARM" if age >= needed else "OK"
    return "OK"


def evaluated(alarm: Alarm, datapoints: Sequence[float | None]) -> list[float]:
    """Return the datapoints that decide: the newest that are present, at most one for each of the alarm's periods."""
    return [value for value in datapoints if value is not None][-alarm["EvaluationPeriods"] :]


@dataclass
class _WatchedAlarm:
    """An alarm that is evaluated.

    Attributes:
        alarm: MiniStack's record of the alarm.
        context: Context of the request that put the alarm; it contains region and account.
        evaluated_at: End of the last period that was evaluated, in steps of ``_STEP_SECONDS``.
        scaled_at: End of the last period whose evaluation carried out scaling policies, in the same steps.
        datapoints: The datapoints that decided in the last evaluation.
    """

    alarm: Alarm
    context: contextvars.Context
    evaluated_at: int = 0
    scaled_at: int = 0
    datapoints: Sequence[float] = ()


class Alarms:
    """Evaluates every metric alarm of the cloud.

    Attributes:
        scale: Carries out a scaling policy; called with the policy's ARN, the alarm, and the datapoints that decided.
    """

    def __init__(self, closing: threading.Event) -> None:
        """Take over the evaluation of alarms from MiniStack.

        Args:
            closing: Set when the cloud ends.
        """
        self.scale: Callable[[str, Alarm, Sequence[float]], None] = lambda _policy, _alarm, _datapoints: None
        self._closing = closing
        self._watched: dict[str, _WatchedAlarm] = {}
        hooks.replace_alarm_evaluation(self._watch)

    def run(self) -> None:
        """Evaluate each alarm when it is due, until the cloud ends."""
        step = scaled(_STEP_SECONDS)
        settle = min(_SETTLE_SECONDS, step / 4)
        while not self._closing.wait(step - (time.time() - settle) % step):
            now = int(time.time() // step)
            for arn, watched in list(self._watched.items()):
                try:
                    watched.context.run(self._evaluate, arn, watched, now)
                except Exception:
                    log.exception("alarm %s", arn)

    def of(self, policy: str) -> list[dict[str, Any]]:
        """Return the alarms of the current account and region that have a scaling policy among their actions.

        Args:
            policy: ARN of the scaling policy.
        """
        return [alarm for alarm in hooks.metric_alarms() if policy in alarm["AlarmActions"]]

    def put(self, alarm: Alarm) -> None:
        """Create or replace an alarm (PutMetricAlarm)."""
        emulator.call_json("monitoring", f"{_API}.PutMetricAlarm", alarm)

    def delete(self, alarms: Sequence[Alarm]) -> None:
        """Delete alarms (DeleteAlarms)."""
        names = [alarm["AlarmName"] for alarm in alarms]
        emulator.call_json("monitoring", f"{_API}.DeleteAlarms", {"AlarmNames": names})

    def datapoints(self, alarm: Alarm) -> Sequence[float]:
        """Return the datapoints that decided in the last evaluation of an alarm, oldest first."""
        return self._watched[alarm["AlarmArn"]].datapoints

    def _watch(self, alarm: dict[str, Any]) -> None:
        # An alarm without MetricName has a metric expression, and one with another operator has an anomaly band.
        if alarm["MetricName"] and alarm["ComparisonOperator"] in COMPARISONS:
            self._watched[alarm["AlarmArn"]] = _WatchedAlarm(alarm, contextvars.copy_context())

    def _evaluate(self, arn: str, watched: _WatchedAlarm, now: int) -> None:
        alarm = watched.alarm
        end = now if alarm["Period"] < 60 else now // _STEPS_PER_MINUTE * _STEPS_PER_MINUTE
        if end <= watched.evaluated_at:
            return
        if not any(record is alarm for record in hooks.metric_alarms()):
            if self._watched.get(arn) is watched:  # The alarm was deleted. If it was put again, the entry is another.
                del self._watched[arn]
            return
        watched.evaluated_at = end
        period, last = scaled(alarm["Period"]), end * scaled(_STEP_SECONDS)
        ages = range(alarm["EvaluationPeriods"] + _EXTRA_PERIODS - 1, -1, -1)
        ends = [last - age * period for age in ages]
        datapoints = hooks.datapoints(alarm, period, ends)
        watched.datapoints = evaluated(alarm, datapoints)
        state = state_of(alarm, datapoints)
        if state and state != alarm["StateValue"]:
            reason = reason_of(alarm, state, datapoints, [each - period for each in ends])
            request = {"AlarmName": alarm["AlarmName"], "StateValue": state, "StateReason": reason}
            emulator.call_json("monitoring", f"{_API}.SetAlarmState", request)
            watched.scaled_at = 0
        # As long as an alarm stays in a state, it carries out its scaling policies once a minute.
        if alarm["ActionsEnabled"] and watched.datapoints and end - watched.scaled_at >= _STEPS_PER_MINUTE:
            watched.scaled_at = end
            for action in alarm[_ACTIONS[alarm["StateValue"]]]:
                if ":scalingPolicy:" in action:
                    self.scale(action, alarm, watched.datapoints)
