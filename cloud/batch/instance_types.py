"""What EC2's instance types have, by the rules of their names: vCPUs, memory and GPUs."""

import re
from collections.abc import Iterable
from typing import NamedTuple

_NAME = re.compile(r"(?P<letter>[a-z]+)(?P<generation>\d)[a-z0-9-]*\.(?P<size>[a-z0-9]+)")
_GIB_PER_VCPU = {"c": 2, "g": 4, "m": 4, "r": 8}
_BURSTABLE_GIB = {"nano": 0.5, "micro": 1, "small": 2, "medium": 4, "large": 8}  # of types t, with two vCPUs each
_SIZES = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge", "48xlarge")
_GPUS = {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}  # of types g; the other sizes have one
_OPTIMAL = ("c5", "m5", "r5")  # families that stand in for AWS's choice


class InstanceType(NamedTuple):
    """One instance type.

    Attributes:
        name: for example ``c7i.xlarge``.
        vcpus: number of vCPUs.
        memory: MiB, before the operating system and the ECS agent take their part.
        gpus: number of GPUs.
    """

    name: str
    vcpus: int
    memory: int
    gpus: int

    @property
    def usable_memory(self) -> int:
        """MiB that jobs may have. AWS gives no formula; a sixteenth and the agent's 32 MiB are kept back here."""
        return self.memory * 15 // 16 - 32

    def fits(self, vcpus: int, memory: int, gpus: int) -> bool:
        """Return whether a job with these requirements can be placed on an empty instance."""
        return vcpus <= self.vcpus and memory <= self.usable_memory and gpus <= self.gpus


def find(name: str) -> InstanceType | None:
    """Return the instance type of a name; None for one that these rules do not know."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    letter, size = match["letter"], match["size"]
    if letter == "t" and size in _BURSTABLE_GIB:
        return InstanceType(name, 2, int(_BURSTABLE_GIB[size] * 1024), 0)
    gib = 4 if letter == "t" else _GIB_PER_VCPU.get(letter)
    if gib is None or size not in _SIZES or (letter == "g" and size == "large"):
        return None
    vcpus = 2 if size == "large" else 4 * int(size.removesuffix("xlarge") or 1)
    return InstanceType(name, vcpus, vcpus * gib * 1024, _GPUS.get(size, 1) if letter == "g" else 0)


def expand(names: Iterable[str]) -> list[InstanceType]:
    """Return the instance types that a compute environment's ``instanceTypes`` name, the smallest first.

    Args:
        names: types (``c7i.xlarge``), families (``c7i``), or ``optimal``. Unknown ones are left out.
    """
    families = [family for name in names for family in (_OPTIMAL if name == "optimal" else (name,))]
    wanted = [
        each for family in families for each in ([family] if "." in family else [f"{family}.{s}" for s in _SIZES])
    ]
    return sorted((found for name in wanted if (found := find(name))), key=lambda each: (each.vcpus, each.memory))
