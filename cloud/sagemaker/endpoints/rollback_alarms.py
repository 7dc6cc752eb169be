"""The CloudWatch alarms that roll a deployment back."""

from collections.abc import Mapping, Sequence
from typing import Any

from cloud.core import emulator
from cloud.core.protocol import invalid
from cloud.iam import authorization, permissions
from cloud.iam.permissions import RequestScope
from cloud.sagemaker.endpoints.variant import Variant


def alarm_names(deployment: Mapping[str, Any]) -> list[str]:
    """Return the names of the alarms in a DeploymentConfig."""
    return [alarm["AlarmName"] for alarm in deployment.get("AutoRollbackConfiguration", {}).get("Alarms", [])]


def alarm_states(names: Sequence[str]) -> dict[str, str]:
    """Return CloudWatch's state of each alarm by name; alarms that do not exist are left out."""
    if not names:
        return {}
    request = {"AlarmNames": names, "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}
    answer = emulator.call_json("monitoring", "GraniteServiceVersion20100801.DescribeAlarms", request)
    return {alarm["AlarmName"]: alarm["StateValue"] for alarm in answer["MetricAlarms"] + answer["CompositeAlarms"]}


def check_alarms(deployment: Mapping[str, Any], variants: Sequence[Variant]) -> None:
    """Check that a deployment's alarms exist, and that the roles of the variants' models may describe them.

    Raises:
        ApiError: an alarm does not exist, or a role lacks the permission.
    """
    names = alarm_names(deployment)
    needed = permissions.describe_alarms(names, RequestScope(*emulator.scope()))
    for role in {variant.role for variant in variants} if names else ():
        try:
            authorization.authorize(authorization.assume_for_sagemaker(role), needed)
        except authorization.DeniedError as error:
            raise invalid(f"The alarms of AutoRollbackConfiguration cannot be read: {error}") from None
    known = alarm_states(names)
    if missing := [name for name in names if name not in known]:
        raise invalid(f"Could not find alarms {', '.join(missing)} of AutoRollbackConfiguration.")
