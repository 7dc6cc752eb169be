"""Training on one machine of EC2 by AWS Batch: what the machine has, and what the job asks of it."""

import re
from typing import NamedTuple

from shared.contracts import Ec2Plan, Request
from shared.errors import RequestError

_NAME = re.compile(
    r"(?P<family>(?P<letter>[cmr])(?:[5-9]|\d\d)[a-z-]*)\.(?P<size>large|(?:|2|4|8|9|12|16|18|24|32|48)xlarge)"
)
_GPU_NAME = re.compile(r"(?P<family>(?P<letter>g)(?:4dn|5|6|6e))\.(?P<size>(?:|2|4|8|12|16|24|48)xlarge)")
_ARM = re.compile(r"[a-z]+\d+g[a-z]*(-[a-z0-9]+)?\..+")  # Graviton: a g behind the generation, as in c7g and m8gd.
_GIB_PER_VCPU = {"c": 2, "g": 4, "m": 4, "r": 8}
_GPUS = {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}  # of families with GPUs; their other sizes have one
SUFFIX = "-ec2"  # ends the names of these jobs; names of SageMaker's jobs end in six hexadecimal digits


class Machine(NamedTuple):
    """What an instance type has: vCPUs, MiB of memory, and GPUs."""

    vcpus: int
    memory: int
    gpus: int

    @property
    def ranks(self) -> int:
        """Number of processes that train: one for each GPU, or for each two vCPUs, which are one core."""
        return self.gpus or max(1, self.vcpus // 2)


def machine(instance_type: str) -> Machine:
    """Return what a machine has, by the rules of EC2's names.

    Args:
        instance_type: for example ``c7i.xlarge``.

    Raises:
        RequestError: these rules do not know the type.
    """
    if is_arm(instance_type):
        raise RequestError(
            f"train_on: {instance_type} has a processor of the architecture arm64, and the image is for x86_64; deploy "
            "the stack with a TrainingInstanceType of Intel or AMD, such as ml.c7i.xlarge"
        )
    match, vcpus = _NAME.fullmatch(instance_type) or _GPU_NAME.fullmatch(instance_type), num_vcpus(instance_type)
    if match is None or vcpus is None or (match["family"] == "g4dn" and match["size"] in ("24xlarge", "48xlarge")):
        raise RequestError(
            f"train_on: nothing is known here about the machines {instance_type}; deploy the stack with a "
            "TrainingInstanceType of the families c, m or r from generation 5 on, or of g4dn, g5, g6 or g6e, "
            "such as ml.c7i.xlarge"
        )
    gpus = _GPUS.get(match["size"], 1) if match["letter"] == "g" else 0
    return Machine(vcpus, vcpus * _GIB_PER_VCPU[match["letter"]] * 1024, gpus)


def is_arm(instance_type: str) -> bool:
    """Whether an instance type, with or without ``ml.``, has a Graviton, which runs no image for x86_64."""
    return bool(_ARM.fullmatch(instance_type.removeprefix("ml.")))


def num_vcpus(instance_type: str) -> int | None:
    """Return the vCPUs that the size of an instance type tells: medium and large have 2, 4xlarge has 16.

    The result is None for sizes that tell nothing.
    """
    size = instance_type.rpartition(".")[2]
    if match := re.fullmatch(r"([1-9]\d*)?xlarge", size):
        return 4 * int(match[1] or 1)
    return 2 if size in ("medium", "large") else None


def plan(request: Request, stack_type: str, spot_queue: str, on_demand_queue: str) -> Ec2Plan:
    """Decide where on EC2 a job trains.

    Args:
        request: the request, which asks for EC2.
        stack_type: the stack's TrainingInstanceType, from which its compute environments are made.
        spot_queue: ARN of the queue for spot capacity; empty if the stack has none.
        on_demand_queue: ARN of the queue for machines on demand; empty if the stack has none.

    Raises:
        RequestError: the stack has no queues, or the request asks for other machines than they start.
    """
    if not spot_queue or not on_demand_queue:
        raise RequestError(
            "train_on: the stack has no subnets for EC2; deploy it with Ec2Subnets and Ec2SecurityGroups (and without "
            "RoleArn), or leave train_on out"
        )
    if request.training_instance_type not in (None, stack_type):
        raise RequestError(
            f"training_instance_type: the stack's machines on EC2 are {stack_type.removeprefix('ml.')}; leave it out, "
            "or deploy the stack with another TrainingInstanceType"
        )
    if request.training_instance_count not in (None, 1):
        raise RequestError(
            "training_instance_count: on EC2 one machine trains, with a process for each core or GPU; leave the field "
            "out, or deploy the stack with a larger TrainingInstanceType"
        )
    name = stack_type.removeprefix("ml.")
    found = machine(name)
    # The operating system and the ECS agent need some memory; a job that asks for all of it is never started.
    needs = [{"Type": "VCPU", "Value": str(found.vcpus)}, {"Type": "MEMORY", "Value": str(found.memory * 7 // 8)}]
    if found.gpus:
        needs.append({"Type": "GPU", "Value": str(found.gpus)})
    queue = on_demand_queue if request.spot is False else spot_queue
    return Ec2Plan(instance_type=name, ranks=found.ranks, queue=queue, needs=needs)
