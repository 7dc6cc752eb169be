"""S3 URIs, and where objects of a prefix land in a folder."""

from typing import NamedTuple


class StorageError(Exception):
    """S3 has not what was asked for; the message is one sentence."""


class AccessError(StorageError):
    """S3 refuses the caller."""


class S3Uri(NamedTuple):
    """``s3://bucket/key``; the key may be empty or a prefix."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> "S3Uri":
        """Raises StorageError: not an S3 URI."""
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3" or not bucket:
            raise StorageError(f"'{uri}' is not an S3 URI; expected s3://bucket/key")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def child(self, name: str) -> "S3Uri":
        """The key below this one."""
        return S3Uri(self.bucket, f"{self.key.rstrip('/')}/{name}".lstrip("/"))


def relative_path(prefix: str, key: str) -> str:
    """Where a key of an S3Prefix input lands below the input's folder, as on SageMaker.

    ``data/`` and ``data`` both leave ``train/a.jpg`` of ``data/train/a.jpg``; the object itself
    (``data/dogs.zip``) keeps its name.
    """
    if not prefix or prefix.endswith("/"):
        return key.removeprefix(prefix)
    if key.startswith(f"{prefix}/"):
        return key.removeprefix(f"{prefix}/")
    return key.removeprefix(prefix.rpartition("/")[0]).lstrip("/")
