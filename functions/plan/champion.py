"""The breeds that the champion knows, compared with those of a dataset before anything costs."""

import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from dataset import DatasetError, breed_name
from dataset.layout import named
from plan.weights import closest
from shared.breeds import form, names
from shared.contracts import Champion
from shared.errors import RequestError
from shared.s3 import read_json

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def breeds(s3: "S3Client", champion: Champion | None) -> dict[str, str]:
    """Return the champion's breeds by the names of their folders; empty without a champion or without its report."""
    if champion is None:
        return {}
    try:
        report = read_json(s3, f"{champion.artifact_uri.rpartition('/artifact/')[0]}/report/evaluation.json")
    except (s3.exceptions.ClientError, ValueError):
        return {}  # The gate compares with the champion itself.
    return {each["class"]: each["breed"] for each in report["challenger"]["per_breed"]}


def check_breeds(
    known: dict[str, str], classes: Sequence[str], dropped: Sequence[str], where: str, left_out: Collection[str] = ()
) -> None:
    """Refuse a dataset that lacks a breed of the champion, unless the request drops it.

    Args:
        known: the champion's breeds by the names of their folders.
        classes: names of the dataset's class folders.
        dropped: names of breeds that the request drops.
        where: the dataset in messages.
        left_out: names of the class folders that the request drops.

    Raises:
        RequestError: neither champion nor dataset know a breed that the request drops.
        DatasetError: a breed of the champion has no photos.
    """
    if not known:
        return
    forms = {label: names(label, breed) for label, breed in known.items()}
    asked = {form(name): name for name in dropped}
    somewhere = set().union(*forms.values(), *(names(label, breed_name(label)) for label in left_out))
    for unknown in (name for key, name in asked.items() if key not in somewhere):
        hint = closest(unknown, [*known, *known.values()])
        raise RequestError(f"drop_breeds: the champion knows no '{unknown}'{f' ({hint})' if hint else ''}")
    lost = [label for label in sorted(known.keys() - set(classes)) if not forms[label] & asked.keys()]
    if lost:
        field = json.dumps({"drop_breeds": lost}, ensure_ascii=False)
        raise DatasetError(
            f"dataset {where}: has no photos of {'a breed' if len(lost) == 1 else f'{len(lost)} breeds'} that the "
            f"model that serves knows: {named(known[label] for label in lost)}; add them, or say in the execution's "
            f"input that they shall go: {field}"
        )
