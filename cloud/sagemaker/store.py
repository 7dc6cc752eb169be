"""SageMaker's resources by ARN, with their tags, and lists of them that are filtered, sorted and paged."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from cloud.core.clock import now
from cloud.core.protocol import Request, invalid


class Resource(Protocol):
    """The attributes by which lists filter and sort resources.

    Attributes:
        arn: ARN of the resource.
        name: Name, unique among resources of its kind.
        created: Time of creation in epoch seconds.
        status: Status as AWS names it; empty where the kind has none.
    """

    arn: str
    name: str
    created: float
    status: str

    @property
    def modified(self) -> float:
        """Time of the last change in epoch seconds."""


R = TypeVar("R", bound=Resource)


class Store:
    """All SageMaker resources of all accounts and regions, by ARN."""

    def __init__(self, scope: Callable[[], tuple[str, str]]) -> None:
        """Create an empty store.

        Args:
            scope: Returns the (region, account) of the current request.
        """
        self._scope = scope
        self._resources: dict[str, Any] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    @property
    def region(self) -> str:
        """Region of the current request."""
        return self._scope()[0]

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of a resource, for example ``arn:aws:sagemaker:us-east-1:000000000000:endpoint/dogs``."""
        region, account = self._scope()
        return f"arn:aws:sagemaker:{region}:{account}:{kind}/{name}"

    def add(self, resource: Resource, taken: Exception) -> None:
        """Add a new resource.

        Args:
            resource: The resource.
            taken: The exception that is raised when the ARN is in use.
        """
        with self._lock:
            if resource.arn in self._resources:
                raise taken
            self._resources[resource.arn] = resource

    def get(self, arn: str, kind: type[R], missing: str) -> R:
        """Return the resource with an ARN.

        Args:
            arn: ARN of the resource.
            kind: Class of the resource.
            missing: Message of the error when there is no such resource.

        Raises:
            ApiError: There is no resource of this class with the ARN.
        """
        resource = self._resources.get(arn)
        if not isinstance(resource, kind):
            raise invalid(missing)
        return resource

    def remove(self, arn: str) -> None:
        """Remove a resource and its tags."""
        with self._lock:
            self._resources.pop(arn, None)
            self._tags.pop(arn, None)

    def of(self, kind: type[R]) -> list[R]:
        """Return the resources of one class in the account and region of the current request."""
        prefix = self.arn("", "").removesuffix("/")
        with self._lock:
            return [
                resource
                for arn, resource in self._resources.items()
                if isinstance(resource, kind) and arn.startswith(prefix)
            ]

    def tag(self, arn: str, tags: Iterable[dict[str, str]]) -> None:
        """Add or overwrite tags of a resource, in AWS's form ``[{"Key":, "Value":}]``."""
        with self._lock:
            self._tags.setdefault(arn, {}).update({tag["Key"]: tag["Value"] for tag in tags})

    def operations(self) -> dict[str, Callable[[Request], dict[str, Any]]]:
        """Return the handlers of AddTags, ListTags and DeleteTags by name."""
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


@dataclass
class Record:
    """A resource that never changes after its creation.

    Attributes:
        arn: ARN of the resource.
        name: Name, unique among resources of its kind.
        request: The request that created it.
        created: Time of creation in epoch seconds.
        status: Empty, because such resources have no status.
    """

    arn: str
    name: str
    request: Request
    created: float = field(default_factory=now)
    status: str = ""

    @property
    def modified(self) -> float:
        """Time of creation, because the resource never changes."""
        return self.created


def page(
    request: Request, resources: Sequence[R], order: str = "Descending", key: Callable[[R], Any] | None = None
) -> tuple[list[R], str | None]:
    """Return one page of the resources that a List request selects.

    Args:
        request: The request; of its members NameContains, StatusEquals, the CreationTime and LastModifiedTime bounds,
            SortBy, SortOrder, MaxResults and NextToken are read.
        resources: All resources of the kind.
        order: The order where the request names none.
        key: What to sort by in place of SortBy.

    Returns:
        The resources and the next token (None at the end).

    Raises:
        ApiError: The token is not one of this list.
    """
    matches = [resource for resource in resources if _passes(request, resource)]
    matches.sort(key=key or _sort_key(request.get("SortBy", "CreationTime")))
    if request.get("SortOrder", order) == "Descending":
        matches.reverse()
    try:
        start = int(request.get("NextToken", "0"))
    except ValueError:
        raise invalid("Invalid pagination token") from None
    end = start + request.get("MaxResults", 100)
    return matches[start:end], str(end) if end < len(matches) else None


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
