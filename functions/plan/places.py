"""Say what is wrong with the place of a dataset in S3: how it is written, what lies there, and what lies beside it."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dataset import DatasetError
from dataset.archive import ARCHIVE_SUFFIXES
from dataset.layout import named
from shared.s3 import Location

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MAX_NAME = 255  # bytes of a file's name on the disks of the jobs


def slip(value: str) -> str:
    """Return what is wrong with how a place in S3 is written, to follow it; empty if nothing is known to be."""
    if not value.strip(" /"):
        return "names nothing; name a folder or file of the bucket, such as dataset/"
    if value != value.strip():
        return "has spaces around it; take them away"
    if arn := re.match(r"arn:[^:]*:s3:[^:]*:[^:]*:(.+)", value):
        return f"is an ARN; write s3://{arn[1]}"
    if re.match(r"(?i)s3a?:/", value) and not value.startswith("s3://"):
        return f"is written in another way than S3's addresses; write s3://{re.sub('(?i)^s3a?:/+', '', value)}"
    if "://" in value and not value.startswith("s3://"):
        return "is an address of the web; upload what is there to the bucket, and name its key"
    if re.match(r"[A-Za-z]:[\\/]", value) or value.startswith(("./", "../", "~/")):
        return "is a path of another machine; upload what is there to the bucket, and name its key"
    return ""


def nothing_found(s3: "S3Client", location: Location) -> DatasetError:
    """Return the error about a prefix or an archive that is not there, with what the bucket has."""
    key = location.key.rstrip("/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=key)
    if key and any(item["Key"] == key for page in pages for item in page.get("Contents", [])):
        return DatasetError(
            f"dataset s3://{location.bucket}/{key}: is one object and no archive by its name "
            f"({', '.join(ARCHIVE_SUFFIXES)}); name a folder or an archive"
        )
    page: Any = next(iter(s3.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Delimiter="/")), {})
    top = [each["Prefix"] for each in page.get("CommonPrefixes", [])]
    top += [item["Key"] for item in page.get("Contents", []) if item["Key"].endswith(ARCHIVE_SUFFIXES)]
    wanted = key.strip("/").partition("/")[0].casefold()
    same = [name for name in top if name.strip("/").casefold() == wanted and not location.key.startswith(name)]
    hint = f"did you mean '{same[0]}'? " if same else f"the bucket has {named(top)}; " if top else ""
    return DatasetError(
        f"dataset {location.uri}: nothing found; {hint}upload the folders train/, valid/ and test/, "
        "or an archive of them"
    )


def refuse_neighbours(s3: "S3Client", archive: Location) -> None:
    """Refuse an archive that a job would not receive alone, because a job's channel is a prefix.

    Raises:
        DatasetError: it is not there, or other keys begin with its own.
    """
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=archive.bucket, Prefix=archive.key)
    keys = [item["Key"] for page in pages for item in page.get("Contents", []) if item["Key"].startswith(archive.key)]
    if archive.key not in keys:
        raise nothing_found(s3, archive)
    if others := [key for key in keys if key != archive.key]:
        raise DatasetError(
            f"dataset {archive.uri}: other objects begin with this name, too: {named(others)}; a job would receive "
            "them with it, so rename it or them"
        )


def refuse_keys_without_files(paths: Iterable[str], where: str) -> None:
    """Refuse keys that no disk can have as files, because SageMaker's download would fail.

    Raises:
        DatasetError: a key is also the folder of others, or a name is longer than disks take.
    """
    paths = set(paths)
    folders: set[str] = set()
    waiting = {path.rpartition("/")[0] for path in paths}
    while waiting:
        folders |= waiting
        waiting = {folder.rpartition("/")[0] for folder in waiting} - folders
    if both := sorted(paths & folders):
        raise DatasetError(f"dataset {where}: {named(both)} is an object and a folder at once; delete the object")
    if long := sorted(path for path in paths if any(len(part.encode()) > _MAX_NAME for part in path.split("/"))):
        few = named(f"{path[:80]}…" for path in long)
        raise DatasetError(f"dataset {where}: names of more than {_MAX_NAME} bytes cannot be files: {few}; rename them")
