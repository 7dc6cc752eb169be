"""Models, model package groups and their versioned packages: records that are kept, nothing that runs."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloud.core.protocol import ApiError, Operation, Request, invalid
from cloud.core.store import Record, Store, now, page
from cloud.core.uris import AccessError, S3Uri
from cloud.ecr.images import ImageError, Images
from cloud.iam import authorization
from cloud.s3 import objects
from cloud.sagemaker import rules

_NO_ACCESS = (
    'Could not access model data at {data}. Please ensure that the role "{role}" exists and that its trust '
    'relationship policy allows the action "sts:AssumeRole" for the service principal "sagemaker.amazonaws.com". Also '
    'ensure that the role has "s3:GetObject" permissions and that the object is located in {region}.'
)


class Model(Record):
    """A model: the request that made it."""


@dataclass
class PackageGroup(Record):
    """A model package group; ``versions`` counts every package that it ever held."""

    status: str = "Completed"
    versions: int = 0


@dataclass
class Package:
    """A model package: of a group with a version, or with a name of its own."""

    arn: str
    name: str
    request: Request
    version: int | None
    created: float = field(default_factory=now)
    modified: float = field(default_factory=now)
    status: str = "Completed"

    @property
    def approval(self) -> str | None:
        return self.request.get("ModelApprovalStatus")


class Models:
    """CreateModel, DescribeModel, ListModels, DeleteModel."""

    def __init__(self, store: Store, images: Images) -> None:
        self._store, self._images = store, images

    def table(self) -> dict[str, Operation]:
        """The operations by name."""
        return {
            "CreateModel": self.create,
            "DescribeModel": self.describe,
            "ListModels": self.list,
            "DeleteModel": self.delete,
        }

    def create(self, request: Request) -> dict[str, Any]:
        """Keep a model whose image and artifact exist."""
        rules.model(request)
        container = self.container(request["PrimaryContainer"])
        rules.container(container, self._store.region)
        image, data = container["Image"], S3Uri.parse(data_uri(container))
        try:
            if not self._images.has(image):
                raise invalid(f"Requested image {image} not found.")
        except ImageError as error:
            raise invalid(str(error)) from None
        role = request["ExecutionRoleArn"]
        try:
            there = objects.exists(data, authorization.assume_for_sagemaker(role))
        except AccessError:
            raise invalid(_NO_ACCESS.format(data=data, role=role, region=self._store.region)) from None
        if not there or objects.region_of(data.bucket) != self._store.region:
            raise invalid(f"Could not find model data at {data}.")
        arn = self._store.arn("model", request["ModelName"])
        members = {key: value for key, value in request.items() if key != "Tags"}
        taken = invalid(f'Cannot create already existing model "{arn}".')
        self._store.add(Model(arn, request["ModelName"], members), taken)
        return {"ModelArn": arn}

    def container(self, container: Mapping[str, Any]) -> Mapping[str, Any]:
        """The container itself, or the one of its model package.

        Raises:
            ApiError: no such package, or it is not approved.
        """
        if "ModelPackageName" in container:
            arn = container["ModelPackageName"]
            package = self._store.get(arn, Package, f"ModelPackage {arn} does not exist.")
            if package.version and package.approval != "Approved":
                raise invalid(f"ModelPackage {arn} is {package.approval}; it must be Approved to be deployed.")
            found: Mapping[str, Any] = package.request["InferenceSpecification"]["Containers"][0]
            return found
        return container

    def find(self, name: str) -> Model:
        """Raises ApiError: no such model."""
        arn = self._store.arn("model", name)
        return self._store.get(arn, Model, f'Could not find model "{arn}".')

    def describe(self, request: Request) -> dict[str, Any]:
        """A model as it was created."""
        model = self.find(request["ModelName"])
        return {
            "EnableNetworkIsolation": False,
            **model.request,
            "ModelArn": model.arn,
            "CreationTime": model.created,
        }

    def list(self, request: Request) -> dict[str, Any]:
        """Models, newest first unless asked otherwise."""
        found, token = page(request, self._store.of(Model))
        return {
            "Models": [{"ModelName": each.name, "ModelArn": each.arn, "CreationTime": each.created} for each in found],
            "NextToken": token,
        }

    def delete(self, request: Request) -> dict[str, Any]:
        """Forget a model; endpoints that serve it keep serving."""
        self._store.remove(self.find(request["ModelName"]).arn)
        return {}


def data_uri(container: Mapping[str, Any]) -> str:
    """S3 URI of the model.tar.gz of a container, or of a model package's."""
    return str(container.get("ModelDataUrl") or container["ModelDataSource"]["S3DataSource"]["S3Uri"])


