"""The address that a load is sent to, what opens its door, and who tells how many instances serve behind it."""

import ipaddress
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import boto3
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

import prices
from local import laptop, stack
from local.home import LocalError
from local.laptop import Laptop
from prices import per_million
from traffic.senders import Sender, signed, with_key

KEY_VARIABLE = "KENNEL_API_KEY"
_ROUTE = "/classify"
_LAPTOP_FUNCTION = re.compile(r"/_aws/lambda-url/[^/]+")  # where the laptop cloud takes requests to a function's URL
_FUNCTION_HOST = re.compile(r"\.lambda-url\.[a-z0-9-]+\.on\.aws$")
_REGION = re.compile(r"\.(?:execute-api|lambda-url)\.([a-z0-9-]+)\.")
_SECONDS = 3  # for AWS's answer to a question about the endpoint

Client = Callable[[str], Any]  # Returns a boto3 client of a service.


@dataclass(frozen=True)
class Target:
    """An address that takes photos.

    Attributes:
        url: the address, which ends with ``/classify``.
        door: ``per_million.REST_API`` or ``per_million.FUNCTION_URL``.
        is_here: whether it is on this machine.
        region: of AWS, for the signature and the prices.
    """

    url: str
    door: str
    is_here: bool
    region: str


def target_of(address: str) -> Target:
    """Return what an address means.

    Raises:
        LocalError: it is no address of the API, or photos and key would travel to it unencrypted.
    """
    parts = _split(address)
    host, is_here = parts.hostname or "", _is_here(parts.hostname or "")
    if parts.scheme == "http" and not is_here:
        raise LocalError(f"http://{host}: photos and key would travel unencrypted; give the address with https://")
    by_url = bool(_FUNCTION_HOST.search(host) or (is_here and _LAPTOP_FUNCTION.match(parts.path)))
    path = parts.path
    if by_url and (path in ("", "/") or _LAPTOP_FUNCTION.fullmatch(path.rstrip("/"))):
        path = path.rstrip("/") + _ROUTE  # The stack's output names the function's URL alone.
    if not path.endswith(_ROUTE):
        raise LocalError(
            f"{parts.scheme}://{parts.netloc}{path} is not the address that takes photos, but perhaps the page's; the "
            f"API's ends with {_ROUTE}: the output ApiUrl of the stack, or on the laptop what `make up` prints"
        )
    found = _REGION.search(host)
    return Target(
        f"{parts.scheme}://{parts.netloc}{path}",
        per_million.FUNCTION_URL if by_url else per_million.REST_API,
        is_here,
        laptop.REGION if is_here else found[1] if found else prices.here(),
    )


