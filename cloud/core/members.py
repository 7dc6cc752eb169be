"""The members of requests that the laptop cloud knows: whatever else AWS's API has is refused by name, never ignored.

Each service lists them in its ``members.yaml``: for each structure of botocore's model the members that are known, or
``"*"`` for one that is kept and described as it is given, whatever is in it. Of the members, ``WithoutEffect`` names
those that are taken as on AWS but do nothing here, which docs/laptop-cloud.md says of each, and ``OnlyDescribed`` those
that do nothing on AWS either but are described.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from botocore.model import ListShape, MapShape, Shape, StructureShape

WHOLE = "*"
WITHOUT_EFFECT, ONLY_DESCRIBED = "WithoutEffect", "OnlyDescribed"
Known = Mapping[str, Sequence[str] | str]


def read(folder: str) -> Known:
    """Return the members that a service knows, by structure.

    Args:
        folder: Folder of the service in ``cloud``, for example ``sagemaker``.
    """
    file = Path(__file__).parents[1] / folder / "members.yaml"
    known: Known = yaml.safe_load(file.read_text(encoding="utf-8"))
    return known


def first_unknown(request: Mapping[str, Any], shape: Shape | None, known: Known) -> str | None:
    """Return the first member of a request that the laptop cloud does not know; None when it knows all.

    A member that is empty, zero or false says what its absence says, so it passes.

    Args:
        request: The request, which botocore's model allows.
        shape: Structure of the request; None when the operation takes none.
        known: The known members by structure.

    Returns:
        The member's path, for example ``ProductionVariants.ServerlessConfig``.
    """
    return next(_unknown(request, shape, known, ""), None)


def _unknown(value: Any, shape: Shape | None, known: Known, path: str) -> Iterator[str]:
    """Yield the paths of the unknown members."""
    if isinstance(shape, StructureShape):
        names = known.get(shape.name, ())
        if names == WHOLE:
            return
        for name, item in value.items():
            where = f"{path}.{name}".lstrip(".")
            if name in names:
                yield from _unknown(item, shape.members[name], known, where)
            elif item:
                yield where
    elif isinstance(shape, ListShape):
        for item in value:
            yield from _unknown(item, shape.member, known, path)
    elif isinstance(shape, MapShape):
        for item in value.values():
            yield from _unknown(item, shape.value, known, path)
