"""URIs of S3 objects and of images in ECR."""

import re
from typing import NamedTuple

_IMAGE_URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.(?P<suffix>amazonaws\.com(?:\.cn)?)/"
    r"(?P<repository>[a-z0-9._/-]+)(?::(?P<tag>[\w.-]+)|@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class StorageError(Exception):
    """S3 cannot provide or store an object, or a URI is wrong; the message is one sentence."""


class AccessError(StorageError):
    """IAM does not allow the caller the operation on S3."""


class S3Uri(NamedTuple):
    """A URI ``s3://bucket/key``.

    Attributes:
        bucket: Name of the bucket.
        key: Key of an object or a prefix of keys; it may be empty.
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> "S3Uri":
        """Parse a URI.

        Raises:
            StorageError: The text is not an S3 URI.
        """
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3" or not bucket:
            raise StorageError(f"'{uri}' is not an S3 URI; expected s3://bucket/key")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def child(self, name: str) -> "S3Uri":
        """Return the URI of ``name`` in this folder."""
        return S3Uri(self.bucket, f"{self.key.rstrip('/')}/{name}".lstrip("/"))


def relative_path(prefix: str, key: str) -> str:
    """Return the path of an object below its input's folder, as SageMaker places it for an input of type S3Prefix.

    With both prefixes ``data/`` and ``data`` the object ``data/train/a.jpg`` becomes ``train/a.jpg``. An object whose
    key equals the prefix (``data/dogs.zip``) keeps its name.
    """
    if not prefix or prefix.endswith("/"):
        return key.removeprefix(prefix)
    if key.startswith(f"{prefix}/"):
        return key.removeprefix(f"{prefix}/")
    return key.removeprefix(prefix.rpartition("/")[0]).lstrip("/")


class ImageUri(NamedTuple):
    """A reference to an image in ECR; one of ``tag`` and ``digest`` is empty.

    Attributes:
        account: Account of the registry.
        region: Region of the registry.
        suffix: DNS suffix of the registry's host, for example ``amazonaws.com``.
        repository: Name of the repository.
        tag: Tag of the image.
        digest: Digest of the image's manifest, ``sha256:…``.
    """

    account: str
    region: str
    suffix: str
    repository: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, uri: str) -> "ImageUri | None":
        """Parse a URI; return None when it does not name an image in ECR."""
        match = _IMAGE_URI.fullmatch(uri)
        if not match:
            return None
        parts = match.groupdict("")
        return cls(**parts | {"tag": parts["tag"] or ("" if parts["digest"] else "latest")})

    @property
    def image_id(self) -> dict[str, str]:
        """The image's identifier as ECR's operations expect it."""
        return {"imageDigest": self.digest} if self.digest else {"imageTag": self.tag}
