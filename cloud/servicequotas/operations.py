"""Four operations of Service Quotas. The values are those that the laptop's services hold (``cloud/core/quotas.py``).

Names, codes and AWS's default values are those of the package ``quotas``. A quota of SageMaker's instances that
``KENNEL_QUOTAS`` sets and that the table does not have is listed, too, with a code of the laptop's own.
"""

import uuid
import zlib
from collections.abc import Callable
from typing import Any

import quotas
from cloud.core import quotas as account
from cloud.core.clock import now
from cloud.core.protocol import ApiError, Operation, Request

_NAMES = {
    "codebuild": "AWS CodeBuild",
    "ec2": "Amazon Elastic Compute Cloud (Amazon EC2)",
    "lambda": "AWS Lambda",
    "sagemaker": "Amazon SageMaker",
}
_PAGE = 100  # quotas, the most that one answer of ListServiceQuotas has


class ServiceQuotas:
    """The operations on the quotas of the account of each request.

    Args:
        scope: Returns the (region, account) of the current request.
    """

    def __init__(self, scope: Callable[[], tuple[str, str]]) -> None:
        self._scope = scope
        self._requested: dict[tuple[str, str, str], dict[str, Any]] = {}

    def table(self) -> dict[str, Operation]:
        """Return the operations by name."""
        return {
            "GetServiceQuota": self.get,
            "GetAWSDefaultServiceQuota": self.get_default,
            "ListServiceQuotas": self.list,
            "RequestServiceQuotaIncrease": self.request_increase,
        }

    def get(self, request: Request) -> dict[str, Any]:
        """Return a quota with the account's value.

        Raises:
            ApiError: there is no such service or quota.
        """
        return {"Quota": self._described(_find(request))}

    def get_default(self, request: Request) -> dict[str, Any]:
        """Return a quota with the value that AWS gives an account at first.

        Raises:
            ApiError: there is no such service or quota, or nobody wrote its default down.
        """
        quota = _find(request)
        if quota.default is None:
            raise _missing()
        return {"Quota": self._described(quota) | {"Value": float(quota.default)}}

    def list(self, request: Request) -> dict[str, Any]:
        """Return the quotas of a service, page by page.

        Raises:
            ApiError: there is no such service, or the token is not from an earlier answer.
        """
        listed = list(_of_service(request["ServiceCode"]).values())
        token = request.get("NextToken", "0")
        if not token.isdecimal() or int(token) > len(listed):
            raise ApiError("InvalidPaginationTokenException", "The pagination token is not valid.")
        end = int(token) + min(request.get("MaxResults", _PAGE), _PAGE)
        page = [self._described(quota) for quota in listed[int(token) : end]]
        return {"Quotas": page, "NextToken": str(end) if end < len(listed) else None}

    def request_increase(self, request: Request) -> dict[str, Any]:
        """Take a request for a larger value. Nobody decides on it here: ``KENNEL_QUOTAS`` sets the laptop's values.

        Raises:
            ApiError: there is no such quota, the value is not larger, or a request for it is open.
        """
        quota = _find(request)
        region, account_id = self._scope()
        if request["DesiredValue"] <= account.quota(quota.name):
            raise ApiError(
                "IllegalArgumentException", "You must provide a quota value greater than the current quota value."
            )
        key = (region, account_id, quota.code)
        if key in self._requested:
            raise ApiError(
                "ResourceAlreadyExistsException",
                "Only one open service quota increase request is allowed per quota.",
            )
        described = self._described(quota)
        self._requested[key] = {
            "Id": uuid.uuid4().hex,
            "DesiredValue": request["DesiredValue"],
            "Status": "PENDING",
            "Created": now(),
            "LastUpdated": now(),
            **{name: described[name] for name in ("ServiceCode", "ServiceName", "QuotaCode", "QuotaName", "QuotaArn")},
            "GlobalQuota": False,
            "Unit": "None",
        }
        return {"RequestedQuota": self._requested[key]}

    def _described(self, quota: quotas.Quota) -> dict[str, Any]:
        region, account_id = self._scope()
        return {
            "ServiceCode": quota.service,
            "ServiceName": _NAMES[quota.service],
            "QuotaArn": f"arn:aws:servicequotas:{region}:{account_id}:{quota.service}/{quota.code}",
            "QuotaCode": quota.code,
            "QuotaName": quota.name,
            "Value": float(account.quota(quota.name)),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
            "QuotaAppliedAtLevel": "ACCOUNT",
        }


def _find(request: Request) -> quotas.Quota:
    quota = _of_service(request["ServiceCode"]).get(request["QuotaCode"])
    if quota is None:
        raise _missing()
    return quota


def _missing() -> ApiError:
    return ApiError("NoSuchResourceException", "The request failed because the specified service quota does not exist.")


def _of_service(code: str) -> dict[str, quotas.Quota]:
    """Return the quotas of a service by code.

    Raises:
        ApiError: the laptop's account has no quotas of this service.
    """
    found = {quota.code: quota for quota in quotas.everything() if quota.service == code}
    if not found:
        raise ApiError(
            "NoSuchResourceException", f"The laptop cloud has no quotas of {code}; it has those of {', '.join(_NAMES)}."
        )
    if code == "sagemaker":
        names = {quota.name for quota in found.values()}
        more = sorted(name for name in account.set_by_a_person() if name.endswith(" usage") and name not in names)
        for name in more:
            own = f"L-{zlib.crc32(name.encode()):08X}"
            found[own] = quotas.Quota("sagemaker", own, name, instance_type=name.partition(" ")[0])
    return found
