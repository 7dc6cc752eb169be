"""Asks for the account's quotas before anything is built: those of the proof, and those of later runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError
from samcli.yamlhelper import yaml_parse

import quotas
from local.home import ROOT, LocalError
from proofs.aws_smoke.account import Account, NotCheckedError, Options
from proofs.aws_smoke.cost import INSTANCES

_MAX_INSTANCES = 2  # the default of a run's ``max_instances``
_NEW_ACCOUNT_MEMORY = 3008  # MB that a function may have on a new account; no API tells the account's limit
_CONCURRENCY = 5  # functions that the proof runs at once, and a few callers
_CODE_BYTES = 500_000_000  # of all functions and the layer, with their earlier versions


@dataclass(frozen=True)
class Quota:
    """A quota that the account should have.

    Attributes:
        service: its code in Service Quotas.
        name: its name there.
        least: what this proof needs.
        wanted: what later runs need.
        wanted_for: what needs that.
    """

    service: str
    name: str
    least: int
    wanted: int
    wanted_for: str


def wanted_quotas(options: Options) -> list[Quota]:
    """Return the quotas of SageMaker and CodeBuild that matter."""
    train, serve = options.training_instance_type, options.serving_instance_type
    # An update starts a second fleet beside the first, and a staging endpoint counts until it is gone. Plan refuses a
    # run, and so this proof's, for which the account has less.
    fleets = 2 * _MAX_INSTANCES + 1
    wanted = [
        (quotas.of_instances("training", train), INSTANCES, INSTANCES, ""),
        (quotas.across("training"), INSTANCES, INSTANCES, ""),
        (quotas.of_instances("spot", train), 0, INSTANCES, "runs with spot: true"),
        (quotas.of_instances("processing", serve), 1, 1, ""),
        (quotas.across("processing"), 1, 1, ""),
        (quotas.of_instances("endpoint", serve), fleets, fleets, ""),
        (quotas.across("endpoint"), fleets, fleets, ""),
        (quotas.builds(), 1, 2, "building both images side by side"),
    ]
    return [Quota(quota.service, quota.name, least, later, reason) for quota, least, later, reason in wanted]


def check_quotas(account: Account, options: Options) -> str:
    """Compare the account's quotas with what is needed.

    Returns:
        The quotas, and which of them are too small for later runs.

    Raises:
        LocalError: a quota is too small for the proof.
        NotCheckedError: this cloud does not tell its quotas.
    """
    wanted = wanted_quotas(options)
    try:
        values = {service: _values(account, service) for service in sorted({quota.service for quota in wanted})}
        functions = _functions(account)
    except (ClientError, BotoCoreError) as error:
        raise NotCheckedError(str(error)) from error
    return "; ".join([*compared(wanted, values), *functions])


def _values(account: Account, service: str) -> dict[str, float]:
    pages = account.client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode=service)
    return {quota["QuotaName"]: quota["Value"] for page in pages for quota in page["Quotas"]}


def compared(wanted: Sequence[Quota], values: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a sentence for each quota.

    Args:
        wanted: the quotas.
        values: the account's quotas, by service and name.

    Raises:
        LocalError: a quota is too small for the proof.
        NotCheckedError: Service Quotas does not list one.
    """
    if missing := [quota.name for quota in wanted if quota.name not in values[quota.service]]:
        raise NotCheckedError(f"Service Quotas does not list {', '.join(missing)}")
    sentences = []
    for quota in wanted:
        value = values[quota.service][quota.name]
        if value < quota.least:
            raise LocalError(
                f"the quota '{quota.name}' of {quota.service} is {value:.0f} and {quota.least} are needed; ask for "
                f"{quota.wanted} in Service Quotas, or choose another type with --training-instance-type or "
                "--serving-instance-type"
            )
        short = f" (ask for {quota.wanted} for {quota.wanted_for})" if value < quota.wanted else ""
        sentences.append(f"{value:.0f} {quota.name}{short}")
    return sentences


def _functions(account: Account) -> list[str]:
    settings = account.client("lambda").get_account_settings()
    concurrency = settings["AccountLimit"]["UnreservedConcurrentExecutions"]
    room = settings["AccountLimit"]["TotalCodeSize"] - settings["AccountUsage"]["TotalCodeSize"]
    if concurrency < _CONCURRENCY:
        raise LocalError(
            f"Lambda may run {concurrency} functions at once, and {_CONCURRENCY} are needed; ask for more "
            "'Concurrent executions' in Service Quotas, or reserve fewer for other functions"
        )
    if room < _CODE_BYTES:
        raise LocalError(
            f"Lambda has room for {room / 1e6:.0f} MB of code, and {_CODE_BYTES / 1e6:.0f} are needed; delete old "
            "versions of functions and layers"
        )
    memory = largest_memory()
    risk = f", more than the {_NEW_ACCOUNT_MEMORY:,} of a new account" if memory > _NEW_ACCOUNT_MEMORY else ""
    return [f"{concurrency} functions at once", f"functions of at most {memory:,} MB{risk}"]


def largest_memory() -> int:
    """Return the memory of the template's largest function in MB, with the parameters' defaults."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    sizes = [
        (template["Globals"]["Function"] | resource["Properties"]).get("MemorySize", 128)
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    ]
    return max(
        int(template["Parameters"][size["Ref"]]["Default"] if isinstance(size, dict) else size) for size in sizes
    )
