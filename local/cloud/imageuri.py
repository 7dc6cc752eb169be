"""URIs of images in ECR."""

import re
from typing import NamedTuple

_URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.(?P<suffix>amazonaws\.com(?:\.cn)?)/"
    r"(?P<repository>[a-z0-9._/-]+)(?::(?P<tag>[\w.-]+)|@(?P<digest>sha256:[0-9a-f]{64}))?"
)


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
        found = _URI.fullmatch(uri)
        if not found:
            return None
        parts = found.groupdict("")
        return cls(**parts | {"tag": parts["tag"] or ("" if parts["digest"] else "latest")})

    @property
    def image_id(self) -> dict[str, str]:
        """As ECR's operations want it."""
        return {"imageDigest": self.digest} if self.digest else {"imageTag": self.tag}
