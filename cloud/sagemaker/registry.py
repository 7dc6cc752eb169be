"""Models, model package groups and their versioned packages; they are stored, and nothing runs."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloud.core.clock import now
from cloud.core.protocol import ApiError, Operation, Request, invalid
from cloud.core.uris import AccessError, S3Uri
from cloud.ecr.images import ImageError, Images
from cloud.iam import authorization
from cloud.s3 import objects
from cloud.sagemaker import rules
from cloud.sagemaker.store import Record, Store, page

# UpdateModelPackage replaces these members as a whole.
_REPLACED = (
    *("ModelApprovalStatus", "ApprovalDescription", "InferenceSpecification", "SourceUri"),
    *("ModelCard", "ModelLifeCycle", "ModelPackageRegistrationType"),
)
_NO_ACCESS = (
    'Could not access model data at {data}. Please ensure that the role "{role}" exists and that its trust '
    'relationship policy allows the action "sts:AssumeRole" for the service principal "sagemaker.amazonaws.com". Also '
    'ensure that the role has "s3:GetObject" permissions and that the object is located in {region}.'
)


class Model(Record):
    """A model: the request that created it."""


@dataclass
class ModelPackageGroup(Record):
    """A model package group; ``versions`` counts all packages that it has ever had."""

    status: str = "Completed"
    versions: int = 0


@dataclass
class ModelPackage:
    """A model package: either a version in a group, or one with a name of its own."""

    arn: str
    name: str
    request: Request
    version: int | None
    created: float = field(default_factory=now)
    modified: float = field(default_factory=now)
    status: str = "Completed"

    @property
    def approval(self) -> str | None:
        """The ModelApprovalStatus; None for a package without a group."""
        return self.request.get("ModelApprovalStatus")


class Models:
    """The operations CreateModel, DescribeModel, ListModels and DeleteModel."""

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
        """Create a model; its image and its data must exist."""
        rules.model(request)
        container = self.container(rules.container_of(request))
        rules.container(container, self._store.region)
        image, data = container["Image"], S3Uri.parse(data_uri(container))
        try:
            if not self._images.has(image):
                raise invalid(f"Requested image {image} not found.")
        except ImageError as error:
            raise invalid(str(error)) from None
        role = request["ExecutionRoleArn"]
        try:
            exists = objects.exists(data, authorization.assume_for_sagemaker(role))
        except AccessError:
            raise invalid(_NO_ACCESS.format(data=data, role=role, region=self._store.region)) from None
        if not exists or objects.region_of(data.bucket) != self._store.region:
            raise invalid(f"Could not find model data at {data}.")
        arn = self._store.arn("model", request["ModelName"])
        members = {key: value for key, value in request.items() if key != "Tags"}
        taken = invalid(f'Cannot create already existing model "{arn}".')
        self._store.add(Model(arn, request["ModelName"], members), taken)
        return {"ModelArn": arn}

    def container(self, container: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a container itself, or the container of the model package that it names.

        Raises:
            ApiError: there is no such package, or it is not approved.
        """
        if "ModelPackageName" in container:
            arn = container["ModelPackageName"]
            package = self._store.get(arn, ModelPackage, f"ModelPackage {arn} does not exist.")
            if package.version and package.approval != "Approved":
                raise invalid(f"ModelPackage {arn} is {package.approval}; it must be Approved to be deployed.")
            packaged: Mapping[str, Any] = package.request["InferenceSpecification"]["Containers"][0]
            return packaged
        return container

    def find(self, name: str) -> Model:
        """Return the model of this name.

        Raises:
            ApiError: there is no such model.
        """
        arn = self._store.arn("model", name)
        return self._store.get(arn, Model, f'Could not find model "{arn}".')

    def describe(self, request: Request) -> dict[str, Any]:
        """Return a model as it was created."""
        model = self.find(request["ModelName"])
        return {
            "EnableNetworkIsolation": False,
            **model.request,
            "ModelArn": model.arn,
            "CreationTime": model.created,
        }

    def list(self, request: Request) -> dict[str, Any]:
        """List models, the newest first unless the request says otherwise."""
        models, token = page(request, self._store.of(Model))
        summaries = [{"ModelName": each.name, "ModelArn": each.arn, "CreationTime": each.created} for each in models]
        return {"Models": summaries, "NextToken": token}

    def delete(self, request: Request) -> dict[str, Any]:
        """Delete a model; endpoints that serve it keep serving."""
        self._store.remove(self.find(request["ModelName"]).arn)
        return {}


def data_uri(container: Mapping[str, Any]) -> str:
    """Return the S3 URI of a container's model.tar.gz."""
    return str(container.get("ModelDataUrl") or container["ModelDataSource"]["S3DataSource"]["S3Uri"])


