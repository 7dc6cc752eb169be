"""The training code and the embedded backbone: from the stack's layer into S3, by content hash."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import dataset as _dataset

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# The layer lies beside its `dataset` package: /opt/python on AWS, elsewhere on a laptop.
LAYER = Path(_dataset.__file__).parents[1]
CONTENTS = ("training", "dataset", "weights")
_COMPLETE = "complete"  # uploaded last: a prefix without it is half an upload


def upload(s3: "S3Client", bucket: str, layer: Path = LAYER) -> str:
    """Upload the job's code unless these very bytes lie there; SageMaker never unpacks, so plain files.

    Returns:
        The S3 URI of the prefix, without a slash at its end.
    """
    files = sorted(
        path
        for folder in CONTENTS
        for path in (layer / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(layer).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    prefix = f"code/{digest.hexdigest()[:16]}"
    marker = f"{prefix}.{_COMPLETE}"  # beside the prefix, so that it is no part of the channel
    if not _exists(s3, bucket, marker):
        for path in files:
            s3.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(layer).as_posix()}")
        s3.put_object(Bucket=bucket, Key=marker, Body=b"")
    return f"s3://{bucket}/{prefix}"


def _exists(s3: "S3Client", bucket: str, key: str) -> bool:
    return s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)["KeyCount"] > 0
