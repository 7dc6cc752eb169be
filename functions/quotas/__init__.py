"""The quotas of AWS that a run needs, with their names and codes in Service Quotas.

``table.json`` has the codes, which are the same in all accounts and regions. Plan asks by them, the proof on an account
compares by the names, and the laptop cloud answers from them. What the account's values are is not written here.

Like ``prices``, this package lies with the functions, because each function's archive is made of that folder, and other
folders import it as ``quotas``. It imports the standard library only and knows nothing of the product.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("table.json")
# What instances of SageMaker do, by the word of this package; each use of an instance type has a quota of its own.
USES = {"training": "training job", "spot": "spot training job", "processing": "processing job", "endpoint": "endpoint"}


@dataclass(frozen=True)
class Quota:
    """A quota of an account in a region.

    Attributes:
        service: the service's code in Service Quotas, such as ``sagemaker``.
        code: the quota's code there, such as ``L-194981EA``; empty where the table does not have it, so that it can
            only be found by its name.
        name: its name there, which SageMaker's error messages contain, too.
        default: the value that AWS gives an account at first, as read in 2024; None where nobody wrote it down. New
            accounts have less of some, and AWS raises some by itself.
        instance_type: the instance type that it is about; empty for other quotas.
    """

    service: str
    code: str
    name: str
    default: int | None = None
    instance_type: str = ""


def of_instances(use: str, instance_type: str) -> Quota:
    """Return the quota of the instances of a type for a use.

    Args:
        use: a key of ``USES``.
        instance_type: for example ``ml.c7i.xlarge``.
    """
    family, _, size = instance_type.removeprefix("ml.").partition(".")
    digits = _table()["instances"][use].get(family, {}).get(size, "")
    name = f"{instance_type} for {USES[use]} usage"
    return Quota("sagemaker", f"L-{digits}" if digits else "", name, instance_type=instance_type)


def across(use: str) -> Quota:
    """Return the quota of the instances of all types together for a use, a key of ``USES``."""
    return Quota(**_table()["across"][use])


def of_each(use: str) -> Quota:
    """Return the quota of the instances of one job or one endpoint, for a key of ``USES``."""
    return Quota(**_table()["each"][use])


def of_search() -> Quota:
    """Return the quota of the training jobs of one tuning job at once."""
    return Quota(**_table()["others"]["search"])


def builds() -> Quota:
    """Return the quota of CodeBuild's builds at once, on the machines that build the stack's images."""
    return Quota(**_table()["others"]["builds"])


def concurrency() -> Quota:
    """Return the quota of the requests that all functions of Lambda together work on at once."""
    return Quota(**_table()["others"]["concurrency"])


def vcpus(spot: bool, gpus: bool) -> Quota:
    """Return the quota of the vCPUs of EC2's machines, by whether they are spot capacity and whether they have GPUs."""
    key = " ".join(word for word, said in (("spot", spot), ("gpu", gpus), ("vcpus", True)) if said)
    return Quota(**_table()["others"][key])


def everything() -> Iterator[Quota]:
    """Return all quotas whose codes are known."""
    table = _table()
    for use, families in table["instances"].items():
        for family, sizes in families.items():
            yield from (of_instances(use, f"ml.{family}.{size}") for size in sizes)
    for group in ("across", "each", "others"):
        yield from (Quota(**each) for each in table[group].values())


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(TABLE.read_text())
    return table
