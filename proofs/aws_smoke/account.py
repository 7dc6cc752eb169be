"""The account that is used, the options of the command line, and waiting."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

from local.home import HOME, LocalError

FOLDER = HOME / "aws-smoke"


class NotCheckedError(Exception):
    """This cloud cannot prove something; the message says why."""


@dataclass(frozen=True)
class Options:
    """The options of the command line.

    Attributes:
        yes: whether to spend money without asking.
        keep: whether to keep the stack.
        training_instance_type: for training.
        serving_instance_type: for evaluation, staging and production.
    """

    yes: bool
    keep: bool
    training_instance_type: str
    serving_instance_type: str


@dataclass(frozen=True)
class Account:
    """The account and region that boto3 finds in the environment.

    Attributes:
        region: the region's name.
        number: the account's 12 digits.
        who: the ARN of the caller.
        url: the address of a laptop cloud; empty for AWS itself.
    """

    region: str
    number: str
    who: str
    url: str

    def client(self, service: str) -> Any:
        """Return a boto3 client."""
        make: Any = boto3.client  # Its type stubs require a literal service name.
        # A laptop cloud has no hosts of other names, such as sync-states for TestState.
        return make(service, region_name=self.region, config=Config(inject_host_prefix=not self.url))

    @property
    def partition(self) -> str:
        """The partition of the account's ARNs, such as ``aws``."""
        return self.who.split(":")[1]

    @property
    def poll_seconds(self) -> float:
        """The time between two looks at something that takes long."""
        return 0.3 if self.url else 5.0


def find_account() -> Account:
    """Return the account and region of the environment.

    Raises:
        LocalError: no region is set.
    """
    session = boto3.Session()
    if session.region_name is None:
        raise LocalError("no region is set; export AWS_DEFAULT_REGION, or choose one with aws configure")
    caller = session.client("sts").get_caller_identity()
    return Account(session.region_name, caller["Account"], caller["Arn"], os.environ.get("AWS_ENDPOINT_URL", ""))


def wait_until(
    account: Account,
    look: Callable[[], dict[str, Any]],
    is_done: Callable[[dict[str, Any]], bool],
    seconds: float,
    problem: str,
) -> dict[str, Any]:
    """Call ``look`` until its result is done, and return that.

    Raises:
        LocalError: it was not done in time; the message begins with ``problem``.
    """
    deadline = time.monotonic() + seconds
    while not is_done(result := look()):
        if time.monotonic() > deadline:
            raise LocalError(f"{problem} within {seconds:.0f} s")
        time.sleep(account.poll_seconds)
    return result
