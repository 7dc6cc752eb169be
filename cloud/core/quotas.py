"""The account's quotas, which a person can have raised on AWS, and on the laptop by ``KENNEL_QUOTAS``."""

import os
from collections.abc import Mapping

FUNCTION_MEMORY = "function memory"  # the most MB that a function may have
# The values of a new account, where AWS says what they are. A quota of instances is different in each account, so the
# laptop's is large enough for everything that the project does.
_NEW_ACCOUNT = {FUNCTION_MEMORY: 3008}
_INSTANCES = 32  # for each instance type and use


def read_quotas(text: str) -> dict[str, int]:
    """Return the quotas that ``KENNEL_QUOTAS`` sets, by name.

    Args:
        text: for example ``function memory=10240, ml.c7i.large for endpoint usage=2``.

    Raises:
        ValueError: The text has another form.
    """
    quotas = {}
    for entry in filter(None, (each.strip() for each in text.split(","))):
        name, _, value = (part.strip() for part in entry.partition("="))
        if not name or not value.isdecimal():
            raise ValueError(
                f"KENNEL_QUOTAS: {entry!r} is no quota; give names and whole numbers, such as "
                "'function memory=10240, ml.c7i.large for endpoint usage=2'"
            )
        quotas[name] = int(value)
    return quotas


_QUOTAS: Mapping[str, int] = _NEW_ACCOUNT | read_quotas(os.environ.get("KENNEL_QUOTAS", ""))


def quota(name: str) -> int:
    """Return the account's quota of this name, in the words of AWS's Service Quotas."""
    return _QUOTAS.get(name, _INSTANCES)


def exceeded(name: str, used: int, more: int) -> str | None:
    """Return AWS's message if instances are more than the account may have; None if it may have them.

    Args:
        name: the quota's name, for example ``ml.c7i.large for endpoint usage``.
        used: number of instances that count towards the quota now.
        more: number of instances that a request asks for.
    """
    limit = quota(name)
    if more <= 0 or used + more <= limit:
        return None
    return (
        f"The account-level service limit '{name}' is {limit} Instances, with current utilization of {used} Instances "
        f"and a request delta of {more} Instances. Please use AWS Service Quotas to request an increase for this "
        "quota. If AWS Service Quotas is not available, contact AWS support to request an increase for this quota."
    )