class Packages:
    """Model package groups and model packages."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()

    def table(self) -> dict[str, Operation]:
        """The operations by name."""
        return {
            "CreateModelPackageGroup": self.create_group,
            "DescribeModelPackageGroup": self.describe_group,
            "ListModelPackageGroups": self.list_groups,
            "DeleteModelPackageGroup": self.delete_group,
            "CreateModelPackage": self.create,
            "DescribeModelPackage": self.describe,
            "UpdateModelPackage": self.update,
            "ListModelPackages": self.list,
            "DeleteModelPackage": self.delete,
        }

    def create_group(self, request: Request) -> dict[str, Any]:
        """Keep an empty group."""
        name = request["ModelPackageGroupName"]
        arn = self._store.arn("model-package-group", name)
        self._store.add(PackageGroup(arn, name, request), invalid(f"Model Package Group already exists: {arn}"))
        return {"ModelPackageGroupArn": arn}

    def describe_group(self, request: Request) -> dict[str, Any]:
        """A group's record."""
        return _group_record(self._group(request["ModelPackageGroupName"])) | {"CreatedBy": {}}

    def list_groups(self, request: Request) -> dict[str, Any]:
        """Groups, newest last unless asked otherwise."""
        found, token = page(request, self._store.of(PackageGroup), order="Ascending")
        return {"ModelPackageGroupSummaryList": [_group_record(each) for each in found], "NextToken": token}

    def delete_group(self, request: Request) -> dict[str, Any]:
        """Forget an empty group."""
        group = self._group(request["ModelPackageGroupName"])
        if self._packages_of(group.name):
            message = f"Model Package Group {group.arn} cannot be deleted because it holds model packages."
            raise ApiError("ConflictException", message)
        self._store.remove(group.arn)
        return {}

    def create(self, request: Request) -> dict[str, Any]:
        """Keep a package: the next version of its group, or a package of its own name."""
        rules.model_package(request, self._store.region)
        group_name, name = request.get("ModelPackageGroupName"), request.get("ModelPackageName")
        version = None
        if group_name:  # a name or an ARN
            group = self._group(group_name)
            with self._lock:
                group.versions += 1
                version = group.versions
            name = group.name
        assert name is not None
        arn = self._store.arn("model-package", f"{name}/{version}" if version else name)
        approval = {"ModelApprovalStatus": "PendingManualApproval"} if group_name else {}
        members = approval | {key: value for key, value in request.items() if key != "Tags"}
        package = Package(arn, name, members | ({"ModelPackageGroupName": name} if version else {}), version)
        self._store.add(package, invalid(f"Model Package already exists: {arn}"))
        return {"ModelPackageArn": arn}

    def describe(self, request: Request) -> dict[str, Any]:
        """A package as it was created and updated."""
        package = self._package(request["ModelPackageName"])
        return {
            **package.request,
            **_package_record(package),
            "ModelPackageName": package.name,
            "LastModifiedTime": package.modified,
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        }

    def update(self, request: Request) -> dict[str, Any]:
        """Change a package's approval and metadata."""
        package = self._package(request["ModelPackageArn"])
        with self._lock:
            metadata = package.request.get("CustomerMetadataProperties", {}) | request.get(
                "CustomerMetadataProperties", {}
            )
            for key in request.get("CustomerMetadataPropertiesToRemove", []):
                metadata.pop(key, None)
            taken_over = ("ModelApprovalStatus", "ApprovalDescription", "InferenceSpecification", "SourceUri")
            package.request.update({key: request[key] for key in taken_over if key in request})
            package.request["CustomerMetadataProperties"] = metadata
            package.modified = now()
        return {"ModelPackageArn": package.arn}

    def list(self, request: Request) -> dict[str, Any]:
        """Packages of a group (or, without one, the unversioned), newest first unless asked otherwise."""
        group_name = request.get("ModelPackageGroupName")
        packages = self._packages_of(self._group(group_name).name if group_name else None)
        if wanted := request.get("ModelApprovalStatus"):
            packages = [package for package in packages if package.approval == wanted]
        found, token = page(request, packages)
        return {"ModelPackageSummaryList": [_package_record(each) for each in found], "NextToken": token}

    def delete(self, request: Request) -> dict[str, Any]:
        """Forget a package; its version number is never given again."""
        self._store.remove(self._package(request["ModelPackageName"]).arn)
        return {}

    def _group(self, name: str) -> PackageGroup:
        arn = self._arn("model-package-group", name)
        return self._store.get(arn, PackageGroup, f"Model Package Group {arn} does not exist.")

    def _package(self, name: str) -> Package:
        arn = self._arn("model-package", name)
        return self._store.get(arn, Package, f"ModelPackage {arn} does not exist.")

    def _arn(self, kind: str, name_or_arn: str) -> str:
        return name_or_arn if name_or_arn.startswith("arn:") else self._store.arn(kind, name_or_arn)

    def _packages_of(self, group: str | None) -> Sequence[Package]:
        packages = self._store.of(Package)
        if group is None:
            return [package for package in packages if package.version is None]
        return [package for package in packages if package.version and package.name == group]


def _group_record(group: PackageGroup) -> dict[str, Any]:
    record = {
        "ModelPackageGroupName": group.name,
        "ModelPackageGroupArn": group.arn,
        "ModelPackageGroupDescription": group.request.get("ModelPackageGroupDescription"),
        "CreationTime": group.created,
        "ModelPackageGroupStatus": group.status,
    }
    return {name: value for name, value in record.items() if value is not None}


def _package_record(package: Package) -> dict[str, Any]:
    record = {
        "ModelPackageArn": package.arn,
        "ModelPackageGroupName": package.name if package.version else None,
        "ModelPackageVersion": package.version,
        "ModelPackageDescription": package.request.get("ModelPackageDescription"),
        "CreationTime": package.created,
        "ModelPackageStatus": package.status,
        "ModelApprovalStatus": package.approval,
    }
    return {name: value for name, value in record.items() if value is not None}
