"""URIs of S3 objects and of images in ECR."""

import re
from typing import NamedTuple

_IMAGE_URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.(?P<suffix>amazonaws\.com(?:\.cn)?)/"
    r"(?P<repository>[a-z0-9._/-]+)(?::(?P<tag>[\w.-]+)|@(?P<digest>sha256:[0-9a-f]{64}))?"
)


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


class ImageUri(NamedTuple):
    """A reference to an image in ECR; one of ``tag`` and ``digest`` is empty.

    suffix: of the registry's host, for example ``amazonaws.com``.
    """

    account: str
    region: str
    suffix: str
    repository: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, uri: str) -> "ImageUri | None":
        """The reference; None when it is not one to an image in ECR."""
        found = _IMAGE_URI.fullmatch(uri)
        if not found:
            return None
        parts = found.groupdict("")
        return cls(**parts | {"tag": parts["tag"] or ("" if parts["digest"] else "latest")})

    @property
    def image_id(self) -> dict[str, str]:
        """As ECR's operations want it."""
        return {"imageDigest": self.digest} if self.digest else {"imageTag": self.tag}
