"""Which instance types of SageMaker have disks of their own, so that they get no volume, and none is charged."""

import re

# g, p, trn, and types with a d.
_OWN_DISKS = re.compile(r"ml\.(dl1|g\d.*|p[3-9].*|trn.*|[a-z]+\d+[a-z]*d[a-z]*)\..+")


def has_own_disks(instance_type: str) -> bool:
    """Whether instances of this type encrypt their own disks. SageMaker then refuses a key for them."""
    return bool(_OWN_DISKS.fullmatch(instance_type))
