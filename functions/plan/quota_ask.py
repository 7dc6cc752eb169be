"""Ask Service Quotas for several quotas at once, and no longer than some seconds."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from quotas import Quota

SECONDS = 2.0  # the longest that a run waits for all of them together
# Service Quotas answers 5 requests for one quota a second, and 5 more at once; it lists 10 pages a second, and 10 more:
# https://docs.aws.amazon.com/servicequotas/latest/userguide/reference_limits.html
CONFIG = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 3, "mode": "standard"})
_THREADS = 16
_PAGE = 100  # quotas, the most that one answer of ListServiceQuotas has
_T = TypeVar("_T")


@dataclass(frozen=True)
class Value:
    """What Service Quotas says of a quota.

    Attributes:
        value: the account's value.
        code: the quota's code.
        adjustable: whether AWS raises it on request.
    """

    value: float
    code: str
    adjustable: bool


class QuotaUnknownError(RuntimeError):
    """The value of a quota is not known; the message says why."""


class Asked:
    """What was asked of the account, in parallel and until a deadline.

    Args:
        client: of Service Quotas.
        clock: seconds, which only grow.
        seconds: for all questions together.
    """

    def __init__(self, client: Any, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.region: str = client.meta.region_name
        self._client, self._clock = client, clock
        self._seconds, self._deadline = seconds, clock() + seconds
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="quotas")
        self._values: dict[Quota, Future[Value]] = {}
        self._lists: dict[Quota, Future[dict[str, Value]]] = {}

    def begin(self, work: Callable[[], _T]) -> "Future[_T]":
        """Do something else beside the questions."""
        return self._pool.submit(work)

    def end(self) -> None:
        """Begin nothing more, and leave what is not answered."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def ask(self, asked: Iterable[Quota]) -> None:
        """Ask for the values of quotas; those whose codes are not known are looked for by their names."""
        unknown: dict[str, list[Quota]] = {}
        for quota in asked:
            if quota in self._values or quota in self._lists:
                continue
            if quota.code:
                self._values[quota] = self._pool.submit(self._by_code, quota)
            else:
                unknown.setdefault(quota.service, []).append(quota)
        for service, group in unknown.items():
            listed = self._pool.submit(self._by_names, service, {quota.name for quota in group})
            self._lists |= dict.fromkeys(group, listed)

    def value(self, quota: Quota) -> Value:
        """Return the value of a quota that was asked for.

        Raises:
            QuotaUnknownError: Service Quotas does not say it, or not in time.
        """
        if quota in self._values:
            return self.result(self._values[quota])
        listed = self.result(self._lists[quota])
        if quota.name not in listed:
            raise QuotaUnknownError("Service Quotas does not list it")
        return listed[quota.name]

    def result(self, future: "Future[_T]") -> _T:
        """Wait for an answer until the deadline, and return it.

        Raises:
            QuotaUnknownError: there is none.
        """
        wait([future], max(0.0, self._deadline - self._clock()))
        if not future.done() or future.cancelled():
            raise QuotaUnknownError(f"no answer within {self._seconds:g} seconds")
        try:
            return future.result()
        except ClientError as error:
            raise QuotaUnknownError(error.response["Error"]["Code"]) from error
        except BotoCoreError as error:
            raise QuotaUnknownError(f"{type(error).__name__}: {error}") from error
        except KeyError as error:  # Nearly all members of these answers are optional.
            raise QuotaUnknownError(f"the answer has no {error.args[0]}") from error

    def _by_code(self, quota: Quota) -> Value:
        wanted = {"ServiceCode": quota.service, "QuotaCode": quota.code}
        try:
            found = self._client.get_service_quota(**wanted)["Quota"]
        except self._client.exceptions.NoSuchResourceException:
            # No value was ever applied for this account, so the default holds. After any other error it might not.
            found = self._client.get_aws_default_service_quota(**wanted)["Quota"]
        if quota.instance_type and found["QuotaName"] != quota.name:
            raise QuotaUnknownError(f"{quota.code} is '{found['QuotaName']}' now")
        return _value(found)

    def _by_names(self, service: str, names: set[str]) -> dict[str, Value]:
        pages = self._client.get_paginator("list_service_quotas").paginate(
            ServiceCode=service, PaginationConfig={"PageSize": _PAGE}
        )
        found: dict[str, Value] = {}
        for page in pages:
            found |= {each["QuotaName"]: _value(each) for each in page["Quotas"] if each["QuotaName"] in names}
            if len(found) == len(names) or self._clock() > self._deadline:
                break
        return found


def _value(quota: Mapping[str, Any]) -> Value:
    if "Value" not in quota:  # Then ErrorReason says why Service Quotas could not ask the service.
        raise QuotaUnknownError(quota.get("ErrorReason", {}).get("ErrorCode", "Service Quotas says no value"))
    return Value(quota["Value"], quota["QuotaCode"], quota.get("Adjustable", True))
