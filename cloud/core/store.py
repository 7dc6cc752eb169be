"""The cloud's resources by ARN, with their tags, and how lists of them are filtered and paged."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from cloud.core.protocol import Request, invalid


class Resource(Protocol):
    """What a list can filter and sort by. Times are epoch seconds."""

    arn: str
    name: str
    created: float
    status: str

    @property
    def modified(self) -> float: ...


R = TypeVar("R", bound=Resource)


class Store:
    """Every SageMaker resource of every account and region: the ARN holds both."""

    def __init__(self, scope: Callable[[], tuple[str, str]]) -> None:
        """Args:
        scope: the (region, account) of the request being served.
        """
        self._scope = scope
        self._resources: dict[str, Any] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    @property
    def region(self) -> str:
        """The caller's."""
        return self._scope()[0]

    def arn(self, kind: str, name: str) -> str:
        """For example ``arn:aws:sagemaker:us-east-1:000000000000:endpoint/dogs``."""
        region, account = self._scope()
        return f"arn:aws:sagemaker:{region}:{account}:{kind}/{name}"

    def add(self, resource: Resource, taken: Exception) -> None:
        """Keep a new resource.

        Raises:
            taken: as given, when the ARN is in use.
        """
        with self._lock:
            if resource.arn in self._resources:
                raise taken
            self._resources[resource.arn] = resource

    def get(self, arn: str, kind: type[R], missing: str) -> R:
        """The resource.

        Raises:
            ApiError: there is none of this class; the message is ``missing``.
        """
        resource = self._resources.get(arn)
        if not isinstance(resource, kind):
            raise invalid(missing)
        return resource

    def remove(self, arn: str) -> None:
        """Forget a resource and its tags."""
        with self._lock:
            self._resources.pop(arn, None)
            self._tags.pop(arn, None)

    def of(self, kind: type[R]) -> list[R]:
        """The resources of one class in the caller's account and region."""
        prefix = self.arn("", "").removesuffix("/")
        with self._lock:
            return [r for arn, r in self._resources.items() if isinstance(r, kind) and arn.startswith(prefix)]

    def tag(self, arn: str, tags: Iterable[dict[str, str]]) -> None:
        """Add or overwrite tags given as AWS's ``[{"Key":, "Value":}]``."""
        with self._lock:
            self._tags.setdefault(arn, {}).update({tag["Key"]: tag["Value"] for tag in tags})

    def operations(self) -> dict[str, Callable[[Request], dict[str, Any]]]:
        """AddTags, ListTags, DeleteTags."""
        return {"AddTags": self._add_tags, "ListTags": self._list_tags, "DeleteTags": self._delete_tags}

    def _add_tags(self, request: Request) -> dict[str, Any]:
        arn = self._existing(request["ResourceArn"])
        self.tag(arn, request["Tags"])
        return self._list_tags(request)

    def _list_tags(self, request: Request) -> dict[str, Any]:
        tags = self._tags.get(self._existing(request["ResourceArn"]), {})
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def _delete_tags(self, request: Request) -> dict[str, Any]:
        arn = self._existing(request["ResourceArn"])
        with self._lock:
            for key in request["TagKeys"]:
                self._tags.get(arn, {}).pop(key, None)
        return {}

    def _existing(self, arn: str) -> str:
        if arn not in self._resources:
            raise invalid(f'Could not find resource "{arn}".')
        return arn


def now() -> float:
    """Epoch seconds with milliseconds, as AWS's JSON protocol sends times."""
    return round(time.time(), 3)


@dataclass
class Record:
    """A resource that is kept and never changes: the request that made it."""

    arn: str
    name: str
    request: Request
    created: float = field(default_factory=now)
    status: str = ""

    @property
    def modified(self) -> float:
        return self.created


def page(request: Request, resources: Sequence[R], order: str = "Descending") -> tuple[list[R], str | None]:
    """The page of a list that a request asks for.

    Understands NameContains, StatusEquals, the CreationTime and LastModifiedTime bounds, SortBy,
    SortOrder, MaxResults and NextToken.

    Returns:
        The resources and the next token (None at the end).
    """
    wanted = [resource for resource in resources if _passes(request, resource)]
    wanted.sort(key=_sort_key(request.get("SortBy", "CreationTime")))
    if request.get("SortOrder", order) == "Descending":
        wanted.reverse()
    try:
        start = int(request.get("NextToken", "0"))
    except ValueError:
        raise invalid("Invalid pagination token") from None
    end = start + request.get("MaxResults", 100)
    return wanted[start:end], str(end) if end < len(wanted) else None


def _passes(request: Request, resource: Resource) -> bool:
    infinity = float("inf")
    return (
        request.get("NameContains", "").lower() in resource.name.lower()
        and request.get("StatusEquals", resource.status) == resource.status
        and request.get("CreationTimeAfter", -infinity) < resource.created
        and resource.created < request.get("CreationTimeBefore", infinity)
        and request.get("LastModifiedTimeAfter", -infinity) < resource.modified
        and resource.modified < request.get("LastModifiedTimeBefore", infinity)
    )


def _sort_key(by: str) -> Callable[[Resource], Any]:
    if by == "Name":
        return lambda resource: resource.name
    if by == "Status":
        return lambda resource: (resource.status, resource.created)
    return lambda resource: resource.created
