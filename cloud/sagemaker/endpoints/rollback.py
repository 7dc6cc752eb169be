"""The CloudWatch alarms that take a deployment back."""

from collections.abc import Mapping, Sequence
from typing import Any

from cloud.core import emulator
from cloud.core.protocol import invalid
from cloud.iam import authorization, permissions
from cloud.iam.permissions import Place
from cloud.sagemaker.endpoints.variant import Variant


def alarm_names(deployment: Mapping[str, Any]) -> list[str]:
    """The names of the alarms in a DeploymentConfig."""
    return [alarm["AlarmName"] for alarm in deployment.get("AutoRollbackConfiguration", {}).get("Alarms", [])]


def alarm_states(names: Sequence[str]) -> dict[str, str]:
    """CloudWatch's state of each alarm that there is."""
    if not names:
        return {}
    request = {"AlarmNames": names, "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}
    found = emulator.call_json("monitoring", "GraniteServiceVersion20100801.DescribeAlarms", request)
    return {alarm["AlarmName"]: alarm["StateValue"] for alarm in found["MetricAlarms"] + found["CompositeAlarms"]}


def check_alarms(deployment: Mapping[str, Any], variants: Sequence[Variant]) -> None:
    """Raises ApiError: a role of the models may not look at a deployment's alarms, or there is no such alarm."""
    names = alarm_names(deployment)
    needed = permissions.describe_alarms(names, Place(*emulator.scope()))
    for role in {variant.role for variant in variants} if names else ():
        try:
            authorization.authorize(authorization.assume_for_sagemaker(role), needed)
        except authorization.DeniedError as error:
            raise invalid(f"The alarms of AutoRollbackConfiguration cannot be read: {error}") from None
    known = alarm_states(names)
    if missing := [name for name in names if name not in known]:
        raise invalid(f"Could not find alarms {', '.join(missing)} of AutoRollbackConfiguration.")
