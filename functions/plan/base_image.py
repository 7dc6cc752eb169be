"""Name the base image by its digest, so that a patched base is another image, and every build takes the same one.

It speaks the API by which container engines pull public images:
https://github.com/opencontainers/distribution-spec/blob/main/spec.md.
"""

import hashlib
import json
import re
from typing import NamedTuple
from urllib.parse import urlencode

import urllib3

from shared.observability import logger

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_LARGEST_ANSWER = 4 << 20  # bytes; what registries accept as a manifest
_DOCKER_HUB = "registry-1.docker.io"
_http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=3, read=10), retries=urllib3.Retry(2, redirect=3))


class RegistryError(Exception):
    """A registry does not tell an image's digest; the message says why."""


class ImageReference(NamedTuple):
    """Where an image is found.

    Attributes:
        host: the registry's host, maybe with a port.
        repository: the image's name there.
        tag: the tag.
    """

    host: str
    repository: str
    tag: str

    @classmethod
    def parse(cls, name: str) -> "ImageReference":
        """Read a name without a digest as container engines do: without a host, it is one of Docker Hub."""
        first, _, rest = name.partition("/")
        if not rest or not (re.search(r"[.:]", first) or first == "localhost"):
            host, path = "docker.io", name
        else:
            host, path = first, rest
        repository, _, tag = path.partition(":")
        if host in ("docker.io", "index.docker.io"):
            host, repository = _DOCKER_HUB, repository if "/" in repository else f"library/{repository}"
        return cls(host, repository, tag or "latest")

    @property
    def manifest_url(self) -> str:
        """The address of the manifest. Only this machine's own registries speak plain HTTP, as with Docker."""
        scheme = "http" if re.match(r"(localhost|127\.0\.0\.1)(:|$)", self.host) else "https"
        return f"{scheme}://{self.host}/v2/{self.repository}/manifests/{self.tag}"


def pinned(name: str) -> str:
    """Return the name of an image with the digest that it has now.

    If the registry cannot be asked, the name is returned as it is. Then a newer base goes unnoticed in this run.
    """
    if "@" in name:
        return name
    try:
        return f"{name}@{_digest(ImageReference.parse(name))}"
    except RegistryError as error:
        logger.warning("the base image is named by its tag alone", extra={"base": name, "cause": str(error)})
        return name


def _digest(image: ImageReference) -> str:
    """Return an image's digest, which is that of its manifest's bytes, whatever the registry calls it.

    Raises:
        RegistryError: the registry cannot be asked, or has no such image.
    """
    status, headers, body = _get(image.manifest_url, {"Accept": _MANIFESTS})
    if status == 401:
        token = _token(headers.get("WWW-Authenticate", ""))
        status, headers, body = _get(image.manifest_url, {"Accept": _MANIFESTS, "Authorization": f"Bearer {token}"})
    if status != 200:
        raise RegistryError(f"{image.host} answers {status} for {image.repository}:{image.tag}")
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if headers.get("Docker-Content-Digest", digest) != digest:
        raise RegistryError(f"{image.host} sent another manifest than it says")
    return digest


def _token(challenge: str) -> str:
    """Return the token of somebody without an account.

    Raises:
        RegistryError: the registry gives none.
    """
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = fields.pop("realm", "")
    if not challenge.lower().startswith("bearer ") or not realm:
        raise RegistryError("the registry wants an account")
    status, _, body = _get(f"{realm}{'&' if '?' in realm else '?'}{urlencode(fields)}", {})
    try:
        answer = json.loads(body)
        return str(answer.get("token") or answer["access_token"])
    except (ValueError, KeyError, AttributeError):
        raise RegistryError(f"the registry gives no token ({status})") from None


def _get(url: str, headers: dict[str, str]) -> tuple[int, "urllib3.HTTPHeaderDict", bytes]:
    try:
        answer = _http.request("GET", url, headers=headers, preload_content=False)
        try:
            body = answer.read(_LARGEST_ANSWER + 1)
        finally:
            answer.release_conn()
    except urllib3.exceptions.HTTPError as error:
        raise RegistryError(f"{type(error).__name__} for {url}") from error
    if len(body) > _LARGEST_ANSWER:
        raise RegistryError(f"{url} sends more than a manifest")
    return answer.status, answer.headers, body
