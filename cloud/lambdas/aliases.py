"""Where an alias leads, and what AWS asks of aliases and of concurrency.

https://docs.aws.amazon.com/lambda/latest/dg/configuring-alias-routing.html
"""

import random
from collections.abc import Iterable, Mapping
from typing import Any

UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
_LATEST = "$LATEST"
_ALWAYS_UNRESERVED = 100  # executions at once; all that the account has when that is less


def shares_of(alias: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of an alias's requests by version, the alias's own version first."""
    more = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    return {alias["FunctionVersion"]: 1.0 - sum(more.values()), **more}


def choose(alias: Mapping[str, Any]) -> str:
    """Return the version that answers the next request."""
    shares = shares_of(alias)
    return random.choices(list(shares), list(shares.values()))[0]


def alias_problem(alias: Mapping[str, Any], versions: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return AWS's code and message if an alias cannot lead where it should; otherwise None.

    Where no message is known, the words are ours. That about roles was seen:
    https://github.com/serverless-heaven/serverless-aws-alias/issues/64

    Args:
        alias: The alias as it would be.
        versions: MiniStack's records of the function's published versions, by number.
    """
    own = alias.get("FunctionVersion", _LATEST)
    more = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    invalid = "InvalidParameterValueException"
    if own in more:
        words = f"Function version {own} is already included in routing configuration."
        return invalid, f"Invalid function version {own}. {words}"
    if missing := next((each for each in (own, *more) if each != _LATEST and each not in versions), None):
        return "ResourceNotFoundException", f"Function not found: {missing}"
    if more and (own == _LATEST or _LATEST in more):
        return invalid, "$LATEST is not supported for an alias pointing to more than 1 version"
    if len(more) > 1:
        return invalid, "Number of items in AdditionalVersionWeights cannot be greater than 1."
    if not all(0.0 <= weight <= 1.0 for weight in more.values()):
        return invalid, "A weight in AdditionalVersionWeights is between 0.0 and 1.0."
    if more and len({versions[each]["config"].get("Role") for each in (own, *more)}) > 1:
        return invalid, "Specified versions must be associated with the same execution role"
    return None


def provisioned_problem(version: str, count: int, reserved: int | None, others: int) -> str | None:
    """Return AWS's message if provisioned concurrency cannot be had; otherwise None.

    Args:
        version: The version that would have it.
        count: Number of environments.
        reserved: The function's reserved concurrency; None without.
        others: Number of environments that other versions and aliases of the function have.
    """
    if version == _LATEST:
        return UNPUBLISHED
    if reserved is not None and count + others > reserved:
        return (
            "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
        )
    return None


def reserved_problem(count: int, function: Mapping[str, Any]) -> str | None:
    """Return a message, in words of ours, if a function would reserve less than it keeps ready; otherwise None.

    What is kept ready is within what is reserved: https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html

    Args:
        count: What would be reserved.
        function: MiniStack's record of the function.
    """
    if count >= (ready := _provisioned(function)):
        return None
    return f"ReservedConcurrentExecutions [{count}] is lower than the function's provisioned concurrency [{ready}]."


def weights_problem(alias: Mapping[str, Any]) -> str | None:
    """Return AWS's message if an alias leads to two versions and so gets no provisioned concurrency; otherwise None.

    One that has it already may be given weights. Seen: https://github.com/aws/serverless-application-model/issues/1296

    Args:
        alias: The alias; empty for a version.
    """
    if not (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights"):
        return None
    return "Alias with weights can not be used with Provisioned Concurrency"


def claimed(function: Mapping[str, Any]) -> int:
    """Return how much of the account's concurrency a function takes from the others, by MiniStack's record of it."""
    reserved: int | None = function.get("concurrency")
    if reserved is not None:  # Its provisioned concurrency is within it.
        return reserved
    return _provisioned(function)


def _provisioned(function: Mapping[str, Any]) -> int:
    records = (function.get("provisioned_concurrency") or {}).values()
    return sum(int(each["RequestedProvisionedConcurrentExecutions"]) for each in records)


def reservation_problem(count: int, others: Iterable[int], limit: int, kind: str = "Reserved") -> str | None:
    """Return AWS's message if concurrency cannot be reserved or provisioned; otherwise None.

    Args:
        count: What would be claimed.
        others: What else is claimed in the account.
        limit: How many executions the account may have at once.
        kind: ``Reserved``; empty for provisioned concurrency, as was seen:
            https://github.com/anomalyco/sst/issues/5829
    """
    least = min(_ALWAYS_UNRESERVED, limit)
    if limit - count - sum(others) >= least:
        return None
    return (
        f"Specified {kind}ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below "
        f"its minimum value of [{least}]."
    )