def _split(address: str) -> SplitResult:
    """Split an address. What follows ``?`` or an ``@`` may be secret, so the messages leave it out."""
    example = "such as https://abc123.execute-api.us-east-1.amazonaws.com/v1/classify"
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - it is read to see whether it is a number
    except ValueError as error:
        raise LocalError(f"the address is none ({error}); give one {example}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LocalError(f"the address must begin with https:// (or http:// on this machine), {example}")
    if "@" in parts.netloc:
        raise LocalError("the address has a user or a password before an @; leave it out")
    if parts.query or parts.fragment:
        raise LocalError(
            "the address has a ? or #; leave out what follows it. A key is given by --key, or better in the variable "
            + KEY_VARIABLE
        )
    return parts


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def laptop_at(target: Target) -> Laptop | None:
    """Return the running laptop cloud if it listens at this address."""
    cloud = laptop.find() if target.is_here else None
    return cloud if cloud and cloud.port == urlsplit(target.url).port else None


def own_api() -> tuple[str, str]:
    """Return address and key of the laptop cloud's API.

    Raises:
        LocalError: no laptop cloud runs, or nothing is deployed on it.
    """
    cloud = laptop.find()
    if not cloud:
        raise LocalError("give the API's address, or start a laptop cloud: make run")
    deployed = stack.describe(cloud)
    return deployed.api_url, deployed.api_key


def sender_to(target: Target, key: str, photos: Sequence[bytes], connections: int) -> Sender:
    """Return what sends photos through the door.

    Args:
        target: the address.
        key: the API's key; empty if none was given.
        photos: the bodies.
        connections: how many are kept.

    Raises:
        LocalError: the door needs a key or credentials, and there are none.
    """
    if target.door == per_million.FUNCTION_URL:
        return signed(target.url, _credentials(target), "lambda", target.region, photos, connections)
    if not key:
        raise LocalError(
            f"the API takes a key; put it into the variable {KEY_VARIABLE} (other users of this machine see --key): "
            "docs/aws.md says how to read it"
        )
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise LocalError("the key has spaces around it or signs that no key has; copy it once more")
    return with_key(target.url, key, photos, connections)


def _credentials(target: Target) -> Credentials:
    if cloud := laptop_at(target):
        return Credentials(*cloud.root_key)
    try:
        found = boto3.Session().get_credentials()
    except BotoCoreError as error:
        raise LocalError(f"the function's URL takes signed requests, but: {error}") from None
    if not found:
        raise LocalError(
            "the function's URL takes signed requests, and there are no AWS credentials; `aws configure` makes some "
            "known, or set AWS_PROFILE"
        )
    return found


@dataclass(frozen=True)
class Fleet:
    """The instances of an endpoint.

    Attributes:
        instance_type: such as ``ml.c7i.large``.
        in_service: how many serve now.
        most: how many scaling may order.
    """

    instance_type: str
    in_service: int
    most: int


class EndpointWatch:
    """Reads how many instances an endpoint has.

    Attributes:
        endpoint: its name.
        problem: why nobody knows it, as a sentence's end; empty if it is known.
    """

    def __init__(self, client: Client | None, endpoint: str) -> None:
        self._client, self.endpoint = client, endpoint
        self.problem = "" if client else "only AWS and the laptop cloud of this folder tell it"

    def fleet(self) -> Fleet | None:
        """Return the fleet; None if nobody tells."""
        if not self._client:
            return None
        try:
            description = self._client("sagemaker").describe_endpoint(EndpointName=self.endpoint)
            config = self._client("sagemaker").describe_endpoint_config(
                EndpointConfigName=description["EndpointConfigName"]
            )
            targets = self._client("application-autoscaling").describe_scalable_targets(
                ServiceNamespace="sagemaker",
                ResourceIds=[f"endpoint/{self.endpoint}/variant/{description['ProductionVariants'][0]['VariantName']}"],
            )["ScalableTargets"]
        except (ClientError, BotoCoreError, KeyError, IndexError) as error:
            self.problem = _words(error)
            self._client = None
            return None
        in_service = sum(each["CurrentInstanceCount"] for each in description["ProductionVariants"])
        most = max((each["MaxCapacity"] for each in targets), default=in_service)
        return Fleet(config["ProductionVariants"][0]["InstanceType"], in_service, max(most, in_service))

    def counts(self) -> tuple[int, int] | None:
        """Return how many instances serve and how many are ordered; None if nobody tells at the moment."""
        if not self._client:
            return None
        try:
            variants = self._client("sagemaker").describe_endpoint(EndpointName=self.endpoint)["ProductionVariants"]
            in_service = sum(each["CurrentInstanceCount"] for each in variants)
            return in_service, sum(each["DesiredInstanceCount"] for each in variants)
        except (ClientError, BotoCoreError, KeyError):
            return None


def client_of(target: Target) -> Client | None:
    """Return what makes the clients that ask about the endpoint; None if there is nobody to ask."""
    if cloud := laptop_at(target):
        return cloud.client
    if target.is_here:
        return None
    config = Config(connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"total_max_attempts": 1})
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in clients:
            make: Any = boto3.Session(
                region_name=target.region
            ).client  # Its type stubs require a literal service name.
            clients[service] = make(service, config=config)
        return clients[service]

    return client


def environment_key() -> str:
    """Return the key that the environment has; empty if it has none."""
    return os.environ.get(KEY_VARIABLE, "")


def _words(error: Exception) -> str:
    if isinstance(error, ClientError):
        said = error.response.get("Error", {})
        return f"{said.get('Code')}: {said.get('Message')}"
    return str(error) if isinstance(error, BotoCoreError) else f"the answer lacks {error}"
