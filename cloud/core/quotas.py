"""The account's quotas, which a person can have raised on AWS, and on the laptop by ``KENNEL_QUOTAS``."""

import os
from collections.abc import Mapping

import quotas

FUNCTION_MEMORY = "function memory"  # the most MB that a function may have
CONCURRENCY = "Concurrent executions"  # of all functions together, at once
# The values of a new account, where AWS says what they are. A quota of instances is different in each account, so the
# laptop's is large enough for everything that the project does.
_NEW_ACCOUNT = {FUNCTION_MEMORY: 3008}
_INSTANCES = 32  # for each instance type and use, and for each job and endpoint
_LARGE_ENOUGH = {
    **{quotas.across(use).name: 4 * _INSTANCES for use in quotas.USES},
    **{quotas.vcpus(spot, gpus).name: 256 for spot in (False, True) for gpus in (False, True)},
    quotas.of_search().name: 10,
    quotas.builds().name: 2,
    CONCURRENCY: 1000,
}


def read_quotas(text: str) -> dict[str, int]:
    """Return the quotas that ``KENNEL_QUOTAS`` sets, by name.

    Args:
        text: for example ``function memory=10240, ml.c7i.large for endpoint usage=2``. A name may contain commas.

    Raises:
        ValueError: The text has another form.
    """
    read: dict[str, int] = {}
    begun = ""
    for part in text.split(","):
        begun = f"{begun},{part}" if begun else part
        name, _, value = (word.strip() for word in begun.partition("="))
        if not name and not value:
            begun = ""
        elif name and value.isdecimal():
            read[name], begun = int(value), ""
        elif "=" in begun:
            break
    if begun.strip(" ,"):
        raise ValueError(
            f"KENNEL_QUOTAS: {begun.strip()!r} is no quota; give names and whole numbers, such as "
            "'function memory=10240, ml.c7i.large for endpoint usage=2'"
        )
    return read


_QUOTAS: Mapping[str, int] = _NEW_ACCOUNT | read_quotas(os.environ.get("KENNEL_QUOTAS", ""))


def quota(name: str) -> int:
    """Return the account's quota of this name, in the words of AWS's Service Quotas."""
    return _QUOTAS.get(name, _LARGE_ENOUGH.get(name, _INSTANCES))


def set_by_a_person() -> set[str]:
    """Return the names of the quotas that ``KENNEL_QUOTAS`` sets."""
    return _QUOTAS.keys() - _NEW_ACCOUNT.keys()


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


def beyond(use: str, used: Mapping[str, int], more: Mapping[str, int]) -> str | None:
    """Return AWS's message if instances are more than the account may have, of a type or of all types together.

    Args:
        use: what the instances do, a key of ``quotas.USES``.
        used: number of instances by type that count towards the quotas of this use now.
        more: the same for those that a request asks for.
    """
    for instance_type, count in more.items():
        if problem := exceeded(quotas.of_instances(use, instance_type).name, used.get(instance_type, 0), count):
            return problem
    return exceeded(quotas.across(use).name, sum(used.values()), sum(more.values()))


def beyond_each(use: str, count: int) -> str | None:
    """Return AWS's message if one job or endpoint would have more instances than the account lets it have."""
    return exceeded(quotas.of_each(use).name, 0, count)
