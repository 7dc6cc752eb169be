"""CloudWatch's metric alarms: states by datapoints, and the scaling policies among their actions.

MiniStack keeps alarms and their history, answers their API and tells their topics; here they are evaluated.
Rules are those of CloudWatch's user guide, "Alarm evaluation" and "Configuring how CloudWatch alarms treat
missing data".
"""

import contextvars
import logging
import operator
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud.cloudwatch import hooks
from cloud.core import emulator
from cloud.core.clock import scaled

log = logging.getLogger("kennel.alarms")

Alarm = Mapping[str, Any]

_API = "GraniteServiceVersion20100801"
_STEP_SECONDS = 10  # between evaluations of an alarm whose period is shorter than a minute; else it is a minute
_STEPS_OF_MINUTE = 60 // _STEP_SECONDS
# How many periods beyond its own an alarm looks back for missing datapoints: those of the guide's examples, which
# says no more about it.
_EXTRA_PERIODS = 2
_SETTLE_SECONDS = 0.2  # what a finished period's metrics may take to arrive
_BREACHES = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_ACTIONS = {"ALARM": "AlarmActions", "OK": "OKActions", "INSUFFICIENT_DATA": "InsufficientDataActions"}


def state_of(alarm: Alarm, datapoints: Sequence[float | None]) -> str | None:
    """The state that datapoints put an alarm into; None when it stays in its own.

    Args:
        datapoints: of the evaluation range, oldest first; None where one is missing.
    """
    periods, missing = alarm["EvaluationPeriods"], alarm["TreatMissingData"]
    needed = alarm.get("DatapointsToAlarm") or periods
    real = evaluated(alarm, datapoints)
    if not real and missing == "missing":
        return "INSUFFICIENT_DATA"
    breaches = sum(_breaches(alarm, each) for each in real)
    if missing == "breaching":
        breaches += periods - len(real)
    if breaches >= needed:
        return "ALARM"
    if missing in ("ignore", "missing") and breaches == len(real) < periods:
        # Nothing but breaches, and too few of them: an alarm once they are old enough to be no passing one.
        if missing == "ignore":
            return None
        age = next(age for age in range(len(datapoints), 0, -1) if datapoints[-age] is not None)
        return "ALARM" if age >= needed else "OK"
    return "OK"


def evaluated(alarm: Alarm, datapoints: Sequence[float | None]) -> list[float]:
    """The datapoints that decide: the newest that are not missing, as many as the alarm has periods."""
    return [each for each in datapoints if each is not None][-alarm["EvaluationPeriods"] :]


def _breaches(alarm: Alarm, value: float) -> bool:
    return bool(_BREACHES[alarm["ComparisonOperator"]](value, alarm["Threshold"]))


@dataclass
class _Watched:
    """An alarm that is evaluated.

    Attributes:
        alarm: MiniStack's record of it.
        context: of the request that put it, which knows region and account.
        at: end of the last period that was evaluated, in steps of ``_STEP_SECONDS``.
        acted: the same of the last evaluation that carried out scaling policies.
        datapoints: those that decided.
    """

    alarm: Alarm
    context: contextvars.Context
    at: int = 0
    acted: int = 0
    datapoints: Sequence[float] = ()


class Alarms:
    """Evaluates every metric alarm of the cloud.

    Attributes:
        scale: carries out a scaling policy: called with its ARN, the alarm, and the datapoints that decided.
    """

    def __init__(self, closing: threading.Event) -> None:
        """Args:
        closing: set when the cloud ends.
        """
        self.scale: Callable[[str, Alarm, Sequence[float]], None] = lambda _policy, _alarm, _datapoints: None
        self._closing = closing
        self._watched: dict[str, _Watched] = {}
        hooks.follow_alarms(self._watch)

    def run(self) -> None:
        """Evaluate alarms when they are due, until the cloud ends."""
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
        """The alarms of the scope that name a scaling policy, given by its ARN, among their actions."""
        return [each for each in hooks.metric_alarms() if policy in each["AlarmActions"]]

    def put(self, alarm: Alarm) -> None:
        """PutMetricAlarm."""
        emulator.call_json("monitoring", f"{_API}.PutMetricAlarm", alarm)

    def delete(self, alarms: Sequence[Alarm]) -> None:
        """DeleteAlarms."""
        names = [each["AlarmName"] for each in alarms]
        emulator.call_json("monitoring", f"{_API}.DeleteAlarms", {"AlarmNames": names})

    def datapoints(self, alarm: Alarm) -> Sequence[float]:
        """The datapoints by which an alarm was evaluated last, oldest first."""
        return self._watched[alarm["AlarmArn"]].datapoints

    def _watch(self, alarm: dict[str, Any]) -> None:
        if alarm["MetricName"] and alarm["ComparisonOperator"] in _BREACHES:  # else of expressions and of bands
            self._watched[alarm["AlarmArn"]] = _Watched(alarm, contextvars.copy_context())

    def _evaluate(self, arn: str, watched: _Watched, now: int) -> None:
        alarm = watched.alarm
        end = now if alarm["Period"] < 60 else now // _STEPS_OF_MINUTE * _STEPS_OF_MINUTE
        if end <= watched.at:
            return
        if not any(each is alarm for each in hooks.metric_alarms()):
            if self._watched.get(arn) is watched:  # deleted, not put anew
                del self._watched[arn]
            return
        watched.at = end
        period, last = scaled(alarm["Period"]), end * scaled(_STEP_SECONDS)
        ages = range(alarm["EvaluationPeriods"] + _EXTRA_PERIODS - 1, -1, -1)
        found = hooks.datapoints(alarm, period, [last - age * period for age in ages])
        watched.datapoints = evaluated(alarm, found)
        state = state_of(alarm, found)
        if state and state != alarm["StateValue"]:
            self._change(alarm, state, watched.datapoints)
            watched.acted = 0
        # As long as an alarm stays in a state, it carries out its scaling policies once a minute.
        if alarm["ActionsEnabled"] and watched.datapoints and end - watched.acted >= _STEPS_OF_MINUTE:
            watched.acted = end
            for action in alarm[_ACTIONS[alarm["StateValue"]]]:
                if ":scalingPolicy:" in action:
                    self.scale(action, alarm, watched.datapoints)

    def _change(self, alarm: Alarm, state: str, datapoints: Sequence[float]) -> None:
        if state == "INSUFFICIENT_DATA":
            reason = "Insufficient Data: no datapoints were received."
        else:
            crossed, values = "Crossed" if state == "ALARM" else "not crossed", ", ".join(f"{x:g}" for x in datapoints)
            rule = f"{alarm['ComparisonOperator']} {alarm['Threshold']:g}"
            reason = f"Threshold {crossed}: datapoints [{values}] by the rule {rule}."
        request = {"AlarmName": alarm["AlarmName"], "StateValue": state, "StateReason": reason}
        emulator.call_json("monitoring", f"{_API}.SetAlarmState", request)