class Packages:
    """The operations on model package groups and model packages."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._tokens: dict[str, str] = {}  # ARNs of packages by the ClientToken that made them

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
        """Create an empty group."""
        name = request["ModelPackageGroupName"]
        arn = self._store.arn("model-package-group", name)
        self._store.add(ModelPackageGroup(arn, name, request), invalid(f"Model Package Group already exists: {arn}"))
        return {"ModelPackageGroupArn": arn}

    def describe_group(self, request: Request) -> dict[str, Any]:
        """Return a group's description."""
        return _group_record(self._group(request["ModelPackageGroupName"])) | {"CreatedBy": {}}

    def list_groups(self, request: Request) -> dict[str, Any]:
        """List groups, the newest last unless the request says otherwise."""
        # No other account shares groups with this one.
        shared = request.get("CrossAccountFilterOption") == "CrossAccount"
        groups, token = page(request, [] if shared else self._store.of(ModelPackageGroup), order="Ascending")
        return {"ModelPackageGroupSummaryList": [_group_record(each) for each in groups], "NextToken": token}

    def delete_group(self, request: Request) -> dict[str, Any]:
        """Delete an empty group."""
        group = self._group(request["ModelPackageGroupName"])
        if any(each.version and each.name == group.name for each in self._store.of(ModelPackage)):
            message = f"Model Package Group {group.arn} cannot be deleted because it holds model packages."
            raise ApiError("ConflictException", message)
        self._store.remove(group.arn)
        return {}

    def create(self, request: Request) -> dict[str, Any]:
        """Create a package: the next version of its group, or one with a name of its own."""
        rules.model_package(request, self._store.region)
        token = self._store.arn("client-token", request.get("ClientToken", ""))
        if "ClientToken" in request and (first := self._tokens.get(token)):
            return {"ModelPackageArn": first}  # The request is repeated, because its first answer was lost.
        group_name, name = request.get("ModelPackageGroupName"), request.get("ModelPackageName")
        version = None
        if group_name:
            group = self._group(group_name)
            with self._lock:
                group.versions += 1
                version = group.versions
            name = group.name
        assert name is not None
        arn = self._store.arn("model-package", f"{name}/{version}" if version else name)
        approval = {"ModelApprovalStatus": "PendingManualApproval"} if group_name else {}
        members = approval | {key: value for key, value in request.items() if key != "Tags"}
        package = ModelPackage(arn, name, members | ({"ModelPackageGroupName": name} if version else {}), version)
        self._store.add(package, invalid(f"Model Package already exists: {arn}"))
        self._tokens[token] = arn
        return {"ModelPackageArn": arn}

    def describe(self, request: Request) -> dict[str, Any]:
        """Return a package as it was created and updated."""
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
            package.request.update({key: request[key] for key in _REPLACED if key in request})
            if more := request.get("AdditionalInferenceSpecificationsToAdd"):
                specifications = package.request.get("AdditionalInferenceSpecifications", [])
                package.request["AdditionalInferenceSpecifications"] = [*specifications, *more]
            package.request["CustomerMetadataProperties"] = metadata
            package.modified = now()
        return {"ModelPackageArn": package.arn}

    def list(self, request: Request) -> dict[str, Any]:
        """List packages: of a group, without one, or both; the newest first unless the request says otherwise."""
        group_name = request.get("ModelPackageGroupName")
        group = self._group(group_name).name if group_name else None
        kind = request.get("ModelPackageType", "Versioned" if group else "Unversioned")
        packages = [each for each in self._store.of(ModelPackage) if not group or (each.version and each.name == group)]
        if kind != "Both":
            packages = [each for each in packages if (each.version is None) == (kind == "Unversioned")]
        if approval := request.get("ModelApprovalStatus"):
            packages = [package for package in packages if package.approval == approval]
        packages, token = page(request, packages)
        return {"ModelPackageSummaryList": [_package_record(each) for each in packages], "NextToken": token}

    def delete(self, request: Request) -> dict[str, Any]:
        """Delete a package; its group never uses the version number again."""
        self._store.remove(self._package(request["ModelPackageName"]).arn)
        return {}

    def _group(self, name_or_arn: str) -> ModelPackageGroup:
        arn = self._arn("model-package-group", name_or_arn)
        return self._store.get(arn, ModelPackageGroup, f"Model Package Group {arn} does not exist.")

    def _package(self, name_or_arn: str) -> ModelPackage:
        arn = self._arn("model-package", name_or_arn)
        return self._store.get(arn, ModelPackage, f"ModelPackage {arn} does not exist.")

    def _arn(self, kind: str, name_or_arn: str) -> str:
        return name_or_arn if name_or_arn.startswith("arn:") else self._store.arn(kind, name_or_arn)


def _group_record(group: ModelPackageGroup) -> dict[str, Any]:
    record = {
        "ModelPackageGroupName": group.name,
        "ModelPackageGroupArn": group.arn,
        "ModelPackageGroupDescription": group.request.get("ModelPackageGroupDescription"),
        "CreationTime": group.created,
        "ModelPackageGroupStatus": group.status,
    }
    return {name: value for name, value in record.items() if value is not None}


def _package_record(package: ModelPackage) -> dict[str, Any]:
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
